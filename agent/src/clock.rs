//! The clocks. Everything pure gets its time as an argument, and it comes from here.

use std::time::Instant;

use jiff::Timestamp;

/// The time of day, which may jump.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn today() -> Timestamp {
    Timestamp::now()
}

/// The time that only ever goes on, for deadlines.
pub fn now() -> Instant {
    // Through tokio, so that tests can pause it.
    tokio::time::Instant::now().into_std()
}

/// The same, for timers.
pub fn instant() -> tokio::time::Instant {
    tokio::time::Instant::from_std(now())
}
