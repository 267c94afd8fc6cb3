//! The events of this node on disk: an append-only log of segments, bounded, synced in groups.
//!
//! An event is put in memory and written at once, and leaves memory when it is durable; it can
//! be read from the first moment on. A disk that is full or fails costs durability, not events:
//! they stay in memory, within a bound, and are written when the disk takes them again.
//! Positions of collectors are only hints here (see [`Spool::note`]): losing them costs repeats.
//!
//! Absent: what is sent when, and what an event means.

mod bounds;
mod damage;
mod durable;
mod files;
mod losses;
mod mark;
mod opening;
mod reading;
mod record;
mod segment;
mod storage;
mod writing;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use pvewatch_protocol::{NodeName, Sequence, Site, StreamId};

use damage::Doomed;
pub use files::{Files, OpenError};
use losses::Losses;
pub use losses::Why;
pub use opening::{Finding, Opened};
use reading::Reading;
use record::{Record, Tag};
use segment::{Extent, Segment};
use storage::Disk;
pub use storage::{Storage, SyncJob};
use writing::note_record;

/// Bytes after which a new segment is begun: what is deleted, or read again, at a time.
const SEGMENT_BYTES: u64 = 512 * 1024;

/// Segments at most; the oldest goes first. A segment is at least one agent start.
const SEGMENTS_MAX: usize = 2_000;

/// Bytes of events that are held in memory because the disk does not take them.
///
/// Overflow: the oldest go first, which is a loss if they were not written.
pub const MEMORY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long an event that every collector has is kept, so that a restored collector can be given
/// it again.
pub const ACKED_KEPT: Duration = Duration::from_secs(24 * 3600);

/// How long a disk that failed is left alone before it is tried again; it doubles.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// How much may be held.
///
/// Overflow: the oldest events go first, a segment at a time; the range is declared with
/// `outbox.dropped` and counted in every sample.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most bytes on disk.
    pub bytes_max: u64,
    /// Most events.
    pub events_max: usize,
}

/// Whose events these are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The installation.
    pub site: Site,
    /// The node.
    pub node: NodeName,
}

/// An event as it is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its number in its stream.
    pub sequence: Sequence,
    /// When the agent learned of it, in milliseconds since 1970.
    pub at_ms: i64,
    /// Its kind.
    pub kind: String,
    /// The envelope.
    pub payload: Bytes,
}

/// What became of a request for an event.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// Here it is.
    Event(Stored),
    /// It is not held any more; the next that is held comes after `through`.
    Gone {
        /// The last of those that are gone.
        through: Sequence,
        /// Why these are gone.
        why: Why,
    },
    /// The disk did not answer; it is worth another try at [`Spool::next_deadline`].
    Later,
}

/// Events that went, because of a bound or with the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped {
    /// Of this stream.
    pub stream: StreamId,
    /// The first.
    pub from: Sequence,
    /// The last.
    pub through: Sequence,
}

/// What a [`SyncJob`] covers.
#[derive(Debug)]
pub struct SyncTicket {
    segments: Vec<(u64, Extent)>,
    /// Segments that may be deleted once this is durable.
    doomed: Vec<Doomed>,
}

/// The log of one node.
pub struct Spool {
    disk: Disk,
    /// What was found on it, until it is fetched.
    opened: Option<Opened>,
    owner: Owner,
    limits: Limits,
    segments: VecDeque<Segment>,
    next_number: u64,
    /// Whether the newest segment takes more.
    is_open: bool,
    stream: StreamId,
    last: Sequence,
    /// The newest events of the current stream, without gaps: those that are not durable yet.
    tail: VecDeque<Record>,
    tail_bytes: usize,
    /// The last event of the current stream that is in a segment.
    written: Sequence,
    /// How far the mark beside the segments goes.
    marked: Sequence,
    /// The last event of the current stream that was made durable.
    kept: Sequence,
    /// The last event of each stream before the current one, as the mark has them.
    ends: Vec<(StreamId, Sequence)>,
    /// Up to where every collector has each stream.
    acked: BTreeMap<StreamId, Sequence>,
    /// Repeated at the start of every segment, so that no segment is needed for it.
    note: Option<Bytes>,
    /// Segments that went before every collector had them.
    doomed: Vec<Doomed>,
    /// Of these, those of which a note is written.
    noted: Vec<Doomed>,
    reading: Reading,
    losses: Losses,
    /// What went with the disk, until it is fetched; a segment each.
    lost: Vec<Dropped>,
    findings: Vec<Finding>,
    trouble: Option<String>,
    retry: Option<Retry>,
}

