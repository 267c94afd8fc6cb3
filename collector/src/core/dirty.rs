//! What must be recorded: facts at once, mere readings now and then.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use pvewatch_protocol::{Fingerprint, NodeName};

use super::record::Urgency;
use super::{LAZY_INTERVAL, RecordKind};
use crate::fleet::EntityKind;

/// A piece of state that has a record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Piece {
    Node(NodeName),
    Unit(NodeName, Arc<str>),
    Backup(NodeName, Arc<str>),
    BackupJob(NodeName, Arc<str>),
    Storage(NodeName, Arc<str>),
    Guest(NodeName, Arc<str>),
    Alert(Fingerprint),
}

impl Piece {
    /// The record of an entity.
    pub(super) fn of(node: &NodeName, (kind, id): (EntityKind, &Arc<str>)) -> Self {
        let (node, id) = (node.clone(), id.clone());
        match kind {
            // What follows from others has no record of its own.
            EntityKind::Node
            | EntityKind::Filesystem
            | EntityKind::Pool
            | EntityKind::Interface
            | EntityKind::Member
            | EntityKind::Drift => Self::Node(node),
            EntityKind::Unit => Self::Unit(node, id),
            EntityKind::Backup => Self::Backup(node, id),
            EntityKind::BackupJob => Self::BackupJob(node, id),
            EntityKind::Storage => Self::Storage(node, id),
            EntityKind::Guest => Self::Guest(node, id),
        }
    }

    pub(super) fn kind(&self) -> RecordKind {
        match self {
            Self::Node(_) => RecordKind::Node,
            Self::Unit(..) => RecordKind::Unit,
            Self::Backup(..) => RecordKind::Backup,
            Self::BackupJob(..) => RecordKind::BackupJob,
            Self::Storage(..) => RecordKind::Storage,
            Self::Guest(..) => RecordKind::Guest,
            Self::Alert(_) => RecordKind::Alert,
        }
    }

    pub(super) fn key(&self) -> String {
        match self {
            Self::Node(node) => node.to_string(),
            Self::Unit(node, id)
            | Self::Backup(node, id)
            | Self::BackupJob(node, id)
            | Self::Storage(node, id)
            | Self::Guest(node, id) => format!("{node}/{id}"),
            Self::Alert(fingerprint) => fingerprint.to_string(),
        }
    }
}

/// Pieces that differ from their records. Bounded by the number of pieces.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    now: BTreeSet<Piece>,
    /// Since when; a piece stays in the queue when it is recorded for another reason, and is
    /// passed over then.
    lazy: HashMap<Piece, Timestamp>,
    queue: VecDeque<(Timestamp, Piece)>,
}

impl Dirty {
    /// A fact changed.
    pub(super) fn fact(&mut self, piece: Piece) {
        self.lazy.remove(&piece);
        self.now.insert(piece);
    }

    /// Only a reading changed.
    pub(super) fn reading(&mut self, piece: Piece, at: Timestamp) {
        if self.now.contains(&piece) || self.lazy.contains_key(&piece) {
            return;
        }
        self.queue.push_back((at, piece.clone()));
        self.lazy.insert(piece, at);
    }

    /// What must be recorded at `now`, in order; with `all`, readings do not wait.
    pub(super) fn take(&mut self, now: Timestamp, all: bool) -> Vec<(Piece, Urgency)> {
        let urgent = std::mem::take(&mut self.now);
        let mut taken: Vec<_> = urgent.into_iter().map(|piece| (piece, Urgency::Now)).collect();
        while let Some((since, _)) = self.queue.front() {
            // What was noted after now was noted before the clock was set back.
            let waited = now.duration_since(*since);
            if !all && !waited.is_negative() && waited < LAZY_INTERVAL {
                break;
            }
            let Some((since, piece)) = self.queue.pop_front() else { break };
            if self.lazy.get(&piece) == Some(&since) {
                self.lazy.remove(&piece);
                taken.push((piece, Urgency::Lazy));
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_wait_and_facts_do_not() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let node = |name: &str| Piece::Node(name.parse().unwrap());
        let mut dirty = Dirty::default();
        dirty.reading(node("a"), at(0));
        dirty.reading(node("b"), at(5));
        dirty.reading(node("a"), at(10));
        dirty.fact(node("b"));
        assert_eq!(dirty.take(at(10), false), [(node("b"), Urgency::Now)]);
        assert_eq!(dirty.take(at(29), false), []);
        assert_eq!(dirty.take(at(30), false), [(node("a"), Urgency::Lazy)]);
        dirty.reading(node("a"), at(31));
        assert_eq!(dirty.take(at(31), true), [(node("a"), Urgency::Lazy)]);
    }
}
