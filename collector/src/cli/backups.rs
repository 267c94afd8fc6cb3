//! `pvewatch backups`: the backups of every guest, the bad ones first.

use pvewatch_protocol::event::Outcome;

use super::paint::Paint;
use super::table::{self, Cell};
use crate::output::http::api::{BackupAnswer, BackupsAnswer};
use crate::output::http::{Tone, ago};
use crate::rules::human;

/// Writes the backups for people; they come sorted.
pub fn render(answer: &BackupsAnswer, paint: Paint, width: Option<usize>) -> String {
    let bad = answer.backups.iter().filter(|guest| guest.is_bad()).count();
    let guests = if answer.total == 1 { "guest" } else { "guests" };
    let (tone, summary) = match (answer.total, bad) {
        (0, _) => (Tone::Neutral, "No backup of any guest is known.".to_owned()),
        (total, 0) => (Tone::Good, format!("{total} {guests}, the last backup of each is good.")),
        (total, bad) => {
            (Tone::Bad, format!("{total} {guests}, the last backup of {bad} did not succeed."))
        }
    };
    let mut text = format!("{}\n", paint.tone(tone, &summary));
    if answer.backups.is_empty() {
        return text;
    }
    text.push('\n');
    let rows: Vec<_> = answer.backups.iter().map(|guest| row(guest, answer)).collect();
    let headings = [
        "GUEST",
        "NAME",
        "NODE",
        "RESULT",
        "ENDED",
        "LAST GOOD",
        "TOOK",
        "SIZE",
        "STORAGE, OR WHY",
    ];
    text.push_str(&table::write(headings, &rows, paint, width));
    text
}

fn row(guest: &BackupAnswer, answer: &BackupsAnswer) -> [Cell; 9] {
    let none = || "-".to_owned();
    let last = guest.last.as_ref();
    let when = |at: Option<_>| Cell::plain(at.map_or_else(none, |at| ago(at, answer.at)));
    let took = last.and_then(|last| last.duration_seconds);
    let size = guest.runs.last().and_then(|run| run.size_bytes);
    let storage = last.and_then(|last| last.storage.clone());
    let why = last.and_then(|last| last.root_cause.clone().or_else(|| last.error.clone()));
    [
        Cell::plain(guest.vmid.to_string()),
        Cell::plain(guest.name.clone().unwrap_or_else(none)),
        Cell::plain(guest.node.as_str()),
        result(guest),
        when(guest.finished_at),
        when(guest.last_success_at),
        Cell::plain(took.map_or_else(none, |seconds| human::duration(seconds as f64))),
        Cell::plain(size.map_or_else(none, |bytes| human::bytes(bytes as f64))),
        Cell::plain(why.or(storage).unwrap_or_else(none)),
    ]
}

fn result(guest: &BackupAnswer) -> Cell {
    let tone = match guest.outcome {
        None => Tone::Neutral,
        Some(Outcome::Ok) => Tone::Good,
        Some(Outcome::Warnings) => Tone::Doubtful,
        Some(Outcome::Failed | Outcome::Interrupted | Outcome::Unknown) => Tone::Bad,
    };
    let word = guest.outcome.map_or("-", Outcome::as_str);
    match &guest.running {
        Some(_) => Cell::toned(format!("{word}, running"), tone),
        None => Cell::toned(word, tone),
    }
}
