//! How far a node's clock is from the collector's, from the samples that it sends.
//!
//! A sample takes its time to arrive, so each one says too much by its delay, and the least of
//! them is nearest to the truth. The least of a window counts, so that a clock that drifts is
//! followed; a clock that was set is believed as soon as [`STEP_SAMPLES`] samples agree on it.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::moment::shift;

/// Half of the window: the least of the present half and of the one before it counts.
const HALF_WINDOW: SignedDuration = SignedDuration::from_mins(5);

/// Samples that must agree on another difference. A sample that was held up is alone, or the
/// ones held up with it differ from it.
pub const STEP_SAMPLES: usize = 3;

/// A clock that is set by less than this is followed by the window alone, in seconds.
const STEP_SECONDS: f64 = 5.0;

/// Differences that lie within this agree, in seconds.
const AGREE_SECONDS: f64 = 1.0;

/// What is known of a node's clock.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Skew {
    /// When the present half of the window began, by the collector's clock.
    since: Option<Timestamp>,
    /// The least difference of the present half, in seconds.
    least: Option<f64>,
    /// The least difference of the half before.
    least_before: Option<f64>,
    /// The newest differences.
    newest: VecDeque<f64>,
}

impl Skew {
    /// Notes a sample that says it was sent at `sent_at`.
    pub(crate) fn note(&mut self, sent_at: Timestamp, received_at: Timestamp) {
        let seconds = received_at.duration_since(sent_at).as_secs_f64();
        if self.newest.len() == STEP_SAMPLES {
            self.newest.pop_front();
        }
        self.newest.push_back(seconds);
        let age = self.since.map(|since| received_at.duration_since(since));
        match age {
            // A collector's clock that was set back begins a window too.
            Some(age) if !age.is_negative() && age < HALF_WINDOW => {
                self.least = Some(self.least.map_or(seconds, |least| least.min(seconds)));
            }
            _ => {
                let is_next = age.is_some_and(|age| age < HALF_WINDOW * 2 && !age.is_negative());
                // After a long silence a sample that was held up is not believed by itself.
                let is_doubtful = |known: &f64| seconds - known >= STEP_SECONDS;
                let known = self.seconds().filter(is_doubtful);
                self.least_before = if is_next { self.least } else { known };
                self.least = Some(seconds);
                self.since = Some(received_at);
            }
        }
        let agreed = self.agreed();
        if let (Some(agreed), Some(known)) = (agreed, self.seconds())
            && (agreed - known).abs() >= STEP_SECONDS
        {
            self.least = Some(agreed);
            self.least_before = None;
            self.since = Some(received_at);
        }
    }

    /// The collector's clock was set ahead by as much.
    pub(crate) fn clock_jumped(&mut self, by: SignedDuration) {
        self.since = self.since.map(|since| shift(since, by));
        let seconds = by.as_secs_f64();
        let differences = self.least.iter_mut().chain(&mut self.least_before);
        differences.chain(&mut self.newest).for_each(|difference| *difference += seconds);
    }

    /// How far the collector's clock is ahead of the node's, in seconds; none before a sample.
    pub fn seconds(&self) -> Option<f64> {
        self.least.into_iter().chain(self.least_before).reduce(f64::min)
    }

    /// What the newest samples say alike, the least of them; none if they differ.
    fn agreed(&self) -> Option<f64> {
        let least = self.newest.iter().copied().reduce(f64::min)?;
        let most = self.newest.iter().copied().reduce(f64::max)?;
        (self.newest.len() == STEP_SAMPLES && most - least <= AGREE_SECONDS).then_some(least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples as (received at, sent at) in milliseconds; the skew in milliseconds after all.
    fn check(samples: &[(i64, i64)], expected_ms: i64) {
        let at = |ms| Timestamp::from_millisecond(1_800_000_000_000 + ms).unwrap();
        let mut skew = Skew::default();
        for (received, sent) in samples {
            skew.note(at(*sent), at(*received));
        }
        let found = skew.seconds().unwrap();
        assert!((found - expected_ms as f64 / 1000.0).abs() < 1e-6, "{found} of {samples:?}");
    }

    #[test]
    fn the_quickest_delivery_of_the_window_counts() {
        check(&[(40, 0)], 40);
        check(&[(40, 0), (10_003, 10_000), (20_400, 20_000)], 3);
        check(&[(-2_990, 0), (7_010, 10_000)], -2_990);
    }

    #[test]
    fn samples_that_were_held_up_change_nothing() {
        check(&[(3, 0), (50_000, 10_000), (50_001, 20_000), (50_002, 30_000)], 3);
    }

    #[test]
    fn samples_that_were_held_up_for_long_change_nothing() {
        check(&[(3, 0), (7_200_000, 100_000), (7_200_001, 110_000), (7_200_002, 120_000)], 3);
    }

    #[test]
    fn a_clock_that_was_set_is_believed_after_three_samples() {
        const HOUR: i64 = 3_600_000;
        let set_back = [(3, 0), (10_003, 10_000 - HOUR), (20_003, 20_000 - HOUR)];
        check(&set_back, 3);
        check(&[&set_back[..], &[(30_004, 30_000 - HOUR)]].concat(), HOUR + 3);
        // Ahead: nothing arrives before it was sent, so one sample is enough.
        check(&[(3, 0), (10_003, 10_000 + HOUR)], 3 - HOUR);
    }

    #[test]
    fn a_clock_that_drifts_is_followed() {
        let drift = |n: i64| (n * 60_000 + n * 100, n * 60_000);
        let samples: Vec<_> = (0..20).map(drift).collect();
        let mut skew = Skew::default();
        let at = |ms| Timestamp::from_millisecond(1_800_000_000_000 + ms).unwrap();
        for (received, sent) in &samples {
            skew.note(at(*sent), at(*received));
        }
        let found = skew.seconds().unwrap();
        assert!((0.9..=1.9).contains(&found), "{found}: at most two halves behind 1.9");
    }

    #[test]
    fn a_window_that_is_long_over_counts_no_more() {
        check(&[(3, 0), (3_600_900, 3_600_000)], 900);
    }
}
