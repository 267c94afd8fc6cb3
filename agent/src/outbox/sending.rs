//! What is published next: the oldest stream first, each in order, and what is gone declared.

use std::time::Instant;

use bytes::Bytes;
use jiff::Timestamp;
use pvewatch_protocol::event::OutboxDropped;
use pvewatch_protocol::{Position, Sequence, StreamId};

use super::envelope;
use super::lane::Lane;
use super::queue::{AHEAD_MAX, Outbox, UnderWay, WINDOW};
use super::spool::{Read, Stored, Why};

/// An event that is due, and whether it was sent before.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// Its place.
    pub position: Position,
    /// Its kind, for the topic.
    pub kind: String,
    /// The envelope.
    pub payload: Bytes,
    /// Whether this agent start sent it before.
    pub again: bool,
}

impl Outbox {
    /// The next event to publish; none while the window is full, acks are far behind, or
    /// everything was sent.
    ///
    /// `today` dates the declaration of a loss; events carry their own times.
    pub fn next_to_publish(&mut self, now: Instant, today: Timestamp) -> Option<Outgoing> {
        if self.is_held() || self.under_way.len() >= self.refusals.window(now, WINDOW) {
            return None;
        }
        // What is refused is tried with what follows it, and with nothing else.
        if self.refusals.text().is_none()
            && self.probe_again.is_none()
            && let Some(probe) = self.take_probe(now, today)
        {
            return Some(probe);
        }
        let index = self.lanes.iter().position(|lane| lane.cursor <= lane.last)?;
        let Lane { stream, cursor, sent, .. } = self.lanes[index];
        if self
            .collectors
            .stored_by_furthest_present(stream)
            .is_some_and(|stored| cursor.0 > stored.0 + AHEAD_MAX)
        {
            return None;
        }
        let event = self.event_at(now, today, index, cursor)?;
        let again = event.sequence <= sent;
        let lane = &mut self.lanes[index];
        lane.cursor = event.sequence.next();
        lane.sent = sent.max(event.sequence);
        self.collectors.on_sent(now, &self.lanes);
        Some(self.hand_out(stream, cursor, event, again))
    }

    /// What goes out for a place: its event, or the declaration that it and what follows is gone.
    pub(super) fn event_at(
        &mut self,
        now: Instant,
        today: Timestamp,
        index: usize,
        first: Sequence,
    ) -> Option<Stored> {
        let Lane { stream, last, .. } = self.lanes[index];
        if let Some(why) = self.refusals.why_given_up((stream, first)) {
            let place = Position { stream, sequence: first };
            return envelope::loss(&self.owner, first, place, why, today).ok();
        }
        match self.read(now, stream, first) {
            Read::Event(event) => Some(event),
            Read::Gone { through, why } => {
                let is_rest = through >= self.spool.last_of(stream);
                let through = if is_rest { last } else { through };
                let place = Position { stream, sequence: through };
                let reason = self.reason(place, &why);
                envelope::loss(&self.owner, first, place, &reason, today).ok()
            }
            Read::Later => None,
        }
    }

    pub(super) fn hand_out(
        &mut self,
        stream: StreamId,
        first: Sequence,
        event: Stored,
        again: bool,
    ) -> Outgoing {
        self.resent += u64::from(again);
        let is_loss = event.kind == OutboxDropped::KIND;
        self.under_way.push_back(UnderWay { stream, first, is_loss, is_probe: false });
        let position = Position { stream, sequence: event.sequence };
        Outgoing { position, kind: event.kind, payload: event.payload, again }
    }

    fn reason(&self, place: Position, why: &Why) -> String {
        if place.sequence <= self.collectors.stored_by_all(place.stream) {
            "no longer held: every collector had acked it".to_owned()
        } else {
            why.to_string()
        }
    }
}
