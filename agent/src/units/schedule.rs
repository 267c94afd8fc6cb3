//! When all units are listed: at first, after any doubt, and every ten minutes.
//!
//! One listing at a time; what comes while one is asked for leads to another, since its answer
//! may be older. A storm of doubts (packages that reload systemd a dozen times) is one listing
//! every two seconds.

use std::time::{Duration, Instant};

/// systemd sends many signals around one doubt: one listing answers all of them.
const SETTLE: Duration = Duration::from_millis(250);

/// The shortest time from one listing to the next.
const INTERVAL_MIN: Duration = Duration::from_secs(2);

/// The longest time from one listing to the next.
const INTERVAL_MAX: Duration = Duration::from_secs(600);

/// `Reloading(false)` can be missing: then the reload is over after this.
const RELOAD_MAX: Duration = Duration::from_secs(60);

/// Why a listing is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Nothing is known yet.
    First,
    /// Something may have happened unseen: compare everything, and show a picture.
    Doubt,
    /// Something is to be looked up, or it is time.
    Routine,
}

/// When the next listing is due.
#[derive(Debug)]
pub struct Schedule {
    phase: Phase,
    listed_at: Option<Instant>,
    doubt: bool,
    reloading_until: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// There is no bus.
    Impossible,
    /// It is asked for; then, if so, again.
    Asked { reason: Reason, again: bool },
    /// The next one is due then.
    DueAt(Instant),
}

impl Schedule {
    /// There is no bus yet.
    pub fn new() -> Self {
        Self { phase: Phase::Impossible, listed_at: None, doubt: false, reloading_until: None }
    }

    /// Whether there ever was a listing.
    pub fn has_listed(&self) -> bool {
        self.listed_at.is_some()
    }

    /// Whether systemd is reading its configuration again.
    pub fn is_reloading(&self) -> bool {
        self.reloading_until.is_some()
    }

    /// The bus was reached: a listing is asked for.
    pub fn connected(&mut self) {
        self.ask();
    }

    /// The bus is gone.
    pub fn disconnected(&mut self) {
        self.phase = Phase::Impossible;
        self.reloading_until = None;
        self.doubt = true;
    }

    /// systemd reads its configuration again, or has.
    pub fn reloading(&mut self, now: Instant, active: bool) {
        if active {
            self.reloading_until = Some(now + RELOAD_MAX);
        } else {
            self.reloading_until = None;
            self.doubt(now);
        }
    }

    /// Something may have happened unseen.
    pub fn doubt(&mut self, now: Instant) {
        self.doubt = true;
        self.soon(now);
    }

    /// A listing is wanted soon.
    pub fn soon(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Impossible => {}
            Phase::Asked { again, .. } => *again = true,
            Phase::DueAt(due) => {
                let earliest = self.listed_at.map_or(now, |listed| listed + INTERVAL_MIN);
                *due = (*due).min(earliest.max(now + SETTLE));
            }
        }
    }

    /// The listing came: why it was asked for.
    pub fn listed(&mut self, now: Instant) -> Reason {
        let (reason, again) = match self.phase {
            Phase::Asked { reason, again } => (reason, again),
            Phase::Impossible | Phase::DueAt(_) => (Reason::Routine, false),
        };
        self.listed_at = Some(now);
        self.phase = Phase::DueAt(now + INTERVAL_MAX);
        if again {
            self.soon(now);
        }
        reason
    }

    /// Whether a listing is to be asked for now.
    pub fn due(&mut self, now: Instant) -> bool {
        if self.reloading_until.is_some_and(|until| until <= now) {
            self.reloading(now, false);
        }
        let is_due = matches!(self.phase, Phase::DueAt(due) if due <= now);
        if is_due {
            self.ask();
        }
        is_due
    }

    /// When [`Schedule::due`] should be asked.
    pub fn deadline(&self) -> Option<Instant> {
        let listing = match self.phase {
            Phase::DueAt(due) => Some(due),
            Phase::Impossible | Phase::Asked { .. } => None,
        };
        listing.into_iter().chain(self.reloading_until).min()
    }

    fn ask(&mut self) {
        let doubt = std::mem::take(&mut self.doubt);
        let reason = match (self.has_listed(), doubt) {
            (false, _) => Reason::First,
            (true, true) => Reason::Doubt,
            (true, false) => Reason::Routine,
        };
        self.phase = Phase::Asked { reason, again: false };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "an origin for the test's own timeline")]
    fn origin() -> Instant {
        Instant::now()
    }

    fn listed_schedule(start: Instant) -> Schedule {
        let mut schedule = Schedule::new();
        schedule.connected();
        assert_eq!(schedule.listed(start), Reason::First);
        schedule
    }

    #[test]
    fn without_a_doubt_there_is_a_listing_every_ten_minutes() {
        let start = origin();
        let mut schedule = listed_schedule(start);
        assert_eq!(schedule.deadline(), Some(start + INTERVAL_MAX));
        assert!(!schedule.due(start + INTERVAL_MAX - SETTLE));
        assert!(schedule.due(start + INTERVAL_MAX));
        assert_eq!(schedule.deadline(), None);
        assert_eq!(schedule.listed(start + INTERVAL_MAX), Reason::Routine);
    }

    #[test]
    fn a_storm_of_doubts_is_one_listing() {
        let start = origin();
        let mut schedule = listed_schedule(start);
        for millisecond in 0..200 {
            schedule.doubt(start + Duration::from_millis(millisecond));
        }
        assert_eq!(schedule.deadline(), Some(start + INTERVAL_MIN));
        assert!(schedule.due(start + INTERVAL_MIN));
        assert_eq!(schedule.listed(start + INTERVAL_MIN), Reason::Doubt);
        assert_eq!(schedule.deadline(), Some(start + INTERVAL_MIN + INTERVAL_MAX));
    }

    #[test]
    fn a_doubt_while_a_listing_is_asked_for_leads_to_another() {
        let start = origin();
        let mut schedule = Schedule::new();
        schedule.connected();
        schedule.doubt(start);
        assert_eq!(schedule.listed(start), Reason::First);
        assert!(schedule.due(start + INTERVAL_MIN));
        assert_eq!(schedule.listed(start + INTERVAL_MIN), Reason::Doubt);
    }

    #[test]
    fn a_reload_that_never_ends_ends_after_a_minute() {
        let start = origin();
        let mut schedule = listed_schedule(start);
        schedule.reloading(start, true);
        assert!(schedule.is_reloading());
        assert_eq!(schedule.deadline(), Some(start + RELOAD_MAX));
        assert!(!schedule.due(start + RELOAD_MAX));
        assert!(!schedule.is_reloading());
        assert!(schedule.due(start + RELOAD_MAX + SETTLE));
    }

    #[test]
    fn a_lost_bus_is_a_doubt_once_it_is_back() {
        let start = origin();
        let mut schedule = listed_schedule(start);
        schedule.disconnected();
        assert_eq!(schedule.deadline(), None);
        schedule.soon(start);
        assert_eq!(schedule.deadline(), None);
        schedule.connected();
        assert_eq!(schedule.listed(start), Reason::Doubt);
    }
}
