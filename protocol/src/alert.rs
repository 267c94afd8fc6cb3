//! An alert as subscribers see it; the words are Alertmanager's.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::identity::{CollectorName, Fingerprint, Position};

/// Where an alert is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    /// The condition holds, but not yet for as long as the rule asks.
    Pending,
    /// The condition has lasted.
    Firing,
    /// The condition has ended.
    Resolved,
}

impl AlertState {
    /// The state as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// Payload of `alert/{fingerprint}`: retained while firing, expiring an hour after it resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AlertMessage {
    /// Identifies the alert: a hash of its labels.
    pub fingerprint: Fingerprint,
    /// Pending, firing or resolved.
    pub state: AlertState,
    /// What it is about; `alertname`, `severity`, `site` and `node` are always there.
    pub labels: BTreeMap<String, String>,
    /// Text for people: `summary`, `description`.
    pub annotations: BTreeMap<String, String>,
    /// Since when the condition holds.
    pub starts_at: Timestamp,
    /// When it ended; none while firing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
    /// The reading that the rule names as its value, if it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Whether the witness has gone silent, so that this is the last that is known.
    #[serde(default)]
    pub stale: bool,
    /// The last event of the node that this judgement rests on, if it rests on one.
    #[serde(default, rename = "as_of", skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Position>,
    /// The collector that says so.
    pub collector: CollectorName,
}
