//! How far what is durable goes, kept apart from it.
//!
//! Damage to the end of a segment looks like a write that was cut off, and only this tells one
//! from the other: for the stream that is written, and for those before it that are held.

use pvewatch_protocol::{Sequence, StreamId};

use super::record::Record;
use super::segment::{Contents, Header};
use super::writing::note_record;

/// The mark beside the segments.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Whose it is, with the stream that was written.
    pub header: Header,
    /// The last event of that stream that is durable.
    pub through: Sequence,
    /// The last event of each stream before it.
    pub ends: Vec<(StreamId, Sequence)>,
}

impl Mark {
    /// None if there is none, or it is damaged.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let Contents { header, note, .. } = Contents::read(bytes);
        let (header, through) = header?;
        let ends = note.and_then(|ends| serde_json::from_slice(&ends).ok()).unwrap_or_default();
        Some(Self { header, through, ends })
    }

    pub fn bytes(&self) -> Vec<u8> {
        let ends = serde_json::to_vec(&self.ends).unwrap_or_default();
        let records = [self.header.record(self.through, 0), note_record(ends.into(), 0)];
        let mut bytes = Vec::with_capacity(records.iter().map(Record::length).sum());
        records.iter().for_each(|record| record.encode(&mut bytes));
        bytes
    }

    /// How far a stream went at least, if this tells.
    pub fn end_of(&self, stream: StreamId) -> Option<Sequence> {
        if stream == self.header.stream {
            return Some(self.through);
        }
        self.ends.iter().find_map(|(older, last)| (*older == stream).then_some(*last))
    }
}
