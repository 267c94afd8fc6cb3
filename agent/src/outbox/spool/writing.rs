//! How events get into segments, and what happens when the disk does not take them.

use std::io;
use std::time::Instant;

use bytes::Bytes;
use pvewatch_protocol::Sequence;

use super::record::{Record, Tag};
use super::segment::{Extent, Header, Segment};
use super::{Owner, RETRY_MAX, RETRY_MIN, Retry, SEGMENT_BYTES, Spool};

impl Spool {
    pub(super) fn unwritten(&self) -> impl Iterator<Item = &Record> {
        let first = self.tail.front().map_or(0, |record| record.sequence.0);
        let written = usize::try_from((self.written.0 + 1).saturating_sub(first));
        self.tail.range(written.unwrap_or(usize::MAX).min(self.tail.len())..)
    }

    fn first_unwritten(&self) -> Option<(Sequence, i64)> {
        self.unwritten().next().map(|record| (record.sequence, record.at_ms))
    }

    pub(super) fn flush(&mut self, now: Instant) {
        if !self.disk.is_open() || self.is_left_alone(now) {
            return;
        }
        while let Some(first) = self.first_unwritten() {
            if let Err(error) = self.write_some(first) {
                let freed = error.kind() == io::ErrorKind::StorageFull && self.give_up_acked();
                if !freed {
                    self.note_trouble(now, "written", &error);
                    return;
                }
            }
        }
    }

    /// Writes as many of the unwritten events as the newest segment takes, the first at least.
    fn write_some(&mut self, first: (Sequence, i64)) -> io::Result<()> {
        self.make_room(first)?;
        let mut extent = self.segments.back().map(|segment| segment.written).unwrap_or_default();
        let batch: Vec<Record> = self
            .unwritten()
            .take_while(|record| {
                let fits = !self.is_full(extent);
                extent.add(record);
                fits
            })
            .cloned()
            .collect();
        self.write(&batch)?;
        self.written = batch.last().map_or(self.written, |record| record.sequence);
        Ok(())
    }

    /// Begins a segment if the newest one is not open, is full, or is another stream's.
    fn make_room(&mut self, (first, at_ms): (Sequence, i64)) -> io::Result<()> {
        let is_usable = self
            .segments
            .back()
            .is_some_and(|segment| segment.stream == self.stream && !self.is_full(segment.written));
        if self.is_open && is_usable {
            return Ok(());
        }
        let number = self.next_number;
        self.next_number += 1;
        self.segments.push_back(Segment::new(number, self.stream, first));
        self.is_open = true;
        let Owner { site, node } = self.owner.clone();
        let mut begin = vec![Header::new(site, node, self.stream).record(first, at_ms)];
        begin.extend(self.note.clone().map(|payload| note_record(payload, at_ms)));
        if let Err(error) = self.write(&begin) {
            self.segments.pop_back();
            self.is_open = false;
            // Whatever was left of it is no segment.
            let _ = self.disk.opened().map(|storage| storage.remove(number));
            return Err(error);
        }
        if self.note.is_some() {
            self.noted.append(&mut self.doomed);
        }
        Ok(())
    }

    /// Appends to the newest segment; after an error it is as before, or closed.
    pub(super) fn write(&mut self, records: &[Record]) -> io::Result<()> {
        let (Some(storage), Some(segment)) = (self.disk.opened(), self.segments.back_mut()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let mut bytes = Vec::with_capacity(records.iter().map(Record::length).sum());
        records.iter().for_each(|record| record.encode(&mut bytes));
        match storage.append(segment.number, &bytes) {
            Ok(()) => {
                records.iter().for_each(|record| segment.written.add(record));
                Ok(())
            }
            Err(error) => {
                // A torn end is understood when it is read, but nothing may follow it.
                if storage.truncate(segment.number, segment.written.bytes).is_err() {
                    self.is_open = false;
                }
                Err(error)
            }
        }
    }

    /// A bound is kept by deleting whole segments: a segment is an eighth of it at most.
    fn is_full(&self, extent: Extent) -> bool {
        extent.bytes >= SEGMENT_BYTES.min(self.limits.bytes_max / 8) && extent.events > 0
            || extent.events >= (self.limits.events_max / 8).max(1)
    }

    pub(super) fn newest_ms(&self) -> i64 {
        self.segments.back().map_or(0, |segment| segment.written.newest_ms)
    }

    pub(super) fn note_trouble(&mut self, now: Instant, what: &str, error: &io::Error) {
        let delay = self.retry.map_or(RETRY_MIN, |retry| (retry.delay * 2).min(RETRY_MAX));
        self.retry = Some(Retry { at: Some(now + delay), delay });
        let place = self.place().unwrap_or_default();
        let consequence = match error.kind() {
            io::ErrorKind::StorageFull => "free space there",
            io::ErrorKind::ReadOnlyFilesystem => {
                "see in the kernel's log why its file system is read-only, and mount it for writing"
            }
            io::ErrorKind::PermissionDenied => {
                "give it to the agent's user, or set [outbox] directory"
            }
            io::ErrorKind::ResourceBusy => "stop that one, or set [outbox] directory",
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => "set [outbox] directory",
            _ => "check the disk",
        };
        self.trouble = Some(format!(
            "events cannot be {what}: {place}: {error}; they are kept in memory: {consequence}"
        ));
    }
}

pub(super) fn note_record(payload: Bytes, at_ms: i64) -> Record {
    Record { tag: Tag::Note, sequence: Sequence(0), at_ms, name: String::new(), payload }
}
