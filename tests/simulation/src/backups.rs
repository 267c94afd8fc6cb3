//! A node's one guest and its backups: what is true of them, what is told, and what collectors make
//! of it.

use std::collections::BTreeMap;

use fastrand::Rng;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use pvewatch_collector::core::Snapshot;
use pvewatch_protocol::event::{
    BackupFinished, GuestCause, GuestKind, GuestRun, GuestState, Outcome,
};
use pvewatch_protocol::{
    Archive, BackupStorage, CheckpointContent, EventData, Guest, GuestArchives, StorageState,
    StreamId, Vmid,
};

use crate::durable::{Durable, Logged};
use crate::node::{Node, Now};

/// The storage of every node.
const STORAGE: &str = "nas";

/// What is true of a guest and of its backups.
#[derive(Debug, Clone, Default)]
pub(crate) struct Backups {
    /// How many runs there were.
    runs: u32,
    /// The archives that are there, by name, and when the run of each began.
    archives: BTreeMap<String, Timestamp>,
    /// Whether somebody stopped the guest.
    is_stopped: bool,
}

/// A run that was told.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    upid: String,
    at: Timestamp,
    /// What it made, if it succeeded.
    archive: Option<String>,
}

impl Backups {
    /// The guest and its archives are those of a time before; runs are never counted twice.
    pub(crate) fn go_back(&mut self, before: Self) {
        (self.archives, self.is_stopped) = (before.archives, before.is_stopped);
    }
}

impl Node {
    fn vmid(&self) -> Vmid {
        let number = u32::try_from(100 + self.index).unwrap_or(u32::MAX);
        Vmid::try_from(number).unwrap_or_else(|_| unreachable!("a good number: {number}"))
    }

    /// A run ends, an archive gets lost, or the guest is stopped or started. No run ends while the
    /// agent is down: it would find its log at its start.
    pub(crate) fn change_a_backup(&mut self, now: Now, rng: &mut Rng) {
        match rng.u8(..5) {
            0 => drop(self.backups.archives.pop_last()),
            1 => self.turn_guest(now),
            number => self.back_up(now, number > 2),
        }
    }

    fn turn_guest(&mut self, now: Now) {
        self.backups.is_stopped = !self.backups.is_stopped;
        if self.is_running() {
            let run = GuestRun { since: Some(now.wall), ..self.guest_run() };
            self.tell(now, EventData::GuestChanged(run));
        }
    }

    /// Whether the guest runs, as a picture says it.
    fn guest_run(&self) -> GuestRun {
        let is_stopped = self.backups.is_stopped;
        GuestRun {
            vmid: self.vmid(),
            kind: GuestKind::Qemu,
            state: if is_stopped { GuestState::Stopped } else { GuestState::Running },
            since: None,
            cause: Some(GuestCause::Requested),
            expected: true,
            awaited: false,
            upid: None,
            user: None,
            detail: None,
        }
    }

    /// A run ends.
    pub(crate) fn back_up(&mut self, now: Now, succeeds: bool) {
        let vmid = self.vmid();
        if !self.is_running() {
            return;
        }
        self.backups.runs += 1;
        let upid = format!("UPID:pve:{:08X}:1:1:vzdump:{vmid}:root@pam:", self.backups.runs);
        let time = now.wall.to_zoned(TimeZone::UTC).strftime("%Y_%m_%d-%H_%M_%S");
        // Several can end in the same second of the world's clock.
        let name = format!("vzdump-qemu-{vmid}-{time}.{:08}.vma", self.backups.runs);
        let archive = succeeds.then_some(name);
        let finished = BackupFinished {
            vmid,
            kind: Some(GuestKind::Qemu),
            name: None,
            upid: upid.clone(),
            job: None,
            outcome: if succeeds { Outcome::Ok } else { Outcome::Failed },
            error: None,
            root_cause: None,
            started: Some(now.wall),
            duration_seconds: None,
            size_bytes: None,
            transferred_bytes: None,
            reused_bytes: None,
            archive: archive.as_ref().map(|name| format!("/mnt/pve/{STORAGE}/dump/{name}")),
            storage: Some(STORAGE.to_owned()),
            mode: None,
            warnings: Vec::new(),
        };
        let data = EventData::BackupFinished(Box::new(finished));
        let Some(place) = self.tell(now, data) else { return };
        self.backups.archives.extend(archive.clone().map(|name| (name, now.wall)));
        self.backups_told.insert(place, Run { upid, at: now.wall, archive });
    }

