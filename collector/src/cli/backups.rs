//! `pvewatch backups`: the backups of every guest, the bad ones first, and the jobs.

use jiff::Timestamp;
use pvewatch_protocol::event::Outcome;

use super::paint::Paint;
use super::table::{self, Cell};
use crate::output::http::api::{BackupAnswer, BackupsAnswer, JobAnswer, StorageAnswer};
use crate::output::http::{Tone, ago, archives, archives_trouble, storage, tone_of};
use crate::rules::human;

/// Writes the backups for people; they come sorted.
pub fn render(answer: &BackupsAnswer, paint: Paint, width: Option<usize>) -> String {
    let (tone, summary) = summary(answer);
    let mut text = format!("{}\n", paint.tone(tone, &summary));
    if !answer.backups.is_empty() {
        text.push('\n');
        let rows: Vec<_> = answer.backups.iter().map(|guest| guest_row(guest, answer)).collect();
        let headings = [
            "GUEST",
            "NAME",
            "NODE",
            "RESULT",
            "ENDED",
            "LAST GOOD",
            "SIZE",
            "NEXT DUE",
            "JOBS",
            "ARCHIVES, OR WHY",
        ];
        text.push_str(&table::write(headings, &rows, paint, width));
    }
    if !answer.jobs.is_empty() {
        text.push('\n');
        let rows: Vec<_> = answer.jobs.iter().map(|job| job_row(job, answer.at)).collect();
        let headings =
            ["JOB", "NODE", "SCHEDULE", "GUESTS", "BEGAN", "RESULT", "NEXT DUE", "STORAGE, OR WHY"];
        text.push_str(&table::write(headings, &rows, paint, width));
    }
    if !answer.storages.is_empty() {
        text.push('\n');
        let rows: Vec<_> =
            answer.storages.iter().map(|storage| storage_row(storage, answer.at)).collect();
        let headings = ["STORAGE", "NODE", "TYPE", "ARCHIVES", "SIZE", "LISTED", "KEEPS", "STATE"];
        text.push_str(&table::write(headings, &rows, paint, width));
    }
    text
}

fn summary(answer: &BackupsAnswer) -> (Tone, String) {
    let count = |is_so: fn(&BackupAnswer, Timestamp) -> bool| {
        answer.backups.iter().filter(|guest| is_so(guest, answer.at)).count()
    };
    let failed = count(|guest, _| guest.has_failed());
    let overdue = count(|guest, now| !guest.has_failed() && guest.is_overdue(now));
    let gone = count(|guest, _| guest.archive_gone_since.is_some());
    let uncovered = count(|guest, _| guest.is_uncovered());
    let surplus = count(|guest, _| guest.surplus() > 0);
    let missed = answer.jobs.iter().filter(|job| job.is_missed(answer.at)).count();
    let total = answer.total;
    let guests = if total == 1 { "guest" } else { "guests" };
    if total == 0 {
        return (Tone::Neutral, "No guest and no backup is known.".to_owned());
    }
    let parts = [
        (failed, "the last backup of {} did not succeed"),
        (overdue, "{} overdue"),
        (missed, "{} job runs did not begin"),
        (gone, "the last archive of {} is gone"),
        (uncovered, "{} in no job"),
        (surplus, "of {} old archives are not removed"),
    ];
    let told: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, words)| words.replace("{}", &count.to_string()))
        .collect();
    let tone = match (failed + overdue + missed + gone, uncovered + surplus) {
        (0, 0) => Tone::Good,
        (0, _) => Tone::Doubtful,
        _ => Tone::Bad,
    };
    if told.is_empty() {
        return (tone, format!("{total} {guests}, nothing is wrong with any backup."));
    }
    (tone, format!("{total} {guests}: {}.", told.join(", ")))
}

fn none() -> String {
    "-".to_owned()
}

fn when(at: Option<Timestamp>, now: Timestamp) -> Cell {
    Cell::plain(at.map_or_else(none, |at| ago(at, now)))
}

