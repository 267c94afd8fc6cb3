//! How people and Prometheus see the collector: `/`, `/api/v1/*`, `/metrics`, `/healthz`,
//! `/readyz`.

mod condition;
pub mod metrics;
mod picture;

pub use condition::Condition;
pub use picture::{Picture, Readiness};
