//! How long the whole way takes: from a sample to the ack that answers it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Samples that are remembered, to know how long one took that is answered.
///
/// Overflow: the oldest is forgotten, and its answer, should it still come, measures nothing.
const SAMPLES_REMEMBERED: usize = 8;

/// How long a figure is shown that no newer one follows: a collector answers one sample a minute,
/// and what was good once says nothing of a way that is broken now.
const SHOWN_FOR: Duration = Duration::from_mins(3);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct RoundTrip {
    /// The last samples of this connection: what they say of their time, and when they were sent.
    sent: VecDeque<(Timestamp, Instant)>,
    /// What the last answer took, and when it came.
    last: Option<(Duration, Instant)>,
}

impl RoundTrip {
    pub(super) fn on_sent(&mut self, now: Instant, at: Timestamp) {
        self.sent.push_back((at, now));
        if self.sent.len() > SAMPLES_REMEMBERED {
            self.sent.pop_front();
        }
    }

    /// The answer to the sample that says so of its time.
    pub(super) fn on_answer(&mut self, now: Instant, at: Timestamp) {
        if let Some((_, sent)) = self.sent.iter().find(|(sent_at, _)| *sent_at == at) {
            self.last = Some((now.saturating_duration_since(*sent), now));
        }
    }

    /// What is known of it now, where samples are sent so often.
    pub(super) fn shown(&self, now: Instant, sample_interval: Duration) -> Option<Duration> {
        let (took, answered) = self.last?;
        let shown_for = SHOWN_FOR.max(3 * sample_interval);
        (now.saturating_duration_since(answered) < shown_for).then_some(took)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    #[expect(clippy::disallowed_methods, reason = "an Instant cannot be made otherwise")]
    fn answered() -> (RoundTrip, Instant) {
        let (mut way, sent) = (RoundTrip::default(), Instant::now());
        way.on_sent(sent, Timestamp::UNIX_EPOCH);
        let answered = sent + Duration::from_millis(20);
        way.on_answer(answered, Timestamp::UNIX_EPOCH);
        (way, answered)
    }

    #[test]
    fn a_figure_that_no_newer_one_follows_is_not_shown_for_ever() {
        let (way, answered) = answered();
        let took = Some(Duration::from_millis(20));
        assert_eq!(way.shown(answered, INTERVAL), took);
        let later = answered + SHOWN_FOR;
        assert_eq!(way.shown(later - Duration::from_secs(1), INTERVAL), took);
        assert_eq!(way.shown(later, INTERVAL), None);
        assert_eq!(way.shown(later, Duration::from_secs(600)), took, "samples are seldom");
    }

    #[test]
    fn an_answer_to_what_was_not_sent_measures_nothing() {
        let (mut way, answered) = answered();
        let later = answered + SHOWN_FOR;
        way.on_answer(later, Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(7));
        assert_eq!(way.shown(later, INTERVAL), None);
    }
}
