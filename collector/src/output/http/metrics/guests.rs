//! Metrics of guests: facts, from which Prometheus can judge by itself.

use std::fmt;

use pvewatch_protocol::event::GuestState;

use super::backups::GUESTS_LISTED_MAX;
use super::families::Families;
use crate::core::Snapshot;
use crate::fleet::{Guest, Load, Node};

/// Writes the metrics of all guests; of each node the first by number have series of their own.
pub fn write(families: &mut Families<'_>, snapshot: &Snapshot) -> fmt::Result {
    let flag = |flag: bool| Some(f64::from(u8::from(flag)));
    let seconds = |at: jiff::Timestamp| at.as_millisecond() as f64 / 1000.0;
    let info = snapshot.nodes.iter().flat_map(|view| {
        view.guests.iter().take(GUESTS_LISTED_MAX).map(move |guest| {
            let pool = guest.plan.as_ref().and_then(|plan| plan.pool.as_deref());
            let labels = [
                ("node", view.node.name.as_str()),
                ("vmid", &*guest.id),
                ("name", guest.name().unwrap_or_default()),
                ("type", guest.kind.as_str()),
                ("pool", pool.unwrap_or_default()),
            ];
            (labels, 1.0)
        })
    });
    families.gauge("pvewatch_guest_info", "A guest and what it is.", info)?;
    families.gauge(
        "pvewatch_guest_running",
        "Whether a guest runs.",
        listed(snapshot, |guest| guest.state().and_then(|it| flag(it == GuestState::Running))),
    )?;
    families.gauge(
        "pvewatch_guest_change_expected",
        "Whether something asked for what a guest did last, to start or to stop: a task, a backup, \
         a migration, its node.",
        listed(snapshot, |guest| {
            let run = guest.run.as_ref().filter(|run| run.cause.is_some())?;
            flag(run.expected)
        }),
    )?;
    families.gauge(
        "pvewatch_guest_changed_timestamp_seconds",
        "When a guest was started or stopped, or was known first.",
        listed(snapshot, |guest| Some(seconds(guest.since.fact))),
    )?;
    families.gauge(
        "pvewatch_guest_awaited_timestamp_seconds",
        "Since when a guest should run again that a backup or its node stopped; can lie ahead.",
        listed(snapshot, |guest| guest.awaited_since.map(|at| seconds(at.fact))),
    )?;
    families.gauge(
        "pvewatch_guest_onboot",
        "Whether a guest is started when its node boots.",
        listed(snapshot, |guest| guest.plan.as_ref().and_then(|plan| flag(plan.onboot))),
    )?;
    families.gauge(
        "pvewatch_guest_template",
        "Whether a guest is a template.",
        listed(snapshot, |guest| guest.plan.as_ref().and_then(|plan| flag(plan.template))),
    )?;
    write_loads(families, snapshot)
}

fn write_loads(families: &mut Families<'_>, snapshot: &Snapshot) -> fmt::Result {
    families.gauge(
        "pvewatch_guest_cpus",
        "How many processors a guest may use, by their number or by a limit of their time.",
        loads(snapshot, |load| load.cpus),
    )?;
    families.counter(
        "pvewatch_guest_cpu_seconds",
        "Processor time that a guest has used since it was started, QEMU's own work included; told \
         about once a minute.",
        loads(snapshot, |load| load.cpu_seconds),
    )?;
    families.gauge(
        "pvewatch_guest_memory_bytes",
        "How much memory a guest may use.",
        loads(snapshot, |load| Some(load.memory_bytes? as f64)),
    )?;
    families.gauge(
        "pvewatch_guest_memory_used_bytes",
        "How much memory a guest holds on its node, without caches; a virtual machine holds what it \
         ever touched.",
        loads(snapshot, |load| Some(load.memory_used_bytes? as f64)),
    )
}

/// One series for each listed guest of whose load `read` finds something.
fn loads(
    snapshot: &Snapshot,
    read: impl Fn(Load) -> Option<f64> + Copy,
) -> impl Iterator<Item = ([(&str, &str); 2], f64)> {
    listed_on(snapshot, move |node, guest| read(Load::of(node, guest)))
}

/// One series for each listed guest that `read` has a value for.
fn listed(
    snapshot: &Snapshot,
    read: impl Fn(&Guest) -> Option<f64> + Copy,
) -> impl Iterator<Item = ([(&str, &str); 2], f64)> {
    listed_on(snapshot, move |_, guest| read(guest))
}

/// The same, by what its node says as well.
fn listed_on(
    snapshot: &Snapshot,
    read: impl Fn(&Node, &Guest) -> Option<f64> + Copy,
) -> impl Iterator<Item = ([(&str, &str); 2], f64)> {
    snapshot.nodes.iter().flat_map(move |view| {
        view.guests.iter().take(GUESTS_LISTED_MAX).filter_map(move |guest| {
            let labels = [("node", view.node.name.as_str()), ("vmid", &*guest.id)];
            Some((labels, read(&view.node, guest)?))
        })
    })
}
