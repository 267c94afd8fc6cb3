//! One segment: whose it is, which events it holds, and how much of it is durable.

use bytes::Bytes;
use pvewatch_protocol::{NodeName, Sequence, Site, StreamId, codec};
use serde::{Deserialize, Serialize};

use super::record::{Record, Step, Tag, Walk};

/// The layout of segments that this version writes and reads.
const VERSION: u32 = 1;

/// The payload of a segment's first record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    version: u32,
    pub site: Site,
    pub node: NodeName,
    pub stream: StreamId,
}

impl Header {
    pub fn new(site: Site, node: NodeName, stream: StreamId) -> Self {
        Self { version: VERSION, site, node, stream }
    }

    /// As the first record of a segment whose first event will be `first`.
    pub fn record(&self, first: Sequence, at_ms: i64) -> Record {
        let payload = serde_json::to_vec(self).unwrap_or_default().into();
        Record { tag: Tag::Header, sequence: first, at_ms, name: String::new(), payload }
    }
}

/// How far a segment goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub bytes: u64,
    pub events: usize,
    /// The last event; 0 while there is none.
    pub last: Sequence,
    /// When the newest record was put in, in milliseconds since 1970.
    pub newest_ms: i64,
}

impl Extent {
    pub fn add(&mut self, record: &Record) {
        self.bytes += record.length() as u64;
        if record.tag == Tag::Event {
            self.events += 1;
            self.last = record.sequence;
            self.newest_ms = record.at_ms;
        }
    }
}

/// What the spool remembers of a segment.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub number: u64,
    pub stream: StreamId,
    /// The first event that it was begun for.
    pub first: Sequence,
    pub written: Extent,
    pub synced: Extent,
    /// Whether it was told that it does not give back what was written.
    pub is_damaged: bool,
}

impl Segment {
    pub fn new(number: u64, stream: StreamId, first: Sequence) -> Self {
        let (written, synced) = (Extent::default(), Extent::default());
        Self { number, stream, first, written, synced, is_damaged: false }
    }

    /// Whether it may hold an event. What is within its range can still be missing, if damaged.
    pub fn covers(&self, stream: StreamId, sequence: Sequence) -> bool {
        self.stream == stream && self.first <= sequence && sequence <= self.written.last
    }
}

/// What the bytes of a segment hold.
pub(super) struct Contents {
    /// None if the first record is not a header that this version understands.
    pub header: Option<(Header, Sequence)>,
    /// Events in order.
    pub events: Vec<Record>,
    /// The last note.
    pub note: Option<Bytes>,
    pub extent: Extent,
    /// Places where bytes are damaged.
    pub damages: usize,
    /// Whether a write was cut off at the end; `extent` ends before it.
    pub torn: bool,
}

impl Contents {
    pub fn read(bytes: &[u8]) -> Self {
        let mut walk = Walk::new(bytes);
        let mut contents = Self {
            header: None,
            events: Vec::new(),
            note: None,
            extent: Extent::default(),
            damages: 0,
            torn: false,
        };
        loop {
            match walk.next() {
                Step::Record(record) => contents.take(record),
                Step::Damage => contents.damages += 1,
                Step::End { torn } => {
                    contents.torn = torn;
                    contents.extent.bytes = walk.offset() as u64;
                    contents.rescue_header();
                    return contents;
                }
            }
        }
    }

    /// If the header is what was damaged, the first event says the same.
    fn rescue_header(&mut self) {
        if self.header.is_none()
            && self.damages > 0
            && let Some(first) = self.events.first()
            && let Ok(event) = codec::decode_event(&first.payload)
        {
            let header = Header::new(event.site, event.node, event.position.stream);
            self.header = Some((header, first.sequence));
        }
    }

    fn take(&mut self, record: Record) {
        self.extent.add(&record);
        match record.tag {
            Tag::Header if self.header.is_none() => {
                let header = serde_json::from_slice::<Header>(&record.payload).ok();
                self.header = header
                    .filter(|header| header.version == VERSION)
                    .map(|header| (header, record.sequence));
            }
            Tag::Header => {}
            Tag::Event => self.events.push(record),
            Tag::Note => self.note = Some(record.payload),
        }
    }
}
