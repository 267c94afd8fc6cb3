//! A channel of a collector, as what is behind it sees it: what it took, and when it was dead.
//!
//! The order of sending, proving and moving is the collector's own [`Page`].

use fastrand::Rng;
use pvewatch_collector::alerts::{News, Transition};
use pvewatch_collector::output::page::{Manner, Next, Page};
use pvewatch_protocol::AlertState;

use crate::durable::Durable;

/// The channels that a collector has: their names in the store, and their manners.
pub const CHANNELS: [(&str, Manner); 2] =
    [("mqtt-alerts", Manner::Alerts), ("mqtt-notices", Manner::Notices)];

/// Steps that are read at a time.
const PAGE: usize = 8;

/// What is behind a channel: it outlives the collector's process.
#[derive(Debug, Default)]
pub struct Taken {
    /// What it took, by the number of the step.
    pub steps: Vec<i64>,
    /// The last step that it took before the collector was set back to a copy of its store.
    pub begins_after: i64,
    /// Whether it takes nothing now.
    pub is_dead: bool,
}

/// A channel of a process.
#[derive(Debug)]
pub struct Channel {
    /// The last step that it took, as the process knows it.
    pub through: i64,
    /// What the store has of that.
    stored: i64,
    page: Option<Page>,
}

impl Channel {
    /// A channel that begins where the store says.
    pub fn new(stored: i64) -> Self {
        Self { through: stored, stored, page: None }
    }

    /// Does one thing, if there is one; whatever is behind it takes it, or not.
    pub fn speak(&mut self, manner: Manner, disk: &Durable, taken: &mut Taken, rng: &mut Rng) {
        if self.page.is_none() && self.through < disk.newest_transition() {
            self.page = Some(Page::new(manner, disk.steps_after(self.through, PAGE)));
        }
        let Some(page) = &mut self.page else { return };
        let is_refused = taken.is_dead || rng.u8(0..20) == 0;
        match page.what_next() {
            Next::Send { .. } | Next::Prove if is_refused => self.page = None,
            Next::Send { id, .. } => {
                taken.steps.push(id);
                // The answer can be lost.
                if rng.u8(0..20) == 0 {
                    self.page = None;
                } else {
                    page.taken();
                }
            }
            Next::Prove => page.proved(),
            Next::Move(through) => self.through = through,
            Next::Nothing => self.page = None,
        }
    }

    /// What is to be stored of its position, if it moved.
    pub fn moved(&mut self) -> Option<i64> {
        (std::mem::replace(&mut self.stored, self.through) != self.through).then_some(self.through)
    }

    /// Whether it has nothing left to tell, and that is stored.
    pub fn is_settled(&self, disk: &Durable) -> bool {
        self.through == disk.newest_transition() && self.stored == self.through
    }
}

/// Whether a channel must tell a step, by what the step is and not by what the collector thinks.
pub fn must_tell(manner: Manner, step: &Transition) -> bool {
    let is_seen = matches!(step.to, Some(AlertState::Firing | AlertState::Resolved));
    match manner {
        Manner::Alerts => is_seen && step.news != News::Past,
        Manner::Notices => is_seen && step.news == News::Tell,
    }
}
