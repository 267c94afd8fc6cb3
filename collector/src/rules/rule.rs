//! One rule, checked and compiled.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::SignedDuration;
use pvewatch_protocol::{Fingerprint, Position};
use serde::{Deserialize, Serialize};

use super::expression::Expression;
use super::fields::Subject;
use super::overrides::Variant;
use crate::fleet::{EntityKind, Origin};

/// Labels that the collector gives itself; rules cannot set them.
pub(super) const RESERVED_LABELS: [&str; 8] =
    ["alertname", "severity", "site", "node", "unit", "vmid", "backup_job", "storage"];

/// How grave an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// For the record.
    Info,
    /// To be looked at soon.
    Warning,
    /// To be looked at now.
    Critical,
}

impl Severity {
    /// All severities, the gravest first.
    pub const ALL: [Self; 3] = [Self::Critical, Self::Warning, Self::Info];

    /// The severity as labels carry it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// What a rule rests on, which decides what it has to wait for after an absence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rests {
    /// On whether the node is heard, whatever else: silence has no past that is still to come.
    OnSilence,
    /// On samples alone: a new one says it all.
    OnReadings,
    /// On what happened: all of it must have come.
    OnFacts,
    /// On what a calendar says beside what happened: all of it must have come, as far as it can.
    OnDue,
}

impl Rests {
    /// Whether it may speak of a node that cannot be heard. All other rules hold their breath:
    /// silence neither makes nor ends their alerts.
    pub fn speaks_in_silence(self) -> bool {
        matches!(self, Self::OnSilence | Self::OnDue)
    }

    /// Whether events that are still to come could change what it says.
    pub fn waits_for_the_past(self) -> bool {
        matches!(self, Self::OnFacts | Self::OnDue)
    }
}

/// A rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its name, which becomes the label `alertname`.
    pub name: Arc<str>,
    /// What it looks at.
    pub scope: EntityKind,
    /// The condition.
    pub when: Expression,
    /// The condition as it was written.
    pub when_text: String,
    /// Whether it is in force, but for what its variants say.
    pub enabled: bool,
    /// How it is on some entities; the last that counts for one is in force there.
    pub variants: Vec<Variant>,
    /// How long the condition must hold before the alert fires.
    pub for_duration: SignedDuration,
    /// How long the alert keeps firing after the condition has ended.
    pub keep_firing_for: SignedDuration,
    /// How grave it is.
    pub severity: Severity,
    /// One line for people, as a template.
    pub summary: String,
    /// More for people, as a template.
    pub description: Option<String>,
    /// The reading that alerts carry as their value.
    pub value: Option<Expression>,
    /// More labels.
    pub labels: BTreeMap<String, String>,
    /// Where it is told what to do: an address, or a place below the collector's page.
    pub runbook_url: Option<String>,
    /// Rules whose firing alert, on the same entity or on its node, makes this one's not worth
    /// telling.
    pub inhibited_by: Vec<Arc<str>>,
    /// The file that it came from.
    pub file: String,
    /// The line in the file.
    pub line: usize,
}

impl Rule {
    /// The rule as it is on an entity; none if it is not in force there.
    pub fn on(&self, subject: &Subject<'_>) -> Option<&Self> {
        match self.variants.iter().rev().find(|variant| variant.whom.has(subject)) {
            Some(variant) => variant.rule.as_deref(),
            None => self.enabled.then_some(self),
        }
    }

    /// Whether it is in force on anything.
    pub fn is_in_force(&self) -> bool {
        self.enabled || self.variants.iter().any(|variant| variant.rule.is_some())
    }

    /// Whether its outcome can change for what belongs to a node of which something of this origin
    /// changed.
    pub fn changes_with_node(&self, origin: Origin) -> bool {
        let by_environment = self.variants.iter().any(|it| !it.whom.environments.is_empty());
        let variants = self.variants.iter().filter_map(|variant| variant.rule.as_ref());
        // The environment can be a label of the node.
        origin == Origin::Facts && by_environment
            || self.when.changes_with_node(origin)
            || variants.into_iter().any(|rule| rule.when.changes_with_node(origin))
            || self.value.as_ref().is_some_and(|value| value.changes_with_node(origin))
    }

    /// What its condition rests on.
    pub fn rests_on(&self) -> Rests {
        if self.when.judges_silence() {
            Rests::OnSilence
        } else if self.when.reads_due() {
            Rests::OnDue
        } else if self.when.reads_facts() {
            Rests::OnFacts
        } else {
            Rests::OnReadings
        }
    }
}

/// What an alert shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Presented {
    /// A hash of the labels.
    pub fingerprint: Fingerprint,
    /// What it is about.
    pub labels: BTreeMap<String, String>,
    /// Text for people.
    pub annotations: BTreeMap<String, String>,
    /// More lines for people: the end of the unit's log.
    pub detail: Vec<String>,
    /// The rule's value, if it has one.
    pub value: Option<f64>,
    /// The last event that it rests on.
    pub as_of: Option<Position>,
}
