//! What every pvewatch process does at its edge: the connection to the broker, the
//! configuration file, the log, the service manager.
//!
//! Absent on purpose: anything that knows what a node, a unit or an alert is.

pub mod config;
mod explain;
pub mod logging;
pub mod mqtt;
pub mod service;

pub use explain::explain;
