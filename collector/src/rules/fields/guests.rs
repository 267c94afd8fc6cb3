//! The fields of guests.

use pvewatch_protocol::event::{GuestCause, GuestRun, GuestState};

use super::{Field, FieldType, FieldValue, Subject, number, text, time};
use crate::fleet::{Guest, Load, Moment, Origin};

fn guest<'a>(
    subject: &Subject<'a>,
    read: impl FnOnce(&'a Guest) -> FieldValue<'a>,
) -> FieldValue<'a> {
    subject.entity.guest().map_or(FieldValue::Absent, read)
}

/// What its configuration says; absent while its node does not have it.
fn planned<'a>(
    subject: &Subject<'a>,
    read: impl FnOnce(&'a pvewatch_protocol::Guest) -> FieldValue<'a>,
) -> FieldValue<'a> {
    guest(subject, |guest| guest.plan.as_ref().map_or(FieldValue::Absent, read))
}

/// What it may use, or uses.
fn load<'a>(subject: &Subject<'a>, read: impl FnOnce(Load) -> Option<f64>) -> FieldValue<'a> {
    guest(subject, |guest| number(read(Load::of(subject.node, guest))))
}

fn run_text<'a>(
    subject: &Subject<'a>,
    read: impl FnOnce(&'a GuestRun) -> Option<&'a str>,
) -> FieldValue<'a> {
    guest(subject, |guest| text(guest.run.as_ref().and_then(read)))
}

