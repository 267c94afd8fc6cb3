//! The agent of pvewatch: watches one node and publishes what happened.
//!
//! `sources -> outbox -> mqtt`; acks come back. One folder a source.

pub mod source;
pub mod units;
