//! The streams of one node, and their order.
//!
//! Streams are ordered by when they began to be applied, because an agent sends older ones
//! first. A picture can name a stream before its first event came (a collector with a new
//! store reads retained checkpoints): such a stream gets a place with room below it. Among
//! streams of which nothing is applied, the older UUIDv7 is the older stream; and so is one that
//! is older than the latest: a collector that comes while an agent sends can see that one first.
//! An agent whose clock was set back says which stream is its present one before it sends of it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::StreamId;

use super::stream::{Change, Offered, Place, Room, Stream};
use super::{Arrival, WAITING_BYTES_PER_NODE_MAX, WAITING_PER_NODE_MAX};

/// Streams remembered for one node. A stream is one agent start: these are months of an agent
/// that crashes hourly. The oldest is forgotten for a new one.
const STREAMS_MAX: usize = 10_000;

/// How long nothing must have been heard of a stream, while its node was heard, for it to count as
/// abandoned: an agent that still held it would have sent it long before.
const ABANDONED_AFTER: SignedDuration = SignedDuration::from_hours(1);

/// From one sample to the next, if it took so long, the node was away: a half of the above, so that
/// a shorter silence cannot make an hour of its own.
const AWAY_AFTER: SignedDuration = SignedDuration::from_mins(30);

/// How long nothing must have been heard of later streams for an earlier one to be the present
/// one, as its agent says.
const PRESENT_AFTER: SignedDuration = SignedDuration::from_mins(1);

/// Room between the places of two streams: older streams that one agent can still hold.
const ORDINAL_STEP: u64 = 1 << 20;

/// A stream's place among the streams of its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ordinal {
    /// The stream has it already.
    Known(u64),
    /// The stream has just got it; another one may have been forgotten.
    New { ordinal: u64, forgotten: Option<Forgotten> },
}

/// A stream that made room for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Forgotten {
    pub stream: StreamId,
    /// What was known of it and never came: the first and the last.
    pub missing: Option<(u64, u64)>,
}

#[derive(Debug, Default)]
pub(super) struct Node {
    streams: BTreeMap<StreamId, Stream>,
    /// Streams of which events are known to be missing.
    open: BTreeSet<StreamId>,
    /// Of these, those that were waited for in vain, with what was known of each then.
    waited_for: BTreeMap<StreamId, u64>,
    /// When a sample of the node came last; none since the start.
    sampled_at: Option<Timestamp>,
    waiting_events: usize,
    waiting_bytes: usize,
}

impl Node {
    pub(super) fn restore(&mut self, id: StreamId, ordinal: u64, through: u64, known: u64) {
        self.streams.insert(id, Stream::new(ordinal, through, known));
        self.note_open(id);
    }

    /// Notes whether events of a stream are missing.
    pub(super) fn note_open(&mut self, id: StreamId) {
        let is_open = |stream: &Stream| stream.known() > stream.through();
        if self.streams.get(&id).is_some_and(is_open) {
            self.open.insert(id);
        } else {
            self.open.remove(&id);
            self.waited_for.remove(&id);
        }
    }

    /// The streams of which events are known to be missing, but for one.
    pub(super) fn open_but(&self, present: StreamId) -> Vec<StreamId> {
        self.open.iter().filter(|id| **id != present).copied().collect()
    }

    /// What is missing now was waited for long enough: it holds up nothing more.
    pub(super) fn give_up_waiting(&mut self) {
        let known = |id: &StreamId| Some((*id, self.streams.get(id)?.known()));
        self.waited_for = self.open.iter().filter_map(known).collect();
    }

    /// Streams that nobody will complete: `present` came after them, something of it is applied
    /// already although older ones are sent first, and nothing of them was heard for long.
    pub(super) fn abandoned(&mut self, present: StreamId, now: Timestamp) -> Vec<StreamId> {
        let last = self.sampled_at.replace(now);
        if last.is_none_or(|last| now.duration_since(last) >= AWAY_AFTER) {
            // The node was not heard either: it is given its time to send anew.
            for id in &self.open {
                self.streams.get_mut(id).into_iter().for_each(|stream| stream.be_heard(now));
            }
        }
        if self.open.iter().all(|id| *id == present) {
            return Vec::new();
        }
        let Some(stream) = self.streams.get(&present) else { return Vec::new() };
        let (ordinal, has_begun) = (stream.ordinal(), stream.through() > 0);
        let streams = &mut self.streams;
        let mut is_abandoned = |id: &&StreamId| {
            streams.get_mut(*id).is_some_and(|stream| {
                let is_quiet = stream.quiet_for(now) >= ABANDONED_AFTER;
                has_begun && stream.ordinal() < ordinal && is_quiet
            })
        };
        self.open.iter().filter(|id| is_abandoned(id)).copied().collect()
    }

    /// Gives up what is missing of a stream; see [`Stream::abandon`].
    pub(super) fn abandon(
        &mut self,
        id: StreamId,
        apply: impl FnMut(Arrival),
    ) -> (Vec<(u64, u64)>, Change) {
        let Some(stream) = self.streams.get_mut(&id) else { return Default::default() };
        let (lost, change) = stream.abandon(apply);
        self.waiting_events = self.waiting_events.saturating_add_signed(change.events);
        self.waiting_bytes = self.waiting_bytes.saturating_add_signed(change.bytes);
        self.note_open(id);
        (lost, change)
    }

    /// Moves along with a wall clock that was set.
    pub(super) fn clock_jumped(&mut self, by: SignedDuration) {
        self.streams.values_mut().for_each(|stream| stream.clock_jumped(by));
        self.sampled_at = self.sampled_at.map(|at| at.saturating_add(by).unwrap_or(at));
    }

