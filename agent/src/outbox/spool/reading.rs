//! Reading events again, from memory or from their segment.

use std::io;
use std::time::Instant;

use pvewatch_protocol::{Sequence, StreamId};

use super::record::Record;
use super::segment::Contents;
use super::{Read, Spool, stored};

impl Spool {
    /// Reads an event of a stream.
    pub fn read(&mut self, now: Instant, stream: StreamId, sequence: Sequence) -> Read {
        if stream == self.stream
            && let Some(first) = self.tail.front().map(|record| record.sequence)
            && sequence >= first
        {
            let index = usize::try_from(sequence.0 - first.0).unwrap_or(usize::MAX);
            return match self.tail.get(index) {
                Some(record) => Read::Event(stored(record)),
                None => Read::Gone { through: sequence },
            };
        }
        let covering = self.segments.iter().find(|segment| segment.covers(stream, sequence));
        if let Some(number) = covering.map(|segment| segment.number) {
            match self.load(number) {
                Ok(events) => {
                    if let Ok(index) = events.binary_search_by_key(&sequence, |r| r.sequence) {
                        let event = stored(&events[index]);
                        if index + 1 == events.len() {
                            self.loaded = None;
                        }
                        return Read::Event(event);
                    }
                }
                Err(error) => {
                    self.note_trouble(now, "read", &error);
                    return Read::Later;
                }
            }
        }
        Read::Gone { through: self.gone_through(stream, sequence) }
    }

    /// The first event of a stream that is held at or after `sequence`, less one.
    fn gone_through(&mut self, stream: StreamId, sequence: Sequence) -> Sequence {
        let loaded = self.loaded.as_ref().map(|(number, events)| (*number, events));
        let mut next = None;
        for segment in self.segments.iter().filter(|segment| segment.stream == stream) {
            let first = if segment.first > sequence {
                (segment.written.events > 0).then_some(segment.first)
            } else if let Some((number, events)) = loaded
                && number == segment.number
            {
                events.iter().map(|event| event.sequence).find(|held| *held > sequence)
            } else {
                None
            };
            next = match (next, first) {
                (Some(a), Some(b)) => Some(std::cmp::min(a, b)),
                (a, b) => a.or(b),
            };
        }
        let in_tail = self.tail.front().filter(|_| stream == self.stream).map(|r| r.sequence);
        match next.or(in_tail) {
            Some(next) => next.previous(),
            None if stream == self.stream => self.last,
            None => self.last_of(stream).max(sequence),
        }
    }

    fn load(&mut self, number: u64) -> io::Result<&[Record]> {
        let last = self.segment_mut(number).map(|segment| segment.written.last);
        let is_loaded = self.loaded.as_ref().is_some_and(|(loaded, events)| {
            *loaded == number && events.last().map(|event| event.sequence) >= last
        });
        if !is_loaded {
            let storage = self.storage.as_mut().ok_or(io::ErrorKind::NotFound)?;
            self.loaded = Some((number, Contents::read(&storage.read(number)?).events));
        }
        Ok(self.loaded.as_ref().map_or(&[], |(_, events)| events))
    }
}
