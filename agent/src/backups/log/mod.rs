//! Reads a log of vzdump: a task log, a guest's own log, a mail, the output of a run by hand.
//!
//! Promised: the result does not depend on how the bytes were cut; nothing but the line with
//! which vzdump ends a guest makes a success, and a failure is never taken back; a log that ends
//! early leaves its last guest without a verdict. Every list and text has a bound.
//! Absent: which task or file this was, and the time zone of the times in it.

mod cause;
mod end;
mod guest;
pub(super) mod job;
mod line;
mod measure;
mod reader;

pub use end::TaskEnd;
pub use guest::{Details, GuestBackup, TEXT_BYTES_MAX, WARNINGS_MAX};
pub(super) use line::time_of;
pub use reader::{BackupLog, LINE_BYTES_MAX, Reader};