    /// The stream that came after all others.
    pub(super) fn latest(&self) -> Option<StreamId> {
        let latest = self.streams.iter().max_by_key(|(_, stream)| stream.ordinal());
        latest.map(|(id, _)| *id)
    }

    /// Whether the node has a stream already.
    pub(super) fn is_known(&self) -> bool {
        !self.streams.is_empty()
    }

    /// Whether anything of the node was ever applied.
    pub(super) fn has_begun(&self) -> bool {
        self.streams.values().any(|stream| stream.through() > 0)
    }

    /// Whether a stream is applied up to here, and nothing is known to be missing of those before
    /// but what was waited for already.
    pub(super) fn has_reached(&self, id: StreamId, sequence: u64) -> bool {
        let Some(stream) = self.streams.get(&id) else { return false };
        let is_waited_for = |id: &StreamId| {
            self.streams.get(id).is_some_and(|other| {
                let known_then = self.waited_for.get(id).copied().unwrap_or_default();
                other.ordinal() < stream.ordinal() && other.known() > known_then
            })
        };
        stream.through() >= sequence && !self.open.iter().any(is_waited_for)
    }

    pub(super) fn stream(&self, id: StreamId) -> Option<&Stream> {
        self.streams.get(&id)
    }

    pub(super) fn stream_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.streams.get_mut(&id)
    }

    /// The place of a stream, given now if it has none.
    pub(super) fn ordinal_of(&mut self, id: StreamId) -> Ordinal {
        if let Some(stream) = self.streams.get(&id) {
            return Ordinal::Known(stream.ordinal());
        }
        let ordinal = self.place_for(id);
        let forgotten = (self.streams.len() >= STREAMS_MAX).then(|| self.forget_oldest()).flatten();
        self.streams.insert(id, Stream::new(ordinal, 0, 0));
        Ordinal::New { ordinal, forgotten }
    }

    /// Puts a stream behind all others: its agent says that it is its present one, whatever the
    /// order of their ids, which a clock that was set back confuses. One that has begun has to
    /// wait until the others are quiet: two agents of one name would take the place from each
    /// other for ever. Returns whether that changed its place.
    pub(super) fn make_newest(&mut self, id: StreamId, now: Timestamp) -> bool {
        let Some((own, has_begun)) =
            self.streams.get(&id).map(|stream| (stream.ordinal(), stream.through() > 0))
        else {
            return false;
        };
        let mut highest = own;
        let mut must_wait = false;
        // All of them are asked: they are quiet from the first asking on.
        for (_, other) in self.streams.iter_mut().filter(|(_, other)| other.ordinal() > own) {
            must_wait |= has_begun && other.quiet_for(now) < PRESENT_AFTER;
            highest = highest.max(other.ordinal());
        }
        if must_wait {
            return false;
        }
        if highest > own
            && let Some(stream) = self.streams.get_mut(&id)
        {
            stream.set_ordinal(highest + ORDINAL_STEP);
        }
        highest > own
    }

    /// Takes an event in; see [`Stream::offer`]. The stream must have a place.
    pub(super) fn offer(
        &mut self,
        id: StreamId,
        place: Place,
        arrival: Arrival,
        room_bytes: usize,
        apply: impl FnMut(Arrival),
    ) -> (Offered, Change) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return (Offered::NoRoom, Change::default());
        };
        let own = stream.waiting();
        let room = Room {
            events: (own.events + WAITING_PER_NODE_MAX).saturating_sub(self.waiting_events),
            bytes: (own.bytes + WAITING_BYTES_PER_NODE_MAX)
                .saturating_sub(self.waiting_bytes)
                .min(own.bytes + room_bytes),
        };
        let (offered, change) = stream.offer(place, arrival, room, apply);
        if matches!(offered, Offered::Applied) {
            // Perhaps all of it comes after all.
            self.waited_for.remove(&id);
        }
        self.waiting_events = self.waiting_events.saturating_add_signed(change.events);
        self.waiting_bytes = self.waiting_bytes.saturating_add_signed(change.bytes);
        self.note_open(id);
        (offered, change)
    }

    fn place_for(&self, id: StreamId) -> u64 {
        let highest = self.streams.values().map(Stream::ordinal).max().unwrap_or(0);
        // Streams that were made later, and have not begun or are the latest: this one comes before
        // them.
        let younger = self
            .streams
            .range(id..)
            .filter(|(_, stream)| stream.through() == 0 || stream.ordinal() == highest)
            .map(|(_, stream)| stream.ordinal())
            .min();
        let Some(younger) = younger else { return highest + ORDINAL_STEP };
        let below = self
            .streams
            .values()
            .map(Stream::ordinal)
            .filter(|ordinal| *ordinal < younger)
            .max()
            .unwrap_or(0);
        // No room left is a million streams in one outbox: the order of arrival then decides.
        if below + 1 < younger { below + 1 } else { highest + ORDINAL_STEP }
    }

    fn forget_oldest(&mut self) -> Option<Forgotten> {
        let idle = |(_, stream): &(&StreamId, &Stream)| stream.waiting().events == 0;
        let oldest = self.streams.iter().filter(idle).min_by_key(|(_, stream)| stream.ordinal());
        let id = *oldest?.0;
        let stream = self.streams.remove(&id)?;
        self.open.remove(&id);
        let (first, last) = (stream.through() + 1, stream.known());
        Some(Forgotten { stream: id, missing: (first <= last).then_some((first, last)) })
    }
}
