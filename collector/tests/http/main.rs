//! What people and Prometheus see of a site.

mod metrics;
mod site;
