//! What a broker refuses: tried again after growing pauses, and declared as lost only if it would
//! hold up for ever what the broker does take.
//!
//! While something is refused nothing else is sent but the event after it, to learn whether that
//! is taken. If it is, the refusal is about the one event, and after some tries it is given up; if
//! not, it is about this agent, somebody has to change the broker, and all events are kept.
//! Pure: time is an argument. Absent: how an event is sent, or a loss declared.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pvewatch_protocol::{Sequence, StreamId};

/// The pause after the first refusal; it doubles.
const PAUSE_MIN: Duration = Duration::from_secs(5);

/// No pause is longer.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Tries before an event is given up that alone is refused, and the time that they must take: a
/// quota can be free again.
const TRIES_MIN: u32 = 5;
const TRIED_FOR_MIN: Duration = Duration::from_secs(60);

/// Publishes that may be under way while something is refused: it, and what follows it.
const WINDOW_OF_A_TRIAL: usize = 2;

/// Events that are remembered as given up, to declare them again to whoever lacks them.
///
/// Overflow: the oldest is forgotten, which means that it is tried again.
const GIVEN_UP_MAX: usize = 1_000;

/// What the broker said to a publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It took it, which proves nothing about a collector.
    Taken,
    /// It refused it.
    Refused {
        /// Why, in its own words.
        reason: String,
        /// Whether it would say the same to this event at any time.
        for_good: bool,
    },
}

/// A publish that was refused.
#[derive(Debug)]
pub(super) struct Refused {
    pub place: Place,
    /// Whether it is a declaration of loss, which nothing can stand in for.
    pub is_loss: bool,
    pub reason: String,
    pub for_good: bool,
}

/// The place of an event.
pub(super) type Place = (StreamId, Sequence);

/// What is refused now.
#[derive(Debug)]
struct Trouble {
    /// What was refused last, and why.
    refused: Refused,
    /// The whole of it in words, for people.
    text: String,
    tries: u32,
    since: Instant,
    /// When it is tried again; none while that is under way.
    retry_at: Option<Instant>,
    pause: Duration,
    /// Whether another event was taken meanwhile.
    others_are_taken: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    trouble: Option<Trouble>,
    /// What the declaration of each says.
    given_up: BTreeMap<Place, String>,
}

impl Refusals {
    /// A new connection: whoever is there now may judge otherwise.
    pub(super) fn on_connected(&mut self) {
        if let Some(trouble) = &mut self.trouble {
            trouble.retry_at = None;
            trouble.others_are_taken = false;
        }
    }

    /// The broker took an event.
    pub(super) fn on_taken(&mut self, now: Instant, place: Place) -> Option<Place> {
        let trouble = self.trouble.as_mut()?;
        if trouble.refused.place == place {
            self.trouble = None;
            return None;
        }
        trouble.others_are_taken = true;
        self.judge(now)
    }

    /// The broker refused an event. Returns one that is given up.
    pub(super) fn on_refused(&mut self, now: Instant, refused: Refused) -> Option<Place> {
        let (stream, sequence) = refused.place;
        let text = format!(
            "the broker refuses event {} of stream {stream} ({}): it is kept and tried again: \
             check the broker's access rules and limits",
            sequence.0, refused.reason
        );
        match &mut self.trouble {
            Some(trouble) if trouble.refused.place == refused.place => {
                trouble.tries += 1;
                trouble.pause = (trouble.pause * 2).min(PAUSE_MAX);
                trouble.retry_at = Some(now + trouble.pause);
                (trouble.refused, trouble.text) = (refused, text);
            }
            // It was sent at the same time, and its turn comes.
            Some(_) => {}
            None => {
                self.trouble = Some(Trouble {
                    refused,
                    text,
                    tries: 1,
                    since: now,
                    retry_at: Some(now + PAUSE_MIN),
                    pause: PAUSE_MIN,
                    others_are_taken: false,
                });
            }
        }
        self.judge(now)
    }

    /// An event can never be sent; its declaration says why.
    pub(super) fn give_up(&mut self, place: Place, why: String) {
        if self.trouble.as_ref().is_some_and(|trouble| trouble.refused.place == place) {
            self.trouble = None;
        }
        if self.given_up.len() >= GIVEN_UP_MAX {
            self.given_up.pop_first();
        }
        self.given_up.insert(place, why);
    }

    /// What the declaration of an event says that was given up.
    pub(super) fn why_given_up(&self, place: Place) -> Option<&str> {
        self.given_up.get(&place).map(String::as_str)
    }

    /// The event that is refused now.
    pub(super) fn refused(&self) -> Option<Place> {
        self.trouble.as_ref().map(|trouble| trouble.refused.place)
    }

    /// Nobody needs the event any more that is refused.
    pub(super) fn forget_refused(&mut self) {
        self.trouble = None;
    }

    /// Forgets what everybody knows.
    pub(super) fn keep_given_up(&mut self, is_lacking: impl Fn(Place) -> bool) {
        self.given_up.retain(|place, _| is_lacking(*place));
    }

    /// How many publishes may be under way now; none during a pause.
    pub(super) fn window(&self, now: Instant, usual: usize) -> usize {
        match &self.trouble {
            None => usual,
            Some(Trouble { retry_at: Some(at), .. }) if now < *at => 0,
            Some(_) => WINDOW_OF_A_TRIAL,
        }
    }

    /// When the next try is due, if one is.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.trouble.as_ref()?.retry_at
    }

    /// The pause is over.
    pub(super) fn on_deadline(&mut self, now: Instant) {
        if let Some(trouble) = &mut self.trouble {
            trouble.retry_at = trouble.retry_at.filter(|at| now < *at);
        }
    }

    /// What is refused, in words.
    pub(super) fn text(&self) -> Option<&str> {
        self.trouble.as_ref().map(|trouble| trouble.text.as_str())
    }

    /// Gives up what alone is refused, when it was tried enough.
    fn judge(&mut self, now: Instant) -> Option<Place> {
        let trouble = self.trouble.as_ref()?;
        let Refused { place, is_loss, ref reason, for_good } = trouble.refused;
        let is_tried_enough = for_good
            || trouble.tries >= TRIES_MIN && now.duration_since(trouble.since) >= TRIED_FOR_MIN;
        if !trouble.others_are_taken || !is_tried_enough || is_loss {
            return None;
        }
        let why = format!("the broker refuses it and takes others: {reason}");
        self.give_up(place, why);
        Some(place)
    }
}

#[cfg(test)]
mod tests;
