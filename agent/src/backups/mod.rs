//! The source `backups`: what vzdump did on this node, as its own logs tell it.
//!
//! `log` understands what a task log, a guest's log or a mail says about the guests that were
//! backed up. It is pure and takes bytes as they come, cut anywhere: vzdump writes in blocks of
//! 8 KiB, so that a log which ends in the middle of a line is an ordinary thing.
//! `read` is the command `read-backup-log`, the only file here that does I/O.
//!
//! Absent: watching the folders, and the jobs' calendars.

pub mod archives;
pub mod jobs;
pub mod log;
mod read;
pub mod retention;
pub mod sections;
pub mod upid;

pub use read::{ReadError, describe};
