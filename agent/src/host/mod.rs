//! The host itself: its load, processors, memory and pressure, read at intervals.
//!
//! `identity` is what does not change while the agent runs; `watch` does the reading.

pub mod identity;
mod pressure;
pub mod watch;

pub use watch::Reading;
