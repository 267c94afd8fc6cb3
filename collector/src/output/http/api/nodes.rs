//! `/api/v1/nodes`: all nodes with their newest reading, their sources and their failed units.

use std::collections::BTreeMap;

use jiff::Timestamp;
use pvewatch_protocol::event::{CrashLoop, Exit, SourceStatus};
use pvewatch_protocol::{AlertState, NodeName, Site, StreamId};
use serde::{Deserialize, Serialize};

use super::alerts::sort;
use super::checked_limit;
use super::readings::ReadingAnswer;
use crate::alerts::Alert;
use crate::core::Snapshot;
use crate::fleet::{NodeView, Unit};
use crate::output::http::condition::{Condition, last_heard};
use crate::output::http::error::ApiError;
use crate::output::http::picture::Picture;
use crate::output::http::words;

/// Nodes in one answer, unless a limit is given.
pub const NODES_DEFAULT: usize = 1000;

/// Nodes in one answer at most.
pub const NODES_MAX: usize = 20_000;

/// Failed units that are listed of each node; `units` counts all of them.
const FAILED_UNITS_MAX: usize = 50;

/// Alerts that are named of each node.
const WRONG_MAX: usize = 20;

/// The parameters of `/api/v1/nodes`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodesQuery {
    /// This node only.
    pub node: Option<NodeName>,
    /// At most so many.
    pub limit: Option<usize>,
}

/// The answer of `/api/v1/nodes`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodesAnswer {
    /// The site.
    pub site: Site,
    /// When the answer was made, by the collector's clock.
    pub at: Timestamp,
    /// Nodes that the question is about; more than are listed if there is a limit.
    pub total: usize,
    /// The nodes, by name.
    pub nodes: Vec<NodeAnswer>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeAnswer {
    /// Its name.
    pub name: NodeName,
    /// `online`, `unheard`, `silent`, `stopped`, `shutdown`, `rebooting`, `guest_stopped` (it is a guest
    /// that was stopped) or `host_silent` (it is a guest of a node that is not heard either).
    pub state: String,
    /// The environment from its agent's configuration.
    pub environment: Option<String>,
    /// All labels from its agent's configuration.
    pub labels: BTreeMap<String, String>,
    /// Its Proxmox cluster.
    pub cluster: Option<String>,
    /// The guest that it is; none if it is none of a node that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<GuestPlace>,
    /// The agent's version.
    pub version: Option<String>,
    /// When it booted, by its own clock.
    pub booted_at: Option<Timestamp>,
    /// When it was last heard, by the collector's clock.
    pub last_heard_at: Option<Timestamp>,
    /// Since when it cannot be heard; none while it can.
    pub silent_since: Option<Timestamp>,
    /// Whether two agents use this name.
    pub duplicate_name: bool,
    /// How far the collector's clock is ahead of the node's.
    pub clock_skew_seconds: Option<f64>,
    /// Events that its agents declared lost.
    pub lost_events: u64,
    /// The last loss; none if there was none.
    #[serde(default)]
    pub last_loss: Option<LossAnswer>,
    /// Events that its agent has and this collector has not, as of its newest reading.
    #[serde(default)]
    pub missing_events: u64,
    /// For how long, at least, events have been missing; 0 if none are.
    #[serde(default)]
    pub event_delay_seconds: Option<f64>,
    /// For how long its agent is connected without an answer to any heartbeat; none if one was
    /// answered, or if the agent does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unanswered_seconds: Option<f64>,
    /// Its newest reading; an old one if it cannot be heard.
    pub reading: Option<ReadingAnswer>,
    /// Which sources of the agent watch, and why the others do not.
    pub sources: Vec<SourceStatus>,
    /// How many units are in which active state.
    pub units: BTreeMap<String, usize>,
    /// Its failed units; the first 50 by name.
    pub failed_units: Vec<FailedUnit>,
    /// How many guests it has.
    #[serde(default)]
    pub guests: GuestCounts,
    /// What is wrong with it and with what runs on it: the summaries of the alerts that fire, mere
    /// information apart; the first 20, the worst first.
    #[serde(default)]
    pub wrong: Vec<String>,
}

/// How many guests a node has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestCounts {
    /// Those that run.
    pub running: usize,
    /// All of them.
    pub total: usize,
}

/// Where a guest is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestPlace {
    /// Its number.
    pub vmid: String,
    /// The node that has it.
    pub node: NodeName,
}

/// Events that were lost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LossAnswer {
    /// The stream that they belonged to.
    pub stream: StreamId,
    /// The number of the first.
    pub from: u64,
    /// The number of the last.
    pub through: u64,
    /// Why, in words.
    pub reason: String,
    /// When it was declared, by the node's clock.
    pub at: Timestamp,
}

/// A unit in the failed state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailedUnit {
    /// Its name with suffix.
    pub unit: String,
    /// Since when.
    pub since: Timestamp,
    /// Why, in words.
    pub why: Option<String>,
    /// systemd's word for it: `exit-code`, `signal`, ...
    pub result: Option<String>,
    /// How its main process ended.
    pub exit: Option<Exit>,
    /// Automatic restarts since it was last started on purpose.
    pub restarts: u32,
    /// The crash loop that it is in.
    pub crash_loop: Option<CrashLoop>,
}

