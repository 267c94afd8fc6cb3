//! What the collector's metrics count, added up over its restarts and the agents'.
//!
//! Read once a second: what was counted in the second before a kill is missing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use super::middle::Collector;
use crate::servers::get;

/// Events that came and were stored already.
pub const DUPLICATES: &str = "pvewatch_duplicate_events_total";

/// Gaps that the collector found.
pub const GAPS: &str = "pvewatch_stream_gaps_total";

/// Events that agents sent again.
pub const RESENT: &str = "pvewatch_agent_resent_events_total";

const EVERY: Duration = Duration::from_secs(1);

/// The sums of counters that begin again with their program.
#[derive(Debug, Default)]
pub struct Sums {
    last: BTreeMap<String, f64>,
    sums: BTreeMap<&'static str, f64>,
}

impl Sums {
    /// Takes a page of metrics.
    pub fn take(&mut self, page: &str) {
        for line in page.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let is_of = |name: &&str| {
                series
                    .strip_prefix(*name)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
            };
            let Some(name) = [DUPLICATES, GAPS, RESENT].into_iter().find(is_of) else { continue };
            let Ok(value) = value.parse::<f64>() else { continue };
            let last = self.last.insert(series.to_owned(), value).unwrap_or_default();
            *self.sums.entry(name).or_default() += if value < last { value } else { value - last };
        }
    }

    /// What a counter came to.
    pub fn of(&self, name: &str) -> f64 {
        self.sums.get(name).copied().unwrap_or_default()
    }
}

/// Reads the metrics in a thread of its own, since a collector that hangs must not hold up others.
#[derive(Debug)]
pub struct Counting {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Sums>,
}

impl Counting {
    /// Begins.
    pub fn begin() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = is_over.clone();
        let thread = spawn(move || {
            let mut sums = Sums::default();
            while !seen.load(Ordering::Relaxed) {
                if let Some((200, page)) = get(&Collector::url("/metrics")) {
                    sums.take(&page);
                }
                sleep(EVERY);
            }
            sums
        });
        Self { is_over, thread }
    }

    /// Ends, and gives the sums.
    ///
    /// # Panics
    /// When the collector's metrics were no text.
    #[track_caller]
    pub fn end(self) -> Sums {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("metrics are text")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_added_up_over_restarts() {
        let mut sums = Sums::default();
        for (duplicates, resent) in [(5, 2), (7, 2), (3, 9), (3, 10)] {
            sums.take(&format!(
                "# HELP x\n{DUPLICATES} {duplicates}\n{DUPLICATES}x 99\n\
                 {RESENT}{{node=\"a\"}} {resent}\n{RESENT}{{node=\"b\"}} 1\n"
            ));
        }
        assert_eq!((sums.of(DUPLICATES), sums.of(RESENT), sums.of(GAPS)), (10.0, 11.0, 0.0));
    }
}
