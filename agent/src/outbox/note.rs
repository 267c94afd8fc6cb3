//! What one start writes down for the next, and takes up from those before it.
//!
//! Positions are hints: without them more is sent than needed. How far the streams went that not
//! every collector has is more: with it what is gone is declared, also when nothing of a stream
//! is left.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use pvewatch_protocol::{CollectorName, Sequence, StreamId};
use serde::{Deserialize, Serialize};

use super::collectors;
use super::lane::Lane;
use super::queue::Outbox;
use super::spool::Opened;

/// As it is kept in the spool.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    collectors: BTreeMap<CollectorName, collectors::Position>,
    /// The streams that not every collector has, with the last event of each.
    gone: Vec<(StreamId, Sequence)>,
}

impl Outbox {
    /// Takes up what earlier starts left, before the streams of this one.
    pub(super) fn take_up(&mut self, opened: Opened) {
        // A note that cannot be read costs repeats, no more.
        let note: Note =
            opened.note.and_then(|note| serde_json::from_slice(&note).ok()).unwrap_or_default();
        self.collectors.restore(note.collectors);
        let gone: BTreeMap<StreamId, Sequence> = note.gone.iter().copied().collect();
        let not_held = note.gone.into_iter().filter(|(stream, _)| !self.spool.holds(*stream));
        let older: Vec<Lane> = not_held
            .chain(opened.streams)
            .map(|(stream, last)| {
                // The end of a stream can be gone, and of one that is gone a part can be back: a
                // file whose deletion a loss of power undid.
                let last = gone.get(&stream).map_or(last, |whole| last.max(*whole));
                let sent = self.collectors.stored_by_furthest(stream);
                Lane::new(stream, last, sent)
            })
            .collect();
        self.lanes.splice(0..0, older);
        // So that the first segment of this start says how far the others went.
        if let Some(note) = self.compose_note() {
            self.spool.set_note(note);
        }
    }

    pub(super) fn write_note(&mut self, now: Instant) {
        self.acks_since_note = 0;
        if let Some(note) = self.compose_note() {
            self.spool.note(now, note);
        }
    }

    fn compose_note(&mut self) -> Option<Bytes> {
        let lanes = &self.lanes;
        self.collectors.keep(|stream| lanes.iter().any(|lane| lane.stream == stream));
        let gone = self.lanes.iter().filter(|lane| {
            !self.spool.holds(lane.stream) || self.collectors.stored_by_all(lane.stream) < lane.last
        });
        let note = Note {
            collectors: self.collectors.positions(),
            gone: gone.map(|lane| (lane.stream, lane.last)).collect(),
        };
        serde_json::to_vec(&note).ok().map(Bytes::from)
    }
}
