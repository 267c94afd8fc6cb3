//! How people and Prometheus see the collector: `/`, `/api/v1/*`, `/metrics`, `/healthz`,
//! `/readyz`.
//!
//! Promises: nothing here changes the collector, but that it reads its rules anew; every answer has a bound; whatever comes from a
//! node is escaped. Absent: users and passwords. It listens on loopback unless told otherwise,
//! and belongs behind a proxy where others can reach it.

pub mod api;
mod channels;
mod condition;
mod delivery;
mod error;
mod host;
pub mod metrics;
pub mod page;
mod picture;
mod routes;
mod serve;
mod words;

pub use condition::Condition;
pub use delivery::{
    outbox as outbox_words, summary as delivery_summary, troubles as delivery_troubles,
};
pub use host::{clock, fullest, heat, network, network_troubles};
pub use picture::{Picture, Readiness};
pub use routes::{COMMAND_HEADER, Served, router};
pub use serve::{CONNECTIONS_MAX, serve};
pub use words::{
    Tone, ago, archives, archives_trouble, cpu_use, drift, drift_troubles, held, memory_use,
    seen_by, storage, tone_of, what_became,
};
