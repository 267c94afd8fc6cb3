//! The agent of pvewatch: watches one node and publishes what happened.
//!
//! `sources -> outbox -> mqtt`; acks come back. One folder a source; a source knows nothing of
//! the others. `outbox/run.rs` is the one task that owns the agent's state.

pub mod app;
pub mod backups;
mod clock;
pub mod config;
pub mod guests;
pub mod host;
mod mqtt;
mod octal;
pub mod outbox;
mod patience;
mod pictures;
mod print;
pub mod proxmox;
mod samples;
pub mod source;
mod systemd;
pub mod units;
