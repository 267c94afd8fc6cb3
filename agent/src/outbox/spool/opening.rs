//! What is found on disk when the agent starts: older streams, a torn end, damage.
//!
//! Nothing that can be read is given up: a torn end is cut off if it never was durable; a damaged
//! segment is kept aside for a person, and its whole records are used; one that is another
//! node's, or that this version does not understand, is set aside. Before all of it was read
//! nothing is written: numbers of segments and of streams follow those that are there.

use std::io;
use std::time::Instant;

use bytes::Bytes;
use pvewatch_protocol::{Sequence, StreamId};
use uuid::Uuid;

use super::damage::{Doomed, set_aside};
use super::losses::Why;
use super::mark::Mark;
use super::segment::{Contents, Extent, Header, Segment};
use super::{Disk, Dropped, Limits, Owner, Spool, Storage};

/// How often a disk is tried of which not every segment can be read, before those that can are
/// used: with pauses that double, half a minute in which events are in memory alone.
const TRIES_MAX: u32 = 6;

/// A segment, as it is found.
struct Found {
    number: u64,
    /// None if it does not begin as a segment does.
    header: Option<(Header, Sequence)>,
    extent: Extent,
    /// Places where bytes are damaged.
    damages: usize,
    /// Bytes behind the last whole record.
    cut: u64,
    /// Events behind the last one that it is known to have had.
    lost: Option<(Sequence, Sequence)>,
}

impl Found {
    fn last(&self) -> Option<(StreamId, Sequence)> {
        let (header, first) = self.header.as_ref()?;
        let is_empty = self.extent.events == 0;
        Some((header.stream, if is_empty { first.previous() } else { self.extent.last }))
    }
}

/// What is found on the whole disk.
struct Survey {
    found: Vec<Found>,
    note: Option<Bytes>,
    /// Segments that the disk does not give back, with what it says.
    unreadable: Vec<(u64, io::Error)>,
    next_number: u64,
    mark: Option<Mark>,
}

impl Survey {
    /// A write that was cut off at the end of a segment was never durable, unless something tells
    /// that it was: the segment that goes on behind it, or the mark.
    fn find_lost_ends(&mut self) {
        for index in 0..self.found.len() {
            let (before, behind) = self.found.split_at_mut(index + 1);
            let Some(segment) = before.last_mut() else { continue };
            let Some((stream, last)) = segment.last() else { continue };
            let first_behind = behind.iter().find_map(|later| {
                let (header, first) = later.header.as_ref()?;
                (header.stream == stream).then_some((later.number, *first))
            });
            let until = first_behind.map_or(u64::MAX, |(number, _)| number);
            let mut unread = self.unreadable.iter().map(|(number, _)| number);
            if unread.any(|number| (segment.number..until).contains(number)) {
                continue;
            }
            let through = match first_behind {
                Some((_, first)) => (segment.cut > 0).then(|| first.previous()),
                None => self.mark.as_ref().and_then(|mark| mark.end_of(stream)),
            };
            segment.lost = through.filter(|it| *it > last).map(|through| (last.next(), through));
        }
    }

