//! The policy file: what should be true of guests, in TOML, read strictly.
//!
//! Promises: every complaint names the file, the line, the policy, and what would be right; all of
//! a file is checked, not only the first that is wrong; a file that is wrong is no policy at all.
//!
//! Absent on purpose: reading it from a disk, and what comes of it.

mod file;

pub use file::parse;
