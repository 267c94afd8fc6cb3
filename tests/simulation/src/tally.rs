//! What was done: which fault met which state, and what it took.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::faults::Fault;
use crate::{broker, collector, node};

/// Counts of one seed or of many.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// How often each fault happened while an agent, a collector, the broker was in each state.
    pub faults: BTreeMap<(Fault, &'static str, &'static str), u64>,
    /// Events published, repeats among them.
    pub sent: u64,
    /// Of them, those that an agent start sent again.
    pub resent: u64,
    /// Events dropped because of a bound.
    pub dropped: u64,
    /// Events that were to be delivered, for each collector.
    pub committed: u64,
    /// Of them, those that were declared lost.
    pub declared: u64,
    /// Of them, those that a collector lost when it was set back, and that nobody held any more.
    pub beyond: u64,
    /// Events that collectors had already.
    pub duplicates: u64,
    /// Units and guests that pictures found otherwise than events had told.
    pub corrections: u64,
    /// Pairs of collectors.
    pub pairs: u64,
    /// Of them, those of which all was compared that they say of what both have heard.
    pub pairs_compared: u64,
    /// Of them, those that had heard the same of all before: there the whole past was compared.
    pub dated: u64,
    /// Alerts and notices that were the same, byte for byte.
    pub compared: u64,
    /// Transitions of alerts.
    pub transitions: u64,
    /// The longest time until all was done.
    pub longest: Duration,
}

impl Tally {
    /// A fault met an agent, a collector, or the broker in a state.
    pub fn met(&mut self, fault: Fault, whom: &'static str, state: &'static str) {
        *self.faults.entry((fault, whom, state)).or_default() += 1;
    }

    /// All was done at this time.
    pub fn settled_after(&mut self, elapsed: Duration) {
        self.longest = self.longest.max(elapsed);
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: &Self) {
        for (key, count) in &other.faults {
            *self.faults.entry(*key).or_default() += count;
        }
        self.sent += other.sent;
        self.resent += other.resent;
        self.dropped += other.dropped;
        self.committed += other.committed;
        self.declared += other.declared;
        self.beyond += other.beyond;
        self.duplicates += other.duplicates;
        self.corrections += other.corrections;
        self.transitions += other.transitions;
        self.pairs += other.pairs;
        self.pairs_compared += other.pairs_compared;
        self.dated += other.dated;
        self.compared += other.compared;
        self.longest = self.longest.max(other.longest);
    }
}

/// The states that a fault can meet, by whom they are of.
const STATES: [(&str, &[&str]); 3] =
    [("agent", &node::STATES), ("collector", &collector::STATES), ("broker", &broker::STATES)];

impl Tally {
    /// Which fault met which state how often, and which never did.
    fn coverage(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut never = Vec::new();
        for (whom, states) in STATES {
            write!(f, "{:<34}", format!("faults, by the state of the {whom}"))?;
            for state in states {
                write!(f, " {state:>18}")?;
            }
            writeln!(f)?;
            for fault in Fault::ALL {
                write!(f, "{:<34}", fault.as_str())?;
                for state in states {
                    let count = self.faults.get(&(fault, whom, *state)).copied().unwrap_or(0);
                    write!(f, " {count:>18}")?;
                    if count == 0 && !is_impossible(fault, whom, state) {
                        never.push(format!("{} / {whom} {state}", fault.as_str()));
                    }
                }
                writeln!(f)?;
            }
        }
        let count = never.len();
        let never = if never.is_empty() { "none".to_owned() } else { never.join(", ") };
        writeln!(f, "pairs that never met ({count}): {never}")
    }
}

/// What is down cannot be killed, and what is cut off cannot be cut off.
fn is_impossible(fault: Fault, whom: &str, state: &str) -> bool {
    match (fault, whom) {
        (Fault::AgentKilled | Fault::PowerLost, "agent") => state == node::DOWN,
        (Fault::AgentCutOff, "agent") => node::UNCONNECTED.contains(&state),
        (
            Fault::KilledBeforeCommit | Fault::KilledAfterCommit | Fault::CollectorKilled,
            "collector",
        ) => state == collector::DOWN,
        (Fault::CollectorCutOff, "collector") => {
            [collector::DOWN, collector::DEAF].contains(&state)
        }
        // Without a broker nobody is connected.
        (Fault::AgentCutOff | Fault::CollectorCutOff, "broker") => state == "down",
        _ => false,
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.coverage(f)?;
        writeln!(f, "events committed, for each collector {:>12}", self.committed)?;
        writeln!(f, "  of them declared lost              {:>12}", self.declared)?;
        writeln!(f, "  gone with a collector set back    {:>12}", self.beyond)?;
        writeln!(f, "events published                     {:>12}", self.sent)?;
        writeln!(f, "  of them sent again                 {:>12}", self.resent)?;
        writeln!(f, "events that a collector had already  {:>12}", self.duplicates)?;
        writeln!(f, "what pictures found otherwise        {:>12}", self.corrections)?;
        writeln!(f, "events dropped by a bound            {:>12}", self.dropped)?;
        writeln!(f, "pairs of collectors                  {:>12}", self.pairs)?;
        writeln!(f, "  compared in all they say           {:>12}", self.pairs_compared)?;
        writeln!(f, "  of them with the whole past        {:>12}", self.dated)?;
        writeln!(f, "  alerts and notices they both say   {:>12}", self.compared)?;
        writeln!(f, "transitions of alerts                {:>12}", self.transitions)
    }
}
