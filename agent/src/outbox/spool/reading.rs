//! Reading events again, from memory or from their segment.
//!
//! A segment that cannot be read is tried again for about a minute, in which nothing overtakes
//! it. Then it is given up, so that it does not hold up what comes behind it for ever.

use std::collections::BTreeMap;
use std::io;
use std::time::Instant;

use pvewatch_protocol::{Sequence, StreamId};

use super::losses::Why;
use super::record::Record;
use super::segment::Contents;
use super::{RETRY_MAX, RETRY_MIN, Read, Spool, Stored, stored};

/// How often a segment is tried that cannot be read, with pauses from [`RETRY_MIN`] on that
/// double up to [`RETRY_MAX`]: a minute.
const TRIES_MAX: u32 = 7;

/// How often the next one is, if nothing could be read since: three seconds. A disk that is gone
/// for good must not cost a minute for each of a hundred segments.
const TRIES_AFTER_A_LOSS_MAX: u32 = 3;

/// How the disk answers reads.
#[derive(Debug)]
pub(super) struct Reading {
    /// The segment that was read last, until its last event was asked for.
    loaded: Option<Loaded>,
    /// Segments that cannot be read, by their number.
    failing: BTreeMap<u64, Failing>,
    tries_max: u32,
}

#[derive(Debug)]
struct Loaded {
    number: u64,
    /// The last event that the segment held then.
    through: Sequence,
    events: Vec<Record>,
}

/// A segment that cannot be read.
#[derive(Debug)]
struct Failing {
    tries: u32,
    /// When it is tried again; none while that is due.
    at: Option<Instant>,
    /// In words, for the agent's status.
    trouble: String,
}

/// What became of a segment that was asked for.
enum Load {
    /// Its events are in memory.
    Done,
    /// It is left alone until it is tried again.
    Later,
    /// It is not held any more.
    GivenUp,
}

impl Reading {
    pub fn new() -> Self {
        Self { loaded: None, failing: BTreeMap::new(), tries_max: TRIES_MAX }
    }

    /// A segment went: nothing is known of it any more.
    pub fn forget(&mut self, number: u64) {
        self.loaded.take_if(|loaded| loaded.number == number);
        self.failing.remove(&number);
    }

    pub fn trouble(&self) -> Option<&str> {
        self.failing.values().next().map(|failing| failing.trouble.as_str())
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.failing.values().filter_map(|failing| failing.at).min()
    }

    /// Segments that are worth another try now.
    fn take_due(&mut self, now: Instant) -> Vec<u64> {
        let due = self
            .failing
            .iter_mut()
            .filter_map(|(number, failing)| failing.at.take_if(|at| *at <= now).map(|_| *number));
        due.collect()
    }

    fn is_left_alone(&self, now: Instant, number: u64) -> bool {
        let failing = self.failing.get(&number);
        failing.and_then(|failing| failing.at).is_some_and(|at| at > now)
    }
}

impl Spool {
    /// Tries segments again that could not be read, also if nobody asks for their events any more:
    /// otherwise the trouble would be told for as long as they are kept.
    pub(super) fn read_again(&mut self, now: Instant) {
        for number in self.reading.take_due(now) {
            self.load(now, number, Sequence(u64::MAX));
        }
    }

    /// Reads an event of a stream.
    pub fn read(&mut self, now: Instant, stream: StreamId, sequence: Sequence) -> Read {
        if stream == self.stream
            && let Some(first) = self.tail.front().map(|record| record.sequence)
            && sequence >= first
        {
            let index = usize::try_from(sequence.0 - first.0).unwrap_or(usize::MAX);
            return match self.tail.get(index) {
                Some(record) => Read::Event(stored(record)),
                None => Read::Gone { through: sequence, why: Why::Unknown },
            };
        }
        // More than one covers it only if it was written twice, after a disk failed.
        let covering = self.segments.iter().filter(|segment| segment.covers(stream, sequence));
        let numbers: Vec<u64> = covering.map(|segment| segment.number).collect();
        let mut is_damaged = false;
        for number in numbers {
            match self.load(now, number, sequence) {
                Load::Done => match self.take_loaded(sequence) {
                    Some(event) => return Read::Event(event),
                    None => is_damaged = true,
                },
                Load::Later => return Read::Later,
                Load::GivenUp => {}
            }
        }
        let through = self.gone_through(stream, sequence);
        let (why, through) = self.losses.explain(stream, sequence, through);
        let unexplained = if is_damaged { Why::Damaged } else { Why::Unknown };
        Read::Gone { through, why: why.unwrap_or(unexplained) }
    }

