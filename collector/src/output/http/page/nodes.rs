//! The nodes on the page: whether each is there, how it fares, and what is odd with its agent.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;
use pvewatch_protocol::AlertState;
use pvewatch_protocol::event::SourceStatus;
use serde::Serialize;

use super::view::{Listed, Moment, sentence};
use crate::core::Snapshot;
use crate::fleet::NodeView as FleetNode;
use crate::output::http::api::{NodeAnswer, ReadingAnswer};
use crate::output::http::condition::{Condition, last_heard};
use crate::output::http::words::Tone;
use crate::output::http::{delivery, host};
use crate::rules::human;

/// Nodes on the page; those with something wrong come first.
const NODES_MAX: usize = 200;

/// A node.
#[derive(Debug, Serialize)]
pub struct NodeView {
    name: String,
    state: &'static str,
    state_words: &'static str,
    environment: String,
    cluster: String,
    heard: Option<Moment>,
    reading: Option<ReadingView>,
    units: String,
    failed: usize,
    inactive_sources: Vec<SourceStatus>,
    warnings: Vec<String>,
    outbox: Option<String>,
    version: String,
    alerts: usize,
}

#[derive(Debug, Serialize)]
struct ReadingView {
    load: Gauge,
    memory: Gauge,
    /// The fullest filesystem.
    disk: Option<Gauge>,
    uptime: String,
    /// What the interface carries that has carried most.
    network: Option<String>,
    heat: Option<Fact>,
    clock: Option<Fact>,
}

/// A few words, and whether they tell of something bad.
#[derive(Debug, Serialize)]
struct Fact {
    text: String,
    is_bad: bool,
}

impl From<(String, Tone)> for Fact {
    fn from((text, tone): (String, Tone)) -> Self {
        Self { text, is_bad: tone == Tone::Bad }
    }
}

/// A bar with its text.
#[derive(Debug, Serialize)]
struct Gauge {
    text: String,
    percent: u32,
    tone: Tone,
}

impl Gauge {
    fn new(text: String, ratio: f64) -> Self {
        // The cast saturates, and what is not a number becomes 0.
        let percent = (ratio.clamp(0.0, 1.0) * 100.0).round() as u32;
        let tone = if percent >= 95 { Tone::Doubtful } else { Tone::Neutral };
        Self { text, percent, tone }
    }
}

/// The nodes of the site.
pub fn view(snapshot: &Snapshot, now: Timestamp) -> Listed<NodeView> {
    let mut alerts: BTreeMap<&str, usize> = BTreeMap::new();
    for alert in snapshot.alerts.iter().filter(|alert| alert.state() == AlertState::Firing) {
        *alerts.entry(alert.entity.node.as_str()).or_default() += 1;
    }
    let alerts_of = |view: &FleetNode| alerts.get(view.node.name.as_str()).copied().unwrap_or(0);
    let mut nodes: Vec<&FleetNode> = snapshot.nodes.iter().map(|view| &**view).collect();
    nodes.sort_by_key(|view| {
        let is_well = Condition::of(&view.node) == Condition::Online;
        (Reverse(alerts_of(view) > 0), is_well)
    });
    Listed {
        left_out: nodes.len().saturating_sub(NODES_MAX),
        shown: nodes
            .into_iter()
            .take(NODES_MAX)
            .map(|view| NodeView::of(view, alerts_of(view), now))
            .collect(),
    }
}

impl NodeView {
    fn of(view: &FleetNode, alerts: usize, now: Timestamp) -> Self {
        let node = &view.node;
        let facts = node.facts.as_ref();
        let condition = Condition::of(node);
        let failed = view.units.iter().filter(|unit| unit.state.is_failed()).count();
        let mut warnings = Vec::new();
        if node.duplicate_name {
            warnings.push("Two agents use this name: rename one of them.".to_owned());
        }
        let answer = NodeAnswer::of(view);
        warnings.extend(delivery::troubles(&answer).into_iter().map(sentence));
        if let Some(reading) = answer.reading.as_ref().filter(|_| condition == Condition::Online) {
            warnings.extend(host::network_troubles(&reading.interfaces).into_iter().map(sentence));
        }
        let units = match view.units.len() {
            0 => String::new(),
            1 => "1 unit".to_owned(),
            count => format!("{count} units"),
        };
        Self {
            name: node.name.to_string(),
            state: condition.as_str(),
            state_words: condition.words(),
            environment: node.label("environment").unwrap_or_default().to_owned(),
            cluster: facts.and_then(|facts| facts.cluster.clone()).unwrap_or_default(),
            heard: last_heard(node).map(|at| Moment::of(at, now)),
            reading: answer
                .reading
                .as_ref()
                .filter(|_| condition == Condition::Online)
                .map(ReadingView::of),
            units,
            failed,
            inactive_sources: facts
                .map(|facts| facts.sources.iter().filter(|source| !source.active).cloned())
                .map(Iterator::collect)
                .unwrap_or_default(),
            warnings,
            outbox: delivery::outbox(&answer),
            version: facts.map(|facts| facts.version.clone()).unwrap_or_default(),
            alerts,
        }
    }
}

impl ReadingView {
    fn of(reading: &ReadingAnswer) -> Self {
        let (load, cpus) = (reading.load.one, reading.cpu.count);
        let total = reading.memory.total_bytes as f64;
        let used = total - reading.memory.available_bytes as f64;
        Self {
            load: Gauge::new(
                format!("{} on {cpus} CPUs", human::number(load)),
                load / f64::from(cpus.max(1)),
            ),
            memory: Gauge::new(
                format!("{} of {}", human::bytes(used), human::bytes(total)),
                used / total.max(1.0),
            ),
            disk: host::fullest(&reading.filesystems).map(|(fullest, ratio)| {
                Gauge::new(format!("{} of {}", human::percent(ratio), fullest.mount), ratio)
            }),
            uptime: human::duration(reading.uptime_seconds),
            network: host::network(&reading.interfaces),
            heat: host::heat(&reading.temperatures).map(Fact::from),
            clock: reading.clock.as_ref().map(|clock| host::clock(clock).into()),
        }
    }
}
