//! The end of what an alert is about, learned in time or late.
//!
//! While a node's past is still coming in its alerts do not fire, so something can end that had
//! lasted for long enough long ago. It fired and ended then: both steps are kept as history, and
//! nobody is told.

use std::sync::Arc;

use jiff::Timestamp;
use pvewatch_protocol::{AlertState, NodeName};

use super::alert::Alert;
use super::book::{AlertKey, Book};
use super::life::Finding;
use super::transition::{News, Transition, Why};
use crate::fleet::Moment;
use crate::rules::RuleSet;

impl Book {
    /// A rule's condition does not hold.
    pub fn holds_not(
        &mut self,
        finding: &Finding<'_>,
        rules: &RuleSet,
        now: Timestamp,
    ) -> Vec<Transition> {
        let node = &finding.entity.node;
        let key = AlertKey::new(finding.entity, &finding.rule.name);
        let (moment, keep) = (finding.moment, finding.rule.keep_firing_for);
        let mut transitions = self.catch_up(node, &key, moment.judged, (rules, now));
        transitions.extend(self.step(node, &key, rules, now, |alert| alert.release(moment, keep)));
        leave_to_history(&mut transitions);
        // Nobody was told that it fired, and what has ended is not shown as firing either.
        let is_past = |alert: &Arc<Alert>| {
            alert.has_ended(now) && !alert.told && alert.inhibited_by.is_none()
        };
        if self.get(node, &key).is_some_and(is_past)
            && let Some(fired) = transitions.iter_mut().find(|it| it.to == Some(AlertState::Firing))
        {
            fired.news = News::Past;
        }
        transitions
    }

    /// Lets `keep_firing_for` pass until something else happened to the entity, also while more
    /// of its node's past is coming in: what comes is in order, so nothing came in between.
    pub fn pass_ending(
        &mut self,
        node: &NodeName,
        key: &AlertKey,
        until: Timestamp,
        (rules, now): (&RuleSet, Timestamp),
    ) -> Vec<Transition> {
        self.step(node, key, rules, now, |alert| alert.pass_ending(until))
    }

    /// Lets a pending alert fire that had lasted until `until`, when something ends it: whoever
    /// learns both late is told of neither.
    fn catch_up(
        &mut self,
        node: &NodeName,
        key: &AlertKey,
        until: Timestamp,
        (rules, now): (&RuleSet, Timestamp),
    ) -> Vec<Transition> {
        if !self.get(node, key).is_some_and(|alert| alert.lasted_untold(until)) {
            return Vec::new();
        }
        let mut transitions = self.pass_time(node, key, until, (rules, now));
        for transition in &mut transitions {
            if transition.news == News::Tell {
                transition.news = News::Update;
            }
        }
        if let Some(alert) = self.active.get_mut(node).and_then(|alerts| alerts.get_mut(key)) {
            Arc::make_mut(alert).told = false;
        }
        transitions
    }

    /// What an alert is about was removed at this moment.
    pub fn lose(
        &mut self,
        node: &NodeName,
        key: &AlertKey,
        moment: Moment,
        context: (&RuleSet, Timestamp),
    ) -> Vec<Transition> {
        let mut transitions = self.catch_up(node, key, moment.judged, context);
        transitions.extend(self.end(node, key, (moment.fact, Why::EntityRemoved), context));
        leave_to_history(&mut transitions);
        transitions
    }
}

/// An alert that fired and ended in one go was over before it was learned.
fn leave_to_history(transitions: &mut [Transition]) {
    let Some((fired, rest)) = transitions.split_first_mut() else { return };
    let is_end = |transition: &&mut Transition| {
        transition.fingerprint == fired.fingerprint && transition.to == Some(AlertState::Resolved)
    };
    if fired.to == Some(AlertState::Firing)
        && let Some(ended) = rest.iter_mut().find(is_end)
    {
        (fired.news, ended.news) = (News::Past, News::Past);
    }
}
