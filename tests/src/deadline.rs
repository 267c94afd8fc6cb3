//! Waiting for something to become true, with a limit.
//!
//! The only place of the harness that reads the clock. Deadlines are generous: a machine that
//! is busy must not fail a test, and a test that passes never waits for its deadline.

use std::time::{Duration, Instant};

/// How long a test waits for anything that should take milliseconds on an idle machine.
pub const GENEROUS: Duration = Duration::from_secs(30);

/// The time between two looks at something that cannot say by itself that it has changed.
const LOOK_AGAIN: Duration = Duration::from_millis(25);

/// A moment after which waiting is pointless.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// The moment `within` from now.
    #[expect(clippy::disallowed_methods, reason = "real processes are waited for in real time")]
    pub fn after(within: Duration) -> Self {
        Self(Instant::now() + within)
    }

    /// What is left; zero when it has passed.
    #[expect(clippy::disallowed_methods, reason = "real processes are waited for in real time")]
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    pub fn has_passed(self) -> bool {
        self.remaining().is_zero()
    }
}

/// Looks until `look` finds something; none when `within` has passed.
pub fn look_until<T>(within: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Deadline::after(within);
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if deadline.has_passed() {
            return None;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// Looks until `look` finds something.
///
/// # Panics
/// When `within` has passed; the message says `what` was waited for.
#[track_caller]
pub fn eventually<T>(what: &str, within: Duration, look: impl FnMut() -> Option<T>) -> T {
    match look_until(within, look) {
        Some(found) => found,
        None => panic!("waited {within:?} for {what}"),
    }
}

/// A moment for code that takes time as an argument.
#[expect(clippy::disallowed_methods, reason = "real code is run in real time")]
pub fn moment() -> Instant {
    Instant::now()
}

/// What `jiff` says the time is, for comparing with times that other processes write down.
#[expect(clippy::disallowed_methods, reason = "arrival times of real messages")]
pub fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
