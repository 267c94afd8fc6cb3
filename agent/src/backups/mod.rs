//! The source `backups`: what vzdump did on this node, as its own logs tell it.
//!
//! `log` understands what a task log, a guest's log or a mail says about the guests that were
//! backed up. It is pure and takes bytes as they come, cut anywhere: vzdump writes in blocks of
//! 8 KiB, so that a log which ends in the middle of a line is an ordinary thing. `task` makes
//! events of what it says, `watch` follows the logs of tasks, and `read` is the command
//! `read-backup-log`; only these two do I/O.
//!
//! `plan` is another source: what is due, which `/etc/pve` tells; `storages` a third: what exists.

pub mod log;
pub mod plan;
mod read;
pub mod storages;
pub mod task;
pub mod watch;

pub use read::{ReadError, describe};
