//! A step in an alert's life, and whether it is worth telling people.

use std::sync::Arc;

use jiff::Timestamp;
use pvewatch_protocol::{AlertState, Fingerprint};
use serde::{Deserialize, Serialize};

use super::alert::{Alert, Phase};
use super::life::Step;

/// An alert's step from one state to another, or a change of how it is to be seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// Which alert.
    pub fingerprint: Fingerprint,
    /// The state before; none if there was no alert.
    pub from: Option<AlertState>,
    /// The state after; none if the alert is gone without having fired.
    pub to: Option<AlertState>,
    /// When it happened: a fact's time, or the exact end of a duration that began with one.
    pub at: Timestamp,
    /// Why.
    pub why: Why,
    /// What outputs make of it.
    pub news: News,
    /// The alert after the step.
    pub alert: Arc<Alert>,
}

/// Why an alert took a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The condition began to hold; `for` runs.
    ConditionBegan,
    /// The condition held for as long as the rule asks, or the rule does not ask.
    ConditionLasted,
    /// The condition ended before it had lasted.
    ConditionDidNotLast,
    /// The condition of a firing alert ended, and with it `keep_firing_for`.
    ConditionEnded,
    /// What it was about is no longer there.
    EntityRemoved,
    /// The rule is no longer there.
    RuleRemoved,
    /// The rule is not in force any more, or not on this.
    RuleDisabled,
    /// The labels are different now, which makes it another alert.
    LabelsChanged,
    /// The node cannot be heard any more: this is the last that is known.
    WitnessLost,
    /// The node is heard again.
    WitnessReturned,
    /// A graver alert of the same cause fires.
    InhibitionBegan,
    /// The graver alert does not fire any more, but this one still does.
    InhibitionEnded,
    /// Another collector saw it begin earlier.
    BeganEarlier,
}

impl Why {
    /// The reason as logs and the API show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConditionBegan => "condition_began",
            Self::ConditionLasted => "condition_lasted",
            Self::ConditionDidNotLast => "condition_did_not_last",
            Self::ConditionEnded => "condition_ended",
            Self::EntityRemoved => "entity_removed",
            Self::RuleRemoved => "rule_removed",
            Self::RuleDisabled => "rule_disabled",
            Self::LabelsChanged => "labels_changed",
            Self::WitnessLost => "witness_lost",
            Self::WitnessReturned => "witness_returned",
            Self::InhibitionBegan => "inhibition_began",
            Self::InhibitionEnded => "inhibition_ended",
            Self::BeganEarlier => "began_earlier",
        }
    }
}

/// What outputs make of a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum News {
    /// Tell people, by a notice; and update what is retained.
    Tell,
    /// Update what is retained, and tell nobody.
    Update,
    /// It was over before it was learned: kept as history, and nothing else.
    Past,
}

impl News {
    /// Whether a step is worth telling, which the alert remembers. What was told as firing is
    /// told as resolved, whatever inhibits it by then: holding back is for beginnings, not for
    /// ends.
    pub(super) fn of(alert: &mut Alert, step: Step) -> Self {
        let tell = match step.to {
            Some(AlertState::Firing) => alert.inhibited_by.is_none() && !alert.told,
            Some(AlertState::Resolved) => alert.told,
            Some(AlertState::Pending) | None => false,
        };
        let fires = matches!(alert.phase, Phase::Firing { .. });
        alert.told |= fires && tell;
        if tell { Self::Tell } else { Self::Update }
    }
}