    fn take_loaded(&mut self, sequence: Sequence) -> Option<Stored> {
        let events = &self.reading.loaded.as_ref()?.events;
        let index = events.binary_search_by_key(&sequence, |event| event.sequence).ok()?;
        let event = stored(&events[index]);
        if index + 1 == events.len() {
            self.reading.loaded = None;
        }
        Some(event)
    }

    /// The first event of a stream that is held at or after `sequence`, less one.
    fn gone_through(&self, stream: StreamId, sequence: Sequence) -> Sequence {
        let mut next = self.tail.front().filter(|_| stream == self.stream).map(|r| r.sequence);
        for segment in self.segments.iter().filter(|segment| segment.stream == stream) {
            let first = if segment.first > sequence {
                (segment.written.events > 0).then_some(segment.first)
            } else if segment.written.last <= sequence {
                None
            } else {
                match self.reading.loaded.as_ref().filter(|loaded| loaded.number == segment.number)
                {
                    Some(loaded) => {
                        let mut held = loaded.events.iter().map(|event| event.sequence);
                        // What was written since is there.
                        let grew = loaded.through < segment.written.last;
                        let since = grew.then(|| loaded.through.next());
                        held.find(|held| *held > sequence).or(since)
                    }
                    // What it holds is not known now.
                    None => Some(sequence.next()),
                }
            };
            next = match (next, first) {
                (Some(a), Some(b)) => Some(std::cmp::min(a, b)),
                (a, b) => a.or(b),
            };
        }
        match next {
            Some(next) => next.previous(),
            None if stream == self.stream => self.last,
            None => self.last_of(stream).max(sequence),
        }
    }

    /// Loads what a segment holds, as far as `wanted` at least.
    fn load(&mut self, now: Instant, number: u64, wanted: Sequence) -> Load {
        let Some(segment) = self.segments.iter().find(|segment| segment.number == number) else {
            // Its events were never durable, and are written elsewhere.
            self.reading.forget(number);
            return Load::GivenUp;
        };
        let (through, events) = (segment.written.last, segment.written.events);
        let loaded = self.reading.loaded.as_ref();
        let wanted = through.min(wanted);
        if loaded.is_some_and(|loaded| loaded.number == number && loaded.through >= wanted) {
            self.reading.failing.remove(&number);
            return Load::Done;
        }
        if self.reading.is_left_alone(now, number) {
            return Load::Later;
        }
        let bytes = match self.disk.opened() {
            Some(storage) => storage.read(number),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        match bytes {
            Ok(bytes) => {
                let contents = Contents::read(&bytes);
                self.reading.loaded = Some(Loaded { number, through, events: contents.events });
                self.reading.failing.remove(&number);
                self.reading.tries_max = TRIES_MAX;
                if contents.extent.events < events {
                    self.on_damage(number, events - contents.extent.events);
                }
                Load::Done
            }
            Err(error) => self.on_unreadable(now, number, &error),
        }
    }

    fn on_unreadable(&mut self, now: Instant, number: u64, error: &io::Error) -> Load {
        let tries = self.reading.failing.get(&number).map_or(0, |failing| failing.tries) + 1;
        if tries >= self.reading.tries_max {
            self.reading.tries_max = TRIES_AFTER_A_LOSS_MAX;
            self.give_up(now, number, error);
            return Load::GivenUp;
        }
        let delay = RETRY_MIN.saturating_mul(1 << (tries - 1)).min(RETRY_MAX);
        let trouble = format!(
            "segment {number} of {} cannot be read: {error}; it is tried again for a minute, then \
             its events are declared as lost: check the disk",
            self.place().unwrap_or_default()
        );
        self.reading.failing.insert(number, Failing { tries, at: Some(now + delay), trouble });
        Load::Later
    }
}
