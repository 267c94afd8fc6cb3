//! The collector's heart, told as stories: inputs and what they do to alerts, with time as text.
#![allow(clippy::unwrap_used, reason = "what cannot be unwrapped here fails the test")]

mod absence;
mod archives;
mod backups;
mod catalogue;
mod configured;
mod disks;
mod drift;
mod guests;
mod hosts;
mod inside;
mod late;
mod members;
mod nodes;
mod overrides;
mod pair;
mod plan;
mod policy_files;
mod properties;
mod restarts;
mod rule_files;
mod rule_status;
mod runs;
mod sampled;
mod stored;
mod story;
mod teller;
mod time;
mod usage;
