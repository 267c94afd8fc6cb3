//! What the collector counts of its own work, for `/metrics`.
//!
//! Counting is a few atomic additions and never waits. The number of labels is fixed: a kind of
//! event that this version does not know counts as `unknown`.

use std::array;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::ingest::Reason;

/// The kinds of events that are counted apart; the last stands for all others.
pub const KINDS: [&str; 13] = [
    "agent.started",
    "agent.stopping",
    "unit.changed",
    "unit.removed",
    "unit.log",
    "backup.started",
    "backup.finished",
    "backup_job.finished",
    "task.finished",
    "guest.changed",
    "guest.removed",
    "outbox.dropped",
    "unknown",
];

/// Upper bounds of the buckets of times, in seconds; beyond the last is one more.
pub const SECONDS_BOUNDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 60.0, 3600.0];

/// Upper bounds of the buckets of batch sizes, in messages; beyond the last is one more.
pub const BATCH_BOUNDS: [f64; 8] = [1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1000.0];

/// Counters and readings since the process started.
#[derive(Debug, Default)]
pub struct Counters {
    events_applied: [AtomicU64; KINDS.len()],
    rejects: [AtomicU64; Reason::ALL.len()],
    /// Events that were stored already.
    pub duplicates: Count,
    /// Gaps found in streams.
    pub gaps: Count,
    /// Streams that nodes began which were known before: agents that were started anew.
    pub streams_begun: Count,
    /// Streams of which an agent has less than is stored.
    pub streams_gone_back: Count,
    /// Events that never came, and that nobody holds.
    pub events_abandoned: Count,
    /// Events that came behind a gap and were let go, for want of room.
    pub no_room: Count,
    /// Events whose time lies in the future, by more than clocks usually differ.
    pub future_events: Count,
    /// Samples taken.
    pub samples: Count,
    /// Parts of checkpoints taken.
    pub checkpoints: Count,
    /// Birth messages and last wills of nodes taken.
    pub presences: Count,
    /// Acks sent.
    pub acks: Count,
    /// Commits that failed; after each the collector rebuilds itself from its store.
    pub commit_failures: Count,
    /// Steps of alerts that were deleted before an output had taken them.
    pub transitions_untold: Count,
    /// Connections to the broker that were made.
    pub connects: Count,
    /// Notices handed to the broker.
    pub notices: Count,
    /// Events that wait behind gaps now.
    pub waiting: Level,
    /// Messages that wait for the next batch now.
    pub queued: Level,
    /// Size of the store's file and its log, in bytes.
    pub store_file_bytes: Level,
    /// What is in use of it, in bytes.
    pub store_used_bytes: Level,
    /// Whether the broker is connected.
    pub connected: Flag,
    /// Whether the collector speaks for the site's alerts.
    pub ready: Flag,
    /// From an event's recording on its node to its ack, in seconds; clocks of two machines.
    pub ack_lag: Histogram<{ SECONDS_BOUNDS.len() + 1 }>,
    /// How long a commit took, in seconds.
    pub commit_seconds: Histogram<{ SECONDS_BOUNDS.len() + 1 }>,
    /// Messages in a commit.
    pub batch_messages: Histogram<{ BATCH_BOUNDS.len() + 1 }>,
}

impl Counters {
    /// Counts an applied event.
    pub fn count_event(&self, kind: &str) {
        let unknown = KINDS.len() - 1;
        let index = KINDS.iter().position(|known| *known == kind).unwrap_or(unknown);
        self.events_applied[index].fetch_add(1, Relaxed);
    }

    /// Counts a message that was not accepted.
    pub fn count_reject(&self, reason: Reason) {
        self.rejects[reason.index()].fetch_add(1, Relaxed);
    }

    /// Applied events by kind, every kind of [`KINDS`].
    pub fn events_by_kind(&self) -> Vec<(&'static str, u64)> {
        KINDS.iter().zip(&self.events_applied).map(|(kind, n)| (*kind, n.load(Relaxed))).collect()
    }

