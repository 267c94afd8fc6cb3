//! What exists: the archives on the node's storages for backups, and how those are.
//!
//! `config` understands which storages there are, `mounts` what is mounted, `files` the names in a
//! `dump` folder, `retention` which archives stay, and `tally` sums up what one guest has; all of
//! them are pure. `watch` alone reads files. Whether an archive is missed is the collector's to
//! judge, which knows the runs.

pub mod config;
pub mod files;
pub mod mounts;
pub mod retention;
pub mod tally;
pub mod watch;
