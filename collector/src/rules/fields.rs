//! The fields that rules can read, per scope: one table for checking, evaluation and documentation.
//!
//! A field that has no value (yet) is absent: `null` in an expression. A comparison of it other
//! than `== null` makes the outcome unknown, which changes nothing.

use pvewatch_protocol::event::UnitChange;
use pvewatch_protocol::sample::Certificate;

use crate::fleet::{Entity, EntityKind, Inside, Moment, Node, Origin, Unit, hottest, overheated};

/// What a rule looks at: an entity, and the node that it belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The node; for a rule over nodes, the entity itself.
    pub node: &'a Node,
    /// The entity itself.
    pub entity: Entity<'a>,
}

/// The type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// A double, as all numbers are.
    Number,
    /// A text; `""` where there is none.
    Text,
    /// `true` or `false`.
    Flag,
    /// A point in time; only `older()` reads it.
    Time,
    /// Texts by name: `labels.rack` or `labels["rack"]`; `""` where there is none.
    Labels,
}

impl FieldType {
    /// The type as messages and documentation name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Text => "text",
            Self::Flag => "flag",
            Self::Time => "time",
            Self::Labels => "labels",
        }
    }
}

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FieldValue<'a> {
    /// A number.
    Number(f64),
    /// A text.
    Text(&'a str),
    /// A flag.
    Flag(bool),
    /// A point in time.
    Time(Moment),
    /// There is none, or none yet.
    Absent,
}

/// A field of an entity.
#[derive(Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: FieldType,
    /// `seconds`, `bytes`, `ratio` (0 to 1), or empty.
    pub unit: &'static str,
    /// A value as it may be.
    pub example: &'static str,
    /// What it says.
    pub description: &'static str,
    /// Which inputs change it.
    pub origin: Origin,
    pub(super) read: for<'a> fn(&Subject<'a>) -> FieldValue<'a>,
}

impl Field {
    /// Reads the field of a subject.
    pub fn read<'a>(&self, subject: &Subject<'a>) -> FieldValue<'a> {
        (self.read)(subject)
    }
}

/// The fields of a scope; those of a node are there as `node.*` in every scope.
pub fn fields_of(scope: EntityKind) -> &'static [Field] {
    match scope {
        EntityKind::Node => NODE,
        EntityKind::Unit => UNIT,
        EntityKind::Backup => backups::BACKUP,
        EntityKind::BackupJob => backups::BACKUP_JOB,
        EntityKind::Storage => storages::STORAGE,
        EntityKind::Guest => guests::GUEST,
        EntityKind::Filesystem => disks::FILESYSTEM,
        EntityKind::Pool => disks::POOL,
        EntityKind::Drift => drift::DRIFT,
        EntityKind::Interface => interfaces::INTERFACE,
        EntityKind::Member => members::MEMBER,
    }
}

/// The environment of an entity, if that is nearer than what its node says: that of a guest, or of
/// what a policy is about.
pub(super) fn own_environment(entity: Entity<'_>) -> Option<&str> {
    match entity {
        Entity::Backup(backup) => backup.environment.as_deref(),
        Entity::Guest(guest) => guest.environment.as_deref(),
        Entity::Drift(drift) => drift.environment.as_deref(),
        _ => None,
    }
}

/// The environment of an entity, or that of its node.
pub(super) fn environment<'a>(subject: &Subject<'a>) -> Option<&'a str> {
    own_environment(subject.entity).or(subject.node.label("environment"))
}

fn number<'a>(number: Option<f64>) -> FieldValue<'a> {
    number.map_or(FieldValue::Absent, FieldValue::Number)
}

fn text(text: Option<&str>) -> FieldValue<'_> {
    FieldValue::Text(text.unwrap_or_default())
}

fn time<'a>(at: Option<Moment>) -> FieldValue<'a> {
    at.map_or(FieldValue::Absent, FieldValue::Time)
}