    /// Messages that were not accepted, by reason, every reason.
    pub fn rejects_by_reason(&self) -> Vec<(&'static str, u64)> {
        let count = |reason: Reason| self.rejects[reason.index()].load(Relaxed);
        Reason::ALL.iter().map(|reason| (reason.as_str(), count(*reason))).collect()
    }

    /// Notes how long after its recording an event was acked; a clock ahead of ours counts as 0.
    pub fn observe_ack_lag(&self, seconds: f64) {
        self.ack_lag.observe(&SECONDS_BOUNDS, seconds.max(0.0));
    }

    /// Notes a commit.
    pub fn observe_commit(&self, took: Duration, messages: usize) {
        self.commit_seconds.observe(&SECONDS_BOUNDS, took.as_secs_f64());
        self.batch_messages.observe(&BATCH_BOUNDS, messages as f64);
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Level(AtomicI64);

impl Level {
    /// Sets it.
    pub fn set(&self, n: usize) {
        self.0.store(i64::try_from(n).unwrap_or(i64::MAX), Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Yes or no.
#[derive(Debug, Default)]
pub struct Flag(AtomicBool);

impl Flag {
    /// Sets it.
    pub fn set(&self, is_set: bool) {
        self.0.store(is_set, Relaxed);
    }

    /// The state now.
    pub fn get(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// How often values fell between fixed bounds; the last bucket has none.
#[derive(Debug)]
pub struct Histogram<const BUCKETS: usize> {
    buckets: [AtomicU64; BUCKETS],
    /// In millionths, so that it can be one atomic number.
    sum_micro: AtomicU64,
}

impl<const BUCKETS: usize> Default for Histogram<BUCKETS> {
    fn default() -> Self {
        Self { buckets: array::from_fn(|_| AtomicU64::new(0)), sum_micro: AtomicU64::new(0) }
    }
}

/// A histogram at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramReading {
    /// Values in each bucket alone; one more than there are bounds.
    pub buckets: Vec<u64>,
    /// Sum of all values.
    pub sum: f64,
    /// Number of all values.
    pub count: u64,
}

impl<const BUCKETS: usize> Histogram<BUCKETS> {
    fn observe(&self, bounds: &[f64], value: f64) {
        let bucket = bounds.iter().position(|bound| value <= *bound).unwrap_or(bounds.len());
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Relaxed);
            // The cast saturates, and what is not a number counts as 0.
            self.sum_micro.fetch_add((value * 1e6) as u64, Relaxed);
        }
    }

    /// Its values now.
    pub fn read(&self) -> HistogramReading {
        let buckets: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect();
        let count = buckets.iter().sum();
        HistogramReading { buckets, sum: self.sum_micro.load(Relaxed) as f64 / 1e6, count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_later_versions_count_as_unknown() {
        let counters = Counters::default();
        for kind in ["unit.changed", "weather.changed", "x", "unknown"] {
            counters.count_event(kind);
        }
        let found: Vec<_> = counters.events_by_kind().into_iter().filter(|(_, n)| *n > 0).collect();
        assert_eq!(found, [("unit.changed", 1), ("unknown", 3)]);
    }

    #[test]
    fn every_reason_is_counted_under_its_name() {
        let counters = Counters::default();
        for (n, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), n);
            counters.count_reject(reason);
        }
        let names: std::collections::BTreeSet<_> =
            counters.rejects_by_reason().into_iter().collect();
        assert_eq!(names.len(), Reason::ALL.len());
        assert!(names.iter().all(|(_, n)| *n == 1));
    }

    #[test]
    fn values_fall_into_the_bucket_of_their_bound() {
        let counters = Counters::default();
        for seconds in [-1.0, 0.0005, 0.002, 1e9] {
            counters.observe_ack_lag(seconds);
        }
        let reading = counters.ack_lag.read();
        assert_eq!((reading.buckets[0], reading.buckets[2], reading.buckets[14]), (2, 1, 1));
        assert_eq!(reading.count, 4);
    }
}
