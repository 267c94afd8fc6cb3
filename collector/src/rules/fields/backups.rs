//! The fields of guests' backups and of backup jobs.

use pvewatch_protocol::Guest;
use pvewatch_protocol::event::{BackupFinished, BackupJobFinished};

use super::{Field, FieldType, FieldValue, Subject, count, text, time};
use crate::fleet::{Backup, BackupJob, Moment, Origin, is_unwanted};

fn backup<'a>(
    subject: &Subject<'a>,
    read: impl FnOnce(&'a Backup) -> FieldValue<'a>,
) -> FieldValue<'a> {
    subject.entity.backup().map_or(FieldValue::Absent, read)
}

/// What the last run of a guest's backup told.
fn last_run<'a>(
    subject: &Subject<'a>,
    read: impl FnOnce(&'a BackupFinished) -> FieldValue<'a>,
) -> FieldValue<'a> {
    backup(subject, |backup| backup.last.as_ref().map_or(FieldValue::Absent, read))
}

fn job<'a>(
    subject: &Subject<'a>,
    read: impl FnOnce(&'a BackupJob) -> FieldValue<'a>,
) -> FieldValue<'a> {
    subject.entity.backup_job().map_or(FieldValue::Absent, read)
}

/// What the last run of a job told.
fn last_job<'a>(
    subject: &Subject<'a>,
    read: impl FnOnce(&'a BackupJobFinished) -> FieldValue<'a>,
) -> FieldValue<'a> {
    job(subject, |job| job.last.as_ref().map_or(FieldValue::Absent, read))
}

/// What a guest's configuration says.
fn configured<'a>(
    subject: &Subject<'a>,
    read: impl FnOnce(&'a Guest) -> FieldValue<'a>,
) -> FieldValue<'a> {
    backup(subject, |backup| backup.guest.as_ref().map_or(FieldValue::Absent, read))
}

pub(super) static BACKUP: &[Field] = fields! {
    vmid: Text, Facts, "100", "The guest's number.",
        |s| backup(s, |backup| FieldValue::Text(&backup.id));
    kind: Text, Facts, "lxc", "`qemu` or `lxc`.",
        |s| backup(s, |backup| text(backup.kind().map(|kind| kind.as_str())));
    guest: Text, Facts, "web", "The guest's name, as its configuration or its last run tells it.",
        |s| backup(s, |backup| text(backup.name()));
    outcome: Text, Facts, "failed",
        "How the last run ended: `ok`, `warnings`, `failed`, `interrupted`, `unknown`; empty if \
         none has.",
        |s| backup(s, |backup| text(backup.outcome().map(|outcome| outcome.as_str())));
    finished_at: Time, Facts, "2026-11-21 03:07:00 UTC", "When the last run ended.",
        |s| backup(s, |backup| time(backup.last.as_ref().map(|_| backup.since)));
    error: Text, Facts, "job failed with err -5 - Input/output error",
        "Why the last run failed, as vzdump says it.",
        |s| last_run(s, |last| text(last.error.as_deref()));
    cause: Text, Facts, "backup write data failed",
        "The line that explains the failure best: an earlier one, or the error.",
        |s| last_run(s, |last| text(last.why()));
    job: Text, Facts, "backup-1a2b3c4d-5e6f", "The job that asked for the last run.",
        |s| last_run(s, |last| text(last.job.as_deref()));
    storage: Text, Facts, "nas", "Where the last run went.",
        |s| last_run(s, |last| text(last.storage.as_deref()));
    mode: Text, Facts, "snapshot", "`snapshot`, `suspend` or `stop`.",
        |s| last_run(s, |last| text(last.mode.as_deref()));
    warnings: Number, Facts, "1", "What the last run warned of.",
        |s| last_run(s, |last| FieldValue::Number(last.warnings.len() as f64));
    duration_seconds: Number("seconds"), Facts, "186", "How long the last run took.",
        |s| last_run(s, |last| count(last.duration_seconds));
    size_bytes: Number("bytes"), Facts, "4509715660",
        "Size of the last archive, or what was read for it; absent if the run does not tell.",
        |s| backup(s, |backup| count(backup.size_bytes()));
    usual_size_bytes: Number("bytes"), Facts, "4509715660",
        "Median of that of the 7 successful runs before.",
        |s| backup(s, |backup| count(backup.usual_size_bytes()));
    runs: Number, Facts, "9", "Runs that are remembered, 30 at most.",
        |s| backup(s, |backup| FieldValue::Number(backup.runs.len() as f64));
    failures_in_a_row: Number, Facts, "1", "Runs up to the last one that did not succeed.",
        |s| backup(s, |backup| FieldValue::Number(backup.failures_in_a_row() as f64));
    last_success_at: Time, Facts, "2026-11-20 03:07:00 UTC", "When a run succeeded last.",
        |s| backup(s, |backup| time(backup.last_success));
    running: Flag, Facts, "true", "Whether a run is under way.",
        |s| backup(s, |backup| FieldValue::Flag(backup.running.is_some()));
    unproven_since: Time, Facts, "2026-11-21 03:07:00 UTC",
        "When the guest was restored last, or since when it is known.",
        |s| backup(s, |backup| time(backup.unproven_since()));
    template: Flag, Facts, "true",
        "Whether the guest is a template; absent if its configuration is not known.",
        |s| configured(s, |guest| FieldValue::Flag(guest.template));
    unwanted: Flag, Facts, "true",
        "Whether the guest has the tag `nobackup`; absent if its configuration is not known.",
        |s| configured(s, |guest| {
            FieldValue::Flag(is_unwanted(&guest.tags))
        });
    pool: Text, Facts, "prod", "The guest's pool.",
        |s| configured(s, |guest| text(guest.pool.as_deref()));
    environment: Text, Facts, "prod",
        "The guest's environment by the policy file, or that of its node.",
        |s| backup(s, |backup| {
            text(backup.environment.as_deref().or(s.node.label("environment")))
        });
    excluded_disks: Number, Facts, "1",
        "Disks and mount points that no backup includes; absent if that is not known.",
        |s| configured(s, |guest| FieldValue::Number(guest.excluded.len() as f64));
    jobs: Number, Facts, "1",
        "Jobs that cover the guest, are on, and are due at some time; absent if that is not known.",
        |s| backup(s, |backup| {
            let is_known = s.node.has_plan() && backup.guest.is_some();
            count(is_known.then_some(backup.jobs.len() as u64))
        });
    archives: Number, Facts, "9",
        "Archives of the guest on all storages of its node; absent while that is not known of all of \
         them.",
        |s| backup(s, |backup| count(s.node.archives_known.then(|| backup.archives.count())));
    archives_bytes: Number("bytes"), Facts, "40587440940", "What they take, as far as that is known.",
        |s| backup(s, |backup| count(s.node.archives_known.then(|| backup.archives.bytes())));
    newest_archive_at: Time, Facts, "2026-11-20 03:07:00 UTC",
        "When the run of the newest of them began.",
        |s| backup(s, |backup| time(backup.archives.newest().map(Moment::both)));
    surplus_archives: Number, Facts, "2",
        "How many of them the last run that removes old ones should have removed; absent if that \
         cannot be told.",
        |s| backup(s, |backup| count(backup.archives.surplus()));
    archive: Text, Facts, "vzdump-qemu-100-2026_11_20-03_07_00.vma.zst",
        "The archive of the newest run that succeeded, if that is a file on a storage of its node.",
        |s| backup(s, |backup| {
            text(backup.archives.written.as_ref().map(|written| written.name.as_str()))
        });
    archive_storage: Text, Facts, "nas", "The storage on which that is.",
        |s| backup(s, |backup| {
            text(backup.archives.written.as_ref().map(|written| &*written.storage))
        });
    archive_gone: Flag, Facts, "true",
        "Whether its storage was looked at since, and neither that archive is there nor a newer one.",
        |s| backup(s, |backup| FieldValue::Flag(backup.archives.gone_since.is_some()));
    due_at: Time, Due, "2026-11-20 21:00:00 UTC",
        "When the first run was due after the last that succeeded; lies ahead if none is overdue.",
        |s| backup(s, |backup| time(backup.due));
};

