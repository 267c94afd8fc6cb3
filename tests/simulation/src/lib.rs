//! The delivery promise, tried: *an event that was committed to an agent's spool is applied to
//! the collector's state exactly once, in the order of its stream, whatever is killed in between;
//! if it ever cannot be, the loss itself is reported.*
//!
//! Real: the agent's outbox and spool, the collector's ingest and core. Simulated: the disk, the
//! broker, the clocks, and the glue that joins them. One thread, one seed, no sleeping.

mod agent;
pub mod broker;
pub mod collector;
pub mod disk;
mod faults;
mod intake;
pub mod judge;
pub mod node;
pub mod tally;
pub mod world;
