//! Decides what becomes of every message that comes in.
//!
//! [`decode`] understands a message and refuses what contradicts itself: without state, so it
//! runs where messages are read. [`Ingest`] gives each event its place: applied once, in the
//! order of its stream, whatever order and how often it comes. Both name their decision.
//!
//! Absent on purpose: I/O, clocks, what an event means, and the counting of decisions.

mod decode;
mod node;
mod pictures;
mod stream;
mod word;

use std::collections::HashMap;

use bytes::Bytes;
use jiff::Timestamp;
use pvewatch_protocol::{Event, EventData, NodeName, Position, Sequence, StreamId};

pub use decode::{Decoded, Reason, Rejection, decode};
pub use pictures::{PICTURE_PATIENCE, PICTURES_WAITING_BYTES_MAX, Picture, Shown};
pub use word::{Lack, StreamNews};

use crate::store::StreamRow;
use node::Node;
use pictures::Pictures;
use stream::{Offered, Place, Stream};

/// Nodes known at most: more than one broker serves. An event of one more is refused.
pub const NODES_MAX: usize = 20_000;

/// Events that wait behind a gap, for one node.
///
/// The farthest are let go when it is full; the agent sends them again once the gap is closed.
pub const WAITING_PER_NODE_MAX: usize = 10_000;

/// Bytes of events that wait behind a gap, for one node; the same policy.
pub const WAITING_BYTES_PER_NODE_MAX: usize = 16 * 1024 * 1024;

/// Bytes of events that wait, of all nodes together; the same policy, at the node that sends.
pub const WAITING_BYTES_MAX: usize = 128 * 1024 * 1024;

/// An ack is repeated at most this often: to an agent it is a request to send again, and one
/// that is already doing so must not begin anew with every event.
const REPEAT_ACK_EVERY_MS: i64 = 1000;

/// An event with what came with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrival {
    /// The event.
    pub event: Box<Event>,
    /// The message as it came.
    pub payload: Bytes,
    /// When it came, by the collector's clock.
    pub received_at: Timestamp,
}

/// An event whose turn has come.
#[derive(Debug, Clone, PartialEq)]
pub struct Applicable {
    /// The event.
    pub arrival: Arrival,
    /// The place of its stream among the node's streams.
    pub ordinal: u64,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was its turn; `released` others waited for it and follow it.
    Applied {
        /// Events that waited and are now applied too.
        released: usize,
    },
    /// It is applied already.
    Duplicate,
    /// Something before it is missing, so it waits; or it was waiting already.
    Waiting {
        /// Whether this event found the gap, rather than an earlier one.
        opened_gap: bool,
    },
    /// Something before it is missing and there is no room to wait: it must be sent again.
    NoRoom,
    /// It cannot be given a place.
    Refused(Reason),
}

/// An ack that has to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueAck {
    /// To this node.
    pub node: NodeName,
    /// The place of its stream among the node's streams.
    pub ordinal: u64,
    /// What is applied.
    pub position: Position,
}

/// The state of all streams.
#[derive(Debug, Default)]
pub struct Ingest {
    nodes: HashMap<NodeName, Node>,
    waiting_events: usize,
    waiting_bytes: usize,
    changed: Vec<(NodeName, StreamId)>,
    forgotten: Vec<(NodeName, StreamId)>,
    acks: Vec<(NodeName, StreamId)>,
    news: Vec<StreamNews>,
    pictures: Pictures,
}

impl Ingest {
    /// Begins where the store is.
    pub fn restore(rows: Vec<StreamRow>) -> Self {
        let mut ingest = Self::default();
        for row in rows {
            let node = ingest.nodes.entry(row.node).or_default();
            node.restore(row.stream, row.ordinal, row.through.0, row.known.0);
        }
        ingest
    }

    /// Gives an event its place. What can be applied now is appended to `applicable`, in order.
    pub fn event(&mut self, arrival: Arrival, applicable: &mut Vec<Applicable>) -> Outcome {
        let place = match place_of(&arrival.event) {
            Ok(place) => place,
            Err(reason) => return Outcome::Refused(reason),
        };
        let Position { stream: id, .. } = arrival.event.position;
        let now = arrival.received_at;
        let name = arrival.event.node.clone();
        let Some(ordinal) = self.ordinal(&name, id) else {
            return Outcome::Refused(Reason::TooManyNodes);
        };
        let Some(node) = self.nodes.get_mut(&name) else { return Outcome::NoRoom };
        let before = applicable.len();
        let room_bytes = WAITING_BYTES_MAX.saturating_sub(self.waiting_bytes);
        let (offered, change) = node.offer(id, place, arrival, room_bytes, |arrival| {
            applicable.push(Applicable { arrival, ordinal });
        });
        self.waiting_events = self.waiting_events.saturating_add_signed(change.events);
        self.waiting_bytes = self.waiting_bytes.saturating_add_signed(change.bytes);
        let outcome = match offered {
            Offered::Applied => Outcome::Applied { released: applicable.len() - before - 1 },
            Offered::Duplicate => Outcome::Duplicate,
            Offered::Waiting { opened_gap } => Outcome::Waiting { opened_gap },
            Offered::NoRoom => Outcome::NoRoom,
        };
        let Some(stream) = node.stream_mut(id) else { return outcome };
        let ack_is_due = match outcome {
            Outcome::Applied { .. } => {
                self.pictures.note_progress(&name, now);
                if stream.note_change() {
                    self.changed.push((name.clone(), id));
                }
                true
            }
            Outcome::Duplicate | Outcome::Waiting { .. } | Outcome::NoRoom => {
                stream.repeat_is_due(now)
            }
            Outcome::Refused(_) => false,
        };
        if ack_is_due && stream.note_ack() {
            self.acks.push((name, id));
        }
        outcome
    }

