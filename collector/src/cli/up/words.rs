//! What `pvewatch up` says: what it started, and what can be watched here.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

use pvewatch_protocol::NodeName;

use crate::cli::table::printable;
use crate::fleet::Node;

/// Everything that runs.
#[derive(Debug)]
pub struct Began<'a> {
    /// Where the page is.
    pub http: SocketAddr,
    /// Where the broker is.
    pub mqtt: SocketAddr,
    /// Where the data lies.
    pub data: &'a Path,
    /// The node that is watched.
    pub node: &'a NodeName,
}

impl Began<'_> {
    /// In plain words.
    pub fn text(&self) -> String {
        let Self { http, mqtt, data, node } = self;
        let mut text = String::new();
        let mut line = |text_of_line: std::fmt::Arguments<'_>| {
            // Writing to a text cannot fail.
            let _ = text.write_fmt(text_of_line);
            text.push('\n');
        };
        line(format_args!("pvewatch is up and watches this machine as node {node}."));
        line(format_args!(""));
        line(format_args!("  page     http://{http}/"));
        line(format_args!("  metrics  http://{http}/metrics"));
        line(format_args!("  broker   mqtt://{mqtt}"));
        line(format_args!("  data     {}", data.display()));
        line(format_args!(""));
        if mqtt.ip().is_loopback() {
            let host = mqtt.ip();
            line(format_args!("See the messages:"));
            line(format_args!(
                "  mosquitto_sub -V 5 -h {host} -p {} -t 'pvewatch/#' -v",
                mqtt.port()
            ));
        } else {
            line(format_args!(
                "Nobody else is let in by this broker. For other nodes, run pvewatch-collector \
                 with users or certificates in its configuration."
            ));
        }
        text.push('\n');
        text
    }
}

/// Whether the agent has said what it can watch. Of the load it says so at once; of the units
/// when it has tried to reach the bus.
pub fn has_said_all(node: &Node) -> bool {
    let mut sources = node.facts.iter().flat_map(|facts| &facts.sources);
    sources.any(|source| source.name == "units")
}

/// Which sources are active, and why the others are not, in the agent's own words.
pub fn sources(node: &Node) -> String {
    let mut text = String::from("Sources on this machine:\n");
    let mut line = |name: &str, active: bool, detail: &str| {
        let state = if active { "active" } else { "NOT active" };
        let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
        text.push_str(&printable(&format!("  {name:<8} {state}{detail}")));
        text.push('\n');
    };
    let sources = node.facts.iter().flat_map(|facts| &facts.sources);
    for source in sources {
        line(&source.name, source.active, &source.detail);
    }
    text.push_str("\nStop with Ctrl-C.\n");
    text
}

/// Nothing has been heard.
pub fn sources_unknown() -> String {
    "The agent has not said yet what it can watch here: see the page.\n\nStop with Ctrl-C.\n"
        .to_owned()
}
