//! What is found on disk when the agent starts: older streams, a torn end, damage.
//!
//! Nothing that can be read is given up: a torn end was never durable and is cut off; a damaged
//! segment is kept aside for a person, and its whole records are used; one that is another
//! node's, or that this version does not understand, is set aside.

use std::time::Instant;

use bytes::Bytes;
use pvewatch_protocol::{Sequence, StreamId};
use uuid::Uuid;

use super::segment::{Contents, Segment};
use super::{Limits, Owner, Spool, Storage};

/// What was found that somebody should know of, as a line for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// A write was cut off, by a crash or a loss of power; it was never durable.
    Torn(String),
    /// Something is wrong.
    Damaged(String),
}

/// What an older start of this agent left.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Streams in the order in which they began, with the last event of each.
    pub streams: Vec<(StreamId, Sequence)>,
    /// The last note.
    pub note: Option<Bytes>,
    /// What somebody should know of.
    pub findings: Vec<Finding>,
}

impl Opened {
    /// The id of a stream that begins behind these: a fresh one, or if the clock was set back one
    /// that is a millisecond later than theirs, since a collector takes the greater id for the
    /// later stream. It is as random as the fresh one: no two starts may share an id.
    fn stream_behind(&self, fresh: StreamId) -> StreamId {
        /// A UUIDv7 begins with 48 bits of time; the rest is its version and what is random.
        const TIME_SHIFT: u32 = 80;
        match self.streams.iter().map(|(stream, _)| *stream).max() {
            Some(newest) if newest >= fresh => {
                let time = (newest.0.as_u128() >> TIME_SHIFT) + 1;
                let rest = fresh.0.as_u128() & ((1 << TIME_SHIFT) - 1);
                StreamId(Uuid::from_u128(time << TIME_SHIFT | rest))
            }
            _ => fresh,
        }
    }
}

impl Spool {
    /// Opens what is there and begins a stream behind it: `fresh`, or one that is later than it
    /// if the clock was set back.
    ///
    /// A disk that does not answer at all is no error: see [`Spool::trouble`].
    pub fn open(
        storage: Box<dyn Storage>,
        owner: Owner,
        limits: Limits,
        fresh: StreamId,
        now: Instant,
    ) -> (Self, Opened) {
        let mut spool = Self::in_memory(owner, limits, fresh);
        let mut opened = Opened::default();
        let mut storage = storage;
        match storage.segments() {
            Ok(numbers) => {
                spool.next_number = numbers.last().map_or(1, |newest| newest + 1);
                for number in &numbers {
                    spool.take_in(&mut *storage, *number, &mut opened);
                }
                // A start that was killed can have left what was written, but not made durable.
                let kept: Vec<u64> = spool.segments.iter().map(|segment| segment.number).collect();
                let synced = storage.sync(&kept).and_then(|job| job());
                spool.storage = Some(storage);
                if let Err(error) = synced {
                    spool.note_trouble(now, "made durable", &error);
                }
            }
            Err(error) => {
                spool.storage = Some(storage);
                spool.note_trouble(now, "listed", &error);
            }
        }
        spool.stream = opened.stream_behind(fresh);
        spool.note.clone_from(&opened.note);
        (spool, opened)
    }

    fn take_in(&mut self, storage: &mut dyn Storage, number: u64, opened: &mut Opened) {
        let place = format!("{}, segment {number}", storage.place());
        let bytes = match storage.read(number) {
            Ok(bytes) => bytes,
            Err(error) => {
                let text = format!("{place} cannot be read: {error}; its events are missing");
                opened.findings.push(Finding::Damaged(text));
                return;
            }
        };
        let contents = Contents::read(&bytes);
        let ours = contents
            .header
            .as_ref()
            .filter(|(header, _)| header.site == self.owner.site && header.node == self.owner.node);
        let Some((header, first)) = ours else {
            // A crash right after the file was made leaves one without a whole record.
            if contents.events.is_empty() && contents.header.is_none() {
                let _ = storage.remove(number);
                return;
            }
            let whose = match &contents.header {
                Some((other, _)) => {
                    format!("belongs to node {} of site {}", other.node, other.site)
                }
                None => "does not begin as a segment does".to_owned(),
            };
            let kept = set_aside(storage, number);
            let _ = storage.remove(number);
            opened
                .findings
                .push(Finding::Damaged(format!("{place} {whose} and is not sent{kept}")));
            return;
        };
        if contents.damages > 0 {
            let kept = set_aside(storage, number);
            opened.findings.push(Finding::Damaged(format!(
                "{place} is damaged in {} places{kept}; what can be read of it is used, and what \
                 is missing is declared",
                contents.damages
            )));
        }
        if contents.torn {
            let whole = contents.extent.bytes;
            let cut = bytes.len() as u64 - whole;
            opened.findings.push(Finding::Torn(format!("{place}: {cut} bytes of a torn end")));
            // Nothing is appended to it any more, so a failure here costs nothing.
            let _ = storage.truncate(number, whole);
        }
        let mut segment = Segment::new(number, header.stream, *first);
        segment.written = contents.extent;
        segment.synced = contents.extent;
        if let Some(note) = contents.note {
            opened.note = Some(note);
        }
        if contents.extent.events == 0 {
            let _ = storage.remove(number);
            return;
        }
        match opened.streams.iter_mut().find(|(stream, _)| *stream == header.stream) {
            Some((_, last)) => *last = contents.extent.last.max(*last),
            None => opened.streams.push((header.stream, contents.extent.last)),
        }
        self.segments.push_back(segment);
    }
}

fn set_aside(storage: &mut dyn Storage, number: u64) -> String {
    match storage.set_aside(number) {
        Ok(name) => format!("; it is kept as {name}"),
        Err(error) => format!("; it cannot be set aside: {error}"),
    }
}
