//! What is due: the node's guests, the backup jobs that cover them, and when those ran.
//!
//! `guests`, `jobs`, `pools` and `states` understand Proxmox' files, `cover` joins them; all of
//! them are pure. `watch` alone reads files. When a job is due next is the collector's to judge: a
//! node that is off cannot.

pub mod cover;
pub mod guests;
pub mod jobs;
pub mod pools;
pub mod replication;
pub mod sections;
pub mod states;
pub mod versions;
pub mod watch;
