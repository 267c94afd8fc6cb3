//! What the collector tells others. Outputs read snapshots and stored transitions, never the core.

pub mod http;
pub mod mqtt;
