//! How long it takes from the end of a fault until everything that was committed by then is
//! stored. Pure: time is an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use super::checker::spool::Stream;
use super::fault::Kind;

/// By node and stream, the last event that was committed or stored.
pub type Positions = BTreeMap<(String, Stream), u64>;

/// One recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    /// From what.
    pub kind: Kind,
    /// How long it took.
    pub took: Duration,
}

/// What has not recovered yet, and the longest recovery so far.
#[derive(Debug, Default)]
pub struct Recoveries {
    waiting: Vec<(Kind, Duration, Positions)>,
    longest: Option<Recovery>,
}

impl Recoveries {
    /// A fault was mended, when this was committed.
    pub fn mended(&mut self, now: Duration, kind: Kind, committed: Positions) {
        self.waiting.push((kind, now, committed));
    }

    /// This much is stored now. Gives what has just recovered.
    pub fn stored(&mut self, now: Duration, stored: &Positions) -> Vec<Recovery> {
        let mut recovered = Vec::new();
        self.waiting.retain(|(kind, since, committed)| {
            if !covers(stored, committed) {
                return true;
            }
            let recovery = Recovery { kind: *kind, took: now.saturating_sub(*since) };
            if self.longest.is_none_or(|longest| longest.took < recovery.took) {
                self.longest = Some(recovery);
            }
            recovered.push(recovery);
            false
        });
        recovered
    }

    /// The longest so far.
    pub fn longest(&self) -> Option<Recovery> {
        self.longest
    }
}

/// Whether all that was committed is stored.
pub fn covers(stored: &Positions, committed: &Positions) -> bool {
    let lacks = |(stream, last): (&(String, Stream), &u64)| {
        stored.get(stream).copied().unwrap_or_default() < *last
    };
    !committed.iter().any(lacks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn positions(sequence: u64) -> Positions {
        BTreeMap::from([(("pve1".to_owned(), "s".to_owned()), sequence)])
    }

    #[test]
    fn a_recovery_ends_when_what_was_committed_by_then_is_stored() {
        let at = Duration::from_secs;
        let mut recoveries = Recoveries::default();
        recoveries.mended(at(10), Kind::Cut, positions(5));
        recoveries.mended(at(11), Kind::Reboot, positions(9));
        assert_eq!(recoveries.stored(at(12), &positions(4)), []);
        assert_eq!(recoveries.longest(), None);
        let cut = Recovery { kind: Kind::Cut, took: at(3) };
        assert_eq!(recoveries.stored(at(13), &positions(6)), [cut]);
        assert_eq!(recoveries.longest(), Some(cut));
        recoveries.stored(at(20), &positions(9));
        assert_eq!(recoveries.longest(), Some(Recovery { kind: Kind::Reboot, took: at(9) }));
    }
}