/// A disk that failed. It counts as well again when something became durable.
#[derive(Debug, Clone, Copy)]
struct Retry {
    /// When it is tried again; none while that is under way.
    at: Option<Instant>,
    delay: Duration,
}

impl Spool {
    /// A log in memory alone, within [`MEMORY_BYTES_MAX`]: every event is lost with the process.
    pub fn in_memory(owner: Owner, limits: Limits, stream: StreamId) -> Self {
        Self {
            disk: Disk::Absent,
            opened: None,
            owner,
            limits,
            segments: VecDeque::new(),
            next_number: 1,
            is_open: false,
            stream,
            last: Sequence(0),
            tail: VecDeque::new(),
            tail_bytes: 0,
            written: Sequence(0),
            marked: Sequence(0),
            kept: Sequence(0),
            ends: Vec::new(),
            acked: BTreeMap::new(),
            note: None,
            doomed: Vec::new(),
            noted: Vec::new(),
            reading: Reading::new(),
            losses: Losses::default(),
            lost: Vec::new(),
            findings: Vec::new(),
            trouble: None,
            retry: None,
        }
    }

    /// Begins a stream; what is put in from now on belongs to it.
    ///
    /// Returns the events of the stream before it that are in no segment, and so are held no more.
    pub fn begin_stream(&mut self, now: Instant, stream: StreamId) -> Vec<Stored> {
        self.flush(now);
        let unwritten = self.unwritten().map(stored).collect();
        self.tail.clear();
        self.tail_bytes = 0;
        self.is_open = false;
        let segments = &self.segments;
        self.ends.retain(|(ended, _)| segments.iter().any(|segment| segment.stream == *ended));
        self.ends.push((self.stream, self.written));
        self.stream = stream;
        self.last = Sequence(0);
        self.written = Sequence(0);
        self.marked = Sequence(0);
        self.kept = Sequence(0);
        unwritten
    }

    /// The current stream.
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// The last event of the current stream.
    pub fn last(&self) -> Sequence {
        self.last
    }

    /// Puts the next event in. Returns what had to go for it.
    pub fn append(&mut self, now: Instant, event: Stored) -> Vec<Dropped> {
        let Stored { sequence, at_ms, kind, payload } = event;
        let record = Record { tag: Tag::Event, sequence, at_ms, name: kind, payload };
        self.last = sequence;
        self.tail_bytes += record.length();
        self.tail.push_back(record);
        self.flush(now);
        self.enforce_bounds()
    }

    /// The last event of a stream that was ever seen here; 0 if there is none.
    pub fn last_of(&self, stream: StreamId) -> Sequence {
        if stream == self.stream {
            return self.last;
        }
        let segments = self.segments.iter().filter(|segment| segment.stream == stream);
        segments.map(|segment| segment.written.last).max().unwrap_or_default()
    }

    /// The first event of a stream that is held; one beyond its last if none is.
    pub fn first_of(&self, stream: StreamId) -> Sequence {
        let in_segment = self
            .segments
            .iter()
            .filter(|segment| segment.stream == stream && segment.written.events > 0)
            .map(|segment| segment.first)
            .min();
        let in_tail = self.tail.front().filter(|_| stream == self.stream).map(|r| r.sequence);
        let first = match (in_segment, in_tail) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        first.unwrap_or_else(|| self.last_of(stream).next())
    }

    /// Whether anything of a stream is held.
    pub fn holds(&self, stream: StreamId) -> bool {
        stream == self.stream || self.segments.iter().any(|segment| segment.stream == stream)
    }

