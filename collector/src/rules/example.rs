//! An example entity of each kind: expressions and templates are tried on it when they are loaded.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::event::{
    AgentFacts, BackupFinished, BackupJobFinished, CrashLoop, Exit, GuestCause, GuestKind,
    GuestRun, GuestState, Outcome, UnitChange, UnitState,
};
use pvewatch_protocol::sample::{Filesystem, Pool};
use pvewatch_protocol::{
    Archive, BackupJob as JobPlan, BackupStorage, Epoch, Guest as GuestPlan, GuestArchives,
    GuestSettings, NodeName, Position, Replication, Sequence, Snapshot, StopReason, StorageState,
    StreamId, Vmid,
};

use super::fields::Subject;
use crate::fleet::{
    Archives, Backlog, Backup, BackupJob, Difference, Drawn, Drift, Entity, EntityKind, Guest,
    Inside, Loss, Moment, Node, Presence, Running, Stop, Storage, Unit, Version, Written,
};

/// A node with a unit, a guest's backups and a job, of which every field has a value.
pub(super) struct Example {
    node: Node,
    unit: Unit,
    backup: Backup,
    job: Arc<BackupJob>,
    storage: Storage,
    guest: Guest,
    filesystem: Filesystem,
    pool: Pool,
    drift: Drift,
}

mod reading;

impl Example {
    /// The example as a rule of this scope would see it.
    pub(super) fn subject(&self, scope: EntityKind) -> Subject<'_> {
        let entity = match scope {
            EntityKind::Node => Entity::Node,
            EntityKind::Unit => Entity::Unit(&self.unit),
            EntityKind::Backup => Entity::Backup(&self.backup),
            EntityKind::BackupJob => Entity::BackupJob(&self.job),
            EntityKind::Storage => Entity::Storage(&self.storage),
            EntityKind::Guest => Entity::Guest(&self.guest),
            EntityKind::Filesystem => Entity::Filesystem(&self.filesystem),
            EntityKind::Pool => Entity::Pool(&self.pool),
            EntityKind::Drift => Entity::Drift(&self.drift),
            EntityKind::Member => {
                let reading = self.node.reading.as_ref();
                let member = reading.and_then(|it| it.member(reading::MEMBER));
                Entity::Member(member.expect("the example's reading has it"))
            }
            EntityKind::Interface => {
                let reading = self.node.reading.as_ref();
                let interface = reading.and_then(|it| it.interface(reading::INTERFACE));
                Entity::Interface(interface.expect("the example's reading has it"))
            }
        };
        Subject { node: &self.node, entity }
    }

    /// Builds the example.
    pub(super) fn new() -> Self {
        let name: NodeName = "pve1".parse().expect("a valid name");
        // 2026-11-21 03:07:00 UTC.
        let silent = Moment::both(Timestamp::constant(1_795_230_420, 0));
        let position = Position { stream: StreamId(Default::default()), sequence: Sequence(1) };
        let epoch = Epoch(position.stream.0);
        let mut node = Node::new(name.clone(), silent.judged);
        let booted_at = silent.fact - SignedDuration::from_mins(7);
        node.boots.note("before", booted_at);
        node.boots.note("now", booted_at);
        node.facts = Some(facts(booted_at));
        node.reading = Some(reading::reading(silent, epoch, position));
        node.clock_skew_seconds = Some(0.25);
        node.presence = Presence::Offline { epoch, reason: StopReason::Reboot };
        node.stop = Some(Stop { reason: StopReason::Reboot, at: silent.fact });
        node.silent = Some(silent);
        node.duplicate_name = true;
        node.lose(Loss {
            stream: position.stream,
            from: Sequence(7),
            through: Sequence(9),
            reason: "outbox full".to_owned(),
            at: silent,
        });
        let read_at = node.reading.as_ref().map(|reading| reading.received_at);
        let since = read_at.map(|at| at - SignedDuration::from_secs(40));
        node.backlog = Backlog { events: 2, since };
        let drawn = Drawn { at: silent.fact, ..Drawn::default() };
        (node.guests_as_of, node.jobs_as_of, node.storages_as_of) = (drawn, drawn, drawn);
        node.archives_known = true;
        node.inside = Some(inside());
        let job = Arc::new(job(name.clone(), silent));
        let backup = backup(name.clone(), position, &job, silent);
        let storage = Storage::new(name.clone(), nas(silent), silent);
        let guest = guest(name.clone(), position, silent);
        let drift = drift(name.clone(), silent.fact);
        let unit = unit(name, position, silent);
        let (filesystem, pool) = (reading::filesystem(), reading::pool());
        Self { node, unit, backup, job, storage, guest, filesystem, pool, drift }
    }
}