impl NodesAnswer {
    /// Answers.
    ///
    /// # Errors
    /// When the limit is not possible, or the node is not known.
    pub fn of(picture: &Picture, query: &NodesQuery) -> Result<Self, ApiError> {
        let limit = checked_limit(query.limit, NODES_DEFAULT, NODES_MAX)?;
        let is_asked_for =
            |view: &&NodeView| query.node.as_ref().is_none_or(|name| view.node.name == *name);
        let views: Vec<&NodeView> =
            picture.snapshot.nodes.iter().map(|view| &**view).filter(is_asked_for).collect();
        if let Some(name) = query.node.as_ref().filter(|_| views.is_empty()) {
            return Err(ApiError::not_found(format!("node {name} is not known")));
        }
        let mut wrong = wrong(&picture.snapshot);
        let answer = |view: &NodeView| NodeAnswer {
            wrong: wrong.remove(&view.node.name).unwrap_or_default(),
            ..NodeAnswer::of(view)
        };
        Ok(Self {
            site: picture.snapshot.site.clone(),
            at: picture.now,
            total: views.len(),
            nodes: views.into_iter().take(limit).map(answer).collect(),
        })
    }
}

/// What is wrong with each node.
fn wrong(snapshot: &Snapshot) -> BTreeMap<&NodeName, Vec<String>> {
    let is_told = |alert: &&Alert| {
        alert.state() == AlertState::Firing
            && alert.inhibited_by.is_none()
            && alert.severity() != "info"
    };
    let mut firing: Vec<&Alert> =
        snapshot.alerts.iter().map(|alert| &**alert).filter(is_told).collect();
    sort(&mut firing);
    let mut wrong: BTreeMap<&NodeName, Vec<String>> = BTreeMap::new();
    for alert in firing {
        let of_node = wrong.entry(&alert.entity.node).or_default();
        if of_node.len() < WRONG_MAX {
            let summary = alert.summary();
            of_node.push(if summary.is_empty() { &alert.rule } else { summary }.to_owned());
        }
    }
    wrong
}

impl NodeAnswer {
    /// Whether an alert fires, or nobody knows why it is silent. A node that said that it goes is
    /// not wrong by that alone.
    pub fn is_wrong(&self) -> bool {
        !self.wrong.is_empty() || self.state == Condition::Silent.as_str()
    }

    /// What is known of a node itself; alerts are another matter.
    pub fn of(view: &NodeView) -> Self {
        let node = &view.node;
        let facts = node.facts.as_ref();
        let mut units = BTreeMap::new();
        for unit in &view.units {
            *units.entry(unit.state.active_state.clone()).or_default() += 1;
        }
        let failed = view.units.iter().filter(|unit| unit.state.is_failed());
        Self {
            name: node.name.clone(),
            state: Condition::of(node).as_str().to_owned(),
            environment: node.label("environment").map(str::to_owned),
            labels: facts.map(|facts| facts.labels.clone()).unwrap_or_default(),
            cluster: facts.and_then(|facts| facts.cluster.clone()),
            guest: node.inside.as_ref().map(|inside| GuestPlace {
                vmid: inside.vmid.to_string(),
                node: inside.host.clone(),
            }),
            version: facts.map(|facts| facts.version.clone()),
            booted_at: node.booted_at(),
            last_heard_at: last_heard(node),
            silent_since: node.silent.map(|silent| silent.fact),
            duplicate_name: node.duplicate_name,
            clock_skew_seconds: node.clock_skew_seconds,
            lost_events: node.dropped_events,
            last_loss: node.last_loss.as_ref().map(|loss| LossAnswer {
                stream: loss.stream,
                from: loss.from.0,
                through: loss.through.0,
                reason: loss.reason.clone(),
                at: loss.at.fact,
            }),
            missing_events: node.backlog.events,
            event_delay_seconds: node.events_delay().map(|delay| delay.as_secs_f64()),
            unanswered_seconds: node
                .reading
                .as_ref()
                .and_then(|reading| Some(reading.unanswered_for()?.as_secs_f64())),
            reading: node.reading.as_ref().map(ReadingAnswer::of),
            sources: facts.map(|facts| facts.sources.clone()).unwrap_or_default(),
            units,
            failed_units: failed.take(FAILED_UNITS_MAX).map(|unit| FailedUnit::of(unit)).collect(),
            guests: GuestCounts {
                running: view.guests.iter().filter(|guest| guest.is_running()).count(),
                total: view.guests.len(),
            },
            wrong: Vec::new(),
        }
    }
}

impl FailedUnit {
    fn of(unit: &Unit) -> Self {
        Self {
            unit: unit.id.to_string(),
            since: unit.since.fact,
            why: words::failure(&unit.state),
            result: unit.state.result.clone(),
            exit: unit.state.exit.clone(),
            restarts: unit.state.restarts,
            crash_loop: unit.state.crash_loop.clone(),
        }
    }
}
