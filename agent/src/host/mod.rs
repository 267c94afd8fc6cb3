//! The host itself: its load, processors, memory, pressure, filesystems and pools, network, clock,
//! heat and certificate, read at intervals.
//!
//! `identity` is what does not change while the agent runs; `watch` does the reading, and the
//! others understand what it read.

mod certificate;
mod clock;
mod groups;
pub mod identity;
mod interfaces;
mod mounts;
mod pools;
mod pressure;
mod temperatures;
pub mod watch;

pub use watch::{HostPaths, Reading};
