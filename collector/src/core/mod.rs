//! The pure heart of the collector: inputs in, transitions out, nothing else.
//!
//! Promises: the same inputs at the same times give the same state and transitions; the state can
//! be rebuilt from its records; the cost of an event does not depend on the number of nodes.
//!
//! Absent on purpose: clocks, I/O, locks, async. Time comes in as an argument.

mod dirty;
mod evaluate;
mod follow;
mod input;
mod jump;
mod listen;
mod record;
mod restore;
mod settling;
mod snapshot;
mod timers;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::{Event, EventData, NodeName, Site};

use crate::alerts::{AlertKey, Book, Touched, Transition};
use crate::fleet::{Change, EntityKind, Fleet, LATE_AFTER, Policies, Version};
use crate::rules::{Rule, RuleSet};
use dirty::{Dirty, Piece};
use evaluate::{Cause, RuleStats};
use settling::{Held, Settling};
use timers::{Timer, Timers};

pub use input::Input;
pub use record::{Record, RecordKind, Urgency};
pub use settling::{PAST_MAX, PAST_PATIENCE, SETTLE_FOR, SETTLE_MAX};
pub use snapshot::{Counters, RuleError, RuleStatus, Snapshot};

/// How often a mere reading is recorded for the store, per entity.
pub const LAZY_INTERVAL: SignedDuration = SignedDuration::from_secs(30);

/// A deadline that is handled later than this means that the collector itself was not there (a
/// suspended machine): it hears the nodes from now on, as after a start.
pub const ABSENCE_MIN: SignedDuration = SignedDuration::from_secs(60);

/// The state of a site, and how inputs change it.
#[derive(Debug)]
pub struct Core {
    fleet: Fleet,
    rules: RuleSet,
    book: Book,
    timers: Timers,
    dirty: Dirty,
    stats: Vec<RuleStats>,
    /// Nodes whose alerts are marked stale.
    silent: BTreeSet<NodeName>,
    /// Nodes whose alerts wait.
    settling: Settling,
    counters: Counters,
    /// What the present input shows of how things come to be so.
    sight: Sight,
    now: Timestamp,
    snapshot: Option<Arc<Snapshot>>,
}

/// Whether it is seen how something comes to be so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// An event tells of it.
    Seen,
    /// It was otherwise at `since`, and is found to be so now.
    Unseen { since: Timestamp },
}

impl Core {
    /// A core that knows nothing. Heartbeats count from `started_at` at the earliest: a
    /// collector's start is no reason to alert.
    pub fn new(site: Site, rules: RuleSet, started_at: Timestamp) -> Self {
        let stats = vec![RuleStats::default(); rules.rules().len()];
        Self {
            fleet: Fleet::new(site, started_at),
            rules,
            book: Book::default(),
            timers: Timers::default(),
            dirty: Dirty::default(),
            stats,
            silent: BTreeSet::new(),
            settling: Settling::default(),
            counters: Counters::default(),
            sight: Sight::Unseen { since: Timestamp::MIN },
            now: started_at,
            snapshot: None,
        }
    }