fn unit<'a>(
    subject: &Subject<'a>,
    read: impl FnOnce(&'a Unit) -> FieldValue<'a>,
) -> FieldValue<'a> {
    subject.entity.unit().map_or(FieldValue::Absent, read)
}

fn count<'a>(count: Option<u64>) -> FieldValue<'a> {
    number(count.map(|count| count as f64))
}

/// What is known of the guest that the node is.
fn inside<'a>(
    subject: &Subject<'a>,
    read: impl FnOnce(&'a Inside) -> FieldValue<'a>,
) -> FieldValue<'a> {
    subject.node.inside.as_ref().map_or(FieldValue::Absent, read)
}

/// A reading of the node's newest sample.
fn sampled<'a>(
    subject: &Subject<'a>,
    read: impl FnOnce(&'a pvewatch_protocol::Sample) -> Option<f64>,
) -> FieldValue<'a> {
    number(subject.node.reading.as_ref().and_then(|reading| read(&reading.sample)))
}

/// The certificate of the node's web interface.
fn certificate<'a>(subject: &Subject<'a>) -> Option<&'a Certificate> {
    subject.node.reading.as_ref()?.sample.certificate.as_deref()
}

/// A share of a total, none of nothing.
fn share(part: u64, total: u64) -> Option<f64> {
    (total > 0).then(|| part as f64 / total as f64)
}

macro_rules! fields {
    ($($name:ident: $kind:ident $(($unit:literal))?, $origin:ident, $example:literal,
       $description:literal, $read:expr;)*) => {
        &[$(Field {
            name: stringify!($name),
            kind: FieldType::$kind,
            unit: concat!($($unit)?),
            example: $example,
            description: $description,
            origin: Origin::$origin,
            read: $read,
        }),*]
    };
}

mod backups;
mod disks;
mod drift;
mod guests;
mod interfaces;
mod members;
mod storages;

