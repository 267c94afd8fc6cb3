//! When an event counts as durable, and what to do when it does not become so.

use std::io;
use std::time::Instant;

use pvewatch_protocol::Position;

use super::mark::Mark;
use super::segment::{Extent, Header, Segment};
use super::storage::SyncJob;
use super::{Owner, Spool, SyncTicket};

impl Spool {
    /// A job that makes durable what is not yet, with its ticket for [`Self::on_synced`]. None
    /// if everything is.
    pub fn begin_sync(&mut self, now: Instant) -> Option<(SyncTicket, SyncJob)> {
        let dirty: Vec<(u64, Extent)> = self
            .segments
            .iter()
            .filter(|segment| segment.written.bytes > segment.synced.bytes)
            .map(|segment| (segment.number, segment.written))
            .collect();
        if dirty.is_empty() || self.is_left_alone(now) {
            return None;
        }
        let numbers: Vec<u64> = dirty.iter().map(|(number, _)| *number).collect();
        let ticket = SyncTicket { segments: dirty, doomed: std::mem::take(&mut self.noted) };
        match self.disk.opened()?.sync(&numbers) {
            Ok(job) => Some((ticket, job)),
            Err(error) => {
                self.on_synced(now, &ticket, Err(error));
                None
            }
        }
    }

    /// A job has ended. After an error nothing that it covered counts as written: it is written
    /// again, elsewhere.
    pub fn on_synced(&mut self, now: Instant, ticket: &SyncTicket, result: io::Result<()>) {
        match result {
            Ok(()) => {
                for (number, extent) in &ticket.segments {
                    let current = self.stream;
                    let Some(segment) = self.segment_mut(*number) else { continue };
                    segment.synced = *extent;
                    if segment.stream == current {
                        self.kept = self.kept.max(extent.last);
                    }
                }
                ticket.doomed.iter().for_each(|doomed| self.bury(*doomed));
                self.forget_durable_tail();
                self.set_mark();
                self.trouble = None;
                self.retry = None;
            }
            Err(error) => {
                self.note_trouble(now, "made durable", &error);
                self.doomed.extend(&ticket.doomed);
                self.doomed.append(&mut self.noted);
                // What came after the job was begun, too: of a disk that failed to write nothing
                // counts that it was not heard to have.
                let dirty = self.segments.iter().filter(|it| it.written.bytes > it.synced.bytes);
                let numbers: Vec<u64> = dirty.map(|segment| segment.number).collect();
                numbers.iter().for_each(|number| self.fall_back(*number));
                self.is_open = false;
                let first = self.tail.front().map_or(self.last.next(), |record| record.sequence);
                self.written = first.previous();
            }
        }
    }

    /// Whether an event is durable, or was dropped and something behind it is durable, so that the
    /// next start declares it. Of a stream that was renumbered, everything has to be durable.
    pub fn is_kept(&self, Position { stream, sequence }: Position) -> bool {
        if stream == self.stream { sequence <= self.kept } else { self.is_durable() }
    }

    fn forget_durable_tail(&mut self) {
        let stream = self.stream;
        while let Some(front) = self.tail.front()
            && self.segments.iter().rev().any(|segment| {
                segment.stream == stream
                    && segment.first <= front.sequence
                    && front.sequence <= segment.synced.last
            })
            && let Some(record) = self.tail.pop_front()
        {
            self.tail_bytes -= record.length();
        }
    }

    /// Writes down how far what is durable goes.
    fn set_mark(&mut self) {
        let durable = self.tail.front().map_or(self.last, |record| record.sequence.previous());
        if durable == self.marked {
            return;
        }
        self.marked = durable;
        let Owner { site, node } = self.owner.clone();
        let header = Header::new(site, node, self.stream);
        let mark = Mark { header, through: durable, ends: self.ends.clone() };
        // Without it a loss that would have been declared is found by no one; nothing else.
        let _ = self.disk.opened().map(|storage| storage.set_mark(&mark.bytes()));
    }

    /// What was not durable of a segment counts as not written.
    fn fall_back(&mut self, number: u64) {
        if let (Some(storage), Some(index)) =
            (self.disk.opened(), self.segments.iter().position(|segment| segment.number == number))
        {
            let synced = self.segments[index].synced;
            // What is left behind if this fails is the same events once more.
            let _ = if synced.events == 0 {
                storage.remove(number)
            } else {
                storage.truncate(number, synced.bytes)
            };
            self.segments[index].written = synced;
            if synced.events == 0 {
                self.segments.remove(index);
            }
        }
    }

    pub(super) fn segment_mut(&mut self, number: u64) -> Option<&mut Segment> {
        self.segments.iter_mut().find(|segment| segment.number == number)
    }
}
