//! The pure heart of the collector: inputs in, transitions out, nothing else.
//!
//! Promises: the same inputs at the same times give the same state and transitions; the state can
//! be rebuilt from its records; the cost of an event does not depend on the number of nodes.
//!
//! Absent on purpose: clocks, I/O, locks, async. Time comes in as an argument.

mod input;
mod record;
mod snapshot;

pub use input::Input;
pub use record::{Record, RecordKind, Urgency};
pub use snapshot::{Counters, RuleError, RuleStatus, Snapshot};

/// How often a mere reading is recorded for the store, per entity.
pub const LAZY_INTERVAL: jiff::SignedDuration = jiff::SignedDuration::from_secs(30);