/// It is a guest of another node.
fn inside() -> Inside {
    let host = "pve2".parse().expect("a valid name");
    Inside { host, vmid: "105".into(), is_stopped: true, is_host_silent: true }
}

fn facts(booted_at: Timestamp) -> AgentFacts {
    let labels = [("environment", "prod"), ("rack", "r1")];
    AgentFacts {
        version: "0.1.0".to_owned(),
        boot_id: "now".to_owned(),
        booted_at,
        machine_id: None,
        product_uuid: None,
        macs: Vec::new(),
        cluster: Some("lab".to_owned()),
        labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        sources: Vec::new(),
        sample_interval_seconds: 10.0,
    }
}

fn unit(node: NodeName, position: Position, since: Moment) -> Unit {
    let name = "pveproxy.service";
    let state = UnitState {
        unit: name.to_owned(),
        load_state: "loaded".to_owned(),
        active_state: "failed".to_owned(),
        sub_state: "auto-restart".to_owned(),
        result: Some("exit-code".to_owned()),
        exit: Some(Exit { code: "exited".to_owned(), status: 1 }),
        restarts: 2,
        will_restart: true,
        invocation_id: None,
        changed_at: Some(since.fact),
        crash_loop: Some(CrashLoop { since: since.fact, failures: 7 }),
    };
    let change = Some(UnitChange::CrashLooping);
    let version = Version { stream_ordinal: 1, sequence: 1 };
    Unit { node, id: Arc::from(name), state, change, version, position, since, log: None }
}

const JOB: &str = "backup-1a2b3c4d-5e6f";

fn vmid() -> Vmid {
    100.try_into().expect("a valid number")
}

/// A job whose last run failed, and whose next was missed.
fn job(node: NodeName, at: Moment) -> BackupJob {
    let before = |hours: i64| at.after(SignedDuration::from_hours(-hours));
    let plan = JobPlan {
        job: JOB.to_owned(),
        enabled: true,
        schedule: "21:00".to_owned(),
        zone: "UTC0".to_owned(),
        guests: vec![vmid()],
        storage: Some("nas".to_owned()),
        mode: Some("snapshot".to_owned()),
        prune: Some("keep-daily=7".to_owned()),
        repeat_missed: false,
        comment: Some("nightly".to_owned()),
        notes_runs: true,
        last_run: Some(before(30).fact),
        running: false,
    };
    let mut job = BackupJob::new(node, plan, before(300));
    let finished = BackupJobFinished {
        upid: "UPID:pve1:00000001:00000001:6AC05390:vzdump::root@pam:".to_owned(),
        job: Some(JOB.to_owned()),
        user: "root@pam".to_owned(),
        outcome: Outcome::Failed,
        error: Some("job errors".to_owned()),
        started: before(30).fact,
        storage: Some("nas".to_owned()),
        succeeded: Vec::new(),
        failed: vec![vmid()],
    };
    job.end(finished, before(29));
    job.unreached = vec![vmid()];
    job.plan_run(None, SignedDuration::ZERO);
    job
}

/// A storage that is almost full.
fn nas(at: Moment) -> BackupStorage {
    BackupStorage {
        storage: "nas".to_owned(),
        kind: "nfs".to_owned(),
        content: vec!["images".to_owned(), "backup".to_owned()],
        shared: true,
        state: StorageState::Available,
        detail: Some("nothing is mounted at /mnt/usb".to_owned()),
        place: None,
        total_bytes: Some(4_000_787_030_016),
        used_bytes: Some(3_320_653_234_176),
        available_bytes: Some(680_133_795_840),
        metadata_total_bytes: Some(1_000_000_000),
        metadata_used_bytes: Some(920_000_000),
        held_bytes: [("images".to_owned(), 2_000_000_000_000)].into(),
        prune: Some("keep-daily=7".to_owned()),
        listed_at: Some(at.fact),
        guests: vec![archives(at)],
    }
}

const ARCHIVE: &str = "vzdump-qemu-100-2026_11_20-03_07_00.vma.zst";

fn archives(at: Moment) -> GuestArchives {
    let began = at.fact - SignedDuration::from_hours(24);
    GuestArchives {
        vmid: vmid(),
        count: 9,
        bytes: Some(40_587_440_940),
        newest: Some(Archive {
            name: ARCHIVE.to_owned(),
            began,
            bytes: Some(4_509_715_660),
            notes: Some("before the upgrade".to_owned()),
            protected: false,
        }),
        oldest: Some(at.fact - SignedDuration::from_hours(240)),
        protected: 0,
        surplus: Some(2),
        prune: Some("keep-daily=7".to_owned()),
        unfinished: 0,
    }
}

