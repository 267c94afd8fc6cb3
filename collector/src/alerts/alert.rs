//! One alert: what it is about, what it says, and where it is in its life.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use pvewatch_protocol::{AlertMessage, AlertState, CollectorName, Fingerprint, Position};
use serde::{Deserialize, Serialize};

use crate::fleet::{EntityKey, Moment};

/// An alert, active or resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// A hash of the labels.
    pub fingerprint: Fingerprint,
    /// The rule's name; also the label `alertname`.
    pub rule: Arc<str>,
    /// What it is about.
    pub entity: EntityKey,
    /// `alertname`, `severity`, `site`, `node` and more.
    pub labels: BTreeMap<String, String>,
    /// Text for people: `summary`, `description`.
    pub annotations: BTreeMap<String, String>,
    /// Where it is in its life.
    pub phase: Phase,
    /// More lines for people, such as the end of a log. Only notices carry them: they can hold
    /// secrets, so they are never retained on the broker.
    #[serde(default)]
    pub detail: Vec<String>,
    /// Since when the condition holds, by the node's clock where a fact says so.
    pub starts_at: Timestamp,
    /// The same by the collector's clock: `for` is counted from here.
    pub judged_since: Timestamp,
    /// Set if this collector did not see the condition begin: it began after this time. Another
    /// one may know better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen_since: Option<Timestamp>,
    /// The reading that the rule names as its value, if it names one.
    pub value: Option<f64>,
    /// The last event of the node that this judgement rests on, if it rests on one.
    pub as_of: Option<Position>,
    /// Whether the node cannot be heard, so that this is the last that is known.
    pub stale: bool,
    /// The rule whose alert makes this one not worth telling, while it fires.
    pub inhibited_by: Option<Arc<str>>,
    /// Whether its firing has been told to people, or would have been but for a silence.
    pub told: bool,
    /// When it last changed, by the collector's clock.
    pub changed_at: Timestamp,
}

/// Where an alert is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Phase {
    /// The condition holds, but not yet for as long as the rule asks.
    Pending {
        /// When it will have lasted, by the collector's clock.
        due: Timestamp,
    },
    /// The condition has lasted.
    Firing {
        /// When it had lasted for as long as the rule asks.
        fired_at: Timestamp,
        /// Set while the condition has ended, but the rule keeps the alert firing.
        ending: Option<Ending>,
    },
    /// The condition has ended.
    Resolved {
        /// When.
        ends_at: Timestamp,
    },
}

/// The condition of a firing alert has ended, and `keep_firing_for` runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// When the condition ended.
    pub since: Moment,
    /// When the alert resolves if it does not hold again, by the collector's clock.
    pub due: Timestamp,
}

impl Alert {
    /// The state as it stands on the wire.
    pub fn state(&self) -> AlertState {
        match self.phase {
            Phase::Pending { .. } => AlertState::Pending,
            Phase::Firing { .. } => AlertState::Firing,
            Phase::Resolved { .. } => AlertState::Resolved,
        }
    }

    /// When it ended; none while it has not.
    pub fn ends_at(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Resolved { ends_at } => Some(ends_at),
            Phase::Pending { .. } | Phase::Firing { .. } => None,
        }
    }

    /// Whether it ended before `now`: it counts as firing only until it is known that it did not
    /// begin again.
    pub fn has_ended(&self, now: Timestamp) -> bool {
        match self.phase {
            Phase::Firing { ending: Some(ending), .. } => ending.due <= now,
            _ => false,
        }
    }

    /// `critical`, `warning` or `info`.
    pub fn severity(&self) -> &str {
        self.labels.get("severity").map_or("", String::as_str)
    }

    /// One line for people.
    pub fn summary(&self) -> &str {
        self.annotations.get("summary").map_or("", String::as_str)
    }

    /// When time alone will change it next, by the collector's clock.
    pub fn due(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Pending { due } => Some(due),
            Phase::Firing { ending, .. } => ending.map(|ending| ending.due),
            Phase::Resolved { .. } => None,
        }
    }

    /// The alert as subscribers see it.
    pub fn message(&self, collector: &CollectorName) -> AlertMessage {
        AlertMessage {
            fingerprint: self.fingerprint,
            state: self.state(),
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
            starts_at: self.starts_at,
            ends_at: self.ends_at(),
            value: self.value.filter(|value| value.is_finite()),
            stale: self.stale,
            as_of: self.as_of,
            collector: collector.clone(),
        }
    }
}