pub(super) static GUEST: &[Field] = fields! {
    vmid: Text, Facts, "100", "Its number.",
        |s| guest(s, |guest| FieldValue::Text(&guest.id));
    name: Text, Facts, "web", "Its name, or a container's host name.",
        |s| guest(s, |guest| text(guest.name()));
    type: Text, Facts, "lxc", "`qemu` for a virtual machine, `lxc` for a container.",
        |s| guest(s, |guest| FieldValue::Text(guest.kind.as_str()));
    state: Text, Facts, "stopped", "`running` or `stopped`; empty as long as nobody has said.",
        |s| guest(s, |guest| text(guest.state().map(GuestState::as_str)));
    stopped: Flag, Facts, "true", "Whether it does not run; no as long as nobody has said.",
        |s| guest(s, |guest| FieldValue::Flag(guest.state() == Some(GuestState::Stopped)));
    unexpectedly_stopped: Flag, Facts, "true",
        "Whether it does not run and nothing asked for that; one that nobody saw stop, if it is to \
         be started when its node boots.",
        |s| guest(s, |guest| FieldValue::Flag(guest.is_unexpectedly_stopped()));
    cause: Text, Facts, "crash",
        "Why it was started or stopped: `requested`, `backup`, `migration`, `ha`, `node_shutdown`, \
         `node_boot`, `guest` (from inside), `out_of_memory`, `crash`, `unexplained`; empty if \
         nobody saw it.",
        |s| run_text(s, |run| run.cause.map(GuestCause::as_str));
    unexpected: Flag, Facts, "true", "Whether nothing asked for that, although somebody saw it.",
        |s| guest(s, |guest| {
            let run = guest.run.as_ref().filter(|run| run.cause.is_some());
            FieldValue::Flag(run.is_some_and(|run| !run.expected))
        });
    user: Text, Facts, "root@pam", "Who asked for it.",
        |s| run_text(s, |run| run.user.as_deref());
    detail: Text, Facts, "killed by signal 9", "More of why.",
        |s| run_text(s, |run| run.detail.as_deref());
    changed_at: Time, Facts, "2026-11-21 03:07:00 UTC", "Since when it runs, or does not.",
        |s| guest(s, |guest| FieldValue::Time(guest.since));
    awaited_since: Time, Facts, "2026-11-21 03:07:00 UTC",
        "Since when it should run again: since the end of the backup that stopped it, or since its \
         node has started its guests. Can lie ahead. Absent if it runs, or is to stay stopped.",
        |s| guest(s, |guest| time(guest.awaited_since));
    expires_at: Time, Facts, "2026-11-21 00:00:00 UTC",
        "When the day has passed that a tag names, such as `expires-2026-11-20`.",
        |s| guest(s, |guest| time(guest.expires_at().map(Moment::both)));
    oldest_auto_snapshot_at: Time, Facts, "2026-11-01 03:00:00 UTC",
        "When the oldest of its snapshots was made whose name begins with `auto`.",
        |s| guest(s, |guest| time(guest.oldest_auto_snapshot_at().map(Moment::both)));
    snapshots: Number, Facts, "1", "How many snapshots it has.",
        |s| planned(s, |plan| FieldValue::Number(plan.snapshots.len() as f64));
    replication_fail_count: Number, Facts, "3",
        "How often a replication of it failed since it last went well; of several, of the one that \
         failed most often. 0 without any.",
        |s| planned(s, |plan| FieldValue::Number(plan.worst_replication().map_or(0.0, |it| it.fail_count.into())));
    replication_target: Text, Facts, "pve2", "The node to which that replication goes.",
        |s| planned(s, |plan| text(plan.worst_replication().map(|it| &*it.target)));
    replication_error: Text, Facts, "no route to host", "Why it failed the last time.",
        |s| planned(s, |plan| text(plan.worst_replication().and_then(|it| it.error.as_deref())));
    replicated_at: Time, Facts, "2026-11-21 03:07:00 UTC",
        "When that replication last went well, if it fails; absent if it never did.",
        |s| planned(s, |plan| {
            let last = plan.worst_replication().and_then(|it| it.last_sync);
            time(last.map(Moment::both))
        });
    onboot: Flag, Facts, "true", "Whether its node starts it when it boots.",
        |s| planned(s, |plan| FieldValue::Flag(plan.onboot));
    template: Flag, Facts, "true", "Whether it is a template.",
        |s| planned(s, |plan| FieldValue::Flag(plan.template));
    pool: Text, Facts, "prod", "Its pool.",
        |s| planned(s, |plan| text(plan.pool.as_deref()));
    environment: Text, Facts, "prod",
        "Its environment by the policy file, or that of its node.",
        |s| guest(s, |guest| {
            text(guest.environment.as_deref().or(s.node.label("environment")))
        });
    ha_state: Text, Facts, "error",
        "How the manager of high availability has it, such as `started`, `stopped` or `error`; empty \
         if that does not keep it.",
        |s| planned(s, |plan| text(plan.ha.as_deref()));
    backup_running: Flag, Facts, "true", "Whether a backup of it runs.",
        |s| guest(s, |guest| FieldValue::Flag(guest.backup.is_some()));
    cpus: Number, Reading, "4",
        "How many processors it may use, by their number or by a limit of their time.",
        |s| load(s, |it| it.cpus);
    cpu_used_ratio: Number("ratio"), Reading, "0.95",
        "The share of them that it kept busy over the last minute; absent in its first minute. \
         QEMU's own work counts, so that it can be above 1.",
        |s| load(s, |it| it.cpu_used_ratio);
    memory_bytes: Number("bytes"), Reading, "2147483648", "How much memory it may use.",
        |s| load(s, |it| Some(it.memory_bytes? as f64));
    memory_used_bytes: Number("bytes"), Reading, "1610612736",
        "How much it holds on its node, without caches; of a virtual machine what it ever touched.",
        |s| load(s, |it| Some(it.memory_used_bytes? as f64));
    memory_used_ratio: Number("ratio"), Reading, "0.75",
        "The share that a container uses of its memory; absent of a virtual machine, of which its \
         node cannot tell: an agent in it can.",
        |s| load(s, |it| it.memory_used_ratio);
    lock: Text, Facts, "snapshot", "What holds it, if something but a backup does.",
        |s| planned(s, |plan| text(plan.lock.as_deref()));
};
