//! Whether anybody is at this broker who acks: with several brokers, an agent goes where its
//! collectors are.
//!
//! Collectors go back to the first broker of their list that works, and tell the one that they
//! leave. An agent stays where a configured collector is, and leaves where none is known, where
//! all have said goodbye, and where none says a word although it is sent samples. Where nobody
//! is anywhere it stays longer and longer. Pure: time is an argument. Absent: what is sent.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pvewatch_protocol::CollectorName;

/// How long an agent stays alone at a broker. A collector that comes at the same time has said
/// so by then, and a node that moves on is back before it counts as down.
const STAY_MIN: Duration = Duration::from_secs(20);

/// It doubles with each round through all brokers up to this, so that an agent whose collectors
/// are all dead has little to do.
const STAY_MAX: Duration = Duration::from_secs(80);

/// How long a collector that is there may say nothing. It answers one sample a minute.
const SILENCE_MAX: Duration = Duration::from_secs(100);

/// From one answer to the next a collector lets this pass; then it answers the next sample.
const ANSWERED_EVERY: Duration = Duration::from_secs(60);

/// Samples within which one must have been answered; fewer prove nothing.
const SAMPLES_MIN: u32 = 3;

/// What was heard of a collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// It spoke just now: an ack, or its presence.
    Live,
    /// The broker kept its word that it is there.
    Kept,
    /// It went away, or is said to be gone.
    Gone,
}

/// Why a broker is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// No collector is there, and none was since this agent came.
    NobodyThere,
    /// Those that were there have just left: they can be at the first broker of the list again.
    AllGone,
    /// None said a word although samples were sent.
    NotAWord,
}

impl Leave {
    /// The cause, for the log.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NobodyThere => "no collector is there",
            Self::AllGone => "every collector has left it",
            Self::NotAWord => "no collector answers through it",
        }
    }
}

/// How it is at the broker in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is no connection, or no other broker to go to.
    Apart,
    /// Nobody is there, since then; somebody was before, or not.
    Alone { since: Instant, was_left: bool },
    /// Somebody is there, and was heard then; so many samples were sent since.
    Accompanied { heard_at: Instant, samples: u32 },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Company {
    brokers: u32,
    /// How long a collector may say nothing.
    silence_max: Duration,
    state: State,
    /// Whether each collector is there, as far as this connection heard of it. Only configured
    /// ones: as many as there are names.
    is_there: BTreeMap<CollectorName, bool>,
    /// Brokers that were left since a collector last spoke.
    left: u32,
}

impl Company {
    /// With one broker there is nothing to decide.
    pub(super) fn new(
        brokers: usize,
        sample_interval: Duration,
        collectors: &[CollectorName],
    ) -> Self {
        Self {
            brokers: u32::try_from(brokers).unwrap_or(u32::MAX),
            silence_max: SILENCE_MAX.max(ANSWERED_EVERY + 4 * sample_interval),
            state: State::Apart,
            is_there: collectors.iter().map(|name| (name.clone(), false)).collect(),
            left: 0,
        }
    }

    pub(super) fn on_connected(&mut self, now: Instant) {
        self.is_there.values_mut().for_each(|is_there| *is_there = false);
        if self.brokers > 1 {
            self.state = State::Alone { since: now, was_left: false };
        }
    }

    pub(super) fn on_lost(&mut self) {
        self.state = State::Apart;
    }

    /// Something was heard of a collector; of one that is not configured it means nothing.
    pub(super) fn on_word(&mut self, now: Instant, name: &CollectorName, word: Word) {
        let Some(is_there) = self.is_there.get_mut(name) else { return };
        *is_there = word != Word::Gone;
        if word == Word::Live {
            self.left = 0;
        }
        let anybody = self.is_there.values().any(|is_there| *is_there);
        self.state = match (self.state, word) {
            (State::Apart, _) => State::Apart,
            (_, Word::Live) => State::Accompanied { heard_at: now, samples: 0 },
            (State::Alone { since, .. }, Word::Kept) => {
                State::Accompanied { heard_at: since, samples: 0 }
            }
            (State::Accompanied { .. }, Word::Gone) if !anybody => {
                State::Alone { since: now, was_left: true }
            }
            // One that went before this agent came can be anywhere by now.
            (State::Alone { .. } | State::Accompanied { .. }, Word::Kept | Word::Gone) => {
                self.state
            }
        };
    }

    /// A sample was sent, which somebody should answer.
    pub(super) fn on_sample(&mut self) {
        if let State::Accompanied { samples, .. } = &mut self.state {
            *samples = samples.saturating_add(1);
        }
    }

    /// When [`Self::on_deadline`] wants to be called, if ever.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match self.state {
            State::Apart => None,
            State::Alone { since, .. } => Some(since + self.stay()),
            State::Accompanied { heard_at, .. } => Some(heard_at + self.silence_max),
        }
    }

    /// Whether it is time to leave, and why.
    pub(super) fn on_deadline(&mut self, now: Instant) -> Option<Leave> {
        if self.next_deadline().is_none_or(|due| now < due) {
            return None;
        }
        let leave = match self.state {
            State::Apart => return None,
            State::Alone { was_left: false, .. } => Leave::NobodyThere,
            State::Alone { was_left: true, .. } => Leave::AllGone,
            State::Accompanied { samples, .. } if samples < SAMPLES_MIN => {
                // Nobody is asked anything, so nobody answers.
                self.state = State::Accompanied { heard_at: now, samples: 0 };
                return None;
            }
            State::Accompanied { .. } => Leave::NotAWord,
        };
        self.left = self.left.saturating_add(1);
        self.state = State::Apart;
        Some(leave)
    }

    fn stay(&self) -> Duration {
        let rounds = (self.left / self.brokers.max(1)).min(STAY_MAX.as_secs() as u32);
        STAY_MIN.saturating_mul(2_u32.saturating_pow(rounds)).min(STAY_MAX)
    }
}

#[cfg(test)]
mod tests;
