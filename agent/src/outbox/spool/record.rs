//! How records lie in a segment: a head of fixed size, a name, a payload, one after another.
//!
//! Every record carries a checksum, so a torn end and a damaged middle are told from each other:
//! behind a damaged middle there are whole records again. Absent: what a record means.

use bytes::Bytes;
use crc32fast::Hasher;
use pvewatch_protocol::Sequence;
use pvewatch_protocol::codec::PAYLOAD_BYTES_MAX;

/// The first bytes of every record.
const MAGIC: [u8; 2] = [0xe5, 0x9a];

/// Bytes of a head: magic 2, tag 1, length of the name 1, length of the payload 4, sequence 8,
/// time 8, checksum 4; numbers little-endian. The checksum covers everything else but the magic.
pub(super) const HEAD: usize = 28;

const CHECKSUM_AT: usize = 24;

/// What kind of record it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    /// The first record of a segment: whose it is.
    Header,
    /// An event; the name is its kind, the payload is what is published.
    Event,
    /// What collectors have acked, and what is gone.
    Note,
}

impl Tag {
    const ALL: [(Self, u8); 3] = [(Self::Header, 1), (Self::Event, 2), (Self::Note, 3)];

    fn byte(self) -> u8 {
        Self::ALL.iter().find(|(tag, _)| *tag == self).map_or(0, |(_, byte)| *byte)
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == byte).map(|(tag, _)| *tag)
    }
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub tag: Tag,
    /// The event's number; 0 for a note.
    pub sequence: Sequence,
    /// When it was put in, in milliseconds since 1970 by the node's clock.
    pub at_ms: i64,
    /// The event's kind, at most 255 bytes.
    pub name: String,
    pub payload: Bytes,
}

impl Record {
    /// How many bytes it takes in a segment.
    pub fn length(&self) -> usize {
        HEAD + self.name.len() + self.payload.len()
    }

    /// Appends the record to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&MAGIC);
        out.push(self.tag.byte());
        out.push(u8::try_from(self.name.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(&u32::try_from(self.payload.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&self.sequence.0.to_le_bytes());
        out.extend_from_slice(&self.at_ms.to_le_bytes());
        let mut hasher = Hasher::new();
        hasher.update(&out[start + MAGIC.len()..]);
        hasher.update(self.name.as_bytes());
        hasher.update(&self.payload);
        out.extend_from_slice(&hasher.finalize().to_le_bytes());
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(&self.payload);
    }

    /// The record at the start of `bytes`; none if there is no whole, undamaged one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let head = bytes.get(..HEAD)?;
        if head[..MAGIC.len()] != MAGIC {
            return None;
        }
        let tag = Tag::from_byte(head[2])?;
        let name_end = HEAD + usize::from(head[3]);
        let payload_length = u32::from_le_bytes(array(&head[4..8])?) as usize;
        if payload_length > PAYLOAD_BYTES_MAX {
            return None;
        }
        let name = bytes.get(HEAD..name_end)?;
        let payload = bytes.get(name_end..name_end + payload_length)?;
        let mut hasher = Hasher::new();
        hasher.update(&head[MAGIC.len()..CHECKSUM_AT]);
        hasher.update(name);
        hasher.update(payload);
        if hasher.finalize() != u32::from_le_bytes(array(&head[CHECKSUM_AT..])?) {
            return None;
        }
        Some(Self {
            tag,
            sequence: Sequence(u64::from_le_bytes(array(&head[8..16])?)),
            at_ms: i64::from_le_bytes(array(&head[16..24])?),
            name: std::str::from_utf8(name).ok()?.to_owned(),
            payload: Bytes::copy_from_slice(payload),
        })
    }
}

/// What comes next in a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Record(Record),
    /// Damaged bytes, with whole records behind them.
    Damage,
    /// Nothing more, or the torn rest of a write that was cut off.
    End {
        torn: bool,
    },
}

/// Walks through the bytes of a segment.
pub(super) struct Walk<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Walk<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// Where the next record begins; after [`Step::End`], where what is whole ends.
    pub fn offset(&self) -> usize {
        self.offset
    }

    pub fn next(&mut self) -> Step {
        let rest = &self.bytes[self.offset..];
        if rest.is_empty() {
            return Step::End { torn: false };
        }
        if let Some(record) = Record::decode(rest) {
            self.offset += record.length();
            return Step::Record(record);
        }
        let next = (1..rest.len()).find(|from| Record::decode(&rest[*from..]).is_some());
        match next {
            Some(from) => {
                self.offset += from;
                Step::Damage
            }
            None => Step::End { torn: true },
        }
    }
}

fn array<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(number: u64, payload: &[u8]) -> Record {
        Record {
            tag: Tag::Event,
            sequence: Sequence(number),
            at_ms: -5,
            name: "unit.changed".to_owned(),
            payload: Bytes::copy_from_slice(payload),
        }
    }

    fn segment(records: &[Record]) -> Vec<u8> {
        let mut bytes = Vec::new();
        records.iter().for_each(|record| record.encode(&mut bytes));
        bytes
    }

    fn numbers(bytes: &[u8]) -> (Vec<u64>, usize, bool) {
        let mut walk = Walk::new(bytes);
        let (mut numbers, mut damages) = (Vec::new(), 0);
        loop {
            match walk.next() {
                Step::Record(record) => numbers.push(record.sequence.0),
                Step::Damage => damages += 1,
                Step::End { torn } => return (numbers, damages, torn),
            }
        }
    }

    #[test]
    fn a_write_that_was_cut_off_at_any_byte_leaves_the_records_before_it() {
        let bytes = segment(&[event(1, b"one"), event(2, b"two")]);
        let first = event(1, b"one").length();
        for cut in 0..=bytes.len() {
            let expected = match cut {
                _ if cut < first => (vec![], 0, cut > 0),
                _ if cut < bytes.len() => (vec![1], 0, cut > first),
                _ => (vec![1, 2], 0, false),
            };
            assert_eq!(numbers(&bytes[..cut]), expected, "cut at {cut}");
        }
    }

    #[test]
    fn a_damaged_record_is_passed_over_and_told_from_a_torn_end() {
        let bytes = segment(&[event(1, b"one"), event(2, b"two"), event(3, b"three")]);
        let length = event(1, b"one").length();
        for at in 0..length {
            let mut damaged = bytes.clone();
            damaged[length + at] ^= 0x40;
            assert_eq!(numbers(&damaged), (vec![1, 3], 1, false), "at {at}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            number: u64, at_ms: i64, name in "[a-z.]{0,40}",
            payload in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let record = Record {
                tag: Tag::Event, sequence: Sequence(number), at_ms, name, payload: payload.into(),
            };
            let bytes = segment(std::slice::from_ref(&record));
            prop_assert_eq!(bytes.len(), record.length());
            prop_assert_eq!(Record::decode(&bytes), Some(record));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            numbers(&bytes);
        }
    }
}