    /// Takes an input at the time `now` and returns what it did to alerts, in order.
    pub fn handle(&mut self, now: Timestamp, input: Input) -> Vec<Transition> {
        self.advance_clock(now);
        self.sight = match input {
            Input::Event { .. } => Sight::Seen,
            _ => Sight::Unseen { since: Timestamp::MIN },
        };
        let mut out = Vec::new();
        match input {
            Input::Event { event, version, received_at } => {
                self.counters.events += 1;
                if event.site != *self.fleet.site() {
                    self.counters.foreign_site += 1;
                    return out;
                }
                let (moment, came_late) = self.fleet.moment_of(&event, received_at);
                // What came in time can have waited for what was lost before it: its turn is late.
                let late = came_late || self.now.duration_since(received_at) > LATE_AFTER;
                // Whatever was due before the event happened comes before it.
                self.run_timers(moment.judged.min(self.now), &mut out);
                if late {
                    if self.settling.has_waited(&event.node, self.now) {
                        self.run_timers(self.now, &mut out);
                    }
                    self.settling.be_late(&event.node, self.now);
                }
                let node = event.node.clone();
                // Streams are in order: what came before this has come. A loss is declared in the
                // middle of a backlog, by the time of the declaration.
                let is_present = !late && !matches!(event.data, EventData::OutboxDropped(_));
                let changes = self.fleet.apply_event(event, version, received_at);
                self.follow_all(changes, &mut out);
                if is_present {
                    let held = self.settling.be_present(&node);
                    self.take_up(held);
                }
            }
            Input::Sample { node, sample, backlog, received_at } => {
                self.counters.samples += 1;
                let is_held_up = self.fleet.is_held_up(&node, sample.at, received_at);
                let changes = self.fleet.apply_sample(&node, (&sample, backlog), received_at);
                self.follow_all(changes, &mut out);
                // What was missing long ago does not tell what is missing now.
                if !is_held_up {
                    let held = self.settling.hear(&node, backlog, self.now);
                    self.take_up(held);
                }
            }
            Input::Checkpoint { node, checkpoint, version, received_at } => {
                self.counters.checkpoints += 1;
                let is_known = self.fleet.node(&node).is_some();
                let changes = self.fleet.apply_checkpoint(&node, &checkpoint, version, received_at);
                self.meet(&node, is_known);
                self.follow_all(changes, &mut out);
            }
            Input::Lost { node, loss } => {
                let changes = self.fleet.apply_loss(&node, loss);
                self.follow_all(changes, &mut out);
            }
            Input::NodePresence { node, presence, received_at } => {
                self.counters.presences += 1;
                let is_known = self.fleet.node(&node).is_some();
                let changes = self.fleet.apply_presence(&node, &presence, received_at);
                self.meet(&node, is_known);
                self.follow_all(changes, &mut out);
            }
            Input::Peer { fingerprint, starts_at } => {
                out.extend(self.book.hear_peer(fingerprint, starts_at, self.now));
                self.note_alerts();
            }
            Input::Deadline => {}
        }
        self.run_timers(self.now, &mut out);
        self.book.forget(self.now);
        self.finish(out)
    }

    /// Whether an event that is about to be told was learned late.
    pub fn is_late(&self, event: &Event, received_at: Timestamp) -> bool {
        self.fleet.is_late(event, received_at)
    }

    /// Whether a picture of a node's units was ever complete.
    pub fn has_picture(&self, node: &NodeName) -> bool {
        self.fleet.node(node).is_some_and(|node| node.units_as_of > Version::default())
    }