// Statics, not constants: a field is known by its address.
static NODE: &[Field] = fields! {
    name: Text, Facts, "pve1", "The node's name.",
        |s| FieldValue::Text(s.node.name.as_str());
    cluster: Text, Facts, "lab", "The Proxmox cluster that it belongs to.",
        |s| text(s.node.facts.as_ref().and_then(|facts| facts.cluster.as_deref()));
    environment: Text, Facts, "prod", "The label `environment` of its agent.",
        |s| text(s.node.label("environment"));
    labels: Labels, Facts, "{rack: r1}", "The labels of its agent.",
        |_| FieldValue::Absent;
    agent_version: Text, Facts, "0.1.0", "The version of its agent.",
        |s| text(s.node.facts.as_ref().map(|facts| facts.version.as_str()));
    booted_at: Time, Facts, "2026-11-21 03:00:00 UTC", "When its kernel started.",
        |s| time(s.node.booted());
    unclean_boot: Flag, Facts, "true", "Whether the boot before ended without an announcement.",
        |s| FieldValue::Flag(s.node.boots.is_unclean());
    dropped_events: Number, Facts, "3", "Events that its agents declared lost.",
        |s| FieldValue::Number(s.node.dropped_events as f64);
    dropped_at: Time, Facts, "2026-11-21 03:07:00 UTC", "When events were declared lost last.",
        |s| time(s.node.last_loss.as_ref().map(|loss| loss.at));
    dropped_reason: Text, Facts, "outbox full", "Why they were lost, in the agent's words.",
        |s| text(s.node.last_loss.as_ref().map(|loss| loss.reason.as_str()));
    presence: Text, Silence, "offline", "`online`, `offline` or `unknown`, by its connection.",
        |s| FieldValue::Text(s.node.presence.as_str());
    silent: Flag, Silence, "true",
        "Whether it is offline, or 3 heartbeats are missing.",
        |s| FieldValue::Flag(s.node.silent.is_some());
    silent_since: Time, Silence, "2026-11-21 03:07:00 UTC", "Since when it is silent.",
        |s| time(s.node.silent);
    stop_reason: Text, Silence, "reboot",
        "What it said before it went: `stopped` (the agent alone), `shutdown`, `reboot`; `lost` if \
         it could not; empty while it is there.",
        |s| text(s.node.stop_reason().map(|reason| reason.as_str()));
    guest_vmid: Text, Silence, "105",
        "The number of the guest that it is, if it is one of a node that is known.",
        |s| inside(s, |inside| FieldValue::Text(&inside.vmid));
    guest_host: Text, Silence, "pve2", "The node that has that guest.",
        |s| inside(s, |inside| FieldValue::Text(inside.host.as_str()));
    guest_stopped: Flag, Silence, "true", "Whether that guest does not run, as is meant.",
        |s| FieldValue::Flag(s.node.inside.as_ref().is_some_and(|it| it.is_stopped));
    host_silent: Flag, Silence, "true",
        "Whether the node that has that guest is silent itself, and did not say that its agent alone \
         stops.",
        |s| FieldValue::Flag(s.node.inside.as_ref().is_some_and(|it| it.is_host_silent));
    duplicate_name: Flag, Silence, "true", "Whether two agents use its name.",
        |s| FieldValue::Flag(s.node.duplicate_name);
    clock_skew_seconds: Number("seconds"), Reading, "0.25",
        "How far its clock is behind the collector's; negative if ahead.",
        |s| number(s.node.clock_skew_seconds);
    uptime_seconds: Number("seconds"), Reading, "86400", "Time since boot.",
        |s| sampled(s, |sample| Some(sample.uptime_seconds));
    load1: Number, Reading, "4.5", "Load average over 1 minute.",
        |s| sampled(s, |sample| Some(sample.load.one));
    load5: Number, Reading, "4.25", "Load average over 5 minutes.",
        |s| sampled(s, |sample| Some(sample.load.five));
    load15: Number, Reading, "4", "Load average over 15 minutes.",
        |s| sampled(s, |sample| Some(sample.load.fifteen));
    cpus: Number, Reading, "8", "Logical processors.",
        |s| sampled(s, |sample| (sample.cpu.count > 0).then(|| f64::from(sample.cpu.count)));
    cpu_busy_ratio: Number("ratio"), Reading, "0.5", "Share of time that the processors were busy.",
        |s| sampled(s, |sample| sample.cpu.busy_ratio);
    memory_total_bytes: Number("bytes"), Reading, "8589934592", "Memory installed.",
        |s| sampled(s, |sample| Some(sample.memory.total_bytes as f64));
    memory_available_bytes: Number("bytes"), Reading, "4294967296",
        "Memory that programs could still get.",
        |s| sampled(s, |sample| Some(sample.memory.available_bytes as f64));
    memory_used_ratio: Number("ratio"), Reading, "0.5", "Share of the memory that is not available.",
        |s| sampled(s, |sample| {
            let memory = sample.memory;
            share(memory.total_bytes.saturating_sub(memory.available_bytes), memory.total_bytes)
        });
    swap_total_bytes: Number("bytes"), Reading, "1073741824", "Swap configured; 0 without.",
        |s| sampled(s, |sample| Some(sample.swap.total_bytes as f64));
    swap_used_ratio: Number("ratio"), Reading, "0.25", "Share of the swap in use; absent without.",
        |s| sampled(s, |sample| {
            let swap = sample.swap;
            share(swap.total_bytes.saturating_sub(swap.free_bytes), swap.total_bytes)
        });
    pressure_cpu_ratio: Number("ratio"), Reading, "0.1",
        "Share of the last 300 s in which a task waited for a processor.",
        |s| sampled(s, |sample| sample.pressure.map(|pressure| pressure.cpu.some_300s_ratio));
    pressure_io_ratio: Number("ratio"), Reading, "0.2",
        "Share of the last 300 s in which a task waited for input or output.",
        |s| sampled(s, |sample| sample.pressure.map(|pressure| pressure.io.some_300s_ratio));
    pressure_memory_ratio: Number("ratio"), Reading, "0.3",
        "Share of the last 300 s in which a task waited for memory.",
        |s| sampled(s, |sample| sample.pressure.map(|pressure| pressure.memory.some_300s_ratio));
    oom_kills: Number, Reading, "2",
        "Processes that the kernel killed for want of memory since it started; absent if the agent \
         does not say.",
        |s| sampled(s, |sample| sample.oom_kills.map(|kills| kills as f64));
    oom_kills_seen: Number, Reading, "2",
        "The same, since this collector knows the node.",
        |s| count(s.node.reading.as_ref().map(|reading| reading.oom_kills_seen));
    oom_killed_at: Time, Reading, "2026-11-21 03:07:00 UTC", "When the last of them was killed.",
        |s| time(s.node.reading.as_ref().and_then(|reading| reading.oom_killed_at));
    not_quorate: Flag, Reading, "true",
        "Whether it is in a cluster in which too few nodes see each other, as it sees it.",
        |s| {
            let cluster = s.node.reading.as_ref().and_then(|it| it.sample.cluster.as_ref());
            FieldValue::Flag(cluster.is_some_and(|cluster| !cluster.quorate))
        };
    reboot_required: Flag, Reading, "true", "Whether something that was installed waits for a reboot.",
        |s| {
            let sample = s.node.reading.as_ref().map(|reading| &reading.sample);
            FieldValue::Flag(sample.is_some_and(|sample| sample.reboot_required == Some(true)))
        };
    clock_unsynchronised: Flag, Reading, "true",
        "Whether nothing keeps its clock right, as its kernel sees it; false if it does not say.",
        |s| {
            let clock = s.node.reading.as_ref().and_then(|it| it.sample.clock);
            FieldValue::Flag(clock.is_some_and(|clock| !clock.synchronised))
        };
    clock_error_seconds: Number("seconds"), Reading, "16",
        "By how much its clock is wrong at most, as its kernel sees it; absent if it does not say.",
        |s| sampled(s, |sample| Some(sample.clock?.maximum_error_seconds));
    temperature_celsius: Number, Reading, "101",
        "How hot its hottest chip is, in degrees; absent if none says so.",
        |s| sampled(s, |sample| Some(hottest(&sample.temperatures)?.celsius));
    overheated_chip: Text, Reading, "coretemp",
        "Which chip is as hot as it must not become, by its own word; empty if none is.",
        |s| {
            let reading = s.node.reading.as_ref();
            let chip = reading.and_then(|reading| overheated(&reading.sample.temperatures));
            text(chip.map(|chip| chip.chip.as_str()))
        };
    certificate_ends_at: Time, Reading, "2026-12-01 03:07:00 UTC",
        "When the certificate of its web interface ends; absent if it has none.",
        |s| time(certificate(s).map(|certificate| Moment::both(certificate.ends_at)));
    certificate_file: Text, Reading, "pve-ssl.pem",
        "The file of that: `pve-ssl.pem` is Proxmox' own, `pveproxy-ssl.pem` was given to the node.",
        |s| text(certificate(s).map(|certificate| certificate.file.as_str()));
    events_missing: Number, Reading, "2", "Events that its agent has and this collector has not.",
        |s| FieldValue::Number(s.node.backlog.events as f64);
    events_delayed_seconds: Number("seconds"), Reading, "40",
        "For how long, at least, this collector has lacked events that the agent has; 0 if none.",
        |s| number(s.node.events_delay().map(|delay| delay.as_secs_f64()));
    ack_lag_seconds: Number("seconds"), Reading, "40",
        "Age of the oldest event that this collector lacks, or that the agent has no ack for from \
         every collector; 0 if there is none.",
        |s| number(s.node.ack_lag().map(|lag| lag.as_secs_f64()));
    outbox_events: Number, Reading, "2", "Events that the agent holds and not every collector has acked.",
        |s| sampled(s, |sample| Some(sample.agent.outbox_events as f64));
    outbox_oldest_seconds: Number("seconds"), Reading, "40",
        "Age of the oldest of them; absent if the agent does not say.",
        |s| sampled(s, |sample| sample.agent.oldest_unacked_seconds);
    unsaved_events: Number, Reading, "3",
        "Events that the agent cannot write to its disk; absent if it does not say.",
        |s| sampled(s, |sample| sample.agent.unsaved_events.map(|events| events as f64));
    ack_round_trip_seconds: Number("seconds"), Reading, "0.25",
        "From the agent to this collector's store and back; absent if the agent does not say.",
        |s| sampled(s, |sample| sample.agent.ack_round_trip_seconds);
    agent_rss_bytes: Number("bytes"), Reading, "5242880", "Resident memory of the agent.",
        |s| sampled(s, |sample| Some(sample.agent.rss_bytes as f64));
};

