//! Which nodes' alerts wait, for what, and until when at most.
//!
//! After an absence, the node's or the collector's own, what is known of a node is old, and its
//! past comes in before its present. What time alone would do to its alerts is put off meanwhile:
//! what follows can tell that the trouble is long over. Facts themselves are not held back.
//!
//! Promises: every wait has a named bound; what was put off is taken up as soon as the wait ends.

use std::collections::{BTreeMap, HashMap};

use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::NodeName;

use super::timers::Timer;
use crate::fleet::{Backlog, Moment};
use crate::rules::Rests;

/// How long the alerts of a node wait after a late event, or after an absence ended: more may
/// follow at once.
pub const SETTLE_FOR: SignedDuration = SignedDuration::from_secs(5);

/// How long they wait at most for late events that follow one another, if nothing else is known
/// to be missing: a node whose events are always late must not be without alerts.
pub const SETTLE_MAX: SignedDuration = SignedDuration::from_secs(60);

/// How long they wait for a past that is known to be missing, or for a node that was not heard
/// yet, while nothing of it comes. Longer than an agent takes at most until it sends again.
pub const PAST_PATIENCE: SignedDuration = SignedDuration::from_mins(6);

/// How long they wait for it at most, however much keeps coming: after that an alert that may be
/// over is better than none. 100,000 events take ten seconds where nothing is slow.
pub const PAST_MAX: SignedDuration = SignedDuration::from_mins(30);

/// The nodes whose alerts wait.
#[derive(Debug, Default)]
pub(super) struct Settling {
    nodes: HashMap<NodeName, Wait>,
}

/// What a node's alerts wait for.
#[derive(Debug, Default)]
struct Wait {
    quiet: Option<Quiet>,
    past: Option<Past>,
    held: Held,
}

/// What was put off, and until when.
pub(super) type Held = BTreeMap<Timer, Timestamp>;

/// Late events follow one another.
#[derive(Debug, Clone, Copy)]
struct Quiet {
    since: Timestamp,
    until: Timestamp,
}

/// Events are missing, or may be: the node was not heard yet. It stays after its time is over, so
/// that one and the same past is not waited for twice.
#[derive(Debug, Clone, Copy)]
struct Past {
    since: Timestamp,
    /// When something of it came last.
    progress_at: Timestamp,
}

impl Settling {
    /// A node, or the collector, was away: what is known of it is old until it is heard.
    pub(super) fn be_absent(&mut self, node: &NodeName, now: Timestamp) {
        let wait = self.nodes.entry(node.clone()).or_default();
        wait.be_late(now);
        wait.past = Some(Past { since: now, progress_at: now });
    }

    /// A node was never heard of before: what the broker had kept of it can be old.
    pub(super) fn be_new(&mut self, node: &NodeName, now: Timestamp) {
        let past = Some(Past { since: now, progress_at: now });
        self.nodes.insert(node.clone(), Wait { past, ..Wait::default() });
    }

    /// Whether a node's alerts have waited for late events for as long as they may: then what is
    /// due comes before they wait again.
    pub(super) fn has_waited(&self, node: &NodeName, now: Timestamp) -> bool {
        let quiet = self.nodes.get(node).and_then(|wait| wait.quiet);
        quiet.is_some_and(|quiet| quiet.until <= now)
    }

    /// A late event came: more may follow at once.
    pub(super) fn be_late(&mut self, node: &NodeName, now: Timestamp) {
        let wait = self.nodes.entry(node.clone()).or_default();
        wait.be_late(now);
        if let Some(past) = &mut wait.past {
            past.progress_at = now;
        }
    }

    /// A sample came, which says what is missing.
    pub(super) fn hear(&mut self, node: &NodeName, backlog: Backlog, now: Timestamp) -> Held {
        // A sample overtakes the events before it: only what is still missing at the next one is
        // late.
        let is_late = backlog.events > 0 && backlog.since.is_some_and(|since| since < now);
        if is_late {
            let wait = self.nodes.entry(node.clone()).or_default();
            wait.past.get_or_insert(Past { since: now, progress_at: now });
        }
        let Some(wait) = self.nodes.get_mut(node) else { return Held::default() };
        let held = std::mem::take(&mut wait.held);
        if backlog.events == 0 {
            wait.past = None;
            if wait.quiet.is_none_or(|quiet| quiet.until <= now) {
                self.nodes.remove(node);
            }
        }
        held
    }

    /// An event came that has just happened: what came before it has come.
    pub(super) fn be_present(&mut self, node: &NodeName) -> Held {
        self.nodes.remove(node).unwrap_or_default().held
    }

    /// Until when something of a node has to wait; none if it has not.
    pub(super) fn until(&self, node: &NodeName, rests: Rests, now: Timestamp) -> Option<Timestamp> {
        let wait = self.nodes.get(node)?;
        let quiet = wait.quiet.map(|quiet| quiet.until);
        let past = wait.past.filter(|_| rests.waits_for_the_past()).map(Past::until);
        quiet.into_iter().chain(past).max().filter(|until| *until > now)
    }

    /// Notes that something was put off.
    pub(super) fn hold(&mut self, node: &NodeName, timer: Timer, until: Timestamp) {
        self.nodes.entry(node.clone()).or_default().held.insert(timer, until);
    }

    /// Something waits no longer.
    pub(super) fn let_go(&mut self, node: &NodeName, timer: &Timer) {
        if let Some(wait) = self.nodes.get_mut(node) {
            wait.held.remove(timer);
        }
    }

    /// The clock was set: what is under way moves along.
    pub(super) fn shift(&mut self, by: SignedDuration) {
        let moved = |at| after(at, by);
        for wait in self.nodes.values_mut() {
            if let Some(Quiet { since, until }) = &mut wait.quiet {
                (*since, *until) = (moved(*since), moved(*until));
            }
            if let Some(Past { since, progress_at }) = &mut wait.past {
                (*since, *progress_at) = (moved(*since), moved(*progress_at));
            }
            wait.held.values_mut().for_each(|until| *until = moved(*until));
        }
    }
}

impl Wait {
    fn be_late(&mut self, now: Timestamp) {
        let until = after(now, SETTLE_FOR);
        let known = self.quiet.filter(|quiet| quiet.until > now);
        let quiet = known.unwrap_or(Quiet { since: now, until });
        let latest = after(quiet.since, SETTLE_MAX);
        self.quiet = Some(Quiet { until: until.min(latest).max(quiet.until), ..quiet });
    }
}

impl Past {
    fn until(self) -> Timestamp {
        after(self.progress_at, PAST_PATIENCE).min(after(self.since, PAST_MAX))
    }
}

fn after(at: Timestamp, duration: SignedDuration) -> Timestamp {
    Moment::both(at).after(duration).judged
}
