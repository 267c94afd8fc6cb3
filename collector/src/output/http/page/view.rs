//! What stands on the page, in words and numbers ready to show.

use jiff::Timestamp;
use pvewatch_protocol::AlertState;
use pvewatch_protocol::event::LogLine;
use serde::Serialize;

use super::Input;
use super::backups::{self, BackupsView};
use super::clusters::{self, ClusterView};
use super::drift::{self, DriftView};
use super::events::{self, EventView};
use super::guests::{self, GuestsView};
use super::headline::Headline;
use super::nodes::{self, NodeView};
use super::storages::{self, StorageView};
use crate::alerts::{Alert, Phase};
use crate::core::Snapshot;
use crate::fleet::EntityKind;
use crate::output::http::api::DeliveryAnswer;
use crate::output::http::api::alerts::sort;
use crate::output::http::delivery;
use crate::output::http::words;
use crate::rules::human;

/// Alerts of one state on the page.
const ALERTS_MAX: usize = 100;

/// Alerts that ended lately on the page.
const RESOLVED_MAX: usize = 5;

/// The whole page.
#[derive(Debug, Serialize)]
pub struct View {
    headline: Headline,
    site: String,
    collector: String,
    version: &'static str,
    at: String,
    firing: Listed<AlertView>,
    pending: Listed<AlertView>,
    inhibited: Listed<AlertView>,
    resolved: Vec<AlertView>,
    clusters: Vec<ClusterView>,
    nodes: Listed<NodeView>,
    guests: GuestsView,
    backups: BackupsView,
    storages: Listed<StorageView>,
    drift: DriftView,
    events: Vec<EventView>,
    rules: Vec<RuleView>,
    delivery: String,
}

/// A list with a bound, and how many it leaves out.
#[derive(Debug, Serialize)]
pub struct Listed<T> {
    /// What is on the page.
    pub shown: Vec<T>,
    /// How many are not.
    pub left_out: usize,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { shown: Vec::new(), left_out: 0 }
    }
}

/// A point in time, for people and for machines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moment {
    ago: String,
    lasted: String,
    exact: String,
    machine: String,
}

impl Moment {
    /// A point in time as seen from `now`.
    pub fn of(at: Timestamp, now: Timestamp) -> Self {
        Self {
            ago: words::ago(at, now),
            lasted: words::lasted(at, now),
            exact: human::time(at),
            machine: at.to_string(),
        }
    }
}

/// A line of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LineView {
    time: String,
    text: String,
    is_error: bool,
}

impl LineView {
    /// The line; priorities up to 3 are errors.
    pub fn of(line: &LogLine) -> Self {
        Self {
            time: line.at.strftime("%H:%M:%S").to_string(),
            text: line.message.clone(),
            is_error: line.priority <= 3,
        }
    }
}

#[derive(Debug, Serialize)]
struct AlertView {
    key: String,
    rule: String,
    severity: String,
    summary: String,
    description: String,
    runbook: String,
    node: String,
    environment: String,
    since: Moment,
    ended: Option<Moment>,
    fires_in: Option<String>,
    is_ending: bool,
    stale: bool,
    inhibited_by: Option<String>,
    lines: Vec<LineView>,
}

#[derive(Debug, Serialize)]
struct RuleView {
    name: String,
    trouble: String,
}

impl View {
    /// What stands on the page.
    pub fn of(input: &Input) -> Self {
        let picture = &input.picture;
        let (snapshot, now) = (&*picture.snapshot, picture.now);
        let mut alerts: Vec<&Alert> = snapshot.alerts.iter().map(|alert| &**alert).collect();
        sort(&mut alerts);
        let of = |state, inhibited: bool, max| {
            let wanted = alerts.iter().filter(|alert| {
                alert.state() == state && alert.inhibited_by.is_some() == inhibited
            });
            let mut listed = Listed::default();
            for (place, alert) in wanted.enumerate() {
                if place < max {
                    listed.shown.push(AlertView::of(alert, snapshot, now));
                } else {
                    listed.left_out += 1;
                }
            }
            listed
        };
        Self {
            headline: Headline::of(picture),
            site: snapshot.site.to_string(),
            collector: picture.collector.to_string(),
            version: env!("CARGO_PKG_VERSION"),
            at: human::time(now),
            firing: of(AlertState::Firing, false, ALERTS_MAX),
            pending: of(AlertState::Pending, false, ALERTS_MAX),
            inhibited: of(AlertState::Firing, true, ALERTS_MAX),
            resolved: of(AlertState::Resolved, false, RESOLVED_MAX).shown,
            clusters: clusters::view(snapshot),
            nodes: nodes::view(snapshot, now),
            guests: guests::view(picture),
            backups: backups::view(picture),
            storages: storages::view(picture),
            drift: drift::view(picture),
            events: events::tell(&input.events, now),
            rules: snapshot.rules.iter().filter_map(RuleView::of).collect(),
            delivery: sentence(delivery::summary(&DeliveryAnswer::of(picture))),
        }
    }
}

impl AlertView {
    fn of(alert: &Alert, snapshot: &Snapshot, now: Timestamp) -> Self {
        let annotation = |name| alert.annotations.get(name).cloned().unwrap_or_default();
        let summary = match alert.summary() {
            "" => alert.rule.to_string(),
            summary => summary.to_owned(),
        };
        let (fires_in, is_ending) = match alert.phase {
            Phase::Pending { due } => {
                let wait = due.duration_since(now).as_secs_f64().max(0.0);
                (Some(human::duration(wait)), false)
            }
            Phase::Firing { ending, .. } => (None, ending.is_some()),
            Phase::Resolved { .. } => (None, false),
        };
        Self {
            key: format!("alert-{}", alert.fingerprint),
            rule: alert.rule.to_string(),
            severity: alert.severity().to_owned(),
            summary,
            description: annotation("description"),
            runbook: annotation("runbook_url"),
            node: alert.entity.node.to_string(),
            environment: alert.labels.get("environment").cloned().unwrap_or_default(),
            since: Moment::of(alert.starts_at, now),
            ended: alert.ends_at().map(|at| Moment::of(at, now)),
            fires_in,
            is_ending,
            stale: alert.stale,
            inhibited_by: alert.inhibited_by.as_deref().map(str::to_owned),
            lines: log_of(alert, snapshot).iter().map(LineView::of).collect(),
        }
    }
}

/// What the unit that an alert is about wrote before it failed.
fn log_of<'a>(alert: &Alert, snapshot: &'a Snapshot) -> &'a [LogLine] {
    if alert.entity.kind != EntityKind::Unit {
        return &[];
    }
    let nodes = &snapshot.nodes;
    let Ok(place) = nodes.binary_search_by(|view| view.node.name.cmp(&alert.entity.node)) else {
        return &[];
    };
    let mut units = nodes[place].units.iter();
    units.find(|unit| unit.id == alert.entity.id).map_or(&[], |unit| unit.log_of_this_run())
}

impl RuleView {
    fn of(rule: &crate::core::RuleStatus) -> Option<Self> {
        let trouble = match &rule.last_error {
            Some(error) => format!("could not be evaluated on {}: {}", error.entity, error.message),
            None if rule.is_dead() => format!("has no {} to look at", rule.rule.scope),
            None => return None,
        };
        Some(Self { name: rule.rule.name.to_string(), trouble })
    }
}

/// A trouble as a whole sentence.
pub fn sentence(trouble: String) -> String {
    let mut letters = trouble.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}
