//! The host itself: its load, processors, memory, pressure, filesystems and pools, read at intervals.
//!
//! `identity` is what does not change while the agent runs; `watch` does the reading, and `members`, `mounts`,
//! `pools` and `pressure` understand what it read.

pub mod identity;
mod members;
mod mounts;
mod pools;
mod pressure;
pub mod watch;

pub use watch::{HostPaths, Reading};
