//! Follows changes of the fleet to the rules and alerts that they concern.

use std::sync::Arc;

use pvewatch_protocol::NodeName;

use super::dirty::Piece;
use super::evaluate::Cause;
use super::timers::Timer;
use super::{Core, Sight};
use crate::alerts::{AlertKey, Transition};
use crate::fleet::{Change, EntityKind, Moment, Origin};
use crate::rules::Rests;

impl Core {
    pub(super) fn follow_all(&mut self, changes: Vec<Change>, out: &mut Vec<Transition>) {
        for node in self.fleet.take_created() {
            self.dirty.fact(Piece::Node(node.clone()));
            self.arm_node(&node);
        }
        let drift = self.fleet.check_drift();
        let inside = self.fleet.settle_inside(&changes);
        for change in changes.into_iter().chain(drift).chain(inside) {
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
                    self.dirty.fact(Piece::of(node, (EntityKind::Unit, id)));
                    let since = (moment, unit.since);
                    self.follow_entity(node, (EntityKind::Unit, id), since, state, out);
                    self.sight = sight;
                }
                Change::Backup { backup: it, moment } => {
                    let entity = (&it.node, EntityKind::Backup, &it.id);
                    self.follow_picture(entity, (moment, it.since), out);
                }
                Change::BackupJob { job: it, moment } => {
                    let entity = (&it.node, EntityKind::BackupJob, &it.id);
                    self.follow_picture(entity, (moment, it.since), out);
                }
                Change::Storage { storage: it, moment } => {
                    let entity = (&it.node, EntityKind::Storage, &it.id);
                    self.follow_picture(entity, (moment, it.since), out);
                }
                Change::Guest { guest: it, moment } => {
                    let entity = (&it.node, EntityKind::Guest, &it.id);
                    self.follow_picture(entity, (moment, it.since), out);
                }
                Change::Drift { drift: it, moment } => {
                    let entity = (EntityKind::Drift, &it.id);
                    self.follow_entity(&it.node, entity, (moment, moment), true, out);
                }
                Change::DriftGone { drift: it, moment } => {
                    self.follow_loss((&it.node, EntityKind::Drift, &it.id), moment, out);
                }
                Change::UnitGone { unit: it, moment } => {
                    self.follow_loss((&it.node, EntityKind::Unit, &it.id), moment, out);
                }
                Change::BackupGone { backup: it, moment } => {
                    self.follow_loss((&it.node, EntityKind::Backup, &it.id), moment, out);
                }
                Change::BackupJobGone { job: it, moment } => {
                    self.follow_loss((&it.node, EntityKind::BackupJob, &it.id), moment, out);
                }
                Change::SampledGone { node, kind, id, moment } => {
                    self.follow_loss((&node, kind, &id), moment, out);
                }
                Change::GuestGone { guest: it, moment } => {
                    self.follow_loss((&it.node, EntityKind::Guest, &it.id), moment, out);
                }
                Change::StorageGone { storage: it, moment } => {
                    self.follow_loss((&it.node, EntityKind::Storage, &it.id), moment, out);
                }
            }
        }
    }

    /// Something that is known from pictures is new or different.
    fn follow_picture(
        &mut self,
        (node, kind, id): (&NodeName, EntityKind, &Arc<str>),
        since: (Moment, Moment),
        out: &mut Vec<Transition>,
    ) {
        self.dirty.fact(Piece::of(node, (kind, id)));
        self.follow_entity(node, (kind, id), since, true, out);
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

    /// Something is no longer there.
    fn follow_loss(
        &mut self,
        (node, kind, id): (&NodeName, EntityKind, &Arc<str>),
        moment: Moment,
        out: &mut Vec<Transition>,
    ) {
        self.dirty.fact(Piece::of(node, (kind, id)));
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
}
