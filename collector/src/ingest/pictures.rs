//! Pictures that know more than was applied: they wait for the events before them.
//!
//! What happened between two states is told by events alone. To a collector that was away, a
//! picture would hide that a unit recovered and failed again: it would date an alert otherwise
//! than a collector that was there. So a picture waits until its stream has come as far, or
//! until nothing more of its node has come for [`PICTURE_PATIENCE`]. A node of which nothing was
//! ever applied has no past here: its first picture counts at once.

use std::collections::{BTreeMap, HashMap};

use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::{Checkpoint, NodeName, Position};

use super::Ingest;
use super::node::Node;

/// How long a picture waits after the last event of its node that was applied. Longer than an
/// agent waits at most until it sends again.
pub const PICTURE_PATIENCE: SignedDuration = SignedDuration::from_mins(6);

/// Bytes of pictures that wait, as they came. One that finds no room is applied at once: the
/// state is right then, only what led to it may be dated otherwise.
pub const PICTURES_WAITING_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A part of a picture, and what came with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Its node.
    pub node: NodeName,
    /// The part.
    pub checkpoint: Box<Checkpoint>,
    /// Its size on the way, in bytes.
    pub bytes: usize,
    /// Whether the broker had kept it.
    pub retained: bool,
    /// When it came, by the collector's clock.
    pub received_at: Timestamp,
}

/// What becomes of a part of a picture.
#[derive(Debug, PartialEq)]
pub enum Shown {
    /// It is to be applied now.
    Now {
        /// The part.
        picture: Picture,
        /// The place of its stream among the node's streams.
        ordinal: u64,
    },
    /// It waits; [`Ingest::take_pictures`] gives it back.
    Later,
    /// It cannot be given a place.
    TooManyNodes,
}

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Pictures {
    by_node: HashMap<NodeName, Waiting>,
    bytes: usize,
}

/// The parts of one node that wait, by source and number: as on the broker, a newer one takes
/// the place of an older one.
#[derive(Debug)]
struct Waiting {
    /// When something of the node was applied last, or the first of these came.
    since: Timestamp,
    parts: BTreeMap<(&'static str, u32), Picture>,
}

impl Ingest {
    /// Takes a part of a picture; see [`Ingest::checkpoint`] for what it does to streams.
    /// `is_first` says that none was ever complete of its node.
    pub fn picture(&mut self, picture: Picture, is_first: bool) -> Shown {
        let (as_of, received_at) = (picture.checkpoint.as_of, picture.received_at);
        let ordinal = self.checkpoint(&picture.node, as_of, picture.retained, received_at);
        let Some(ordinal) = ordinal else { return Shown::TooManyNodes };
        let node = self.nodes.get(&picture.node);
        let has_past = !is_first || node.is_some_and(Node::has_begun);
        let counts_now = !has_past || self.is_reached(&picture);
        match picture.checkpoint.content.source() {
            Some(source) if !counts_now && self.pictures.has_room(picture.bytes) => {
                self.pictures.put((source, picture), received_at);
                Shown::Later
            }
            _ => Shown::Now { picture, ordinal },
        }
    }

    /// The parts that wait no longer, each with the place of its stream: in the order of what
    /// they know.
    pub fn take_pictures(&mut self, now: Timestamp) -> Vec<(Picture, u64)> {
        if self.pictures.by_node.is_empty() {
            return Vec::new();
        }
        let mut waiting = std::mem::take(&mut self.pictures);
        let mut due = Vec::new();
        for (name, Waiting { since, parts }) in waiting.by_node.drain() {
            let waited = now.duration_since(since);
            // A clock that was set back says nothing of how long it was.
            let is_over = waited >= PICTURE_PATIENCE || waited.is_negative();
            if is_over && let Some(node) = self.nodes.get_mut(&name) {
                // The next picture must not wait for the same again.
                node.give_up_waiting();
            }
            for ((source, _), picture) in parts {
                if is_over || self.is_reached(&picture) {
                    due.push(picture);
                } else {
                    self.pictures.put((source, picture), since);
                }
            }
        }
        let standing = |picture: Picture| {
            let (ordinal, _) = self.standing(&picture.node, picture.checkpoint.as_of.stream)?;
            Some((picture, ordinal))
        };
        let mut due: Vec<(Picture, u64)> = due.into_iter().filter_map(standing).collect();
        due.sort_by_key(|(picture, ordinal)| (*ordinal, picture.checkpoint.as_of.sequence));
        due
    }

    /// When [`Ingest::take_pictures`] has something at the latest, if nothing comes before.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let since = self.pictures.by_node.values().map(|waiting| waiting.since).min()?;
        Some(since.saturating_add(PICTURE_PATIENCE).unwrap_or(since))
    }

    /// Whether everything that a picture knows is applied, as far as is known here.
    fn is_reached(&self, picture: &Picture) -> bool {
        let Position { stream, sequence } = picture.checkpoint.as_of;
        self.nodes.get(&picture.node).is_some_and(|node| node.has_reached(stream, sequence.0))
    }
}

impl Pictures {
    /// Something of a node was applied: what waits for more of it may wait on.
    pub(super) fn note_progress(&mut self, node: &NodeName, now: Timestamp) {
        if let Some(waiting) = self.by_node.get_mut(node) {
            waiting.since = now;
        }
    }

    /// Moves along with a wall clock that was set.
    pub(super) fn clock_jumped(&mut self, by: SignedDuration) {
        for waiting in self.by_node.values_mut() {
            waiting.since = waiting.since.saturating_add(by).unwrap_or(waiting.since);
        }
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.bytes + bytes <= PICTURES_WAITING_BYTES_MAX
    }

    /// Puts a part in. `since` counts for the first one of its node.
    fn put(&mut self, (source, picture): (&'static str, Picture), since: Timestamp) {
        let key = (source, picture.checkpoint.part);
        let waiting = self
            .by_node
            .entry(picture.node.clone())
            .or_insert_with(|| Waiting { since, parts: BTreeMap::new() });
        self.bytes += picture.bytes;
        if let Some(older) = waiting.parts.insert(key, picture) {
            self.bytes -= older.bytes;
        }
    }
}
