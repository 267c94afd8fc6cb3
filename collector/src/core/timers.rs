//! Deadlines as data: what must be looked at when, in order.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::NodeName;

use crate::alerts::AlertKey;
use crate::fleet::{EntityKind, Moment};

/// What must be looked at when its time has come.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Timer {
    /// Everything, once after a start: the rules can be others than before.
    All,
    /// Whether a node can still be heard.
    Node(NodeName),
    /// Whether a rule holds for an entity: an `older()` of its condition becomes true.
    Rule(NodeName, EntityKind, Arc<str>, usize),
    /// An alert whose `for` or `keep_firing_for` ends.
    Alert(NodeName, AlertKey),
}

impl Timer {
    /// The node that it is about.
    pub(super) fn node(&self) -> Option<&NodeName> {
        match self {
            Self::All => None,
            Self::Node(node) | Self::Rule(node, ..) | Self::Alert(node, _) => Some(node),
        }
    }
}

/// Timers, each with at most one time. Their number is bounded by that of entities and alerts.
#[derive(Debug, Default)]
pub(super) struct Timers {
    order: BTreeSet<(Timestamp, Timer)>,
    times: HashMap<Timer, Timestamp>,
}

impl Timers {
    /// Sets a timer to a time, or stops it.
    pub(super) fn set(&mut self, timer: Timer, at: Option<Timestamp>) {
        let before = match at {
            Some(at) => self.times.insert(timer.clone(), at),
            None => self.times.remove(&timer),
        };
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.order.remove(&(before, timer.clone()));
        }
        if let Some(at) = at {
            self.order.insert((at, timer));
        }
    }

    /// When a timer is due.
    pub(super) fn get(&self, timer: &Timer) -> Option<Timestamp> {
        self.times.get(timer).copied()
    }

    /// When the first timer is due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes out the first timer that is due at `until`.
    pub(super) fn pop(&mut self, until: Timestamp) -> Option<(Timestamp, Timer)> {
        if self.next()? > until {
            return None;
        }
        let (at, timer) = self.order.pop_first()?;
        self.times.remove(&timer);
        Some((at, timer))
    }

    /// Moves all timers by as much.
    pub(super) fn shift(&mut self, by: SignedDuration) {
        for at in self.times.values_mut() {
            *at = Moment::both(*at).after(by).judged;
        }
        self.order = self.times.iter().map(|(timer, at)| (*at, timer.clone())).collect();
    }

    /// Stops all timers of rules.
    pub(super) fn stop_rules(&mut self) {
        let of_rule = |timer: &Timer| matches!(timer, Timer::Rule(..));
        self.order.retain(|(_, timer)| !of_rule(timer));
        self.times.retain(|timer, _| !of_rule(timer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_come_in_order_and_only_at_their_last_time() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let node = |name: &str| Timer::Node(name.parse().unwrap());
        let mut timers = Timers::default();
        timers.set(node("a"), Some(at(30)));
        timers.set(node("b"), Some(at(20)));
        timers.set(node("a"), Some(at(10)));
        timers.set(node("c"), Some(at(15)));
        timers.set(node("c"), None);
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.pop(at(9)), None);
        assert_eq!(timers.pop(at(99)), Some((at(10), node("a"))));
        assert_eq!(timers.pop(at(99)), Some((at(20), node("b"))));
        assert_eq!(timers.pop(at(99)), None);
    }
}
