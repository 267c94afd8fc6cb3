//! What people and Prometheus see of a site.

mod api;
mod cli;
mod metrics;
mod page;
mod served;
mod site;
