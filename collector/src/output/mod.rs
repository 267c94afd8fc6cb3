//! What the collector tells others. Outputs read snapshots and stored transitions, never the core.

pub mod channel;
pub mod http;
pub mod mqtt;
pub mod page;
