//! Decides when the repeated failures of one unit are one crash loop, and what is told of it.
//!
//! After so many failures with an automatic restart within a window, `crash_looping` is told
//! once, then at most once a minute while it goes on, then how it ended. A unit that exits
//! cleanly and is restarted (`Restart=always`) is no crash loop. No clock: time is an argument.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use pvewatch_protocol::event::CrashLoop as CrashLoopSummary;

/// The shortest time from one fact about a loop to the next.
const REPEAT_INTERVAL: Duration = Duration::from_secs(60);

/// When failures are a loop.
#[derive(Debug, Clone, Copy)]
pub struct CrashLoopSettings {
    /// This many failures...
    pub failures: usize,
    /// ... within this time.
    pub window: Duration,
    /// A loop is over when the unit has stayed up for this long.
    pub calm: Duration,
}

/// What a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// No loop: tell the failure.
    Tell,
    /// It makes the loop: tell that instead.
    LoopBegins,
    /// The loop goes on, and it is time to say so.
    LoopGoesOn,
    /// The loop goes on; its count will be told later.
    Fold,
    /// systemd gave up: tell the failure, the loop is over.
    LoopEnds,
}

/// What it means that the unit is not failed any more, or what is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnQuiet {
    /// No loop: tell the recovery.
    Tell,
    /// It may well fail again soon: say nothing.
    Fold,
    /// Say how the loop goes on.
    LoopGoesOn,
    /// It stayed up, or was stopped: tell the recovery, the loop is over.
    LoopEnds,
}

/// The failures of one unit.
#[derive(Debug, Default)]
pub struct CrashLoop {
    /// The latest failures outside a loop: at most as many as make a loop, older ones go.
    recent: VecDeque<(Instant, Timestamp)>,
    looping: Option<Looping>,
}

#[derive(Debug)]
struct Looping {
    summary: CrashLoopSummary,
    told_at: Instant,
    untold: bool,
    up_since: Option<Instant>,
}

impl CrashLoop {
    /// The unit failed. `at` is systemd's time of the failure.
    pub fn failed(
        &mut self,
        now: Instant,
        at: Timestamp,
        will_restart: bool,
        settings: &CrashLoopSettings,
    ) -> OnFailure {
        if !will_restart {
            self.recent.clear();
            return if self.looping.take().is_some() {
                OnFailure::LoopEnds
            } else {
                OnFailure::Tell
            };
        }
        if let Some(looping) = &mut self.looping {
            looping.summary.failures = looping.summary.failures.saturating_add(1);
            looping.up_since = None;
            if now.saturating_duration_since(looping.told_at) < REPEAT_INTERVAL {
                looping.untold = true;
                return OnFailure::Fold;
            }
            looping.told_at = now;
            looping.untold = false;
            return OnFailure::LoopGoesOn;
        }
        self.recent.push_back((now, at));
        while self
            .recent
            .front()
            .is_some_and(|(then, _)| now.saturating_duration_since(*then) > settings.window)
        {
            self.recent.pop_front();
        }
        if self.recent.len() < settings.failures {
            return OnFailure::Tell;
        }
        let since = self.recent.front().map_or(at, |(_, first)| *first);
        let failures = u32::try_from(self.recent.len()).unwrap_or(u32::MAX);
        self.recent.clear();
        self.looping = Some(Looping {
            summary: CrashLoopSummary { since, failures },
            told_at: now,
            untold: false,
            up_since: None,
        });
        OnFailure::LoopBegins
    }

    /// The unit runs again.
    pub fn up(&mut self, now: Instant) -> OnQuiet {
        match &mut self.looping {
            None => OnQuiet::Tell,
            Some(looping) => {
                looping.up_since = Some(now);
                OnQuiet::Fold
            }
        }
    }

    /// The unit was stopped, or its failure was reset.
    pub fn stopped(&mut self) -> OnQuiet {
        match self.looping.take() {
            None => OnQuiet::Tell,
            Some(_) => OnQuiet::LoopEnds,
        }
    }

    /// What is due at `now`.
    pub fn due(&mut self, now: Instant, settings: &CrashLoopSettings) -> OnQuiet {
        let Some(looping) = &mut self.looping else { return OnQuiet::Fold };
        if looping.up_since.is_some_and(|up| now.saturating_duration_since(up) >= settings.calm) {
            self.looping = None;
            return OnQuiet::LoopEnds;
        }
        if looping.untold && now.saturating_duration_since(looping.told_at) >= REPEAT_INTERVAL {
            looping.told_at = now;
            looping.untold = false;
            return OnQuiet::LoopGoesOn;
        }
        OnQuiet::Fold
    }

