//! All alerts: the active ones by node, and those resolved lately.
//!
//! Promises: no step costs more than the alerts of one node; what changed is remembered until it
//! is recorded; every bound is a named constant.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::{AlertState, Fingerprint, NodeName};

use super::alert::{Alert, Phase};
use super::life::{Finding, Step};
use super::transition::{News, Transition, Why};
use crate::fleet::{EntityKey, EntityKind, Moment};
use crate::rules::{Presented, RuleSet};

/// Active alerts that are kept; more are not created, and counted. Nobody reads a tenth of them.
pub const ACTIVE_MAX: usize = 50_000;

/// How long a resolved alert stays to be seen.
pub const RESOLVED_KEPT_FOR: SignedDuration = SignedDuration::from_hours(1);

/// Resolved alerts that stay to be seen; the oldest go first.
pub const RESOLVED_MAX: usize = 1000;

/// Identifies an alert within its node: what it is about, and the rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlertKey {
    /// The kind of entity.
    pub kind: EntityKind,
    /// The entity's name within the node; empty for the node.
    pub id: Arc<str>,
    /// The rule's name.
    pub rule: Arc<str>,
}

impl AlertKey {
    /// The key of an alert of this rule about this entity.
    pub fn new(entity: &EntityKey, rule: &Arc<str>) -> Self {
        Self { kind: entity.kind, id: entity.id.clone(), rule: rule.clone() }
    }
}

/// What changed about an alert since it was recorded last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touched {
    /// Its state, or how it is to be seen.
    State,
    /// Only the reading that it shows.
    Reading,
}

/// All alerts of a site.
#[derive(Debug, Default)]
pub struct Book {
    pub(super) active: BTreeMap<NodeName, BTreeMap<AlertKey, Arc<Alert>>>,
    pub(super) places: HashMap<Fingerprint, (NodeName, AlertKey)>,
    pub(super) resolved: HashMap<Fingerprint, Arc<Alert>>,
    /// When each resolved alert goes.
    leaving: BTreeSet<(Timestamp, Fingerprint)>,
    pub(super) touched: Vec<(Fingerprint, Touched)>,
    refused: u64,
    /// Since when alerts fire elsewhere.
    pub(super) peers: HashMap<Fingerprint, Timestamp>,
}

impl Book {
    /// An alert that is active.
    pub fn get(&self, node: &NodeName, key: &AlertKey) -> Option<&Arc<Alert>> {
        self.active.get(node)?.get(key)
    }

    /// Whether a node has active alerts. Most have none.
    pub fn concerns(&self, node: &NodeName) -> bool {
        self.active.contains_key(node)
    }

    /// All active alerts with their places.
    pub fn active(&self) -> impl Iterator<Item = (&NodeName, &AlertKey, &Arc<Alert>)> {
        let of_node = |(node, alerts)| {
            let alerts: &BTreeMap<AlertKey, Arc<Alert>> = alerts;
            alerts.iter().map(move |(key, alert)| (node, key, alert))
        };
        self.active.iter().flat_map(of_node)
    }

    /// The active alerts of a node.
    pub fn of_node(&self, node: &NodeName) -> impl Iterator<Item = (&AlertKey, &Arc<Alert>)> {
        self.active.get(node).into_iter().flatten()
    }

    /// The active alerts about one entity.
    pub fn of_entity(&self, entity: &EntityKey) -> Vec<AlertKey> {
        let first = AlertKey { kind: entity.kind, id: entity.id.clone(), rule: Arc::from("") };
        let Some(alerts) = self.active.get(&entity.node) else { return Vec::new() };
        let keys = alerts.range(first..).map(|(key, _)| key);
        keys.take_while(|key| key.kind == entity.kind && key.id == entity.id).cloned().collect()
    }

