//! The harness: real nodes, real peers and an independent subscriber, for tests told as stories.
//!
//! Everything that a test starts belongs to that test: it lies in a directory of its own, listens
//! on free ports of the loopback, and is ended by its process id when it is dropped, also by a
//! panic. What a killed run leaves behind is found by its marker and cleaned by the next run.
//!
//! Absent on purpose: sleeps as synchronisation. Tests wait for what they want to see, with a
//! generous deadline, and say what they waited for when it does not come.

pub mod bench;
pub mod browser;
pub mod certificates;
pub mod chaos;
pub mod deadline;
pub mod imports;
pub mod lab;
pub mod places;
pub mod process;
pub mod servers;
pub mod story;
pub mod subscriber;
