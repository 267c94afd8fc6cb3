//! How a network interface fares over time, by what it counts from one sample to the next.
//!
//! Time is the node's own since its boot, which no clock that is set changes. A counter that falls
//! was begun anew, or its driver lost count: then nothing is known to have happened since, so that
//! neither is ever taken for a burst. After a boot everything begins anew.

use std::collections::VecDeque;

use pvewatch_protocol::Sample;
use pvewatch_protocol::sample::Interface;
use serde::{Deserialize, Serialize};

use super::reading::Reading;

/// Errors are counted by spans of as many seconds.
const SPAN_SECONDS: f64 = 30.0;

/// How many spans errors are counted over, the present one included: five minutes.
const SPANS: u64 = 10;

/// An interface as its node's newest sample has it, and how it fares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SeenInterface<'a> {
    /// What it counted.
    pub counted: &'a Interface,
    /// How it fares; none of what was recorded before that was followed.
    pub traffic: Option<&'a Traffic>,
}

/// What the counters of an interface come to over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// The interface.
    pub name: String,
    /// What it received since the sample before, in bytes per second; none in the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receive_bytes_per_second: Option<f64>,
    /// What it transmitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transmit_bytes_per_second: Option<f64>,
    /// Errors of both ways over the last five minutes, or since it is known, per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors_per_second: Option<f64>,
    /// Since when it is known, in seconds since boot.
    since: f64,
    /// The spans that had errors, the oldest first; `SPANS` and the newest at most.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    spans: VecDeque<Span>,
}

/// A span of time that had errors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Span {
    /// Its number since boot.
    number: u64,
    /// Those of the samples that follow one in it.
    errors: u64,
}

/// How the interfaces of a sample fare, by the reading before it.
pub(super) fn follow(before: Option<&Reading>, sample: &Sample) -> Vec<Traffic> {
    let now = sample.uptime_seconds;
    let before = before.filter(|before| before.sample.uptime_seconds <= now);
    let follow = |counted: &Interface| {
        let known = before.and_then(|before| {
            let seen = before.interface(&counted.name)?;
            // A sum over other interfaces is not to be compared.
            let is_same = seen.counted.folded == counted.folded;
            let elapsed = now - before.sample.uptime_seconds;
            Some((seen.counted, seen.traffic.filter(|_| is_same)?, elapsed))
        });
        match known {
            Some((counted_before, traffic, elapsed)) => {
                let mut traffic = traffic.clone();
                traffic.go_on((counted_before, counted), elapsed, now);
                traffic
            }
            None => Traffic::new(&counted.name, now),
        }
    };
    sample.interfaces.iter().map(follow).collect()
}

impl Traffic {
    fn new(name: &str, now: f64) -> Self {
        Self {
            name: name.to_owned(),
            receive_bytes_per_second: None,
            transmit_bytes_per_second: None,
            errors_per_second: None,
            since: now,
            spans: VecDeque::new(),
        }
    }

    fn go_on(&mut self, (before, counted): (&Interface, &Interface), elapsed: f64, now: f64) {
        let is_later = elapsed > 0.0;
        let rate = |before: u64, now: u64| {
            Some(rounded(now.checked_sub(before).filter(|_| is_later)? as f64 / elapsed))
        };
        self.receive_bytes_per_second = rate(before.receive_bytes, counted.receive_bytes);
        self.transmit_bytes_per_second = rate(before.transmit_bytes, counted.transmit_bytes);
        let received = counted.receive_errors.saturating_sub(before.receive_errors);
        let transmitted = counted.transmit_errors.saturating_sub(before.transmit_errors);
        let errors = received.saturating_add(transmitted);
        self.count(errors, (now - elapsed, now));
        self.errors_per_second = is_later.then(|| {
            // Where samples are rarer than the window is long, the newest alone counts.
            let is_rare = elapsed >= SPANS as f64 * SPAN_SECONDS;
            rounded(if is_rare { errors as f64 / elapsed } else { self.error_rate(elapsed, now) })
        });
    }

    /// Counts errors by when they can have happened first. So those of one moment are out of the
    /// window before five minutes have passed since they were seen, and an alert that waits for as
    /// long never comes of them.
    fn count(&mut self, errors: u64, (since, now): (f64, f64)) {
        let (number, first) = (span_of(since), first_span(now));
        self.spans.retain(|span| span.number >= first);
        match self.spans.back_mut() {
            _ if errors == 0 => {}
            Some(span) if span.number == number => span.errors = span.errors.saturating_add(errors),
            _ => self.spans.push_back(Span { number, errors }),
        }
    }

