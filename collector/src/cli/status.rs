//! `pvewatch status`: whether all is well, and the nodes.

use jiff::Timestamp;
use serde::Serialize;

use super::client::{Api, ClientError};
use super::paint::Paint;
use super::table::{self, Cell, printable};
use crate::output::http::api::{NodeAnswer, StatusAnswer};
use crate::output::http::{Tone, ago, delivery_summary, delivery_troubles, outbox_words};
use crate::rules::human;

/// Failed units that are named of each node; the API has all of them.
const FAILED_NAMED_MAX: usize = 10;

/// What is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// Whether all is well.
    #[serde(flatten)]
    pub status: StatusAnswer,
    /// The nodes, by name.
    pub nodes: Vec<NodeAnswer>,
}

impl Status {
    /// Asks the collector.
    ///
    /// # Errors
    /// When it gives no answer.
    pub fn fetch(api: &Api<'_>) -> Result<Self, ClientError> {
        Ok(Self { status: api.status()?, nodes: api.nodes()?.nodes })
    }
}

/// Writes it for people.
pub fn render(status: &Status, paint: Paint, width: Option<usize>) -> String {
    let Status { status: site, nodes } = status;
    let mut text = format!("{}\n", paint.bold(&paint.tone(site.tone, &site.headline)));
    for note in &site.notes {
        text.push_str(&format!("{}\n", printable(note)));
    }
    let readiness = if site.ready { "" } else { &format!(": {}", site.readiness) };
    let collector = format!("site {}, collector {}{readiness}", site.site, site.collector);
    text.push_str(&format!("{}\n", paint.dim(&collector)));
    text.push_str(&format!("{}\n", paint.dim(&delivery_summary(&site.delivery))));
    if nodes.is_empty() {
        text.push_str("\nInstall pvewatch-agent on a node and name this broker in its ");
        text.push_str("/etc/pvewatch/agent.toml: it appears here within seconds.\n");
        return text;
    }
    text.push('\n');
    let rows: Vec<_> = nodes.iter().map(|node| row(node, site.at)).collect();
    let headings = ["NODE", "STATE", "ENVIRONMENT", "LOAD", "MEMORY", "UNITS", "OUTBOX", "HEARD"];
    text.push_str(&table::write(headings, &rows, paint, width));
    let troubles: Vec<String> = nodes.iter().flat_map(troubles).collect();
    if !troubles.is_empty() {
        text.push('\n');
    }
    for trouble in troubles {
        text.push_str(&format!("{}\n", printable(&trouble)));
    }
    text
}

fn row(node: &NodeAnswer, now: Timestamp) -> [Cell; 8] {
    let is_online = node.state == "online";
    let reading = node.reading.as_ref().filter(|_| is_online);
    let load = reading.map_or("-".to_owned(), |reading| {
        format!("{} on {}", human::number(reading.load.one), reading.cpu.count)
    });
    let memory = reading.map_or("-".to_owned(), |reading| {
        let total = reading.memory.total_bytes as f64;
        let used = total - reading.memory.available_bytes as f64;
        format!("{} of {}", human::bytes(used), human::bytes(total))
    });
    let failed = node.units.get("failed").copied().unwrap_or(0);
    let total: usize = node.units.values().sum();
    let units = match (total, failed) {
        (0, _) => Cell::plain("-"),
        (total, 0) => Cell::plain(total.to_string()),
        (total, failed) => Cell::toned(format!("{total}, {failed} failed"), Tone::Bad),
    };
    let heard = node.last_heard_at.map_or("never".to_owned(), |at| ago(at, now));
    [
        Cell::plain(node.name.as_str()),
        Cell::toned(&node.state, state_tone(&node.state)),
        Cell::plain(node.environment.as_deref().unwrap_or("-")),
        Cell::plain(load),
        Cell::plain(memory),
        units,
        Cell::plain(outbox_words(node).unwrap_or_else(|| "-".to_owned())),
        Cell::plain(heard),
    ]
}

pub(super) fn state_tone(state: &str) -> Tone {
    match state {
        "online" => Tone::Good,
        "silent" => Tone::Bad,
        _ => Tone::Doubtful,
    }
}

fn troubles(node: &NodeAnswer) -> Vec<String> {
    let mut troubles = Vec::new();
    if node.duplicate_name {
        troubles.push(format!("{}: two agents use this name: rename one of them", node.name));
    }
    for trouble in delivery_troubles(node) {
        troubles.push(format!("{}: {trouble}", node.name));
    }
    for source in node.sources.iter().filter(|source| !source.active) {
        troubles.push(format!("{}: {} is not watched: {}", node.name, source.name, source.detail));
    }
    for unit in node.failed_units.iter().take(FAILED_NAMED_MAX) {
        let why = unit.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        troubles.push(format!("{}: {} failed{why}", node.name, unit.unit));
    }
    let failed = node.units.get("failed").copied().unwrap_or(0);
    if failed > FAILED_NAMED_MAX {
        troubles.push(format!("{}: {} more failed", node.name, failed - FAILED_NAMED_MAX));
    }
    troubles
}
