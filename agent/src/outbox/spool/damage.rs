//! What the disk does not give back while the agent runs: told, set aside, and not waited for.

use std::io;
use std::time::Instant;

use super::losses::Why;
use super::{Dropped, Finding, Spool, Storage};

/// Lines for the log that wait to be fetched. Overflow: the newest is not said.
const FINDINGS_MAX: usize = 16;

/// A segment whose file goes when the note of that is durable: a loss that nobody knew of would
/// be worse than the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doomed {
    /// It is deleted.
    Deleted(u64),
    /// It is set aside, for a person to look at.
    SetAside(u64),
}

impl Spool {
    /// What was found since the last call that somebody should know of.
    pub fn take_findings(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.findings)
    }

    /// What went since the last call because the disk does not give it back.
    pub fn take_lost(&mut self) -> Vec<Dropped> {
        std::mem::take(&mut self.lost)
    }

    /// Events of a segment were read back damaged; the others are used.
    pub(super) fn on_damage(&mut self, number: u64, events: usize) {
        let Some(segment) = self.segment_mut(number).filter(|segment| !segment.is_damaged) else {
            return;
        };
        segment.is_damaged = true;
        let kept = self.disk.opened().map(|storage| set_aside(storage, number)).unwrap_or_default();
        self.find(format!(
            "segment {number} of {} is damaged: {events} of its events cannot be read back, which \
             is declared{kept}: check the disk",
            self.place().unwrap_or_default()
        ));
    }

    /// A segment cannot be read: nobody waits for it any longer.
    pub(super) fn give_up(&mut self, now: Instant, number: u64, error: &io::Error) {
        let Some(index) = self.segments.iter().position(|segment| segment.number == number) else {
            return;
        };
        self.is_open &= index + 1 < self.segments.len();
        let Some(segment) = self.segments.remove(index) else { return };
        self.reading.forget(number);
        let (from, mut through) = (segment.first, segment.written.last);
        if segment.stream == self.stream
            && let Some(in_memory) = self.tail.front().map(|record| record.sequence)
            && in_memory <= through
        {
            // What is still in memory is not lost: it is written again, elsewhere.
            through = in_memory.previous();
            self.written = self.written.min(through);
            self.flush(now);
        }
        let range = Dropped { stream: segment.stream, from, through };
        self.losses.add(range, Why::Unreadable(error.to_string()));
        self.lost.push(range);
        // Only now: what was just written does not carry the note of it yet.
        self.doomed.push(Doomed::SetAside(number));
        self.find(format!(
            "segment {number} of {} cannot be read: {error}; its events {} to {} are declared as \
             lost, and it is set aside: check the disk",
            self.place().unwrap_or_default(),
            from.0,
            through.0
        ));
    }

    pub(super) fn bury(&mut self, doomed: Doomed) {
        let Some(storage) = self.disk.opened() else { return };
        match doomed {
            // A file that cannot be deleted is found at the next start, and goes then.
            Doomed::Deleted(number) => drop(storage.remove(number)),
            // One that cannot be set aside stays: perhaps the next start can read it.
            Doomed::SetAside(number) => {
                drop(storage.set_aside(number).and_then(|_| storage.remove(number)));
            }
        }
    }

    /// What was found on a disk that was opened late goes the way of all that is found late.
    pub(super) fn tell_opened(&mut self) {
        if let Some(opened) = &mut self.opened {
            self.findings.append(&mut opened.findings);
            self.findings.truncate(FINDINGS_MAX);
        }
    }

    fn find(&mut self, text: String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding::Damaged(text));
        }
    }
}

/// Keeps a damaged segment for a person; returns what became of that, to end a sentence with.
pub(super) fn set_aside(storage: &mut dyn Storage, number: u64) -> String {
    match storage.set_aside(number) {
        Ok(name) => format!("; it is kept as {name}"),
        Err(error) => format!("; it cannot be set aside: {error}"),
    }
}
