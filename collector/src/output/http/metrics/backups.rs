//! Metrics of backups: what Prometheus needs to judge them by itself, guest by guest.

use std::fmt;

use super::families::Families;
use crate::core::Snapshot;
use crate::fleet::{Backup, BackupJob};

/// Guests of one node that have series of their own, for each metric: the first by number. How many
/// that leaves out is told by `pvewatch_backup_guests_unlisted`.
pub const GUESTS_LISTED_MAX: usize = 1_000;

/// Writes the metrics of all backups. Outcomes are `ok`, `warnings`, `failed`, `interrupted` and
/// `unknown`; times are those of the node's clock.
pub fn write(families: &mut Families<'_>, snapshot: &Snapshot) -> fmt::Result {
    let seconds = |at: jiff::Timestamp| at.as_millisecond() as f64 / 1000.0;
    families.gauge(
        "pvewatch_backup_last_run_timestamp_seconds",
        "When the last run of a guest's backup ended.",
        listed(snapshot, move |backup| backup.last.as_ref().map(|_| seconds(backup.since.fact))),
    )?;
    families.gauge(
        "pvewatch_backup_last_success_timestamp_seconds",
        "When a run of a guest's backup succeeded last.",
        listed(snapshot, move |backup| backup.last_success.map(|at| seconds(at.fact))),
    )?;
    families.gauge(
        "pvewatch_backup_last_run_success",
        "Whether the last run of a guest's backup succeeded, with warnings or without.",
        listed(snapshot, |backup| backup.outcome().map(|it| f64::from(u8::from(it.is_success())))),
    )?;
    families.gauge(
        "pvewatch_backup_last_run_duration_seconds",
        "How long the last run of a guest's backup took.",
        listed(snapshot, |backup| Some(backup.last.as_ref()?.duration_seconds? as f64)),
    )?;
    families.gauge(
        "pvewatch_backup_last_run_size_bytes",
        "Size of the last archive of a guest, or what was read for it.",
        listed(snapshot, |backup| backup.size_bytes().map(|bytes| bytes as f64)),
    )?;
    families.gauge(
        "pvewatch_backup_due_timestamp_seconds",
        "When the first run of a guest's backup was due after the last that succeeded; lies ahead \
         if none is overdue.",
        listed(snapshot, move |backup| backup.due.map(|at| seconds(at.fact))),
    )?;
    families.gauge(
        "pvewatch_backup_jobs",
        "Jobs that cover a guest, are on, and are due at some time.",
        listed(snapshot, |backup| backup.guest.as_ref().map(|_| backup.jobs.len() as f64)),
    )?;
    families.gauge(
        "pvewatch_backup_job_last_run_timestamp_seconds",
        "When the last run of a backup job began.",
        jobs(snapshot, move |job| job.began_at.map(seconds)),
    )?;
    families.gauge(
        "pvewatch_backup_job_due_timestamp_seconds",
        "When the first run of a backup job was due after the last that began; lies ahead if none \
         was missed.",
        jobs(snapshot, move |job| job.run_due.map(|at| seconds(at.fact))),
    )?;
    families.gauge(
        "pvewatch_backup_job_last_run_success",
        "Whether the last run of a backup job succeeded, with warnings or without.",
        jobs(snapshot, |job| {
            job.last.as_ref().map(|last| f64::from(u8::from(last.outcome.is_success())))
        }),
    )?;
    families.gauge(
        "pvewatch_backup_archive_gone",
        "Whether the archive of a guest's newest run that succeeded is known not to be there.",
        listed(snapshot, |backup| {
            let archives = &backup.archives;
            let gone = f64::from(u8::from(archives.gone_since.is_some()));
            archives.written.as_ref().map(|_| gone)
        }),
    )?;
    families.gauge(
        "pvewatch_backup_guests_unlisted",
        "Guests with backups that have no series of their own, because there are too many.",
        snapshot.nodes.iter().map(|view| {
            let count = view.backups.len().saturating_sub(GUESTS_LISTED_MAX);
            ([("node", view.node.name.as_str())], count)
        }),
    )
}

/// One series for each guest that `read` has a value for.
fn listed(
    snapshot: &Snapshot,
    read: impl Fn(&Backup) -> Option<f64> + Copy,
) -> impl Iterator<Item = ([(&str, &str); 2], f64)> {
    snapshot.nodes.iter().flat_map(move |view| {
        let guests = view.backups.iter().take(GUESTS_LISTED_MAX);
        guests.filter_map(move |backup| {
            let labels = [("node", view.node.name.as_str()), ("vmid", &*backup.id)];
            Some((labels, read(backup)?))
        })
    })
}

/// One series for each job, on each node, that `read` has a value for.
fn jobs(
    snapshot: &Snapshot,
    read: impl Fn(&BackupJob) -> Option<f64> + Copy,
) -> impl Iterator<Item = ([(&str, &str); 2], f64)> {
    snapshot.nodes.iter().flat_map(move |view| {
        view.jobs.iter().filter_map(move |job| {
            let labels = [("node", view.node.name.as_str()), ("backup_job", &*job.id)];
            Some((labels, read(job)?))
        })
    })
}
