//! The judge: is what was committed to the spools what is applied in the store, once, in order?
//!
//! Independent of what it judges: it reads the agents' spool files ([`spool`]), what systemd told
//! them ([`told`]) and the collector's database ([`store`]) itself. It is told nothing of faults.

pub mod spool;
pub mod store;
pub mod told;

use std::collections::{BTreeMap, BTreeSet};

use self::spool::{Committed, Stream};
use self::store::{Applied, Says};
use self::told::Told;

/// Faults that are told in words; the rest is only counted.
const EXAMPLES_MAX: usize = 20;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Events that were seen in a spool.
    pub committed: u64,
    /// Events that are in the store, each counted once.
    pub applied: u64,
    /// Events up to the last of each stream that are neither in the store nor declared as gone.
    pub lost: u64,
    /// Rows of the store beside another row of the same event.
    pub twice: u64,
    /// Rows that come after a later event of their stream.
    pub out_of_order: u64,
    /// Events in the store that are not what was committed, or that nobody told.
    pub altered: u64,
    /// Ranges that were declared as gone.
    pub ranges_declared: u64,
    /// Events in them that are not in the store.
    pub declared: u64,
    /// Of these, the ones that were seen in a spool.
    pub given_up: u64,
    /// Events declared as gone, by the node that declared them.
    pub declared_by: BTreeMap<String, u64>,
    /// Events in the store that were seen in no spool: they were stored before the disk took them.
    pub from_memory: u64,
    /// Streams of all nodes.
    pub streams: u64,
    /// The first of what is wrong, in words.
    pub examples: Vec<String>,
}

impl Findings {
    /// Whether the promise was kept.
    pub fn is_kept(&self) -> bool {
        self.lost == 0 && self.twice == 0 && self.out_of_order == 0 && self.altered == 0
    }

    /// Events declared as gone by nodes on which nothing happened that could cost an event.
    pub fn unexplained(&self, could_lose: &BTreeSet<String>) -> u64 {
        let others = self.declared_by.iter().filter(|(node, _)| !could_lose.contains(*node));
        others.map(|(_, events)| events).sum()
    }

    fn note(&mut self, text: String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(text);
        }
    }
}

/// What one stream has come to, as far as the store was read.
#[derive(Debug, Default)]
struct Seen {
    rows: BTreeMap<u64, u64>,
    last: u64,
    last_change: Option<i64>,
    /// Ranges that were declared, as (first, last).
    dropped: Vec<(u64, u64)>,
}

/// Takes the rows of the store one by one, and judges them at the end.
#[derive(Debug, Default)]
pub struct Judge {
    seen: BTreeMap<(String, Stream), Seen>,
    told: BTreeMap<String, Told>,
    findings: Findings,
}

impl Judge {
    /// A judge who knows what systemd told on each node.
    pub fn new(told: BTreeMap<String, Told>) -> Self {
        Self { told, ..Self::default() }
    }

    /// Takes the next row of the store.
    pub fn take(&mut self, row: &Applied) {
        let Applied { node, stream, sequence, digest, says } = row;
        let place = || format!("{node}/{stream}/{sequence}");
        let seen = self.seen.entry((node.clone(), stream.clone())).or_default();
        if seen.rows.insert(*sequence, *digest).is_some() {
            self.findings.twice += 1;
            self.findings.note(format!("{} is in the store twice", place()));
        } else if *sequence <= seen.last {
            self.findings.out_of_order += 1;
            self.findings.note(format!("{} was applied after {}", place(), seen.last));
        }
        seen.last = seen.last.max(*sequence);
        match says {
            Says::Dropped { from } => {
                self.findings.ranges_declared += 1;
                seen.dropped.push((*from, *sequence));
            }
            Says::Changed { at, failed } => {
                let was_told = self.told.get(node).and_then(|told| told.changes.get(at));
                if was_told != Some(failed) {
                    self.findings.altered += 1;
                    self.findings.note(format!("{}: systemd told no such change", place()));
                }
                if seen.last_change.is_some_and(|last| last >= *at) {
                    self.findings.out_of_order += 1;
                    self.findings.note(format!("{}: a change that was told earlier", place()));
                }
                seen.last_change = Some(*at);
            }
            Says::Other => {}
        }
    }

    /// Compares with what was committed on each node.
    pub fn judge(mut self, committed: &BTreeMap<String, Committed>) -> Findings {
        for (node, spool) in committed {
            self.findings.committed += spool.events() as u64;
            self.findings.altered += spool.wrong.len() as u64;
            for wrong in &spool.wrong {
                self.findings.note(format!("spool of {node}: {wrong}"));
            }
            for stream in spool.streams.keys() {
                self.seen.entry((node.clone(), stream.clone())).or_default();
            }
        }
        let seen = std::mem::take(&mut self.seen);
        let nothing = BTreeMap::new();
        for ((node, stream), seen) in &seen {
            let events = committed.get(node).and_then(|spool| spool.streams.get(stream));
            let before = self.findings.declared;
            self.judge_stream(&format!("{node}/{stream}"), seen, events.unwrap_or(&nothing));
            let declared = self.findings.declared - before;
            if declared > 0 {
                *self.findings.declared_by.entry(node.clone()).or_default() += declared;
            }
        }
        self.findings
    }

    fn judge_stream(&mut self, name: &str, seen: &Seen, committed: &BTreeMap<u64, u64>) {
        self.findings.streams += 1;
        self.findings.applied += seen.rows.len() as u64;
        // A stream has no holes: whatever is below its last event was committed or declared.
        let last = seen.last.max(committed.keys().next_back().copied().unwrap_or_default());
        let mut missing = BTreeSet::new();
        for sequence in (1..=last).filter(|sequence| !seen.rows.contains_key(sequence)) {
            if seen.dropped.iter().any(|(from, through)| (*from..=*through).contains(&sequence)) {
                self.findings.declared += 1;
                self.findings.given_up += u64::from(committed.contains_key(&sequence));
            } else {
                missing.insert(sequence);
            }
        }
        if let (Some(first), Some(last)) = (missing.first(), missing.last()) {
            let count = missing.len();
            self.findings.lost += count as u64;
            self.findings.note(format!("{name}: {count} of {first} to {last} are not applied"));
        }
        let is_unseen = |sequence: &&u64| !committed.contains_key(sequence);
        self.findings.from_memory += seen.rows.keys().filter(is_unseen).count() as u64;
        for (sequence, digest) in committed {
            let is_other = seen.rows.get(sequence).is_some_and(|applied| applied != digest);
            // A declaration takes the place of the last event that it is about.
            if is_other && !seen.dropped.iter().any(|(_, through)| through == sequence) {
                self.findings.altered += 1;
                self.findings.note(format!("{name}/{sequence} is not what was committed"));
            }
        }
    }
}

#[cfg(test)]
mod tests;
