//! How long to wait between attempts to connect.
//!
//! Delays double from [`DELAY_MIN`] to [`DELAY_MAX`], each with its own jitter, so that a fleet
//! does not come back all at once when its broker does.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// No delay is shorter.
pub const DELAY_MIN: Duration = Duration::from_secs(1);
/// No delay is longer.
pub const DELAY_MAX: Duration = Duration::from_secs(60);

/// The delays, without an end.
#[derive(Debug)]
pub struct Backoff {
    delays: ExponentialBackoff,
}

/// Delays before the first, second, ... attempt after a failure.
pub fn backoff() -> Backoff {
    Backoff { delays: builder().build() }
}

impl Backoff {
    /// How long to wait now; longer at each call.
    pub fn next_delay(&mut self) -> Duration {
        self.delays.next().unwrap_or(DELAY_MAX).clamp(DELAY_MIN, DELAY_MAX)
    }

    /// Begins again with the shortest delay. For a connection that has proved itself: one that
    /// is taken and closed at once would otherwise be retried without a pause.
    pub fn reset(&mut self) {
        self.delays = builder().build();
    }
}

fn builder() -> ExponentialBuilder {
    // The jitter adds up to the delay itself, so half of the longest delay is the ceiling here.
    ExponentialBuilder::new()
        .with_jitter()
        .with_min_delay(DELAY_MIN)
        .with_max_delay(DELAY_MAX / 2)
        .without_max_times()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{DELAY_MAX, DELAY_MIN, backoff};

    #[test]
    fn delays_grow_within_their_bounds_and_begin_again() {
        let mut delays = backoff();
        let seen: Vec<_> = (0..200).map(|_| delays.next_delay()).collect();
        assert!(seen.iter().all(|delay| (DELAY_MIN..=DELAY_MAX).contains(delay)));
        assert!(seen[0] < DELAY_MIN * 2);
        assert!(seen[20] >= DELAY_MAX / 2);
        delays.reset();
        assert!(delays.next_delay() < DELAY_MIN * 2);
    }

    #[test]
    fn an_hour_without_a_broker_is_some_hundred_attempts() {
        const HOUR: Duration = Duration::from_secs(3600);
        for _ in 0..100 {
            let (mut delays, mut waited, mut attempts) = (backoff(), Duration::ZERO, 0);
            while waited < HOUR {
                let delay = delays.next_delay();
                assert!(delay <= DELAY_MAX, "{delay:?}");
                waited += delay;
                attempts += 1;
            }
            // Between 30 s and 60 s each, but for the first few.
            assert!((60..=130).contains(&attempts), "{attempts}");
        }
    }

    #[test]
    fn two_processes_do_not_wait_the_same_delays() {
        let (mut one, mut other) = (backoff(), backoff());
        let pairs = (0..20).map(|_| (one.next_delay(), other.next_delay()));
        assert!(pairs.into_iter().any(|(a, b)| a != b));
    }
}
