//! Evaluates rules, and tells the alerts what came of it.
//!
//! Promises: a rule is evaluated only for the entity that changed, for what belongs to a node whose
//! fields it reads changed, or when one of its own deadlines is due.

use std::sync::Arc;

use jiff::Timestamp;
use pvewatch_protocol::{AlertState, NodeName};

use super::settling::PAST_PATIENCE;
use super::snapshot::RuleError;
use super::timers::Timer;
use super::{Core, Sight};
use crate::alerts::{Alert, AlertKey, Finding, Transition, Why};
use crate::fleet::{Entity, EntityKey, EntityKind, Moment, Node, Origin, POLICY_FILE};
use crate::rules::{Outcome, Rests, Rule, Subject};

/// How a rule fares.
#[derive(Debug, Clone, Default)]
pub(super) struct RuleStats {
    pub(super) evaluations: u64,
    pub(super) errors: u64,
    pub(super) last_error: Option<RuleError>,
}

/// Why a rule is evaluated.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cause {
    /// Something happened; the state is judged as of the second time.
    Fact(Moment, Timestamp),
    /// A deadline of the rule itself is due.
    Time(Timestamp),
    /// Everything is looked at anew: after a start, with other rules, when a node returns.
    Sweep,
}

impl Core {
    /// Evaluates the rules of active alerts about what belongs to a node: their labels can be others
    /// now.
    pub(super) fn evaluate_alerts(
        &mut self,
        node: &NodeName,
        cause: Cause,
        out: &mut Vec<Transition>,
    ) {
        let is_of_another = |key: &&AlertKey| key.kind != EntityKind::Node;
        let keys = self.book.of_node(node).map(|(key, _)| key);
        for key in keys.filter(is_of_another).cloned().collect::<Vec<_>>() {
            if let Some(rule) = self.rules.find(&key.rule) {
                self.evaluate_rule(rule, node, (key.kind, &key.id), cause, out);
            }
        }
    }

    /// Looks at everything anew. Alerts whose rule is gone end.
    pub(super) fn evaluate_all(&mut self, out: &mut Vec<Transition>) {
        let lost = |(node, key, _): (&NodeName, &AlertKey, _)| {
            let rule = self.rules.find(&key.rule).map(|number| &self.rules.rules()[number]);
            let kept = rule.is_some_and(|rule| rule.scope == key.kind);
            (!kept).then(|| (node.clone(), key.clone()))
        };
        let lost: Vec<_> = self.book.active().filter_map(lost).collect();
        for (node, key) in lost {
            let context = (&self.rules, self.now);
            let why = match self.rules.is_disabled(&key.rule) {
                true => Why::RuleDisabled,
                false => Why::RuleRemoved,
            };
            let ended = (self.now, why);
            out.extend(self.book.end(&node, &key, ended, context));
        }
        self.end_lost_checks(out);
        let nodes: Vec<NodeName> = self.fleet.nodes().map(|node| node.name.clone()).collect();
        let id: Arc<str> = Arc::from("");
        for node in &nodes {
            for rule in self.rules.of_scope(EntityKind::Node).to_vec() {
                self.evaluate_rule(rule, node, (EntityKind::Node, &id), Cause::Sweep, out);
            }
            self.evaluate_entities(node, out);
        }
    }

    /// Ends the alerts of checks that are not made any more, because a policy was taken out or is
    /// about no guest of a node. A file that cannot be read proves neither, but nothing comes to fire
    /// by it.
    fn end_lost_checks(&mut self, out: &mut Vec<Transition>) {
        let is_readable = self.fleet.policies().problem.is_none();
        let is_lost = |(node, key, alert): &(&NodeName, &AlertKey, &Arc<Alert>)| {
            let entity = (key.kind, &*key.id);
            let is_pending = alert.state() == AlertState::Pending;
            let may_be_lost = is_readable || is_pending || &*key.id == POLICY_FILE;
            key.kind == EntityKind::Drift && may_be_lost && self.fleet.find(node, entity).is_none()
        };
        let lost = self.book.active().filter(is_lost);
        let lost: Vec<_> = lost.map(|(node, key, _)| (node.clone(), key.clone())).collect();
        for (node, key) in lost {
            let context = (&self.rules, self.now);
            out.extend(self.book.lose(&node, &key, Moment::both(self.now), context));
        }
    }