    /// When [`CrashLoop::due`] should be asked.
    pub fn deadline(&self, settings: &CrashLoopSettings) -> Option<Instant> {
        let looping = self.looping.as_ref()?;
        let repeat = looping.untold.then_some(looping.told_at + REPEAT_INTERVAL);
        let calm = looping.up_since.map(|up| up + settings.calm);
        match (repeat, calm) {
            (Some(repeat), Some(calm)) => Some(repeat.min(calm)),
            (repeat, calm) => repeat.or(calm),
        }
    }

    /// The loop that the unit is in, if it is in one.
    pub fn summary(&self) -> Option<CrashLoopSummary> {
        self.looping.as_ref().map(|looping| looping.summary.clone())
    }

    /// Whether nothing is remembered any more at `now`.
    pub fn is_forgotten(&self, now: Instant, settings: &CrashLoopSettings) -> bool {
        self.looping.is_none()
            && self
                .recent
                .back()
                .is_none_or(|(then, _)| now.saturating_duration_since(*then) > settings.window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: CrashLoopSettings = CrashLoopSettings {
        failures: 3,
        window: Duration::from_secs(100),
        calm: Duration::from_secs(50),
    };

    enum Step {
        Fails,
        FailsForGood,
        Up,
        Stopped,
        Due,
    }
    use Step::*;

    fn check(timeline: &[(u64, Step, &str)]) {
        #[expect(clippy::disallowed_methods, reason = "an origin for the test's own timeline")]
        let origin = Instant::now();
        let mut crash_loop = CrashLoop::default();
        for (index, (second, step, expected)) in timeline.iter().enumerate() {
            let now = origin + Duration::from_secs(*second);
            let at = Timestamp::from_second(1_000 + i64::try_from(*second).unwrap()).unwrap();
            let told = match step {
                Fails => format!("{:?}", crash_loop.failed(now, at, true, &SETTINGS)),
                FailsForGood => format!("{:?}", crash_loop.failed(now, at, false, &SETTINGS)),
                Up => format!("{:?}", crash_loop.up(now)),
                Stopped => format!("{:?}", crash_loop.stopped()),
                Due => format!("{:?}", crash_loop.due(now, &SETTINGS)),
            };
            assert_eq!(told, *expected, "step {index} at {second} s");
        }
    }

    #[test]
    fn a_loop_is_told_once_and_then_once_a_minute_until_systemd_gives_up() {
        check(&[
            (0, Fails, "Tell"),
            (1, Up, "Tell"),
            (10, Fails, "Tell"),
            (11, Up, "Tell"),
            (20, Fails, "LoopBegins"),
            (21, Up, "Fold"),
            (30, Fails, "Fold"),
            (31, Up, "Fold"),
            (79, Due, "Fold"),
            (80, Due, "LoopGoesOn"),
            (85, Fails, "Fold"),
            (145, Fails, "LoopGoesOn"),
            (146, FailsForGood, "LoopEnds"),
            (147, Due, "Fold"),
            (150, Fails, "Tell"),
        ]);
    }

    #[test]
    fn slow_failures_are_single_failures() {
        check(&[
            (0, Fails, "Tell"),
            (60, Fails, "Tell"),
            (120, Fails, "Tell"),
            (180, Fails, "Tell"),
            (200, Fails, "LoopBegins"),
        ]);
    }

    #[test]
    fn a_loop_ends_when_the_unit_stays_up_or_is_stopped() {
        check(&[
            (0, Fails, "Tell"),
            (1, Fails, "Tell"),
            (2, Fails, "LoopBegins"),
            (3, Up, "Fold"),
            (52, Due, "Fold"),
            (53, Due, "LoopEnds"),
            (60, Fails, "Tell"),
            (61, Fails, "Tell"),
            (62, Fails, "LoopBegins"),
            (63, Stopped, "LoopEnds"),
            (64, Up, "Tell"),
        ]);
    }

    #[test]
    fn a_failure_for_good_without_a_loop_is_a_failure() {
        check(&[(0, FailsForGood, "Tell"), (1, Stopped, "Tell"), (2, FailsForGood, "Tell")]);
    }

    #[test]
    fn the_deadline_is_the_earlier_of_the_next_repeat_and_the_calm() {
        #[expect(clippy::disallowed_methods, reason = "an origin for the test's own timeline")]
        let origin = Instant::now();
        let second = |second| origin + Duration::from_secs(second);
        let mut crash_loop = CrashLoop::default();
        assert_eq!(crash_loop.deadline(&SETTINGS), None);
        for now in 0..4 {
            crash_loop.failed(second(now), Timestamp::UNIX_EPOCH, true, &SETTINGS);
        }
        assert_eq!(crash_loop.deadline(&SETTINGS), Some(second(62)));
        crash_loop.up(second(5));
        assert_eq!(crash_loop.deadline(&SETTINGS), Some(second(55)));
        assert_eq!(crash_loop.summary().unwrap().failures, 4);
    }
}
