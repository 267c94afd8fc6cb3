//! What was done: which fault met which state, and what it took.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Counts of one seed or of many.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// How often each fault met an agent in each state.
    pub faults: BTreeMap<(&'static str, &'static str), u64>,
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
    /// Pairs of collectors that were compared in full, beginnings of alerts and all.
    pub compared: u64,
    /// Transitions of alerts.
    pub transitions: u64,
    /// The longest time until all was done.
    pub longest: Duration,
}

impl Tally {
    /// A fault met a state.
    pub fn met(&mut self, fault: &'static str, state: &'static str) {
        *self.faults.entry((fault, state)).or_default() += 1;
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
        self.transitions += other.transitions;
        self.compared += other.compared;
        self.longest = self.longest.max(other.longest);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut states: Vec<&str> = self.faults.keys().map(|(_, state)| *state).collect();
        states.sort_unstable();
        states.dedup();
        write!(f, "{:<32}", "fault, by what it met")?;
        for state in &states {
            write!(f, " {state:>20}")?;
        }
        writeln!(f)?;
        let mut faults: Vec<&str> = self.faults.keys().map(|(fault, _)| *fault).collect();
        faults.dedup();
        for fault in faults {
            write!(f, "{fault:<32}")?;
            for state in &states {
                let count = self.faults.iter().find(|((a, b), _)| *a == fault && b == state);
                write!(f, " {:>20}", count.map_or(0, |(_, count)| *count))?;
            }
            writeln!(f)?;
        }
        writeln!(f, "events committed, for each collector {:>12}", self.committed)?;
        writeln!(f, "  of them declared lost              {:>12}", self.declared)?;
        writeln!(f, "  gone with a collector set back    {:>12}", self.beyond)?;
        writeln!(f, "events published                     {:>12}", self.sent)?;
        writeln!(f, "  of them sent again                 {:>12}", self.resent)?;
        writeln!(f, "events that a collector had already  {:>12}", self.duplicates)?;
        writeln!(f, "events dropped by a bound            {:>12}", self.dropped)?;
        writeln!(f, "collectors compared in full          {:>12}", self.compared)?;
        writeln!(f, "transitions of alerts                {:>12}", self.transitions)
    }
}