/// A policy that differs, and that could not be checked as a whole.
fn drift(node: NodeName, checked_at: Timestamp) -> Drift {
    let difference = Difference {
        vmid: vmid(),
        name: Some("web".to_owned()),
        what: "scsihw".to_owned(),
        expected: "virtio-scsi-single".to_owned(),
        found: "lsi".to_owned(),
        place: "/etc/pve/qemu-server/100.conf".to_owned(),
    };
    Drift {
        node,
        id: "prod".into(),
        environment: Some("prod".to_owned()),
        guests: 4,
        differing: 1,
        differences: vec![difference],
        left_out: 0,
        is_checked: false,
        checked_at: Some(checked_at),
        problem: Some("guests and jobs cannot be read: it hangs".to_owned()),
        words: "100 (web): scsihw: lsi, should be virtio-scsi-single".to_owned(),
    }
}

fn plan() -> GuestPlan {
    GuestPlan {
        vmid: vmid(),
        kind: GuestKind::Lxc,
        name: Some("web".to_owned()),
        template: true,
        onboot: true,
        lock: Some("snapshot".to_owned()),
        tags: vec!["nobackup".to_owned(), "expires-2026-11-20".to_owned()],
        pool: Some("prod".to_owned()),
        snapshots: vec![Snapshot {
            name: "auto-daily".to_owned(),
            at: Timestamp::constant(1_793_502_000, 0),
        }],
        ha: Some("error".to_owned()),
        replications: vec![Replication {
            target: "pve2".to_owned(),
            fail_count: 3,
            error: Some("no route to host".to_owned()),
            last_sync: Some(Timestamp::constant(1_795_230_420, 0)),
        }],
        excluded: vec!["scsi1".to_owned()],
        settings: Some(Box::new(GuestSettings {
            cpus: Some(4.0),
            memory_bytes: Some(2 << 30),
            ..GuestSettings::default()
        })),
    }
}

/// A guest that crashed.
fn guest(node: NodeName, position: Position, at: Moment) -> Guest {
    let mut guest = Guest::new(node, (vmid(), GuestKind::Lxc), at, position);
    let run = GuestRun {
        vmid: vmid(),
        kind: GuestKind::Lxc,
        state: GuestState::Stopped,
        since: Some(at.fact),
        cause: Some(GuestCause::Crash),
        expected: false,
        awaited: false,
        upid: None,
        user: Some("root@pam".to_owned()),
        detail: Some("killed by signal 9".to_owned()),
    };
    guest.turn(run, Some("now"), at);
    guest.awaited_since = Some(at);
    guest.backup = Some("UPID:pve1:00000001:00000001:6AC05390:vzdump:100:root@pam:".to_owned());
    guest.plan = Some(plan());
    guest
}

/// A guest whose last run failed, after eight that succeeded.
fn backup(node: NodeName, position: Position, job: &Arc<BackupJob>, at: Moment) -> Backup {
    let version = Version { stream_ordinal: 1, sequence: 1 };
    let vmid = vmid();
    let mut backup = Backup::new(node, vmid, at, (version, position));
    for days in (0..9).rev() {
        let outcome = if days == 0 { Outcome::Failed } else { Outcome::Ok };
        let finished = BackupFinished {
            vmid,
            kind: Some(GuestKind::Qemu),
            name: Some("web".to_owned()),
            upid: format!("UPID:pve1:00000001:00000001:6AC0539{days}:vzdump::root@pam:"),
            job: Some(JOB.to_owned()),
            outcome,
            error: Some("job failed with err -5 - Input/output error".to_owned()),
            root_cause: Some("backup write data failed".to_owned()),
            started: None,
            duration_seconds: Some(186),
            size_bytes: Some(4_509_715_660),
            transferred_bytes: None,
            reused_bytes: None,
            archive: None,
            storage: Some("nas".to_owned()),
            mode: Some("snapshot".to_owned()),
            warnings: vec!["a warning".to_owned()],
        };
        let ended = Moment::both(at.judged - SignedDuration::from_hours(24 * days));
        backup.end(finished, ended, true);
    }
    let upid = "UPID:pve1:00000001:00000001:6AC0539F:vzdump::root@pam:".to_owned();
    backup.running = Some(Running { upid, since: at.fact });
    backup.guest = Some(plan());
    let jobs = [(job.id.clone(), job.clone())].into();
    backup.cover(&jobs, at.after(SignedDuration::from_hours(-300)));
    backup.plan_due(&jobs, (at, SignedDuration::ZERO));
    backup.archives = Archives {
        on: [("nas".into(), archives(at))].into(),
        written: Some(Written {
            storage: "nas".into(),
            name: ARCHIVE.to_owned(),
            at: at.fact,
            place: None,
        }),
        gone_since: Some(at),
    };
    backup
}
