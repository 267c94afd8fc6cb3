//! When an event counts as durable, and what to do when it does not become so.

use std::io;
use std::time::Instant;

use super::segment::{Extent, Segment};
use super::storage::SyncJob;
use super::{Spool, SyncTicket};

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
        match self.storage.as_mut()?.sync(&numbers) {
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
                    if let Some(segment) = self.segment_mut(*number) {
                        segment.synced = *extent;
                    }
                }
                for number in &ticket.doomed {
                    let _ = self.storage.as_mut().map(|storage| storage.remove(*number));
                }
                self.forget_durable_tail();
                self.trouble = None;
                self.retry = None;
            }
            Err(error) => {
                self.note_trouble(now, "made durable", &error);
                self.doomed.extend(&ticket.doomed);
                for (number, _) in &ticket.segments {
                    self.fall_back(*number);
                }
                self.is_open = false;
                let first = self.tail.front().map_or(self.last.next(), |record| record.sequence);
                self.written = first.previous();
            }
        }
    }

    fn forget_durable_tail(&mut self) {
        let stream = self.stream;
        let of_stream = self.segments.iter().filter(|segment| segment.stream == stream);
        let durable = of_stream.map(|segment| segment.synced.last).max().unwrap_or_default();
        while self.tail.front().is_some_and(|record| record.sequence <= durable) {
            if let Some(record) = self.tail.pop_front() {
                self.tail_bytes -= record.length();
            }
        }
    }

    /// What was not durable of a segment counts as not written.
    fn fall_back(&mut self, number: u64) {
        if let (Some(storage), Some(index)) =
            (&mut self.storage, self.segments.iter().position(|segment| segment.number == number))
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