    pub(super) fn evaluate_entities(&mut self, node: &NodeName, out: &mut Vec<Transition>) {
        for kind in EntityKind::OF_NODE {
            for id in self.fleet.ids(node, kind) {
                self.evaluate_entity(node, (kind, &id), Cause::Sweep, out);
            }
        }
    }

    pub(super) fn evaluate_entity(
        &mut self,
        node: &NodeName,
        (kind, id): (EntityKind, &Arc<str>),
        cause: Cause,
        out: &mut Vec<Transition>,
    ) {
        for place in 0..self.rules.of_scope(kind).len() {
            let rule = self.rules.of_scope(kind)[place];
            self.evaluate_rule(rule, node, (kind, id), cause, out);
        }
    }

    /// Evaluates one rule on one entity and tells the alerts.
    pub(super) fn evaluate_rule(
        &mut self,
        number: usize,
        name: &NodeName,
        (kind, id): (EntityKind, &Arc<str>),
        cause: Cause,
        out: &mut Vec<Transition>,
    ) {
        let Some((node, entity)) = self.fleet.find(name, (kind, id)) else { return };
        let subject = Subject { node, entity };
        let rule = &self.rules.rules()[number];
        let Some(rule) = rule.on(&subject) else {
            let key = AlertKey { kind, id: id.clone(), rule: rule.name.clone() };
            return self.end(name, &key, (|_: &Alert| true, Why::RuleDisabled), out);
        };
        let rests = rule.rests_on();
        let stale = node.silent.is_some() && !rests.speaks_in_silence();
        if stale && !matches!(cause, Cause::Fact(..)) {
            return;
        }
        if rests == Rests::OnReadings && !self.fleet.is_read(name) {
            return;
        }
        let at = match cause {
            Cause::Fact(_, at) | Cause::Time(at) => at,
            Cause::Sweep => self.now,
        };
        let evaluation = rule.when.evaluate(&subject, at);
        self.counters.evaluations += 1;
        let stats = &mut self.stats[number];
        stats.evaluations += 1;
        let mut was_due = false;
        if rule.when.depends_on_time() {
            let timer = Timer::Rule(name.clone(), kind, id.clone(), number);
            was_due = self.timers.get(&timer).is_some_and(|due| due <= at);
            self.timers.set(timer, evaluation.deadline);
        }
        let holds = match evaluation.outcome {
            Outcome::Flag(holds) => holds,
            Outcome::Unknown => {
                // What guests use comes with few samples: what is not known any more does not last.
                if kind == EntityKind::Guest && rule.changes_with_node(Origin::Reading) {
                    let key = AlertKey { kind, id: id.clone(), rule: rule.name.clone() };
                    let is_pending = |alert: &Alert| alert.state() == AlertState::Pending;
                    self.end(name, &key, (is_pending, Why::ConditionDidNotLast), out);
                }
                return;
            }
            Outcome::Failed(message) => return stats.fail(entity_text(name, id), message, at),
            Outcome::Number(_) => {
                let message = "came to a number, not to true or false".to_owned();
                return stats.fail(entity_text(name, id), message, at);
            }
        };
        if !holds && !self.book.concerns(name) {
            return;
        }
        let moment = match (cause, evaluation.crossed) {
            (Cause::Time(_), Some(crossed)) => crossed,
            (Cause::Fact(..), Some(crossed)) if was_due && holds => crossed,
            (Cause::Fact(moment, _), _) => moment,
            (Cause::Time(at), None) => Moment::both(at),
            (Cause::Sweep, crossed) => {
                let since = since(rule, (node, entity), self.now);
                crossed.map_or(since, |crossed| crossed.max(since))
            }
        };
        let site = self.fleet.site();
        let entity = EntityKey { site: site.clone(), node: name.clone(), kind, id: id.clone() };
        let settling = self.settling.until(name, rests, self.now).is_some();
        let unseen_since = match (rests, cause, self.sight) {
            (Rests::OnFacts | Rests::OnDue, Cause::Fact(..), Sight::Seen) => None,
            (Rests::OnFacts | Rests::OnDue, Cause::Fact(..), Sight::Unseen { since }) => {
                Some(since)
            }
            (Rests::OnFacts | Rests::OnDue, ..) => Some(Timestamp::MIN),
            (Rests::OnReadings, ..) => Some(self.fleet.read_before(name).unwrap_or(Timestamp::MIN)),
            (Rests::OnSilence, ..) => {
                Some(node.last_seen.map_or(Timestamp::MIN, |heard| heard.fact))
            }
        };
        let finding = Finding { rule, entity: &entity, moment, stale, settling, unseen_since };
        out.extend(if holds {
            let present = || self.rules.present(rule, site, &subject, at);
            self.book.holds(&finding, &self.rules, self.now, present)
        } else {
            self.book.holds_not(&finding, &self.rules, self.now)
        });
        self.note_alerts();
    }

