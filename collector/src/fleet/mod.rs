//! The fleet: what is known of every node and of what runs on it, as typed entities.
//!
//! Promises: an event or a checkpoint changes an entity only if it is newer than what the entity
//! has; everything is bounded; the whole fleet can be rebuilt from its nodes and what belongs to them.
//!
//! Absent on purpose: rules, alerts, clocks and I/O. Times come with the inputs.

mod apply;
mod archives;
mod backup;
mod backup_job;
mod backups;
mod boots;
mod calendar;
mod change;
mod delivery;
mod drift;
mod drift_check;
mod drifts;
mod duplicates;
mod entity;
mod glob;
mod guest;
mod guests;
mod inside;
mod members;
mod moment;
mod node;
mod parts;
mod plan;
mod policy;
mod reading;
mod silence;
mod skew;
mod slot;
mod state;
mod storage;
mod storages;
mod traffic;
mod unit;
mod usage;

pub use archives::{Archives, Written};
pub use backup::{Backup, RUNS_KEPT, Run, Running, is_unwanted};
pub use backup_job::{BackupJob, Jobs};
pub use boots::Boots;
pub use calendar::{CalendarError, CalendarEvent};
pub use change::{Change, Origin};
pub use delivery::{Backlog, Loss};
pub use drift::{DIFFERENCES_KEPT, Difference, Drift, POLICY_FILE};
pub use duplicates::{DUPLICATE_WINDOW, Duplicates};
pub use entity::{Drawn, Entity, EntityKey, EntityKind, Version};
pub use glob::matches;
pub use guest::{Guest, Guests};
pub use inside::Inside;
pub use members::SeenMember;
pub use moment::{FUTURE_TOLERANCE, LATE_AFTER, Moment, SKEW_TOLERANCE};
pub use node::Node;
pub use parts::{PARTS_MAX, Parts};
pub use policy::{BackupWants, Environment, Every, Keep, Policies, Policy, Selection, Wants};
pub use reading::{Reading, hottest, overheated};
pub(crate) use silence::epoch_time;
pub use silence::{HEARTBEATS_MISSED_MAX, Presence, Stop};
pub use skew::{STEP_SAMPLES, Skew};
pub use state::{
    BACKUPS_PER_NODE_MAX, Fleet, FleetCounters, NODES_MAX, NodeView, UNITS_PER_NODE_MAX,
};
pub use storage::{Storage, Storages, used_ratio};
pub use traffic::{SeenInterface, Traffic};
pub use unit::{LOG_LINES_KEPT, Unit, UnitLogTail};
pub use usage::{Load, Usage};