    /// Whether the end of the marked stream is nowhere.
    fn lacks_the_mark(&self) -> bool {
        self.mark.as_ref().is_some_and(|mark| {
            let mut found = self.found.iter().filter_map(Found::last);
            !found.any(|(stream, last)| stream == mark.header.stream && last >= mark.through)
        })
    }
}

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
    fn take_in(&mut self, stream: StreamId, through: Sequence) {
        match self.streams.iter_mut().find(|(known, _)| *known == stream) {
            Some((_, last)) => *last = through.max(*last),
            None => self.streams.push((stream, through)),
        }
    }

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
    /// A disk that does not answer at all is no error: see [`Spool::trouble`]. It is tried again,
    /// and what is found then is told by [`Spool::take_opened`].
    pub fn open(
        storage: Box<dyn Storage>,
        owner: Owner,
        limits: Limits,
        fresh: StreamId,
        now: Instant,
    ) -> (Self, Opened) {
        let mut spool = Self::in_memory(owner, limits, fresh);
        spool.disk = Disk::Closed { storage, tries: 0 };
        spool.try_to_open(now);
        let opened = spool.take_opened().unwrap_or_default();
        spool.stream = opened.stream_behind(fresh);
        (spool, opened)
    }

    /// What was found on a disk that could be read at last, once.
    pub fn take_opened(&mut self) -> Option<Opened> {
        self.opened.take()
    }

    /// Reads what is on the disk, unless that was done. Returns whether it is open.
    pub(super) fn try_to_open(&mut self, now: Instant) -> bool {
        let (mut storage, tries) = match std::mem::replace(&mut self.disk, Disk::Absent) {
            Disk::Closed { storage, tries } => (storage, tries + 1),
            other => {
                self.disk = other;
                return self.disk.is_open();
            }
        };
        let survey = match survey(&mut *storage, tries >= TRIES_MAX) {
            Ok(survey) => survey,
            Err(Unreadable { error, is_listed }) => {
                // A disk that is not there at all is waited for.
                let tries = if is_listed { tries } else { 0 };
                self.disk = Disk::Closed { storage, tries };
                self.note_trouble(now, "stored", &error);
                return false;
            }
        };
        let opened = self.take_in(&mut *storage, survey);
        // A start that was killed can have left what was written, but not made durable.
        let kept: Vec<u64> = self.segments.iter().map(|segment| segment.number).collect();
        let synced = storage.sync(&kept).and_then(|job| job());
        self.disk = Disk::Open(storage);
        if let Err(error) = synced {
            self.note_trouble(now, "made durable", &error);
        }
        if self.note.is_none() {
            self.note.clone_from(&opened.note);
        }
        self.opened = Some(opened);
        true
    }

    fn take_in(&mut self, storage: &mut dyn Storage, mut survey: Survey) -> Opened {
        survey.mark.take_if(|mark| !self.owns(&mark.header));
        survey.find_lost_ends();
        let is_end_missing = survey.lacks_the_mark();
        let Survey { found, note, unreadable, next_number, mark } = survey;
        let mut opened = Opened { note, ..Opened::default() };
        self.next_number = next_number;
        for segment in found {
            // A crash right after the file was made leaves one without a whole record.
            let is_blank = segment.extent.events == 0 && segment.header.is_none();
            if is_blank && !(is_end_missing && segment.cut > 0) {
                let _ = storage.remove(segment.number);
            } else {
                self.take_in_segment(storage, segment, &mut opened);
            }
        }
        if let Some(Mark { header, through, ends }) = mark {
            opened.take_in(header.stream, through);
            // One of which nothing is left is known by the note, or every collector has it.
            for (stream, last) in ends {
                if self.holds(stream) {
                    opened.take_in(stream, last);
                }
            }
        }
        for (number, error) in unreadable {
            opened.findings.push(Finding::Damaged(format!(
                "{}, segment {number} cannot be read: {error}; what is missing is declared, and \
                 it is set aside: check the disk",
                storage.place()
            )));
            self.doomed.push(Doomed::SetAside(number));
        }
        self.ends.clone_from(&opened.streams);
        opened
    }

    fn take_in_segment(&mut self, storage: &mut dyn Storage, found: Found, opened: &mut Opened) {
        let Found { number, header, extent, damages, cut, lost } = found;
        let place = format!("{}, segment {number}", storage.place());
        let Some((header, first)) = header.as_ref().filter(|(header, _)| self.owns(header)) else {
            let whose = match &header {
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
        if damages > 0 || lost.is_some() {
            let kept = set_aside(storage, number);
            let places = damages + usize::from(lost.is_some());
            opened.findings.push(Finding::Damaged(format!(
                "{place} is damaged in {places} places{kept}; what can be read of it is used, and \
                 what is missing is declared"
            )));
        } else if cut > 0 {
            opened.findings.push(Finding::Torn(format!("{place}: {cut} bytes of a torn end")));
            // Nothing is appended to it any more, so a failure here costs nothing.
            let _ = storage.truncate(number, extent.bytes);
        }
        if let Some((from, through)) = lost {
            self.losses.add(Dropped { stream: header.stream, from, through }, Why::Damaged);
            opened.take_in(header.stream, through);
        }
        if extent.events == 0 {
            let _ = storage.remove(number);
            return;
        }
        let mut segment = Segment::new(number, header.stream, *first);
        segment.written = extent;
        segment.synced = extent;
        opened.take_in(header.stream, extent.last);
        self.segments.push_back(segment);
    }

    fn owns(&self, header: &Header) -> bool {
        header.site == self.owner.site && header.node == self.owner.node
    }
}

/// Why a disk cannot be opened yet.
struct Unreadable {
    error: io::Error,
    /// Whether it said at least which segments there are.
    is_listed: bool,
}

/// Reads everything and changes nothing.
fn survey(storage: &mut dyn Storage, is_last_try: bool) -> Result<Survey, Unreadable> {
    let numbers = storage.segments().map_err(|error| Unreadable { error, is_listed: false })?;
    let next_number = numbers.last().map_or(1, |newest| newest + 1);
    // A mark that cannot be read tells nothing.
    let mark = storage.mark().ok().and_then(|bytes| Mark::read(&bytes));
    let (found, unreadable) = (Vec::new(), Vec::new());
    let mut survey = Survey { found, note: None, unreadable, next_number, mark };
    for number in numbers {
        let bytes = match storage.read(number) {
            Ok(bytes) => bytes,
            Err(error) if is_last_try => {
                survey.unreadable.push((number, error));
                continue;
            }
            Err(error) => return Err(Unreadable { error, is_listed: true }),
        };
        let Contents { header, note, extent, damages, .. } = Contents::read(&bytes);
        let cut = bytes.len() as u64 - extent.bytes;
        survey.found.push(Found { number, header, extent, damages, cut, lost: None });
        survey.note = note.or(survey.note);
    }
    Ok(survey)
}