    /// Every collector has a stream up to here: what is old enough may go.
    pub fn set_acked(&mut self, stream: StreamId, through: Sequence, today: Timestamp) {
        self.acked.insert(stream, through);
        let kept = i64::try_from(ACKED_KEPT.as_millis()).unwrap_or(i64::MAX);
        let old = today.as_millisecond().saturating_sub(kept);
        while let Some(oldest) = self.segments.front()
            && self.is_acked(oldest)
            && oldest.written.newest_ms < old
            && !self.is_appended_to(oldest.number)
        {
            self.remove_oldest();
        }
        if !self.disk.is_open() {
            self.trim_memory(through);
        }
        let segments = &self.segments;
        let current = self.stream;
        self.acked.retain(|stream, _| {
            *stream == current || segments.iter().any(|segment| segment.stream == *stream)
        });
    }

    /// Writes down what is known of the collectors. It is a hint: after a crash the last one
    /// that was written counts, and what it does not know of is sent again.
    pub fn note(&mut self, now: Instant, payload: Bytes) {
        self.set_note(payload.clone());
        if !self.is_open || self.is_left_alone(now) {
            return;
        }
        let record = note_record(payload, self.newest_ms());
        match self.write(&[record]) {
            Ok(()) => self.noted.append(&mut self.doomed),
            Err(error) => self.note_trouble(now, "written", &error),
        }
    }

    /// What the next segment begins with, in place of the last note.
    pub fn set_note(&mut self, payload: Bytes) {
        self.note = Some(payload);
    }

    /// Whether every event is durable.
    pub fn is_durable(&self) -> bool {
        self.tail.is_empty() && self.disk.is_open()
    }

    /// What is wrong with the disk, in words.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref().or(self.reading.trouble())
    }

    /// Where the events are, for messages; none if only in memory.
    pub fn place(&self) -> Option<String> {
        self.disk.place()
    }

    /// Bytes that are held: on disk, and in memory what is not on disk.
    pub fn held_bytes(&self) -> u64 {
        let written: u64 = self.segments.iter().map(|segment| segment.written.bytes).sum();
        written + self.unwritten().map(|record| record.length() as u64).sum::<u64>()
    }

    /// Events that are held.
    pub fn held_events(&self) -> usize {
        let written: usize = self.segments.iter().map(|segment| segment.written.events).sum();
        written + self.unwritten().count()
    }

    /// Events that are in memory alone.
    pub fn unsaved_events(&self) -> usize {
        self.unwritten().count()
    }

    /// When [`Self::on_deadline`] wants to be called, if ever.
    pub fn next_deadline(&self) -> Option<Instant> {
        let write_at = self.retry.and_then(|retry| retry.at);
        [write_at, self.reading.next_deadline()].into_iter().flatten().min()
    }

    /// Tries a disk again that failed. Returns what had to go. See also [`Self::take_opened`].
    pub fn on_deadline(&mut self, now: Instant) -> Vec<Dropped> {
        self.read_again(now);
        match &mut self.retry {
            Some(retry) if retry.at.is_some_and(|at| at <= now) => retry.at = None,
            _ => return Vec::new(),
        }
        if self.disk.is_closed() {
            if self.try_to_open(now) {
                // What is in memory is written as soon as it was heard what there is.
                self.retry = Some(Retry { at: Some(now), delay: RETRY_MIN });
                self.tell_opened();
            }
            return Vec::new();
        }
        self.flush(now);
        let is_dirty =
            self.segments.iter().any(|segment| segment.written.bytes > segment.synced.bytes);
        if self.unwritten().next().is_none() && !is_dirty {
            // Nothing waits for the disk any more; the next write tells how it is.
            self.retry = None;
            self.trouble = None;
        }
        self.enforce_bounds()
    }

    fn is_left_alone(&self, now: Instant) -> bool {
        self.retry.and_then(|retry| retry.at).is_some_and(|at| at > now)
    }
}

fn stored(record: &Record) -> Stored {
    Stored {
        sequence: record.sequence,
        at_ms: record.at_ms,
        kind: record.name.clone(),
        payload: record.payload.clone(),
    }
}

#[cfg(test)]
mod tests;
