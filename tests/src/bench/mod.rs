//! The benchmarks: what pvewatch costs and how fast it is, measured on real nodes.
//!
//! A [`stage`] is a node with the agent under its shipped unit, a broker with TLS and a
//! [`listener`] that plays the collector; a [`site`] is the real collector, to which nodes on
//! paper speak ([`traffic`]). Each benchmark gives a [`figure::Report`]; budgets are those of the
//! design. Absent on purpose: assertions on speed, since machines differ.

pub mod alert;
pub mod archives;
pub mod backlog;
pub mod backups;
pub mod bare;
pub mod figure;
pub mod fleet;
pub mod footprint;
pub mod guests;
pub mod ingest;
pub mod latency;
pub mod listener;
pub mod middle;
pub mod sender;
pub mod site;
pub mod sizes;
pub mod soak;
pub mod stage;
pub mod statistics;
pub mod traffic;
pub mod usage;
