//! `/api/v1/alerts`: what is wrong, what may become so, and what ended lately.

use std::collections::BTreeMap;

use jiff::Timestamp;
use pvewatch_protocol::{AlertState, Fingerprint, NodeName, Site};
use serde::{Deserialize, Serialize};

use super::checked_limit;
use crate::alerts::{Alert, Phase};
use crate::output::http::error::ApiError;
use crate::output::http::picture::Picture;

/// Alerts in one answer, unless a limit is given.
pub const ALERTS_DEFAULT: usize = 1000;

/// Alerts in one answer at most.
pub const ALERTS_MAX: usize = 10_000;

/// The parameters of `/api/v1/alerts`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertsQuery {
    /// Of this node only.
    pub node: Option<NodeName>,
    /// In this state only.
    pub state: Option<AlertState>,
    /// At most so many.
    pub limit: Option<usize>,
}

/// The answer of `/api/v1/alerts`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertsAnswer {
    /// The site.
    pub site: Site,
    /// When the answer was made, by the collector's clock.
    pub at: Timestamp,
    /// Alerts that the question is about; more than are listed if there is a limit.
    pub total: usize,
    /// The alerts: firing first, then pending, then resolved; the gravest and the newest first.
    pub alerts: Vec<AlertAnswer>,
}

/// One alert; the words are Alertmanager's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertAnswer {
    /// A hash of its labels.
    pub fingerprint: Fingerprint,
    /// `firing`, `pending` or `resolved`.
    pub state: AlertState,
    /// `alertname`, `severity`, `site`, `node` and more.
    pub labels: BTreeMap<String, String>,
    /// Text for people: `summary`, `description`.
    pub annotations: BTreeMap<String, String>,
    /// Since when the condition holds.
    pub starts_at: Timestamp,
    /// When it ended; none while it has not.
    pub ends_at: Option<Timestamp>,
    /// When a pending alert fires if the condition lasts.
    pub fires_at: Option<Timestamp>,
    /// The reading that the rule names as its value.
    pub value: Option<f64>,
    /// Whether its node cannot be heard, so that this is the last that is known.
    pub stale: bool,
    /// The rule whose alert makes this one not worth telling, while it fires.
    pub inhibited_by: Option<String>,
}

impl AlertsAnswer {
    /// Answers.
    ///
    /// # Errors
    /// When the limit is not possible.
    pub fn of(picture: &Picture, query: &AlertsQuery) -> Result<Self, ApiError> {
        let limit = checked_limit(query.limit, ALERTS_DEFAULT, ALERTS_MAX)?;
        let mut alerts: Vec<&Alert> = picture
            .snapshot
            .alerts
            .iter()
            .map(|alert| &**alert)
            .filter(|alert| query.state.is_none_or(|state| alert.state() == state))
            .filter(|alert| query.node.as_ref().is_none_or(|node| alert.entity.node == *node))
            .collect();
        sort(&mut alerts);
        Ok(Self {
            site: picture.snapshot.site.clone(),
            at: picture.now,
            total: alerts.len(),
            alerts: alerts.into_iter().take(limit).map(AlertAnswer::of).collect(),
        })
    }
}

impl AlertAnswer {
    pub(super) fn of(alert: &Alert) -> Self {
        let fires_at = match alert.phase {
            Phase::Pending { due } => Some(due),
            Phase::Firing { .. } | Phase::Resolved { .. } => None,
        };
        Self {
            fingerprint: alert.fingerprint,
            state: alert.state(),
            labels: alert.labels.clone(),
            annotations: alert.annotations.clone(),
            starts_at: alert.starts_at,
            ends_at: alert.ends_at(),
            fires_at,
            value: alert.value.filter(|value| value.is_finite()),
            stale: alert.stale,
            inhibited_by: alert.inhibited_by.as_deref().map(str::to_owned),
        }
    }

    /// A label's value; empty if there is none.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map(String::as_str).unwrap_or_default()
    }

    /// One line for people; the rule's name if it has none.
    pub fn summary(&self) -> &str {
        match self.annotations.get("summary") {
            Some(summary) => summary,
            None => self.label("alertname"),
        }
    }
}

/// Puts what a person should see first to the front.
pub fn sort(alerts: &mut [&Alert]) {
    alerts.sort_by_key(|alert| {
        let state = match alert.state() {
            AlertState::Firing => 0,
            AlertState::Pending => 1,
            AlertState::Resolved => 2,
        };
        let severity = match alert.severity() {
            "critical" => 0,
            "warning" => 1,
            _ => 2,
        };
        let told_first = alert.inhibited_by.is_some();
        (state, told_first, severity, std::cmp::Reverse(alert.starts_at), alert.fingerprint)
    });
}
