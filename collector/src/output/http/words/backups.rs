//! Backups and other tasks, in words. The subject is the guest's number, or the job.

use pvewatch_protocol::event::{
    BackupFinished, BackupJobFinished, BackupStarted, Outcome, TaskFinished,
};

use super::{Told, Tone};
use crate::rules::human;

pub(super) fn tell_started(started: &BackupStarted) -> Told {
    let to = started.storage.as_ref().map(|storage| format!(" to {storage}")).unwrap_or_default();
    Told { tone: Tone::Neutral, text: format!("is being backed up{to}") }
}

pub(super) fn tell_finished(finished: &BackupFinished) -> Told {
    let name = finished.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let text = match finished.outcome {
        Outcome::Ok => format!("was backed up{}", measure(finished)),
        Outcome::Warnings => {
            let first = finished.warnings.first().map(String::as_str).unwrap_or_default();
            format!("was backed up with warnings{}{}", measure(finished), because(Some(first)))
        }
        Outcome::Failed => format!("backup failed{}", because(finished.why())),
        Outcome::Interrupted => format!("backup was interrupted{}", because(finished.why())),
        Outcome::Unknown => "backup ended without a verdict: its worker died".to_owned(),
    };
    Told { tone: tone(finished.outcome), text: format!("{text}{name}") }
}

pub(super) fn tell_job(job: &BackupJobFinished) -> Told {
    let (succeeded, failed) = (job.succeeded.len(), job.failed.len());
    let counts = match (succeeded, failed) {
        (0, 0) => String::new(),
        (_, 0) => format!(", {succeeded} backed up"),
        _ => format!(", {succeeded} backed up, {failed} not"),
    };
    let text =
        format!("backup run {}{counts}{}", ended(job.outcome), because(job.error.as_deref()));
    Told { tone: tone(job.outcome), text }
}

pub(super) fn tell_task(task: &TaskFinished) -> Told {
    let (kind, user) = (&task.kind, &task.user);
    let because = because(task.error.as_deref());
    let text = format!("{kind} by {user} {}{because}", ended(task.outcome));
    Told { tone: tone(task.outcome), text }
}

fn ended(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "finished",
        Outcome::Warnings => "finished with warnings",
        Outcome::Failed => "failed",
        Outcome::Interrupted => "was interrupted",
        Outcome::Unknown => "ended without a verdict",
    }
}

/// How good an outcome is.
pub fn tone_of(outcome: Outcome) -> Tone {
    match outcome {
        Outcome::Ok => Tone::Good,
        Outcome::Warnings => Tone::Doubtful,
        Outcome::Failed | Outcome::Interrupted | Outcome::Unknown => Tone::Bad,
    }
}

/// As news: a success is none that anybody must look at.
fn tone(outcome: Outcome) -> Tone {
    match tone_of(outcome) {
        Tone::Good => Tone::Neutral,
        tone => tone,
    }
}

fn because(why: Option<&str>) -> String {
    why.filter(|why| !why.is_empty()).map(|why| format!(": {why}")).unwrap_or_default()
}

/// ` in 3 min, 4.2 GiB`, as far as it is known.
fn measure(finished: &BackupFinished) -> String {
    let took =
        finished.duration_seconds.map(|seconds| format!(" in {}", human::duration(seconds as f64)));
    let size = finished.size_bytes.or(finished.transferred_bytes);
    let size = size.map(|bytes| format!(", {}", human::bytes(bytes as f64)));
    [took, size].into_iter().flatten().collect()
}
