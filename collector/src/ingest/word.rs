//! What samples and checkpoints tell of streams, beside the events themselves: what is missing,
//! for how long, and what nobody will ever bring.

use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::{NodeName, Position, Sequence, StreamId};

use super::stream::Stream;
use super::{Applicable, Ingest};

/// What an agent has of its present stream and the collector has not, as a sample tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lack {
    /// Events that are missing.
    pub events: u64,
    /// When a sample first told of one that is still missing.
    pub since: Option<Timestamp>,
}

/// What became of a stream, beside its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamNews {
    /// A node that is known begins another stream: its agent was started anew.
    Began {
        /// The node.
        node: NodeName,
        /// The stream.
        stream: StreamId,
    },
    /// An agent has less of its stream than is stored: it was restored from an older state. It
    /// is told by an ack, and then begins another stream.
    WentBack {
        /// The node.
        node: NodeName,
        /// What the agent has.
        as_of: Position,
        /// What is stored.
        through: Sequence,
    },
    /// Nobody holds these events any more, and nobody said so: they are lost.
    Lost {
        /// The node.
        node: NodeName,
        /// The stream.
        stream: StreamId,
        /// The first.
        from: Sequence,
        /// The last.
        through: Sequence,
    },
}

impl Ingest {
    /// The place of a checkpoint's stream among the node's streams.
    ///
    /// A stream that is not known yet gets a place: above what is applied, with room below it
    /// for older streams that the agent still holds and sends first. None when there are too
    /// many nodes.
    ///
    /// If the checkpoint knows events that are not applied yet, an ack is due: the agent learns
    /// what is missing. One that was `retained` says nothing new to an agent that sends again
    /// anyway because this collector came; but to a store without its stream everything is.
    pub fn checkpoint(
        &mut self,
        node: &NodeName,
        as_of: Position,
        retained: bool,
        now: Timestamp,
    ) -> Option<u64> {
        let mut ordinal = self.ordinal(node, as_of.stream)?;
        if !retained {
            ordinal = self.present_ordinal(node, as_of.stream, now)?;
        }
        self.hear(node, as_of, now);
        self.repeat_if(node, as_of, now, |stream| !retained || stream.through() == 0);
        Some(ordinal)
    }

    /// Notes what a sample says its agent has. A sample may overtake the events before it, so
    /// an ack is due only if the one before said the same and nothing came since. Returns what
    /// is missing. What waited in older streams that nobody will complete is appended to
    /// `applicable`, in order.
    pub fn sample(
        &mut self,
        name: &NodeName,
        as_of: Position,
        now: Timestamp,
        applicable: &mut Vec<Applicable>,
    ) -> Lack {
        if self.ordinal(name, as_of.stream).is_none()
            || self.present_ordinal(name, as_of.stream, now).is_none()
        {
            return Lack::default();
        }
        self.hear(name, as_of, now);
        self.give_up(name, as_of.stream, now, applicable);
        self.repeat_if(name, as_of, now, Stream::is_stuck);
        self.ask_for_older(name, as_of.stream, now);
        let stream = self.nodes.get_mut(name).and_then(|node| node.stream_mut(as_of.stream));
        let Some(stream) = stream else { return Lack::default() };
        if stream.went_back(as_of.sequence.0) {
            let through = Sequence(stream.through());
            self.news.push(StreamNews::WentBack { node: name.clone(), as_of, through });
            if stream.note_ack() {
                self.acks.push((name.clone(), as_of.stream));
            }
        }
        stream.lacks(as_of.sequence.0, now)
    }

    /// The wall clock was set ahead, or back: what is under way has lasted no longer for it.
    pub fn clock_jumped(&mut self, by: SignedDuration) {
        self.nodes.values_mut().for_each(|node| node.clock_jumped(by));
        self.pictures.clock_jumped(by);
    }

    /// What became of streams since the last call.
    pub fn take_news(&mut self) -> Vec<StreamNews> {
        std::mem::take(&mut self.news)
    }

    /// The place of a stream of which its agent says, just now, that it is its present one.
    fn present_ordinal(&mut self, name: &NodeName, id: StreamId, now: Timestamp) -> Option<u64> {
        let node = self.nodes.get_mut(name)?;
        let is_moved = node.make_newest(id, now);
        let stream = node.stream_mut(id)?;
        if is_moved && stream.note_change() {
            self.changed.push((name.clone(), id));
        }
        Some(stream.ordinal())
    }

    fn hear(&mut self, name: &NodeName, as_of: Position, now: Timestamp) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        let Some(stream) = node.stream_mut(as_of.stream) else { return };
        // What is known is stored, so that a loss is found by the next collector too.
        if stream.hear(as_of.sequence.0, now) && stream.note_change() {
            self.changed.push((name.clone(), as_of.stream));
        }
        node.note_open(as_of.stream);
    }

    /// Repeats the acks of older streams of which events are missing, if of none of them anything
    /// came since the sample before: whoever holds them may not know that they did not arrive.
    fn ask_for_older(&mut self, name: &NodeName, present: StreamId, now: Timestamp) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        let open = node.open_but(present);
        // All of them are looked at. One that goes on is sent, and those after it wait their turn.
        let mut goes_on = false;
        for id in &open {
            goes_on |= node.stream_mut(*id).is_some_and(|stream| !stream.is_stuck());
        }
        if goes_on {
            return;
        }
        open.into_iter().for_each(|id| self.repeat_ack(name, id, now));
    }

    /// Gives up what is missing of streams that ended long ago.
    fn give_up(
        &mut self,
        name: &NodeName,
        present: StreamId,
        now: Timestamp,
        applicable: &mut Vec<Applicable>,
    ) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        for id in node.abandoned(present, now) {
            let ordinal = node.stream(id).map_or(0, Stream::ordinal);
            let (lost, change) = node.abandon(id, |arrival| {
                applicable.push(Applicable { arrival, ordinal });
            });
            self.waiting_events = self.waiting_events.saturating_add_signed(change.events);
            self.waiting_bytes = self.waiting_bytes.saturating_add_signed(change.bytes);
            self.news.extend(lost.into_iter().map(|(from, through)| StreamNews::Lost {
                node: name.clone(),
                stream: id,
                from: Sequence(from),
                through: Sequence(through),
            }));
            if node.stream_mut(id).is_some_and(Stream::note_change) {
                self.changed.push((name.clone(), id));
            }
        }
    }
}