    /// What the sources draw of guests and archives.
    pub(crate) fn pictures_of_backups(&self, now: Now) -> [CheckpointContent; 3] {
        let guest = Guest {
            vmid: self.vmid(),
            kind: GuestKind::Qemu,
            name: Some(self.guest_name()),
            template: false,
            onboot: false,
            lock: None,
            tags: Vec::new(),
            pool: None,
            snapshots: Vec::new(),
            replications: Vec::new(),
            ha: None,
            excluded: Vec::new(),
            settings: None,
        };
        let archives = &self.backups.archives;
        let newest = archives.last_key_value().map(|(name, began)| Archive {
            name: name.clone(),
            began: *began,
            bytes: None,
            notes: None,
            protected: false,
        });
        let guests = newest.map(|newest| GuestArchives {
            vmid: self.vmid(),
            count: u32::try_from(archives.len()).unwrap_or(u32::MAX),
            bytes: None,
            newest: Some(newest),
            oldest: None,
            protected: 0,
            surplus: None,
            prune: None,
            unfinished: 0,
        });
        let storage = BackupStorage {
            storage: STORAGE.to_owned(),
            kind: "nfs".to_owned(),
            content: vec!["backup".to_owned()],
            shared: false,
            state: StorageState::Available,
            detail: None,
            place: Some("disk".to_owned()),
            total_bytes: None,
            used_bytes: None,
            available_bytes: None,
            metadata_total_bytes: None,
            metadata_used_bytes: None,
            held_bytes: Default::default(),
            prune: None,
            listed_at: Some(now.wall),
            guests: guests.into_iter().collect(),
        };
        let storages = CheckpointContent::BackupStorages(vec![storage]);
        let runs = CheckpointContent::GuestRuns(vec![self.guest_run()]);
        [CheckpointContent::Guests(vec![guest]), runs, storages]
    }

    /// Named anew by each run, so that an old picture shows.
    fn guest_name(&self) -> String {
        format!("guest-after-{}-runs", self.backups.runs)
    }

    /// What a collector believes and should not, in words. The last run is the one that happened
    /// last of those that it heard of.
    pub(crate) fn misbelieved(&self, snapshot: &Snapshot, disk: &Durable) -> Vec<String> {
        let id = self.vmid().to_string();
        let view = snapshot.nodes.iter().find(|view| view.node.name == self.name);
        let backup = view.and_then(|view| view.backups.iter().find(|backup| *backup.id == *id));
        let Some(backup) = backup else {
            return vec![format!("guest {id} of {} is not known", self.name)];
        };
        let mut wrong = Vec::new();
        let mut expect = |what: &str, believed: String, truth: String| {
            if believed != truth {
                wrong.push(format!(
                    "guest {id} of {}: {what}: {believed}, in truth {truth}",
                    self.name
                ));
            }
        };
        let name = backup.name().unwrap_or_default().to_owned();
        expect("name", name, self.guest_name());
        let guest = view.and_then(|view| view.guests.iter().find(|guest| *guest.id == *id));
        let state = guest.and_then(|guest| guest.state());
        let is_stopped = state == Some(GuestState::Stopped);
        expect("is stopped", is_stopped.to_string(), self.backups.is_stopped.to_string());
        let count = u64::try_from(self.backups.archives.len()).unwrap_or(u64::MAX);
        expect("archives", backup.archives.count().to_string(), count.to_string());
        let Some(heard) = self.heard(disk) else { return wrong };
        let newest = |runs: &mut dyn Iterator<Item = &Run>| {
            runs.fold(None::<Run>, |newest, run| {
                let is_newer = newest.as_ref().is_none_or(|newest| newest.at <= run.at);
                if is_newer { Some(run.clone()) } else { newest }
            })
        };
        let last = newest(&mut heard.iter().copied());
        let upid = last.map(|run| run.upid).unwrap_or_default();
        let believed = backup.last.as_ref().map(|last| last.upid.clone()).unwrap_or_default();
        expect("last run", believed, upid);
        let kept = newest(&mut heard.iter().copied().filter(|run| run.archive.is_some()));
        let kept = kept.and_then(|run| run.archive);
        let there = self.backups.archives.keys().next_back();
        let is_gone = kept.is_some_and(|kept| there.is_none_or(|there| *there < kept));
        let believed = backup.archives.gone_since.is_some();
        expect("its archive is gone", believed.to_string(), is_gone.to_string());
        wrong
    }

    /// The runs that a collector applied, in its order; none if some of them went by another name.
    fn heard<'a>(&'a self, disk: &Durable) -> Option<Vec<&'a Run>> {
        let is_run = |row: &&Logged| {
            let kind = row.was.as_ref().map(|(kind, ..)| kind.as_str());
            row.node == self.index && row.reason.is_none() && kind == Some("backup.finished")
        };
        let place = |row: &Logged| -> (StreamId, u64) { (row.stream, row.sequence) };
        disk.log.iter().filter(is_run).map(|row| self.backups_told.get(&place(row))).collect()
    }
}