    /// The place of a stream and what is applied of it; none if it is not known.
    pub fn standing(&self, node: &NodeName, stream: StreamId) -> Option<(u64, Sequence)> {
        let stream = self.nodes.get(node)?.stream(stream)?;
        Some((stream.ordinal(), Sequence(stream.through())))
    }

    /// The latest stream of a node; none if none is known.
    pub fn latest_stream(&self, node: &NodeName) -> Option<StreamId> {
        self.nodes.get(node)?.latest()
    }

    fn repeat_if(
        &mut self,
        name: &NodeName,
        as_of: Position,
        now: Timestamp,
        condition: impl FnOnce(&mut Stream) -> bool,
    ) {
        let stream = self.nodes.get_mut(name).and_then(|node| node.stream_mut(as_of.stream));
        if let Some(stream) = stream
            && stream.through() < as_of.sequence.0
            && condition(stream)
        {
            self.repeat_ack(name, as_of.stream, now);
        }
    }

    /// Repeats the ack of a stream, unless that was done just now.
    fn repeat_ack(&mut self, name: &NodeName, id: StreamId, now: Timestamp) {
        let stream = self.nodes.get_mut(name).and_then(|node| node.stream_mut(id));
        if stream.is_some_and(|stream| stream.repeat_is_due(now) && stream.note_ack()) {
            self.acks.push((name.clone(), id));
        }
    }

    /// How far a stream is applied; none if it is not known.
    pub fn through(&self, node: &NodeName, stream: StreamId) -> Option<Sequence> {
        self.nodes.get(node)?.stream(stream).map(|stream| Sequence(stream.through()))
    }

    /// Events that wait behind gaps.
    pub fn waiting(&self) -> usize {
        self.waiting_events
    }

    /// What changed since the last call: streams to store, and streams to forget.
    pub fn take_changes(&mut self) -> (Vec<StreamRow>, Vec<(NodeName, StreamId)>) {
        let mut rows = Vec::with_capacity(self.changed.len());
        for (node, id) in self.changed.drain(..) {
            let Some(stream) = self.nodes.get_mut(&node).and_then(|node| node.stream_mut(id))
            else {
                continue;
            };
            stream.change_is_taken();
            let (ordinal, through) = (stream.ordinal(), Sequence(stream.through()));
            let known = Sequence(stream.known());
            rows.push(StreamRow { node, stream: id, ordinal, through, known });
        }
        (rows, std::mem::take(&mut self.forgotten))
    }

    /// The acks that are due since the last call; to be sent after what was applied is stored.
    pub fn take_acks(&mut self) -> Vec<DueAck> {
        let mut acks = Vec::with_capacity(self.acks.len());
        for (node, id) in self.acks.drain(..) {
            let Some(stream) = self.nodes.get_mut(&node).and_then(|node| node.stream_mut(id))
            else {
                continue;
            };
            stream.ack_is_taken();
            let (ordinal, sequence) = (stream.ordinal(), Sequence(stream.through()));
            acks.push(DueAck { node, ordinal, position: Position { stream: id, sequence } });
        }
        acks
    }

    /// The place of a stream, given now if it is new; none when there are too many nodes.
    fn ordinal(&mut self, name: &NodeName, id: StreamId) -> Option<u64> {
        if !self.nodes.contains_key(name) {
            if self.nodes.len() >= NODES_MAX {
                return None;
            }
            self.nodes.insert(name.clone(), Node::default());
        }
        let node = self.nodes.get_mut(name)?;
        let was_known = node.is_known();
        match node.ordinal_of(id) {
            node::Ordinal::Known(ordinal) => Some(ordinal),
            node::Ordinal::New { ordinal, forgotten } => {
                if was_known {
                    self.news.push(StreamNews::Began { node: name.clone(), stream: id });
                }
                if let Some(node::Forgotten { stream, missing }) = forgotten {
                    // Nobody will ask for them any more.
                    self.news.extend(missing.map(|(from, through)| StreamNews::Lost {
                        node: name.clone(),
                        stream,
                        from: Sequence(from),
                        through: Sequence(through),
                    }));
                    self.forgotten.push((name.clone(), stream));
                }
                if node.stream_mut(id)?.note_change() {
                    self.changed.push((name.clone(), id));
                }
                Some(ordinal)
            }
        }
    }
}

/// Which sequences an event stands for: its own, or the range that it declares lost.
fn place_of(event: &Event) -> Result<Place, Reason> {
    let sequence = event.position.sequence.0;
    // The store's integers end there, and no agent can count so far.
    if i64::try_from(sequence).is_err() {
        return Err(Reason::BadSequence);
    }
    match &event.data {
        EventData::OutboxDropped(dropped) => {
            let from = dropped.from.0;
            if dropped.through.0 != sequence || from == 0 || from > sequence {
                return Err(Reason::BadSequence);
            }
            Ok(Place { from, sequence })
        }
        _ => Ok(Place { from: sequence, sequence }),
    }
}

#[cfg(test)]
mod tests;
