//! Notices a connection that is up and does nothing.
//!
//! Pure: instants come in as arguments. It knows when the broker was last heard and how long the
//! oldest unanswered packet has waited; time in which this side did not listen is not counted.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::error::ConnectionLost;

/// What is waiting for the broker's answer, in the order in which it was handed over.
#[derive(Debug)]
pub(super) struct Watchdog {
    answer_limit: Duration,
    silence_limit: Duration,
    heard: Instant,
    /// When this side listened again after a pause; answers may have lain unread before.
    resumed: Instant,
    waiting: VecDeque<Instant>,
}

impl Watchdog {
    pub(super) fn new(now: Instant, answer_limit: Duration, silence_limit: Duration) -> Self {
        Self { answer_limit, silence_limit, heard: now, resumed: now, waiting: VecDeque::new() }
    }

    /// Something came in.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// A packet that wants an answer was handed over.
    pub(super) fn asked(&mut self, now: Instant) {
        self.waiting.push_back(now);
    }

    /// The oldest packet is no longer waiting.
    pub(super) fn answered(&mut self) {
        self.waiting.pop_front();
    }

    /// This side did not listen for a while and does now.
    pub(super) fn resumed(&mut self, now: Instant) {
        self.heard = now;
        self.resumed = now;
    }

    /// When to look again.
    pub(super) fn deadline(&self) -> Instant {
        let silence = self.heard + self.silence_limit;
        match self.waiting.front() {
            Some(asked) => silence.min((*asked).max(self.resumed) + self.answer_limit),
            None => silence,
        }
    }

    /// What is wrong, if anything is.
    pub(super) fn verdict(&self, now: Instant) -> Option<ConnectionLost> {
        if let Some(asked) = self.waiting.front()
            && now >= (*asked).max(self.resumed) + self.answer_limit
        {
            return Some(ConnectionLost::NotAcknowledged { limit: self.answer_limit });
        }
        (now >= self.heard + self.silence_limit)
            .then_some(ConnectionLost::Silent { limit: self.silence_limit })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{ConnectionLost, Watchdog};

    const ANSWER: Duration = Duration::from_secs(15);
    const SILENCE: Duration = Duration::from_secs(60);

    fn seconds(start: Instant, count: u64) -> Instant {
        start + Duration::from_secs(count)
    }

    #[test]
    fn an_unanswered_packet_and_a_silent_broker_are_told_apart() {
        let start = Instant::now();
        let mut dog = Watchdog::new(start, ANSWER, SILENCE);
        assert_eq!(dog.deadline(), seconds(start, 60));
        dog.asked(seconds(start, 10));
        dog.asked(seconds(start, 20));
        assert_eq!(dog.deadline(), seconds(start, 25));
        assert_eq!(dog.verdict(seconds(start, 24)), None);
        let stalled = Some(ConnectionLost::NotAcknowledged { limit: ANSWER });
        assert_eq!(dog.verdict(seconds(start, 25)), stalled);
        dog.answered();
        assert_eq!(dog.verdict(seconds(start, 25)), None);
        assert_eq!(dog.deadline(), seconds(start, 35));
        dog.answered();
        dog.heard(seconds(start, 30));
        assert_eq!(dog.verdict(seconds(start, 89)), None);
        let silent = Some(ConnectionLost::Silent { limit: SILENCE });
        assert_eq!(dog.verdict(seconds(start, 90)), silent);
    }

    #[test]
    fn time_in_which_nobody_listened_is_not_counted() {
        let start = Instant::now();
        let mut dog = Watchdog::new(start, ANSWER, SILENCE);
        dog.asked(start);
        dog.resumed(seconds(start, 100));
        assert_eq!(dog.verdict(seconds(start, 114)), None);
        assert_eq!(dog.deadline(), seconds(start, 115));
    }
}
