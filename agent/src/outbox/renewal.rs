//! A new stream in place of one that went back: a machine was set back to an older state, and a
//! collector has other events under the numbers that this agent would give next.
//!
//! What not every collector has of the old stream goes into the new one under new numbers, since
//! nobody knows where the two histories part. What cannot be read for that is declared there, and
//! what the disk gives only later is besides sent under its old numbers: to a collector whose
//! events they are it is not lost.

use std::time::Instant;

use jiff::Timestamp;
use pvewatch_protocol::event::OutboxDropped;
use pvewatch_protocol::{EventData, Position, Sequence, StreamId};

use super::envelope;
use super::lane::Lane;
use super::queue::Outbox;
use super::spool::{Read, Stored};
use crate::source::Fact;

/// Events of the old stream that the new one cannot have.
#[derive(Debug, Clone, Copy)]
struct Missing {
    stream: StreamId,
    from: Sequence,
    through: Sequence,
    why: &'static str,
}

impl Outbox {
    /// Begins a new stream with what not every collector has of the old one, numbered from 1.
    pub fn begin_stream(&mut self, now: Instant, today: Timestamp, stream: StreamId) {
        let Position { stream: old, sequence: last } = self.position();
        let first = self.collectors.stored_by_all(old).next();
        let unwritten = self.spool.begin_stream(now, stream);
        self.collectors.hand_over(old, last);
        self.skip_what_nobody_lacks();
        self.lanes.push(Lane::new(stream, Sequence(0), Sequence(0)));
        let mut next = first;
        let written = unwritten.first().map_or(last, |event| event.sequence.previous());
        while next <= written {
            match self.read(now, old, next) {
                Read::Event(event) => {
                    next = event.sequence.next();
                    self.append_again(now, today, old, &event);
                }
                Read::Gone { through, .. } => {
                    let through = through.min(written);
                    let why = "are no longer held";
                    self.declare(now, today, Missing { stream: old, from: next, through, why });
                    next = through.next();
                }
                Read::Later => {
                    let why = "cannot be read now, and not every collector may take them later";
                    let missing = Missing { stream: old, from: next, through: written, why };
                    self.declare(now, today, missing);
                    self.leave_behind(old, next, written);
                    break;
                }
            }
        }
        for event in unwritten.iter().filter(|event| event.sequence >= first) {
            self.append_again(now, today, old, event);
        }
        self.write_note(now);
    }

    /// What the disk does not give now stays in its old stream.
    fn leave_behind(&mut self, old: StreamId, first: Sequence, last: Sequence) {
        self.collectors.hand_over(old, first.previous());
        if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.stream == old) {
            lane.last = last;
            lane.cursor = first;
        }
    }

    fn append_again(&mut self, now: Instant, today: Timestamp, old: StreamId, event: &Stored) {
        let appended = envelope::open(event).map(|fact| self.append(now, fact));
        if !matches!(appended, Some(Ok(_))) {
            let (from, through, why) = (event.sequence, event.sequence, "cannot be understood");
            self.declare(now, today, Missing { stream: old, from, through, why });
        }
    }

    /// Declares events of the old stream by one place of the new one.
    fn declare(&mut self, now: Instant, today: Timestamp, missing: Missing) {
        let Missing { stream, from, through, why } = missing;
        self.dropped += (through.0 + 1).saturating_sub(from.0);
        let place = self.position().sequence.next();
        let reason = format!(
            "this host was set back to an older state, and events {} to {} of its stream {stream} \
             {why}",
            from.0, through.0
        );
        let data = EventData::OutboxDropped(OutboxDropped { from: place, through: place, reason });
        if let Err(error) = self.append(now, Fact { time: today, recorded_time: today, data }) {
            log::error!("outbox: a loss cannot be declared: {error}");
        }
    }
}

#[cfg(test)]
mod tests;