    /// When [`Core::handle`] must be called with [`Input::Deadline`] at the latest.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        [self.timers.next(), self.book.next_forgetting()].into_iter().flatten().min()
    }

    /// Takes other rules. Alerts of rules that are still there stay; all rules are evaluated anew.
    pub fn replace_rules(&mut self, now: Timestamp, rules: RuleSet) -> Vec<Transition> {
        self.advance_clock(now);
        self.stats = vec![RuleStats::default(); rules.rules().len()];
        self.rules = rules;
        self.timers.stop_rules();
        let mut out = Vec::new();
        self.evaluate_all(&mut out);
        out.extend(self.book.review_all(self.now, (&self.rules, self.now)));
        self.run_timers(self.now, &mut out);
        self.finish(out)
    }

    /// Follows other policies: everything is checked now, and evaluated anew with the next input or
    /// deadline.
    pub fn follow_policies(&mut self, policies: Policies) {
        let settled = self.fleet.follow_policies(policies, self.now);
        for change in settled {
            match change {
                Change::Backup { backup: it, .. } => {
                    self.dirty.fact(Piece::of(&it.node, (EntityKind::Backup, &it.id)));
                }
                Change::Guest { guest: it, .. } => {
                    self.dirty.fact(Piece::of(&it.node, (EntityKind::Guest, &it.id)));
                }
                _ => {}
            }
        }
        // What comes of it is found by the evaluation of everything.
        self.fleet.check_drift();
        self.timers.set(Timer::All, Some(self.now));
        self.snapshot = None;
    }

    /// Everything that outputs show. Made anew only after an input, and shares what did not
    /// change.
    pub fn snapshot(&mut self) -> Arc<Snapshot> {
        if let Some(snapshot) = &self.snapshot {
            return snapshot.clone();
        }
        let status = |(rule, stats): (&Arc<Rule>, &RuleStats)| RuleStatus {
            rule: Arc::clone(rule),
            entities_seen: self.fleet.count(rule.scope) as u64,
            evaluations: stats.evaluations,
            errors: stats.errors,
            last_error: stats.last_error.clone(),
        };
        let rules = self.rules.rules().iter().zip(&self.stats).map(status).collect();
        let snapshot = Arc::new(Snapshot {
            site: self.fleet.site().clone(),
            at: self.now,
            nodes: self.fleet.views(),
            policies: self.fleet.policies().clone(),
            alerts: self.book.all().cloned().collect(),
            rules,
            counters: self.counters(),
        });
        self.snapshot = Some(snapshot.clone());
        snapshot
    }

    /// What was counted since the start.
    pub fn counters(&self) -> Counters {
        let refused = self.book.refused();
        Counters { alerts_refused: refused, fleet: self.fleet.counters(), ..self.counters }
    }

    /// The rules.
    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// A node was spoken of by what the broker may have kept for long.
    fn meet(&mut self, node: &NodeName, was_known: bool) {
        if !was_known && self.fleet.node(node).is_some() {
            self.settling.be_new(node, self.now);
        }
    }

    /// Looks now at what was put off, unless it was set to another time since.
    fn take_up(&mut self, held: Held) {
        for (timer, until) in held {
            if self.timers.get(&timer) == Some(until) {
                self.timers.set(timer, Some(self.now));
            }
        }
    }

    fn advance_clock(&mut self, now: Timestamp) {
        // A clock that was set back must not make anything happen twice.
        self.now = self.now.max(now);
        self.snapshot = None;
        let lateness = self.timers.next().map(|due| self.now.duration_since(due));
        if lateness.is_some_and(|lateness| lateness > ABSENCE_MIN) {
            self.be_absent();
        }
    }

    fn finish(&mut self, out: Vec<Transition>) -> Vec<Transition> {
        self.note_alerts();
        self.counters.transitions += out.len() as u64;
        out
    }

    /// Notes which alerts changed: for the store, and when time will change them next.
    fn note_alerts(&mut self) {
        for (fingerprint, touched) in self.book.take_touched() {
            if let Some(alert) = self.book.find(fingerprint) {
                let key = AlertKey::new(&alert.entity, &alert.rule);
                let timer = Timer::Alert(alert.entity.node.clone(), key);
                self.timers.set(timer, alert.due());
            }
            let piece = Piece::Alert(fingerprint);
            match touched {
                Touched::State => self.dirty.fact(piece),
                Touched::Reading => self.dirty.reading(piece, self.now),
            }
        }
    }

    /// Does what is due until `until`, in order of time.
    fn run_timers(&mut self, until: Timestamp, out: &mut Vec<Transition>) {
        while let Some((at, timer)) = self.timers.pop(until) {
            if self.is_put_off(&timer) {
                continue;
            }
            match timer {
                Timer::All => self.evaluate_all(out),
                Timer::Node(node) => {
                    let changes = self.fleet.pass_time(&node, until);
                    self.follow_all(changes, out);
                    self.arm_node(&node);
                }
                Timer::Rule(node, kind, id, rule) => {
                    self.evaluate_rule(rule, &node, (kind, &id), Cause::Time(at), out);
                }
                Timer::Alert(node, key) => {
                    let context = (&self.rules, self.now);
                    out.extend(self.book.pass_time(&node, &key, at, context));
                    self.note_alerts();
                }
            }
        }
    }
}
