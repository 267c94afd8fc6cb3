//! `/metrics`: what is known of the site and of the collector itself, made at scrape time.
//!
//! Promises: names and units by Prometheus' conventions; the number of series has a bound, and a
//! metric says how many were left out; label values are escaped, whatever a unit is called.
//! A node that cannot be heard has no readings here: a gap is honest, a flat line is not.
//!
//! `site` is a label of `pvewatch_collector_info` and `pvewatch_node_info` alone, to be joined.

mod alerts;
mod backups;
mod classic;
mod disks;
mod drift;
mod families;
mod guests;
mod hosts;
mod nodes;
mod own;
mod storages;
mod units;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

use super::picture::Picture;
use families::Families;

/// How metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0, which Prometheus asks for.
    OpenMetrics,
    /// Prometheus' text format 0.0.4, which `promtool check metrics` reads.
    Classic,
}

impl Format {
    /// What an `Accept` header asks for; the classic format unless OpenMetrics is named.
    pub fn negotiate(accept: Option<&str>) -> Self {
        let mut wanted = accept.unwrap_or_default().split(',').map(str::trim);
        let is_wanted = |entry: &str| {
            let mut parts = entry.split(';').map(str::trim);
            let named = parts.next() == Some("application/openmetrics-text");
            named && !parts.any(|part| matches!(part, "q=0" | "q=0.0"))
        };
        if wanted.any(is_wanted) { Self::OpenMetrics } else { Self::Classic }
    }

    /// The content type of the answer.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Writes all metrics.
pub fn render(picture: &Picture, format: Format) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(Arc::new(picture.clone()))));
    let mut written = String::new();
    // Writing to a text cannot fail.
    let _ = text::encode(&mut written, &registry);
    match format {
        Format::OpenMetrics => written,
        Format::Classic => classic::from_open_metrics(&written),
    }
}

#[derive(Debug)]
struct Scrape(Arc<Picture>);

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families::new(encoder);
        let snapshot = &self.0.snapshot;
        own::write(&mut families, &self.0)?;
        nodes::write(&mut families, snapshot)?;
        disks::write(&mut families, snapshot)?;
        hosts::write(&mut families, snapshot)?;
        units::write(&mut families, snapshot)?;
        guests::write(&mut families, snapshot)?;
        backups::write(&mut families, snapshot)?;
        storages::write(&mut families, snapshot)?;
        drift::write(&mut families, snapshot)?;
        alerts::write(&mut families, snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_gets_what_it_asks_for() {
        let prometheus = "application/openmetrics-text;version=1.0.0,\
                          application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, format) in [
            (Some(prometheus), Format::OpenMetrics),
            (Some("text/plain;version=0.0.4;q=0.5,*/*;q=0.1"), Format::Classic),
            (Some("application/openmetrics-text;q=0, text/plain"), Format::Classic),
            (Some("*/*"), Format::Classic),
            (None, Format::Classic),
        ] {
            assert_eq!(Format::negotiate(accept), format, "{accept:?}");
        }
    }
}
