//! What goes when there is too much: whole segments, the oldest first.

use super::damage::Doomed;
use super::losses::Why;
use super::segment::Segment;
use super::{Dropped, MEMORY_BYTES_MAX, SEGMENTS_MAX, Sequence, Spool};

impl Spool {
    /// Lets go what is too much, on disk and in memory.
    pub(super) fn enforce_bounds(&mut self) -> Vec<Dropped> {
        let mut dropped = self.enforce_limits();
        dropped.extend(self.enforce_memory());
        dropped.iter().for_each(|range| self.losses.add(*range, Why::Full));
        dropped
    }

    fn enforce_limits(&mut self) -> Vec<Dropped> {
        let mut dropped = Vec::new();
        loop {
            let over = self.held_bytes() > self.limits.bytes_max
                || self.held_events() > self.limits.events_max
                || self.segments.len() > SEGMENTS_MAX;
            if !over {
                return dropped;
            }
            match self.segments.front() {
                // What is on a disk that takes no writes stays there: no note could be made of it.
                _ if self.retry.is_some() => match self.drop_unwritten() {
                    Some(lost) => dropped.push(lost),
                    None => return dropped,
                },
                Some(oldest) if self.is_appended_to(oldest.number) => return dropped,
                Some(_) => dropped.extend(self.remove_oldest()),
                None if self.tail.len() > 1 => dropped.extend(self.drop_tail_front()),
                None => return dropped,
            }
        }
    }

    fn enforce_memory(&mut self) -> Vec<Dropped> {
        let mut dropped = Vec::new();
        while self.tail_bytes > MEMORY_BYTES_MAX && self.tail.len() > 1 {
            dropped.extend(self.drop_tail_front());
        }
        dropped
    }

    /// Lets the oldest event go that is in memory alone, but never the newest.
    fn drop_unwritten(&mut self) -> Option<Dropped> {
        while self.tail.front().is_some_and(|record| record.sequence <= self.written) {
            self.drop_tail_front();
        }
        if self.tail.len() > 1 { self.drop_tail_front() } else { None }
    }

    /// Lets the oldest event in memory go; that is a loss if it is nowhere else.
    fn drop_tail_front(&mut self) -> Option<Dropped> {
        let record = self.tail.pop_front()?;
        self.tail_bytes -= record.length();
        let is_lost = record.sequence > self.written;
        self.written = self.written.max(record.sequence);
        let (from, through) = (record.sequence, record.sequence);
        is_lost.then_some(Dropped { stream: self.stream, from, through })
    }

    /// In memory, what is acked is kept only as far as the bound for it goes.
    pub(super) fn trim_memory(&mut self, through: Sequence) {
        while self.tail_bytes > MEMORY_BYTES_MAX / 32
            && self.tail.front().is_some_and(|record| record.sequence <= through)
        {
            self.drop_tail_front();
        }
    }

    /// Deletes every segment that all collectors have. Returns whether there was one.
    pub(super) fn give_up_acked(&mut self) -> bool {
        let mut freed = false;
        while let Some(oldest) = self.segments.front()
            && self.is_acked(oldest)
            && !self.is_appended_to(oldest.number)
        {
            freed = true;
            self.remove_oldest();
        }
        freed
    }

    pub(super) fn remove_oldest(&mut self) -> Option<Dropped> {
        let segment = self.segments.pop_front()?;
        if self.is_acked(&segment) {
            // A file that cannot be deleted is found at the next start, and goes then.
            let _ = self.disk.opened().map(|storage| storage.remove(segment.number));
        } else {
            self.doomed.push(Doomed::Deleted(segment.number));
        }
        self.reading.forget(segment.number);
        let (from, through) = (segment.first, segment.written.last);
        if segment.stream == self.stream {
            while self.tail.front().is_some_and(|record| record.sequence <= through) {
                let record = self.tail.pop_front()?;
                self.tail_bytes -= record.length();
            }
        }
        (segment.written.events > 0).then_some(Dropped { stream: segment.stream, from, through })
    }

    pub(super) fn is_acked(&self, segment: &Segment) -> bool {
        let acked = self.acked.get(&segment.stream).copied().unwrap_or_default();
        segment.written.last <= acked
    }

    pub(super) fn is_appended_to(&self, number: u64) -> bool {
        self.is_open && self.segments.back().is_some_and(|newest| newest.number == number)
    }
}
