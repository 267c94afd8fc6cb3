//! The benchmarks: what pvewatch costs and how fast it is, measured on real nodes.
//!
//! A [`stage`] is a node with the agent under its shipped unit, a broker with TLS and a
//! [`listener`] that plays the collector. Each benchmark gives a [`figure::Report`]; budgets are
//! those of the design. Absent on purpose: assertions on speed, since machines differ.

pub mod alert;
pub mod figure;
pub mod footprint;
pub mod latency;
pub mod listener;
pub mod middle;
pub mod sizes;
pub mod soak;
pub mod stage;
pub mod statistics;
pub mod usage;