pub(super) static BACKUP_JOB: &[Field] = fields! {
    id: Text, Facts, "backup-1a2b3c4d-5e6f", "The job's name in `jobs.cfg`.",
        |s| job(s, |job| FieldValue::Text(&job.id));
    comment: Text, Facts, "nightly", "What somebody wrote of it.",
        |s| job(s, |job| text(job.plan.comment.as_deref()));
    enabled: Flag, Facts, "true", "Whether it is on, and runs on this node.",
        |s| job(s, |job| FieldValue::Flag(job.plan.enabled));
    schedule: Text, Facts, "21:00", "When it is due, in Proxmox' words.",
        |s| job(s, |job| FieldValue::Text(&job.plan.schedule));
    can_run: Flag, Facts, "true", "Whether it is on, and due at some time.",
        |s| job(s, |job| FieldValue::Flag(job.can_run));
    guests: Number, Facts, "1", "Guests of this node that it covers.",
        |s| job(s, |job| FieldValue::Number(job.plan.guests.len() as f64));
    storage: Text, Facts, "nas", "Where its archives go.",
        |s| job(s, |job| text(job.plan.storage.as_deref()));
    run_due_at: Time, Facts, "2026-11-20 21:00:00 UTC",
        "When the first run was due after the last that began; lies ahead if none was missed.",
        |s| job(s, |job| time(job.run_due));
    began_at: Time, Facts, "2026-11-19 21:07:00 UTC", "When its last run began.",
        |s| job(s, |job| time(job.began_at.map(Moment::both)));
    finished_at: Time, Facts, "2026-11-19 22:07:00 UTC", "When its last run ended.",
        |s| job(s, |job| time(job.ended));
    outcome: Text, Facts, "failed",
        "How the last run ended: `ok`, `warnings`, `failed`, `interrupted`, `unknown`; empty if \
         none has.",
        |s| last_job(s, |last| FieldValue::Text(last.outcome.as_str()));
    error: Text, Facts, "job errors", "Why the last run failed, as vzdump says it.",
        |s| last_job(s, |last| text(last.error.as_deref()));
    unreached_guests: Number, Facts, "1", "Guests that the last run did not come to.",
        |s| last_job(s, |_| job(s, |job| FieldValue::Number(job.unreached.len() as f64)));
    failed_guests: Number, Facts, "1", "Guests of which the last run made no backup.",
        |s| last_job(s, |last| FieldValue::Number(last.failed.len() as f64));
};
