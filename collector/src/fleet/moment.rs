//! One point in time, told by two clocks: the node's, and the collector's.
//!
//! Alerts say when something happened by the node's clock, so that two collectors say the same.
//! Whether something has lasted is judged by the collector's clock, so that a node whose clock is
//! wrong is not judged wrongly.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How far in the future an event's time may lie before it is not believed.
pub const FUTURE_TOLERANCE: SignedDuration = SignedDuration::from_secs(5 * 60);

/// A clock that differs by less is taken to be right: deliveries take their time too.
pub const SKEW_TOLERANCE: SignedDuration = SignedDuration::from_secs(10);

/// An event that took longer to arrive comes from a backlog: more may follow at once.
pub const LATE_AFTER: SignedDuration = SignedDuration::from_secs(10);

/// A point in time by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Moment {
    /// By the clock of the node, or the collector's where no fact has a time.
    pub fact: Timestamp,
    /// By the collector's clock; never after the moment at which it was received.
    pub judged: Timestamp,
}

impl Moment {
    /// A moment that both clocks tell alike.
    pub fn both(at: Timestamp) -> Self {
        Self { fact: at, judged: at }
    }

    /// The moment of something that a node says happened at `time`.
    ///
    /// `skew` is how far the collector's clock is ahead of the node's. A time that lies more than
    /// [`FUTURE_TOLERANCE`] after `received_at` is replaced by it.
    pub fn judge(time: Timestamp, received_at: Timestamp, skew: SignedDuration) -> Self {
        let fact = if is_future(time, received_at) { received_at } else { time };
        Self { fact, judged: Self::expect(time, skew).judged.min(received_at) }
    }

    /// The moment that a node's clock will show at `time`, or showed.
    pub fn expect(time: Timestamp, skew: SignedDuration) -> Self {
        let judged = if skew.abs() < SKEW_TOLERANCE { time } else { shift(time, skew) };
        Self { fact: time, judged }
    }

    /// Whether what happened then was on its way for long when it was received.
    pub(super) fn is_late(self, received_at: Timestamp) -> bool {
        received_at.duration_since(self.judged) > LATE_AFTER
    }

    /// The moment this much later, by both clocks.
    pub fn after(self, duration: SignedDuration) -> Self {
        Self { fact: shift(self.fact, duration), judged: shift(self.judged, duration) }
    }
}

/// Whether a node's time lies so far ahead that it is not believed.
pub(crate) fn is_future(time: Timestamp, received_at: Timestamp) -> bool {
    time > shift(received_at, FUTURE_TOLERANCE)
}

/// The time this much later, held within what a timestamp can express.
pub(crate) fn shift(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.saturating_add(by).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn seconds(seconds: i64) -> SignedDuration {
        SignedDuration::from_secs(seconds)
    }

    #[test]
    fn times_are_told_by_both_clocks() {
        // (time, received, skew) -> (fact, judged)
        let cases = [
            // An ordinary event, a second on its way.
            ((0, 1, 0), (0, 0)),
            // Small differences of the clocks are left alone, but nothing is after its receipt.
            ((5, 1, -4), (5, 1)),
            // The node is an hour behind: its time is kept, its age is not believed.
            ((-3600, 1, 3600), (-3600, 0)),
            // The node is an hour ahead: its time is not believed at all.
            ((3600, 1, -3599), (1, 1)),
            // An event of a backlog, clocks right.
            ((-7200, 1, 0), (-7200, -7200)),
        ];
        for ((time, received, skew), (fact, judged)) in cases {
            let moment = Moment::judge(at(time), at(received), seconds(skew));
            assert_eq!(moment, Moment { fact: at(fact), judged: at(judged) }, "{time} {skew}");
        }
    }

    #[test]
    fn the_end_of_time_is_no_overflow() {
        assert_eq!(shift(Timestamp::MAX, seconds(1)), Timestamp::MAX);
    }
}
