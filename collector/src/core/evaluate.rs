//! Follows changes through the rules to the alerts.
//!
//! Promises: a rule is evaluated only for the entity that changed, for what belongs to a node whose
//! fields it reads changed, or when one of its own deadlines is due.

use std::sync::Arc;

use jiff::Timestamp;
use pvewatch_protocol::NodeName;

use super::dirty::Piece;
use super::settling::PAST_PATIENCE;
use super::snapshot::RuleError;
use super::timers::Timer;
use super::{Core, Sight};
use crate::alerts::{AlertKey, Finding, Transition, Why};
use crate::fleet::{Change, Entity, EntityKey, EntityKind, Moment, Node, Origin};
use crate::rules::{Outcome, Rests, Subject};

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
    pub(super) fn follow_all(&mut self, changes: Vec<Change>, out: &mut Vec<Transition>) {
        for node in self.fleet.take_created() {
            self.dirty.fact(Piece::Node(node.clone()));
            self.arm_node(&node);
        }
        for change in changes {
            match change {
                Change::Node { node, origins, moment } => {
                    self.follow_node(&node, &origins, moment, out);
                }
                Change::Unit { unit, moment, state, known_since } => {
                    let sight = self.sight;
                    if let (Sight::Unseen { .. }, Some(known)) = (sight, known_since) {
                        self.sight = Sight::Unseen { since: known.fact };
                    }
                    let (node, id) = (&unit.node, &unit.id);
                    self.dirty.fact(Piece::Unit(node.clone(), id.clone()));
                    let since = (moment, unit.since);
                    self.follow_entity(node, (EntityKind::Unit, id), since, state, out);
                    self.sight = sight;
                }
                Change::UnitGone { unit, moment } => {
                    self.dirty.fact(Piece::Unit(unit.node.clone(), unit.id.clone()));
                    self.follow_loss(&unit.node, (EntityKind::Unit, &unit.id), moment, out);
                }
                Change::Backup { backup, moment } => {
                    let (node, id) = (&backup.node, &backup.id);
                    self.dirty.fact(Piece::Backup(node.clone(), id.clone()));
                    let since = (moment, backup.since);
                    self.follow_entity(node, (EntityKind::Backup, id), since, true, out);
                }
                Change::BackupGone { backup, moment } => {
                    self.dirty.fact(Piece::Backup(backup.node.clone(), backup.id.clone()));
                    self.follow_loss(&backup.node, (EntityKind::Backup, &backup.id), moment, out);
                }
                Change::BackupJob { job, moment } => {
                    let (node, id) = (&job.node, &job.id);
                    self.dirty.fact(Piece::BackupJob(node.clone(), id.clone()));
                    let since = (moment, job.since);
                    self.follow_entity(node, (EntityKind::BackupJob, id), since, true, out);
                }
                Change::BackupJobGone { job, moment } => {
                    self.dirty.fact(Piece::BackupJob(job.node.clone(), job.id.clone()));
                    self.follow_loss(&job.node, (EntityKind::BackupJob, &job.id), moment, out);
                }
                Change::Storage { storage, moment } => {
                    let (node, id) = (&storage.node, &storage.id);
                    self.dirty.fact(Piece::Storage(node.clone(), id.clone()));
                    let since = (moment, storage.since);
                    self.follow_entity(node, (EntityKind::Storage, id), since, true, out);
                }
                Change::StorageGone { storage, moment } => {
                    let (node, id) = (&storage.node, &storage.id);
                    self.dirty.fact(Piece::Storage(node.clone(), id.clone()));
                    self.follow_loss(node, (EntityKind::Storage, id), moment, out);
                }
            }
        }
    }

    fn follow_node(
        &mut self,
        node: &NodeName,
        origins: &[Origin],
        moment: Moment,
        out: &mut Vec<Transition>,
    ) {
        let piece = Piece::Node(node.clone());
        match origins {
            [Origin::Reading] => self.dirty.reading(piece, self.now),
            _ => self.dirty.fact(piece),
        }
        self.arm_node(node);
        if origins.contains(&Origin::Silence) {
            self.note_silence(node, moment, out);
        }
        if !origins.is_empty() {
            let cause = Cause::Fact(moment, self.now);
            let id: Arc<str> = Arc::from("");
            for place in 0..self.rules.of_scope(EntityKind::Node).len() {
                let rule = self.rules.of_scope(EntityKind::Node)[place];
                self.evaluate_rule(rule, node, (EntityKind::Node, &id), cause, out);
            }
        }
        if origins.contains(&Origin::Facts) && self.book.concerns(node) {
            self.evaluate_alerts(node, Cause::Fact(moment, self.now), out);
        }
        for origin in origins {
            if self.rules.children_reading(*origin).is_empty() {
                continue;
            }
            for rule in self.rules.children_reading(*origin).to_vec() {
                let scope = self.rules.rules()[rule].scope;
                for id in self.fleet.ids(node, scope) {
                    let cause = Cause::Fact(moment, self.now);
                    self.evaluate_rule(rule, node, (scope, &id), cause, out);
                }
            }
        }
    }

    /// Evaluates the rules of active alerts about what belongs to a node: their labels can be others
    /// now.
    fn evaluate_alerts(&mut self, node: &NodeName, cause: Cause, out: &mut Vec<Transition>) {
        let is_of_another = |key: &&AlertKey| key.kind != EntityKind::Node;
        let keys = self.book.of_node(node).map(|(key, _)| key);
        for key in keys.filter(is_of_another).cloned().collect::<Vec<_>>() {
            if let Some(rule) = self.rules.find(&key.rule) {
                self.evaluate_rule(rule, node, (key.kind, &key.id), cause, out);
            }
        }
    }

    /// Marks a node's alerts when it falls silent; when it returns, takes up what was held.
    fn note_silence(&mut self, name: &NodeName, moment: Moment, out: &mut Vec<Transition>) {
        let Some(node) = self.fleet.node(name) else { return };
        let silent = node.silent.is_some();
        if silent == self.silent.contains(name) {
            return;
        }
        let context = (&self.rules, self.now);
        out.extend(self.book.mark_stale(name, silent, moment.fact, context));
        if silent {
            self.silent.insert(name.clone());
            return;
        }
        self.silent.remove(name);
        // What happened while it could not be heard follows.
        self.settling.be_absent(name, self.now);
        for (key, alert) in self.book.of_node(name) {
            self.timers.set(Timer::Alert(name.clone(), key.clone()), alert.due());
        }
        self.evaluate_entities(name, out);
    }

    /// An entity of a node is new or different. `moment` is when that happened, `since` since when
    /// it is as it is.
    fn follow_entity(
        &mut self,
        node: &NodeName,
        (kind, id): (EntityKind, &Arc<str>),
        (moment, since): (Moment, Moment),
        is_state: bool,
        out: &mut Vec<Transition>,
    ) {
        let has_alerts = self.book.concerns(node);
        if has_alerts {
            for key in self.book.of_entity(&self.entity(node, kind, id)) {
                self.catch_up_with(&key, node, moment, out);
            }
        }
        if is_state || has_alerts {
            let cause = Cause::Fact(moment, moment.judged.max(since.judged));
            self.evaluate_entity(node, (kind, id), cause, out);
        }
    }

    fn follow_loss(
        &mut self,
        node: &NodeName,
        (kind, id): (EntityKind, &Arc<str>),
        moment: Moment,
        out: &mut Vec<Transition>,
    ) {
        for rule in self.rules.of_scope(kind) {
            self.timers.set(Timer::Rule(node.clone(), kind, id.clone(), *rule), None);
        }
        for key in self.book.of_entity(&self.entity(node, kind, id)) {
            self.catch_up_with(&key, node, moment, out);
            let context = (&self.rules, self.now);
            out.extend(self.book.lose(node, &key, moment, context));
        }
        self.note_alerts();
    }

    /// What was due before something happened to an alert's entity comes before it, even if it
    /// was put off. While a node's past is coming in, only what has ended does.
    fn catch_up_with(
        &mut self,
        key: &AlertKey,
        node: &NodeName,
        moment: Moment,
        out: &mut Vec<Transition>,
    ) {
        let context = (&self.rules, self.now);
        out.extend(if self.settling.until(node, Rests::OnFacts, self.now).is_some() {
            self.book.pass_ending(node, key, moment.judged, context)
        } else {
            self.book.pass_time(node, key, moment.judged, context)
        });
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
            let ended = (self.now, Why::RuleRemoved);
            out.extend(self.book.end(&node, &key, ended, context));
        }
        let nodes: Vec<NodeName> = self.fleet.nodes().map(|node| node.name.clone()).collect();
        let id: Arc<str> = Arc::from("");
        for node in &nodes {
            for rule in self.rules.of_scope(EntityKind::Node).to_vec() {
                self.evaluate_rule(rule, node, (EntityKind::Node, &id), Cause::Sweep, out);
            }
            self.evaluate_entities(node, out);
        }
    }

    fn evaluate_entities(&mut self, node: &NodeName, out: &mut Vec<Transition>) {
        for kind in EntityKind::OF_NODE {
            for id in self.fleet.ids(node, kind) {
                self.evaluate_entity(node, (kind, &id), Cause::Sweep, out);
            }
        }
    }

    fn evaluate_entity(
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
        let rule = &self.rules.rules()[number];
        let rests = rule.rests_on();
        let stale = node.silent.is_some() && !rests.speaks_in_silence();
        if stale && !matches!(cause, Cause::Fact(..)) {
            return;
        }
        if rests == Rests::OnReadings && !self.fleet.is_read(name) {
            return;
        }
        let subject = Subject { node, entity };
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
            Outcome::Unknown => return,
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
                let since = since(node, entity, self.now);
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

    fn entity(&self, node: &NodeName, kind: EntityKind, id: &Arc<str>) -> EntityKey {
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

/// Since when an entity is as it is, for rules that look at it for the first time.
fn since(node: &Node, entity: Entity<'_>, now: Timestamp) -> Moment {
    entity.since().or(node.silent).unwrap_or(Moment::both(now))
}
