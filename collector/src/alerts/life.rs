//! The steps of one alert's life, as pure functions: what a finding or the passing of time does.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::AlertState;

use super::alert::{Alert, Ending, Phase};
use super::transition::{News, Transition, Why};
use crate::fleet::{EntityKey, Moment};
use crate::rules::{Presented, Rule};

/// What a rule found on an entity.
#[derive(Debug, Clone, Copy)]
pub struct Finding<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// The entity.
    pub entity: &'a EntityKey,
    /// When this came to be so.
    pub moment: Moment,
    /// Whether the entity's node cannot be heard, so that this is the last that is known.
    pub stale: bool,
    /// Whether more of the node's past is still coming in: then nothing fires yet, because what
    /// follows can tell that the trouble is long over.
    pub settling: bool,
    /// Set if nobody here saw it come to be so: it did after this time, and until `moment`.
    pub unseen_since: Option<Timestamp>,
}

/// A step: the alert after it, and what is to be said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) from: Option<AlertState>,
    pub(super) to: Option<AlertState>,
    pub(super) at: Timestamp,
    pub(super) why: Why,
}

impl Step {
    /// The transition that this step makes of an alert.
    pub(super) fn transition(self, alert: Arc<Alert>, news: News) -> Transition {
        let fingerprint = alert.fingerprint;
        let Self { from, to, at, why } = self;
        Transition { fingerprint, from, to, at, why, news, alert }
    }
}

impl Alert {
    /// A new alert, pending or firing at once if the rule does not wait.
    pub(super) fn begin(finding: &Finding<'_>, shown: Presented, now: Timestamp) -> (Self, Step) {
        let Moment { fact, judged } = finding.moment;
        let wait = finding.rule.for_duration;
        let (phase, to, why) = if wait.is_zero() && !finding.settling {
            let firing = Phase::Firing { fired_at: fact, ending: None };
            (firing, AlertState::Firing, Why::ConditionLasted)
        } else {
            let due = finding.moment.after(wait).judged;
            (Phase::Pending { due }, AlertState::Pending, Why::ConditionBegan)
        };
        let alert = Self {
            fingerprint: shown.fingerprint,
            rule: finding.rule.name.clone(),
            entity: finding.entity.clone(),
            labels: shown.labels,
            annotations: shown.annotations,
            detail: shown.detail,
            phase,
            starts_at: fact,
            judged_since: judged,
            unseen_since: finding.unseen_since,
            value: shown.value,
            as_of: shown.as_of,
            stale: finding.stale,
            inhibited_by: None,
            told: false,
            changed_at: now,
        };
        (alert, Step { from: None, to: Some(to), at: fact, why })
    }

    /// The condition still holds. A rule that waits longer or shorter now moves the end of `for`.
    pub(super) fn hold(&mut self, wait: SignedDuration) {
        match &mut self.phase {
            Phase::Pending { due } => {
                *due = Moment::both(self.judged_since).after(wait).judged;
            }
            Phase::Firing { ending, .. } => *ending = None,
            Phase::Resolved { .. } => {}
        }
    }

    /// Another collector says that the condition holds since `told`. Whoever saw it begin knows
    /// better than who did not; says whether that changed anything.
    pub(super) fn agree(&mut self, told: Timestamp) -> bool {
        let is_plausible = self.unseen_since.is_some_and(|known| known < told);
        if !is_plausible || told >= self.starts_at {
            return false;
        }
        let by = told.duration_since(self.starts_at);
        let earlier = |at: Timestamp| Moment::both(at).after(by).judged;
        self.starts_at = told;
        self.judged_since = earlier(self.judged_since);
        match &mut self.phase {
            Phase::Pending { due } => *due = earlier(*due),
            Phase::Firing { fired_at, .. } => *fired_at = earlier(*fired_at),
            Phase::Resolved { .. } => {}
        }
        true
    }

