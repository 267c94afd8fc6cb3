//! Notices that the wall clock was set: it and the steady clock have gone on by different times.
//!
//! Pure: both times come in as arguments. A machine that slept looks the same, and is the same:
//! what was under way did not go on meanwhile.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// A difference below this is the slewing of a clock, or a scheduler's delay.
pub(super) const JUMP_MIN: SignedDuration = SignedDuration::from_secs(15);

/// The wall clock as it was looked at last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    wall: Timestamp,
    steady: Duration,
}

impl Pace {
    /// Begins now; `steady` counts from anywhere, by a clock that nobody can set.
    pub(super) fn new(wall: Timestamp, steady: Duration) -> Self {
        Self { wall, steady }
    }

    /// Looks at both clocks; how far the wall clock was set ahead since the last look, if it was.
    pub(super) fn look(&mut self, wall: Timestamp, steady: Duration) -> Option<SignedDuration> {
        let passed = steady.saturating_sub(self.steady);
        let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
        let by = wall.duration_since(self.wall).saturating_sub(passed);
        *self = Self { wall, steady };
        (by.abs() >= JUMP_MIN).then_some(by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_is_noticed_once_and_one_that_drifts_is_not() {
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let mut pace = Pace::new(at(0), Duration::from_secs(100));
        // (steady, wall) -> how far it was set ahead
        for (steady, wall, expected) in [
            (101, 1, None),
            (102, 4, None),
            (103, 3605, Some(3600)),
            (104, 3606, None),
            (200, 3702, None),
            (201, 103, Some(-3600)),
            (202, 104, None),
            (202, 119, Some(15)),
        ] {
            let found = pace.look(at(wall), Duration::from_secs(steady));
            assert_eq!(found, expected.map(SignedDuration::from_secs), "{steady} {wall}");
        }
    }
}
