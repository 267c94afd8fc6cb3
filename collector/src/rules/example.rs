//! An example entity of each kind: expressions and templates are tried on it when they are loaded.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::event::{
    AgentFacts, BackupFinished, CrashLoop, Exit, GuestKind, Outcome, UnitChange, UnitState,
};
use pvewatch_protocol::sample::{AgentHealth, Cpu, Load, Memory, Pressure, Sample, Stall, Swap};
use pvewatch_protocol::{Epoch, NodeName, Position, Sequence, StopReason, StreamId};

use super::fields::Subject;
use crate::fleet::{
    Backlog, Backup, Entity, EntityKind, Loss, Moment, Node, Presence, Reading, Running, Stop,
    Unit, Version,
};

/// A node with a unit and a guest's backups, of which every field has a value.
pub(super) struct Example {
    node: Node,
    unit: Unit,
    backup: Backup,
}

impl Example {
    /// The example as a rule of this scope would see it.
    pub(super) fn subject(&self, scope: EntityKind) -> Subject<'_> {
        let entity = match scope {
            EntityKind::Node => Entity::Node,
            EntityKind::Unit => Entity::Unit(&self.unit),
            EntityKind::Backup => Entity::Backup(&self.backup),
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
        node.reading = Some(Reading {
            sample: sample(silent.fact, epoch, position),
            received_at: silent.judged,
        });
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
        let since = Some(silent.judged - SignedDuration::from_secs(40));
        node.backlog = Backlog { events: 2, since };
        let backup = backup(name.clone(), position, silent);
        Self { node, unit: unit(name, position, silent), backup }
    }
}

fn facts(booted_at: Timestamp) -> AgentFacts {
    let labels = [("environment", "prod"), ("rack", "r1")];
    AgentFacts {
        version: "0.1.0".to_owned(),
        boot_id: "now".to_owned(),
        booted_at,
        machine_id: None,
        cluster: Some("lab".to_owned()),
        labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        sources: Vec::new(),
        sample_interval_seconds: 10.0,
    }
}

fn sample(at: Timestamp, epoch: Epoch, as_of: Position) -> Sample {
    let stall = |some_300s_ratio| Stall {
        some_10s_ratio: some_300s_ratio,
        some_300s_ratio,
        full_10s_ratio: 0.0,
        full_300s_ratio: 0.0,
    };
    Sample {
        at,
        epoch,
        as_of,
        interval_seconds: 10.0,
        uptime_seconds: 86_400.0,
        load: Load { one: 4.5, five: 4.25, fifteen: 4.0 },
        cpu: Cpu { count: 8, busy_ratio: Some(0.5) },
        memory: Memory { total_bytes: 8 << 30, available_bytes: 4 << 30 },
        swap: Swap { total_bytes: 1 << 30, free_bytes: 3 << 28 },
        pressure: Some(Pressure { cpu: stall(0.1), io: stall(0.2), memory: stall(0.3) }),
        agent: AgentHealth {
            rss_bytes: 5 << 20,
            outbox_events: 2,
            outbox_bytes: 1024,
            dropped_events: 0,
            resent_events: 0,
            held_events: Some(20),
            unsaved_events: Some(3),
            oldest_unacked_seconds: Some(40.0),
            ack_round_trip_seconds: Some(0.25),
        },
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

/// A guest whose last run failed, after eight that succeeded.
fn backup(node: NodeName, position: Position, at: Moment) -> Backup {
    let version = Version { stream_ordinal: 1, sequence: 1 };
    let vmid = 100.try_into().expect("a valid number");
    let mut backup = Backup::new(node, vmid, at, (version, position));
    for days in (0..9).rev() {
        let outcome = if days == 0 { Outcome::Failed } else { Outcome::Ok };
        let finished = BackupFinished {
            vmid,
            kind: Some(GuestKind::Qemu),
            name: Some("web".to_owned()),
            upid: format!("UPID:pve1:00000001:00000001:6AC0539{days}:vzdump::root@pam:"),
            job: Some("backup-1a2b3c4d-5e6f".to_owned()),
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
        backup.end(finished, Moment::both(at.judged - SignedDuration::from_hours(24 * days)));
    }
    let upid = "UPID:pve1:00000001:00000001:6AC0539F:vzdump::root@pam:".to_owned();
    backup.running = Some(Running { upid, since: at.fact });
    backup
}