    /// Ends an alert, if there is one that `is_meant`, whatever its condition says.
    fn end(
        &mut self,
        node: &NodeName,
        key: &AlertKey,
        (is_meant, why): (impl Fn(&Alert) -> bool, Why),
        out: &mut Vec<Transition>,
    ) {
        if self.book.get(node, key).is_some_and(|alert| is_meant(alert)) {
            out.extend(self.book.end(node, key, (self.now, why), (&self.rules, self.now)));
            self.note_alerts();
        }
    }

    /// Sets the timer of a node's silence. A timer that is early is left as it is: it costs less
    /// to look in vain now and then than to move it with every heartbeat.
    pub(super) fn arm_node(&mut self, node: &NodeName) {
        let Some(next) = self.fleet.next_judgement(node) else { return };
        let timer = Timer::Node(node.clone());
        if self.timers.get(&timer).is_none_or(|set| set > next) {
            self.timers.set(timer, Some(next));
        }
    }

    /// Whether something that is due must wait: because the node's backlog is still coming in, or
    /// because the node cannot be heard. The latter is taken up when it returns.
    pub(super) fn is_put_off(&mut self, timer: &Timer) -> bool {
        let rule = match timer {
            Timer::All | Timer::Node(_) => return false,
            Timer::Rule(_, _, _, rule) => Some(*rule),
            Timer::Alert(_, key) => self.rules.find(&key.rule),
        };
        let Some(node) = timer.node() else { return false };
        let rests = rule.map_or(Rests::OnFacts, |rule| self.rules.rules()[rule].rests_on());
        let is_unread = rests == Rests::OnReadings && !self.fleet.is_read(node);
        let next_sample = is_unread.then(|| Moment::both(self.now).after(PAST_PATIENCE).judged);
        let settled = self.settling.until(node, rests, self.now);
        if let Some(until) = settled.max(next_sample) {
            self.timers.set(timer.clone(), Some(until));
            self.settling.hold(node, timer.clone(), until);
            return true;
        }
        self.settling.let_go(node, timer);
        !rests.speaks_in_silence() && self.silent.contains(node)
    }

    pub(super) fn entity(&self, node: &NodeName, kind: EntityKind, id: &Arc<str>) -> EntityKey {
        EntityKey { site: self.fleet.site().clone(), node: node.clone(), kind, id: id.clone() }
    }
}

impl RuleStats {
    fn fail(&mut self, entity: String, message: String, at: Timestamp) {
        self.errors += 1;
        self.last_error = Some(RuleError { entity, message, at });
    }
}

fn entity_text(node: &NodeName, id: &str) -> String {
    if id.is_empty() { node.to_string() } else { format!("{node}/{id}") }
}

/// Since when an entity is as it is, for rules that look at it for the first time. Nobody knows since
/// when a reading is what it is.
fn since(rule: &Rule, (node, entity): (&Node, Entity<'_>), now: Timestamp) -> Moment {
    let as_told = entity.since().filter(|_| !rule.changes_with_node(Origin::Reading));
    as_told.or(node.silent).unwrap_or(Moment::both(now))
}