fn guest_row(guest: &BackupAnswer, answer: &BackupsAnswer) -> [Cell; 10] {
    let size = guest.runs.last().and_then(|run| run.size_bytes);
    [
        Cell::plain(guest.vmid.to_string()),
        Cell::plain(guest.name.clone().unwrap_or_else(none)),
        Cell::plain(guest.node.as_str()),
        result(guest),
        when(guest.finished_at, answer.at),
        when(guest.last_success_at, answer.at),
        Cell::plain(size.map_or_else(none, |bytes| human::bytes(bytes as f64))),
        due(guest, answer.at),
        jobs(guest, answer),
        archives_or_why(guest),
    ]
}

/// Why the last run failed; else where the archives are, or where they went if nobody has looked.
fn archives_or_why(guest: &BackupAnswer) -> Cell {
    if let Some(why) = guest.why() {
        return Cell::plain(why);
    }
    let places = archives(guest);
    match archives_trouble(guest) {
        Some((tone, trouble)) if places.is_empty() => Cell::toned(trouble, tone),
        Some((tone, trouble)) => Cell::toned(format!("{places}; {trouble}"), tone),
        None if places.is_empty() => {
            let storage = guest.last.as_ref().and_then(|last| last.storage.clone());
            Cell::plain(storage.unwrap_or_else(none))
        }
        None => Cell::plain(places),
    }
}

fn result(guest: &BackupAnswer) -> Cell {
    let word = guest.outcome.map_or("-", Outcome::as_str);
    match &guest.running {
        Some(_) => Cell::toned(format!("{word}, running"), tone(guest.outcome)),
        None => Cell::toned(word, tone(guest.outcome)),
    }
}

fn tone(outcome: Option<Outcome>) -> Tone {
    outcome.map_or(Tone::Neutral, tone_of)
}

fn due(guest: &BackupAnswer, now: Timestamp) -> Cell {
    match guest.overdue_since {
        Some(since) => {
            let tone = if guest.is_overdue(now) { Tone::Bad } else { Tone::Doubtful };
            Cell::toned(format!("overdue {}", lasted(since, now)), tone)
        }
        None => next(guest.next_due_at, now),
    }
}

fn next(at: Option<Timestamp>, now: Timestamp) -> Cell {
    Cell::plain(at.map_or_else(none, |at| format!("in {}", lasted(now, at))))
}

fn lasted(from: Timestamp, to: Timestamp) -> String {
    human::duration(to.duration_since(from).as_secs_f64())
}

fn jobs(guest: &BackupAnswer, answer: &BackupsAnswer) -> Cell {
    match &guest.jobs {
        None => Cell::plain("-"),
        Some(names) if !names.is_empty() => Cell::plain(answer.titles_of_jobs(guest)),
        Some(_) if guest.is_uncovered() => Cell::toned("none", Tone::Doubtful),
        Some(_) => Cell::toned("none", Tone::Neutral),
    }
}

fn job_row(job: &JobAnswer, now: Timestamp) -> [Cell; 8] {
    let due = match job.missed_since {
        _ if !job.enabled => Cell::plain("off"),
        Some(since) if job.is_missed(now) => {
            Cell::toned(format!("missed {}", ago(since, now)), Tone::Bad)
        }
        _ => next(job.next_due_at, now),
    };
    let word = match job.outcome {
        _ if job.running => "running",
        None => "-",
        Some(outcome) => outcome.as_str(),
    };
    let why = job.problem.clone().or_else(|| job.error.clone());
    [
        Cell::plain(job.title()),
        Cell::plain(job.node.as_str()),
        Cell::plain(job.schedule.clone()),
        Cell::plain(job.guests.len().to_string()),
        when(job.began_at, now),
        Cell::toned(word, if job.running { Tone::Neutral } else { tone(job.outcome) }),
        due,
        Cell::plain(why.or_else(|| job.storage.clone()).unwrap_or_else(none)),
    ]
}

fn storage_row(answer: &StorageAnswer, now: Timestamp) -> [Cell; 8] {
    let (tone, state) = storage(answer);
    let known = answer.listed_at;
    let size = answer.archives_bytes.filter(|_| known.is_some());
    [
        Cell::plain(answer.storage.clone()),
        Cell::plain(answer.node.as_str()),
        Cell::plain(answer.kind.clone()),
        Cell::plain(known.map_or_else(none, |_| answer.archives.to_string())),
        Cell::plain(size.map_or_else(none, |bytes| human::bytes(bytes as f64))),
        when(known, now),
        Cell::plain(answer.prune.clone().unwrap_or_else(none)),
        Cell::toned(state, tone),
    ]
}
