//! What is told of an outbox: how much it holds, since when, and what is wrong.

use std::time::Instant;

use jiff::Timestamp;
use pvewatch_protocol::{Position, Sequence};

use super::lane::Lane;
use super::queue::Outbox;
use super::spool::{Finding, Read};

impl Outbox {
    /// Events that are held and that not every collector has acked.
    pub fn unacked_events(&self) -> u64 {
        self.lanes
            .iter()
            .map(|lane| (lane.last.0 + 1).saturating_sub(self.first_unacked(lane).0))
            .sum()
    }

    /// When the agent learned of the oldest event that not every collector has acked.
    pub fn oldest_unacked(&mut self, now: Instant) -> Option<Timestamp> {
        let unacked = self.lanes.iter().find_map(|lane| {
            let first = self.first_unacked(lane);
            (first <= lane.last).then_some((lane.stream, first))
        });
        let (stream, first) = unacked?;
        match self.read(now, stream, first) {
            Read::Event(event) => Timestamp::from_millisecond(event.at_ms).ok(),
            Read::Gone { .. } | Read::Later => None,
        }
    }

    /// Bytes of the events that are held, acked ones among them.
    pub fn held_bytes(&self) -> u64 {
        self.spool.held_bytes()
    }

    /// Events that are held, acked ones among them.
    pub fn held_events(&self) -> u64 {
        self.spool.held_events() as u64
    }

    /// Events that would be lost with this process.
    pub fn unsaved_events(&self) -> u64 {
        self.spool.unsaved_events() as u64
    }

    /// Whether an event outlives this process: on the disk, or with every collector.
    pub fn is_kept(&self, position: Position) -> bool {
        let stored = self.collectors.stored_by_all(position.stream);
        self.spool.is_kept(position) || stored >= position.sequence
    }

    /// Events dropped since the start because the outbox was full.
    pub fn dropped_events(&self) -> u64 {
        self.dropped
    }

    /// Events sent again since the start.
    pub fn resent_events(&self) -> u64 {
        self.resent
    }

    /// What was found on the disk that somebody should know of.
    pub fn take_findings(&mut self) -> Vec<Finding> {
        self.spool.take_findings()
    }

    /// Whether there is a disk at all.
    pub fn is_on_disk(&self) -> bool {
        self.spool.place().is_some()
    }

    /// What is wrong with the disk, or with what the broker takes, in words.
    pub fn trouble(&self) -> Option<&str> {
        self.spool.trouble().or_else(|| self.refusals.text())
    }

    fn first_unacked(&self, lane: &Lane) -> Sequence {
        let unacked = self.collectors.stored_by_all(lane.stream).next();
        unacked.max(self.spool.first_of(lane.stream))
    }
}
