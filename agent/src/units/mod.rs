//! The source `units`: what became of this node's systemd units, told by systemd itself.
//!
//! `watch` alone does I/O: the system bus (`crate::systemd`), and `journalctl` for the lines that
//! explain a failure. The rest is pure: `tracker` follows all units, `watched` one of them with its
//! crash loop, `unit` and `phase` the states that one passes through, `schedule` when all are
//! listed, `journal` and `redact` the lines.
//!
//! Promised: a failure is told within milliseconds, once, with how it ended and whether systemd
//! restarts the unit; one that lasts milliseconds too. Nothing is polled. Absent: control of
//! units, user managers, and what a unit did while the bus was away, beyond where it stands now.

mod config;
mod crash_loop;
mod exchange;
mod journal;
mod phase;
mod redact;
#[cfg(test)]
mod replay;
mod schedule;
mod state;
mod tracker;
mod unit;
mod watch;
mod watched;

pub use crate::systemd::{UnitGlob, UnitGlobError};
pub use config::{
    CrashLoopConfig, FailureCount, LogBytes, LogConfig, LogLines, LoopTime, RedactPattern,
    UnitsConfig, UnitsPaths,
};
pub use watch::{run, stop_reason};
