//! The core from its records, and records from the core.

use jiff::Timestamp;
use pvewatch_protocol::Site;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::dirty::Piece;
use super::timers::Timer;
use super::{Core, Record, RecordKind};
use crate::alerts::{Alert, AlertKey};
use crate::fleet::{Backup, BackupJob, Guest, Node, Storage, Unit};
use crate::rules::RuleSet;

impl Core {
    /// The core as its records describe it. Pending alerts keep their age. All rules are evaluated
    /// with the first input or deadline, as they can be others than before. What was noted after
    /// `started_at` was noted by a clock that was ahead, and counts from there.
    pub fn restore(
        site: Site,
        rules: RuleSet,
        started_at: Timestamp,
        records: impl IntoIterator<Item = Record>,
    ) -> Self {
        let mut core = Self::new(site, rules, started_at);
        for record in records {
            let read = match record.kind {
                RecordKind::Node => read(record).map(|mut node: Node| {
                    node.hold_until(started_at);
                    core.fleet.restore_node(node);
                }),
                RecordKind::Unit => read(record).map(|mut unit: Unit| {
                    unit.since.judged = unit.since.judged.min(started_at);
                    core.fleet.restore_unit(unit);
                }),
                RecordKind::Backup => read(record).map(|mut backup: Backup| {
                    backup.since.judged = backup.since.judged.min(started_at);
                    core.fleet.restore_backup(backup);
                }),
                RecordKind::BackupJob => read(record).map(|mut job: BackupJob| {
                    job.since.judged = job.since.judged.min(started_at);
                    core.fleet.restore_job(job);
                }),
                RecordKind::Storage => read(record).map(|mut storage: Storage| {
                    storage.since.judged = storage.since.judged.min(started_at);
                    core.fleet.restore_storage(storage);
                }),
                RecordKind::Guest => read(record).map(|mut guest: Guest| {
                    guest.since.judged = guest.since.judged.min(started_at);
                    core.fleet.restore_guest(guest);
                }),
                RecordKind::Alert => read(record).map(|mut alert: Alert| {
                    alert.hold_until(started_at);
                    core.book.restore(alert);
                }),
            };
            core.counters.records_unreadable += u64::from(read.is_none());
        }
        core.resume();
        core
    }

    /// Records of what changed since this was asked last. Readings come every
    /// [`super::LAZY_INTERVAL`], judged by the time of the last input.
    pub fn take_changes(&mut self) -> Vec<Record> {
        self.take(false)
    }

    /// As [`Core::take_changes`], with all readings: before the collector stops.
    pub fn take_all_changes(&mut self) -> Vec<Record> {
        self.take(true)
    }

    fn take(&mut self, all: bool) -> Vec<Record> {
        let pieces = self.dirty.take(self.now, all);
        let record = |(piece, urgency): (Piece, _)| {
            let body = self.body(&piece);
            Record { kind: piece.kind(), key: piece.key(), body, urgency }
        };
        pieces.into_iter().map(record).collect()
    }

    /// What a piece is now; none if it is no longer there.
    fn body(&self, piece: &Piece) -> Option<String> {
        // Serialising these types cannot fail: their keys are texts and their numbers finite.
        match piece {
            Piece::Node(node) => text(&**self.fleet.node(node)?),
            Piece::Unit(node, unit) => text(&**self.fleet.unit(node, unit)?),
            Piece::Backup(node, vmid) => text(&**self.fleet.backup_to_record(node, vmid)?),
            Piece::BackupJob(node, job) => text(&**self.fleet.backup_job(node, job)?),
            Piece::Guest(node, id) => text(&**self.fleet.guest(node, id)?),
            Piece::Storage(node, id) => text(&**self.fleet.storage(node, id)?),
            Piece::Alert(fingerprint) => text(&**self.book.find(*fingerprint)?),
        }
    }

    /// Sets all timers that follow from the state.
    fn resume(&mut self) {
        let nodes: Vec<_> = self.fleet.nodes().cloned().collect();
        for node in nodes {
            if node.silent.is_some() {
                self.silent.insert(node.name.clone());
            }
            self.arm_node(&node.name);
        }
        let timer = |(node, key, alert): (_, &AlertKey, &std::sync::Arc<Alert>)| {
            (Timer::Alert(Clone::clone(node), key.clone()), alert.due())
        };
        let timers: Vec<_> = self.book.active().map(timer).collect();
        for (timer, due) in timers {
            self.timers.set(timer, due);
        }
        self.timers.set(Timer::All, Some(self.now));
    }
}

/// The JSON of a piece. Room is made once: most are of this size, and growing costs more.
fn text<T: Serialize>(piece: &T) -> Option<String> {
    let mut text = Vec::with_capacity(1024);
    serde_json::to_writer(&mut text, piece).ok()?;
    String::from_utf8(text).ok()
}

fn read<T: DeserializeOwned>(record: Record) -> Option<T> {
    serde_json::from_str(&record.body?).ok()
}