    /// All alerts: the active ones by node, then those resolved lately, newest first.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Alert>> {
        let resolved = self.leaving.iter().rev();
        let resolved = resolved.filter_map(|(_, fingerprint)| self.resolved.get(fingerprint));
        self.active.values().flat_map(BTreeMap::values).chain(resolved)
    }

    /// An alert by its fingerprint, active or resolved lately.
    pub fn find(&self, fingerprint: Fingerprint) -> Option<&Arc<Alert>> {
        match self.places.get(&fingerprint) {
            Some((node, key)) => self.get(node, key),
            None => self.resolved.get(&fingerprint),
        }
    }

    /// Alerts that were not created because there were too many.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// What changed since this was asked last.
    pub fn take_touched(&mut self) -> Vec<(Fingerprint, Touched)> {
        std::mem::take(&mut self.touched)
    }

    /// Puts an alert back as it was recorded.
    pub fn restore(&mut self, alert: Alert) {
        let (fingerprint, alert) = (alert.fingerprint, Arc::new(alert));
        if matches!(alert.phase, Phase::Resolved { .. }) {
            let leaves = Moment::both(alert.changed_at).after(RESOLVED_KEPT_FOR).judged;
            self.resolved.insert(fingerprint, alert);
            self.leaving.insert((leaves, fingerprint));
        } else {
            let node = alert.entity.node.clone();
            let key = AlertKey::new(&alert.entity, &alert.rule);
            self.put(node, key, alert);
        }
    }

    /// A rule's condition holds. `present` is asked for what the alert shows.
    pub fn holds(
        &mut self,
        finding: &Finding<'_>,
        rules: &RuleSet,
        now: Timestamp,
        present: impl FnOnce() -> Presented,
    ) -> Vec<Transition> {
        let node = &finding.entity.node;
        let key = AlertKey::new(finding.entity, &finding.rule.name);
        let shown = present();
        let known = self.active.get_mut(node).and_then(|alerts| alerts.get_mut(&key));
        let Some(known) = known else {
            return self.begin(finding, shown, rules, now).into_iter().collect();
        };
        if known.fingerprint != shown.fingerprint {
            return self.relabel(finding, &key, shown, rules, now);
        }
        let before = known.phase;
        let alert = Arc::make_mut(known);
        alert.hold(finding.rule.for_duration);
        let differs = alert.show(shown, finding.stale);
        let fingerprint = alert.fingerprint;
        if alert.phase != before {
            self.touched.push((fingerprint, Touched::State));
        } else if differs {
            self.touched.push((fingerprint, Touched::Reading));
        }
        let fires_on = matches!(before, Phase::Firing { ending: Some(_), .. });
        if fires_on && !alert.told && alert.inhibited_by.is_none() {
            // It fired and ended in the past, of which nobody was told; now it is the present.
            alert.told = true;
            let (at, why) = (finding.moment.fact, Why::ConditionLasted);
            return vec![seen_anew(known, at, why, News::Tell)];
        }
        Vec::new()
    }

    /// Time has passed for an alert, until `until` by the collector's clock.
    pub fn pass_time(
        &mut self,
        node: &NodeName,
        key: &AlertKey,
        until: Timestamp,
        (rules, now): (&RuleSet, Timestamp),
    ) -> Vec<Transition> {
        self.step(node, key, rules, now, |alert| alert.pass_time(until))
    }

    /// It is over, whatever its condition says.
    pub fn end(
        &mut self,
        node: &NodeName,
        key: &AlertKey,
        (at, why): (Timestamp, Why),
        (rules, now): (&RuleSet, Timestamp),
    ) -> Vec<Transition> {
        self.step(node, key, rules, now, |alert| Some(alert.end(at, why)))
    }

    /// A node cannot be heard any more, or is heard again: its alerts are marked, those apart of
    /// rules that judge silence itself.
    pub fn mark_stale(
        &mut self,
        node: &NodeName,
        stale: bool,
        at: Timestamp,
        (rules, now): (&RuleSet, Timestamp),
    ) -> Vec<Transition> {
        let why = if stale { Why::WitnessLost } else { Why::WitnessReturned };
        let mut transitions = Vec::new();
        for alert in self.active.get_mut(node).into_iter().flat_map(BTreeMap::values_mut) {
            let rule = rules.find(&alert.rule).map(|number| &rules.rules()[number]);
            let judges = rule.is_some_and(|rule| rule.rests_on().speaks_in_silence());
            if judges || alert.stale == stale {
                continue;
            }
            let changed = Arc::make_mut(alert);
            changed.stale = stale;
            changed.changed_at = now;
            self.touched.push((changed.fingerprint, Touched::State));
            transitions.push(seen_anew(alert, at, why, News::Update));
        }
        transitions
    }

    /// The collector's clock was set ahead by as much: what lasts has lasted for as long as before.
    pub fn clock_jumped(&mut self, by: SignedDuration) {
        for alert in self.active.values_mut().flat_map(BTreeMap::values_mut) {
            let alert = Arc::make_mut(alert);
            alert.clock_jumped(by);
            self.touched.push((alert.fingerprint, Touched::State));
        }
    }

    /// Removes resolved alerts whose time has come.
    pub fn forget(&mut self, now: Timestamp) {
        while let Some((leaves, fingerprint)) = self.leaving.first().copied() {
            if leaves > now && self.leaving.len() <= RESOLVED_MAX {
                return;
            }
            self.leaving.pop_first();
            self.resolved.remove(&fingerprint);
            self.touched.push((fingerprint, Touched::State));
        }
    }

    /// When the next resolved alert goes.
    pub fn next_forgetting(&self) -> Option<Timestamp> {
        self.leaving.first().map(|(leaves, _)| *leaves)
    }

    fn begin(
        &mut self,
        finding: &Finding<'_>,
        shown: Presented,
        rules: &RuleSet,
        now: Timestamp,
    ) -> Vec<Transition> {
        if self.places.len() >= ACTIVE_MAX {
            self.refused += 1;
            return Vec::new();
        }
        let (mut alert, mut step) = Alert::begin(finding, shown, now);
        self.ask_peers(&mut alert);
        step.at = alert.starts_at;
        self.enter(alert, step, rules, now)
    }

    /// An alert's labels differ, which makes it another alert: the old one ends, and the new one
    /// goes on from where it was.
    fn relabel(
        &mut self,
        finding: &Finding<'_>,
        key: &AlertKey,
        shown: Presented,
        rules: &RuleSet,
        now: Timestamp,
    ) -> Vec<Transition> {
        let node = &finding.entity.node;
        let Some(old) = self.get(node, key).cloned() else { return Vec::new() };
        let at = finding.moment.fact.max(old.starts_at);
        let mut alert = Alert { changed_at: now, ..(*old).clone() };
        alert.fingerprint = shown.fingerprint;
        alert.labels = shown.labels.clone();
        alert.hold(finding.rule.for_duration);
        alert.show(shown, finding.stale);
        // The trouble goes on, so what it inhibits stays inhibited: nothing is judged anew until
        // the new alert has taken the place of the old one.
        let mut ended = (*old).clone();
        ended.changed_at = now;
        let step = ended.end(at, Why::LabelsChanged);
        let ended = Arc::new(ended);
        self.touched.push((ended.fingerprint, Touched::State));
        self.leave(node, key, &ended, now);
        let mut transitions = vec![step.transition(ended, News::Update)];
        let (from, to) = (None, Some(alert.state()));
        let step = Step { from, to, at, why: Why::LabelsChanged };
        transitions.extend(self.enter(alert, step, rules, now));
        transitions
    }

    /// Takes a new alert in.
    fn enter(
        &mut self,
        mut alert: Alert,
        step: Step,
        rules: &RuleSet,
        now: Timestamp,
    ) -> Vec<Transition> {
        let node = alert.entity.node.clone();
        let key = AlertKey::new(&alert.entity, &alert.rule);
        alert.inhibited_by = self.inhibitor(&node, &key, rules);
        let news = News::of(&mut alert, step);
        let alert = Arc::new(alert);
        if self.resolved.remove(&alert.fingerprint).is_some() {
            self.leaving.retain(|(_, leaving)| *leaving != alert.fingerprint);
        }
        self.touched.push((alert.fingerprint, Touched::State));
        self.put(node.clone(), key.clone(), alert.clone());
        let mut transitions = vec![step.transition(alert, news)];
        if step.to == Some(AlertState::Firing) {
            transitions.extend(self.review(&node, &key.rule, step.at, (rules, now)));
        }
        transitions
    }

    fn put(&mut self, node: NodeName, key: AlertKey, alert: Arc<Alert>) {
        self.places.insert(alert.fingerprint, (node.clone(), key.clone()));
        self.active.entry(node).or_default().insert(key, alert);
    }

    /// Lets an alert take a step, and moves it to where it belongs after it.
    pub(super) fn step(
        &mut self,
        node: &NodeName,
        key: &AlertKey,
        rules: &RuleSet,
        now: Timestamp,
        take: impl FnOnce(&mut Alert) -> Option<Step>,
    ) -> Vec<Transition> {
        let inhibitor = self.inhibitor(node, key, rules);
        let known = self.active.get_mut(node).and_then(|alerts| alerts.get_mut(key));
        let Some(known) = known else { return Vec::new() };
        let before = known.phase;
        let alert = Arc::make_mut(known);
        let step = take(alert);
        let fingerprint = alert.fingerprint;
        let Some(step) = step else {
            if alert.phase != before {
                self.touched.push((fingerprint, Touched::State));
            }
            return Vec::new();
        };
        alert.inhibited_by = inhibitor;
        alert.changed_at = now;
        let news = News::of(alert, step);
        let alert = known.clone();
        self.touched.push((fingerprint, Touched::State));
        if step.to != Some(AlertState::Firing) {
            self.leave(node, key, &alert, now);
        }
        let mut transitions = vec![step.transition(alert, news)];
        if step.from == Some(AlertState::Firing) || step.to == Some(AlertState::Firing) {
            transitions.extend(self.review(node, &key.rule, step.at, (rules, now)));
        }
        transitions
    }

    fn leave(&mut self, node: &NodeName, key: &AlertKey, alert: &Arc<Alert>, now: Timestamp) {
        if let Some(alerts) = self.active.get_mut(node) {
            alerts.remove(key);
            if alerts.is_empty() {
                self.active.remove(node);
            }
        }
        self.places.remove(&alert.fingerprint);
        // Whoever says that it goes on has not seen the end yet.
        self.peers.remove(&alert.fingerprint);
        if matches!(alert.phase, Phase::Resolved { .. }) {
            self.resolved.insert(alert.fingerprint, alert.clone());
            let leaves = Moment::both(now).after(RESOLVED_KEPT_FOR).judged;
            self.leaving.insert((leaves, alert.fingerprint));
            self.forget(now);
        }
    }
}

/// A transition that leaves the state as it is.
pub(super) fn seen_anew(alert: &Arc<Alert>, at: Timestamp, why: Why, news: News) -> Transition {
    let (state, at) = (Some(alert.state()), at.max(alert.starts_at));
    Step { from: state, to: state, at, why }.transition(alert.clone(), news)
}