    /// The condition does not hold any more.
    pub(super) fn release(&mut self, moment: Moment, keep: SignedDuration) -> Option<Step> {
        match &mut self.phase {
            Phase::Pending { .. } => Some(Step {
                from: Some(AlertState::Pending),
                to: None,
                at: moment.fact.max(self.starts_at),
                why: Why::ConditionDidNotLast,
            }),
            Phase::Firing { ending: Some(_), .. } | Phase::Resolved { .. } => None,
            Phase::Firing { ending, .. } if !keep.is_zero() => {
                *ending = Some(Ending { since: moment, due: moment.after(keep).judged });
                None
            }
            Phase::Firing { .. } => Some(self.resolve(moment.fact, Why::ConditionEnded)),
        }
    }

    /// Whether the condition has lasted for long enough by `until`, but nobody was told, because
    /// it was learned late.
    pub(super) fn lasted_untold(&self, until: Timestamp) -> bool {
        matches!(self.phase, Phase::Pending { due } if due <= until)
    }

    /// Time has passed, until `until` by the collector's clock.
    pub(super) fn pass_time(&mut self, until: Timestamp) -> Option<Step> {
        match self.phase {
            Phase::Pending { due } if due <= until => {
                let waited = due.duration_since(self.judged_since);
                let fired_at = Moment::both(self.starts_at).after(waited).fact;
                self.phase = Phase::Firing { fired_at, ending: None };
                Some(Step {
                    from: Some(AlertState::Pending),
                    to: Some(AlertState::Firing),
                    at: fired_at,
                    why: Why::ConditionLasted,
                })
            }
            Phase::Firing { ending: Some(Ending { since, due }), .. } if due <= until => {
                let kept = due.duration_since(since.judged);
                Some(self.resolve(since.after(kept).fact, Why::ConditionEnded))
            }
            _ => None,
        }
    }

    /// As [`Alert::pass_time`], for what has ended: only `keep_firing_for` passes.
    pub(super) fn pass_ending(&mut self, until: Timestamp) -> Option<Step> {
        match self.phase {
            Phase::Firing { ending: Some(_), .. } => self.pass_time(until),
            _ => None,
        }
    }

    /// What was noted after `now` was noted by a clock that was ahead.
    pub(crate) fn hold_until(&mut self, now: Timestamp) {
        let noted = match &self.phase {
            Phase::Firing { ending: Some(ending), .. } => ending.since.judged,
            _ => self.judged_since,
        };
        if noted > now {
            self.clock_jumped(now.duration_since(noted));
        }
    }

    /// The collector's clock was set ahead by as much.
    pub(super) fn clock_jumped(&mut self, by: SignedDuration) {
        let moved = |at: Timestamp| Moment::both(at).after(by).judged;
        self.judged_since = moved(self.judged_since);
        match &mut self.phase {
            Phase::Pending { due } => *due = moved(*due),
            Phase::Firing { ending: Some(ending), .. } => {
                ending.since.judged = moved(ending.since.judged);
                ending.due = moved(ending.due);
            }
            Phase::Firing { ending: None, .. } | Phase::Resolved { .. } => {}
        }
    }

    /// It is over, whatever its condition says.
    pub(super) fn end(&mut self, at: Timestamp, why: Why) -> Step {
        match self.phase {
            Phase::Pending { .. } => {
                let at = at.max(self.starts_at);
                Step { from: Some(AlertState::Pending), to: None, at, why }
            }
            Phase::Firing { .. } | Phase::Resolved { .. } => self.resolve(at, why),
        }
    }

    fn resolve(&mut self, at: Timestamp, why: Why) -> Step {
        let fired_at = match self.phase {
            Phase::Firing { fired_at, .. } => fired_at,
            Phase::Pending { .. } | Phase::Resolved { .. } => self.starts_at,
        };
        // What was told as firing cannot have ended before it fired.
        let ends_at = at.max(fired_at);
        self.phase = Phase::Resolved { ends_at };
        let (from, to) = (Some(AlertState::Firing), Some(AlertState::Resolved));
        Step { from, to, at: ends_at, why }
    }

    /// Takes over what is shown; says whether anything differs.
    pub(super) fn show(&mut self, shown: Presented, stale: bool) -> bool {
        let differs = self.annotations != shown.annotations
            || self.detail != shown.detail
            || self.value != shown.value
            || self.as_of != shown.as_of
            || self.stale != stale;
        self.annotations = shown.annotations;
        self.detail = shown.detail;
        self.value = shown.value;
        self.as_of = shown.as_of;
        self.stale = stale;
        differs
    }
}