static UNIT: &[Field] = fields! {
    name: Text, Facts, "pveproxy.service", "The unit's name with its suffix.",
        |s| unit(s, |unit| FieldValue::Text(&unit.id));
    type: Text, Facts, "service", "The suffix of the name.",
        |s| unit(s, |unit| text(unit.id.rsplit_once('.').map(|(_, suffix)| suffix)));
    load_state: Text, Facts, "loaded", "`loaded`, `not-found`, `masked`, ...",
        |s| unit(s, |unit| FieldValue::Text(&unit.state.load_state));
    active_state: Text, Facts, "failed", "`active`, `inactive`, `failed`, `activating`, ...",
        |s| unit(s, |unit| FieldValue::Text(&unit.state.active_state));
    sub_state: Text, Facts, "auto-restart", "The finer state: `running`, `exited`, ...",
        |s| unit(s, |unit| FieldValue::Text(&unit.state.sub_state));
    result: Text, Facts, "exit-code", "`success`, `exit-code`, `signal`, `timeout`, ...",
        |s| unit(s, |unit| text(unit.state.result.as_deref()));
    exit_code: Text, Facts, "exited", "How its main process ended: `exited`, `killed`, `dumped`.",
        |s| unit(s, |unit| text(unit.state.exit.as_ref().map(|exit| exit.code.as_str())));
    exit_status: Number, Facts, "1", "Its exit status, or the signal's number.",
        |s| unit(s, |unit| number(unit.state.exit.as_ref().map(|exit| f64::from(exit.status))));
    restarts: Number, Facts, "2", "Automatic restarts since it was last started on purpose.",
        |s| unit(s, |unit| FieldValue::Number(f64::from(unit.state.restarts)));
    will_restart: Flag, Facts, "true", "Whether systemd is about to start it again by itself.",
        |s| unit(s, |unit| FieldValue::Flag(unit.state.will_restart));
    crash_looping: Flag, Facts, "true", "Whether it fails and restarts again and again.",
        |s| unit(s, |unit| FieldValue::Flag(unit.state.crash_loop.is_some()));
    crash_loop_failures: Number, Facts, "7", "Failures in the crash loop so far; 0 outside of one.",
        |s| unit(s, |unit| {
            let failures = unit.state.crash_loop.as_ref().map_or(0, |crash_loop| crash_loop.failures);
            FieldValue::Number(f64::from(failures))
        });
    last_change: Text, Facts, "crash_looping",
        "`started`, `stopped`, `failed`, `recovered`, `crash_looping`.",
        |s| unit(s, |unit| text(unit.change.map(change_name)));
    changed_at: Time, Facts, "2026-11-21 03:07:00 UTC", "When it entered its active state.",
        |s| unit(s, |unit| FieldValue::Time(unit.since));
};

fn change_name(change: UnitChange) -> &'static str {
    match change {
        UnitChange::Started => "started",
        UnitChange::Stopped => "stopped",
        UnitChange::Failed => "failed",
        UnitChange::Recovered => "recovered",
        UnitChange::CrashLooping => "crash_looping",
        UnitChange::Unknown => "unknown",
    }
}