    /// The errors of the window, per second.
    fn error_rate(&self, elapsed: f64, now: f64) -> f64 {
        let begin = first_span(now) as f64 * SPAN_SECONDS;
        let errors = self.spans.iter().fold(0u64, |sum, span| sum.saturating_add(span.errors));
        let seconds = match self.since > begin {
            true => now - self.since,
            // From the first sample in the window on, taking them to be equally far apart, but for
            // what a difference of such numbers is off by.
            false => ((now - begin) / elapsed + 0.001).floor().max(1.0) * elapsed,
        };
        errors as f64 / seconds
    }
}

/// To thousandths, which nobody misses, so that what is recorded is read back to the digit.
fn rounded(rate: f64) -> f64 {
    (rate * 1000.0).round() / 1000.0
}

/// The first span of the window that ends now.
fn first_span(now: f64) -> u64 {
    span_of(now).saturating_sub(SPANS - 1)
}

/// The number of the span that a time since boot lies in.
fn span_of(seconds: f64) -> u64 {
    // The cast saturates, and what is not a number becomes 0.
    (seconds / SPAN_SECONDS) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An interface that has counted so many errors at times since boot, and the rates then.
    fn rates(told: &[(f64, u64)]) -> Vec<Option<f64>> {
        let at = |errors| Interface { receive_errors: errors, ..Interface::default() };
        let (begin, mut before) = told[0];
        let (mut traffic, mut last) = (Traffic::new("eno1", begin), begin);
        told[1..]
            .iter()
            .map(|(now, errors)| {
                traffic.go_on((&at(before), &at(*errors)), now - last, *now);
                (before, last) = (*errors, *now);
                assert!(traffic.spans.len() <= 11, "{:?}", traffic.spans);
                traffic.errors_per_second
            })
            .collect()
    }

    #[test]
    fn a_steady_rate_is_found_and_forgotten_five_minutes_after_it_ended() {
        for every in [10_u64, 60, 600] {
            let steady = |step: u64| ((every * step) as f64, 20 * every * step.min(100));
            let found = rates(&(0..=150).map(steady).collect::<Vec<_>>());
            assert!(found[..100].iter().all(|rate| *rate == Some(20.0)), "{every}: {found:?}");
            let after = usize::try_from(300 / every).unwrap();
            assert!(found[100 + after..].iter().all(|rate| *rate == Some(0.0)), "{found:?}");
        }
    }

    #[test]
    fn a_burst_is_gone_before_five_minutes_are_over_however_rare_samples_are() {
        for (every, begin) in [(10_u64, 0_u64), (10, 5), (10, 29), (60, 0), (60, 31), (100, 17)] {
            let burst =
                |step: u64| ((begin + every * step) as f64, if step < 40 { 7 } else { 60_007 });
            let found = rates(&(0..200).map(burst).collect::<Vec<_>>());
            let above: Vec<_> = (0..199).filter(|at| found[*at] > Some(10.0)).collect();
            let (first, last) = (above[0], above[above.len() - 1]);
            assert_eq!(first, 39);
            assert!((last + 1 - first) as u64 * every < 300, "{every} {begin}: {above:?}");
            assert!(found[first].is_some_and(|rate| (200.0..=300.0).contains(&rate)), "{found:?}");
        }
    }

    #[test]
    fn counters_that_fall_tell_of_no_errors_and_of_no_bytes() {
        assert_eq!(
            rates(&[(0.0, 9_000_000), (10.0, 8_999_999), (20.0, 9_000_099)])[..1],
            [Some(0.0)]
        );
        let at = |bytes| Interface { receive_bytes: bytes, ..Interface::default() };
        let mut traffic = Traffic::new("eno1", 0.0);
        traffic.go_on((&at(5000), &at(100)), 10.0, 10.0);
        assert_eq!(traffic.receive_bytes_per_second, None);
        traffic.go_on((&at(100), &at(300)), 10.0, 20.0);
        assert_eq!(traffic.receive_bytes_per_second, Some(20.0));
    }

    #[test]
    fn samples_of_one_moment_divide_by_nothing() {
        assert_eq!(rates(&[(5.0, 0), (5.0, 7)]), [None]);
    }
}
