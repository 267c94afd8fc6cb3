//! What people and Prometheus see of a site.

#![expect(clippy::unwrap_used, reason = "what fails in a helper fails the test")]

mod api;
mod cli;
mod metrics;
mod page;
mod served;
mod site;
