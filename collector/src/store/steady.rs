//! The time by which history grows old: the wall clock, unless it jumped.
//!
//! A clock that is suddenly a year ahead must not cost a year of history. So the steady time goes
//! on by what has really passed, and follows the wall clock only within [`JUMP_MIN`]; a jump
//! beyond it is believed once the clock has stood by it for [`BELIEVED_AFTER`] of running.
//! A clock that was set back makes everything younger, which deletes nothing.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// A difference below this is believed at once: it costs at most a day of history. A collector
/// that was switched off over night is within it.
pub const JUMP_MIN: SignedDuration = SignedDuration::from_hours(24);

/// How long the clock must stand by a jump, counted while the collector runs: long enough for
/// somebody to see the warning after a weekend.
pub const BELIEVED_AFTER: Duration = Duration::from_secs(72 * 60 * 60);

/// See the module. Its text form is what the store keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SteadyTime {
    at: Timestamp,
    doubt: Option<Doubt>,
}

/// The wall clock differs by more than can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Doubt {
    /// How far the wall clock is ahead.
    ahead: SignedDuration,
    /// For how long it stands by that.
    lasted: Duration,
}

impl SteadyTime {
    /// Begins at a time that is known to have been.
    pub(super) fn new(at: Timestamp) -> Self {
        Self { at, doubt: None }
    }

    /// Goes on by `elapsed`, which is measured by a clock that nobody can set; the wall clock
    /// says `wall`. Returns the time by which age is to be judged, never after `wall`.
    pub(super) fn advance(&mut self, wall: Timestamp, elapsed: Duration) -> Timestamp {
        let elapsed_signed = SignedDuration::try_from(elapsed).unwrap_or(SignedDuration::MAX);
        self.at = self.at.saturating_add(elapsed_signed).unwrap_or(Timestamp::MAX);
        let ahead = wall.duration_since(self.at);
        if ahead.abs() <= JUMP_MIN {
            *self = Self::new(wall);
            return wall;
        }
        let doubt = match self.doubt {
            Some(doubt) if (ahead - doubt.ahead).abs() <= JUMP_MIN => {
                Doubt { lasted: doubt.lasted.saturating_add(elapsed), ..doubt }
            }
            _ => Doubt { ahead, lasted: Duration::ZERO },
        };
        self.doubt = Some(doubt);
        if doubt.lasted >= BELIEVED_AFTER {
            *self = Self::new(wall);
        }
        self.at.min(wall)
    }

    /// How far the wall clock is ahead of what is believed, if it is not believed.
    pub(super) fn doubt(&self) -> Option<SignedDuration> {
        self.doubt.map(|doubt| doubt.ahead)
    }
}

impl fmt::Display for SteadyTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.at.as_microsecond())?;
        match self.doubt {
            Some(Doubt { ahead, lasted }) => {
                write!(f, " {} {}", ahead.as_secs(), lasted.as_secs())
            }
            None => Ok(()),
        }
    }
}

/// The text is not one that was written here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a steady time")]
pub(super) struct NotSteadyTime;

impl FromStr for SteadyTime {
    type Err = NotSteadyTime;

    fn from_str(text: &str) -> Result<Self, NotSteadyTime> {
        let mut words = text.split(' ');
        let at = words.next().and_then(|word| word.parse().ok()).ok_or(NotSteadyTime)?;
        let at = Timestamp::from_microsecond(at).map_err(|_| NotSteadyTime)?;
        let doubt = match (words.next(), words.next(), words.next()) {
            (None, None, None) => None,
            (Some(ahead), Some(lasted), None) => Some(Doubt {
                ahead: SignedDuration::from_secs(ahead.parse().map_err(|_| NotSteadyTime)?),
                lasted: Duration::from_secs(lasted.parse().map_err(|_| NotSteadyTime)?),
            }),
            _ => return Err(NotSteadyTime),
        };
        Ok(Self { at, doubt })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// Steps of (seconds that really pass, what the wall clock says then) -> the judged time.
    fn check(steps: &[(i64, i64, i64)]) {
        let mut time = SteadyTime::new(at(0));
        for (place, (elapsed, wall, expected)) in steps.iter().enumerate() {
            let elapsed = Duration::from_secs(u64::try_from(*elapsed).unwrap());
            let found = time.advance(at(*wall), elapsed);
            assert_eq!(found, at(*expected), "step {place} of {steps:?}");
            assert_eq!(time.to_string().parse(), Ok(time), "step {place}");
        }
    }

    #[test]
    fn it_follows_a_clock_that_is_right_or_nearly_so() {
        check(&[(1, 1, 1), (1, 5, 5), (1, 4, 4), (1, HOUR, HOUR), (0, 20 * HOUR, 20 * HOUR)]);
    }

    #[test]
    fn a_jump_ahead_is_believed_only_after_three_days_of_running() {
        const YEAR: i64 = 365 * DAY;
        check(&[
            (0, YEAR, 0),
            (DAY, YEAR + DAY, DAY),
            (DAY, YEAR + 2 * DAY, 2 * DAY),
            (DAY, YEAR + 3 * DAY, YEAR + 3 * DAY),
            (1, YEAR + 3 * DAY + 1, YEAR + 3 * DAY + 1),
        ]);
    }

    #[test]
    fn a_jump_that_is_taken_back_leaves_no_trace() {
        const YEAR: i64 = 365 * DAY;
        check(&[
            (HOUR, YEAR, HOUR),
            (DAY, YEAR + DAY, HOUR + DAY),
            (1, HOUR + DAY + 1, HOUR + DAY + 1),
        ]);
    }

    #[test]
    fn a_clock_that_jumps_about_is_never_believed() {
        check(&[(DAY, 100 * DAY, DAY), (DAY, 200 * DAY, 2 * DAY), (2 * DAY, 300 * DAY, 4 * DAY)]);
    }

    #[test]
    fn a_clock_that_was_set_back_makes_nothing_older() {
        check(&[(1, -100 * DAY, -100 * DAY), (1, 2, 2)]);
        // A battery was empty: after three days the clock is believed, and when it is set right
        // that is a jump ahead, with its three days.
        check(&[
            (0, -100 * DAY, -100 * DAY),
            (3 * DAY, -97 * DAY, -97 * DAY),
            (1, 3 * DAY, -97 * DAY + 1),
        ]);
    }
}
