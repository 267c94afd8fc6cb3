//! The queue of events between the sources and the broker.
//!
//! `queue` is the pure part: numbering, bounds, positions of the collectors, what to send next.
//! `run` alone joins it with the connection. Absent: any knowledge of what an event means.

mod collectors;
mod queue;
pub mod run;

pub use collectors::AckOutcome;
pub use queue::{Limits, Outbox, Outgoing};
