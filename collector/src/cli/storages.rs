//! `pvewatch storages`: every storage and how full it is, those that are full or cannot be used first.

use super::paint::Paint;
use super::table::{self, Cell};
use crate::output::http::api::{CountedStorage, StoragesAnswer};
use crate::output::http::{Tone, held, seen_by, storage};

/// Writes the storages for people; they come sorted.
pub fn render(answer: &StoragesAnswer, paint: Paint, width: Option<usize>) -> String {
    let wrong = answer.storages.iter().filter(|it| it.is_wrong()).count();
    let total = answer.total;
    let storages = if total == 1 { "storage" } else { "storages" };
    let (tone, summary) = match (total, wrong) {
        (0, _) => (Tone::Neutral, "No storage is known.".to_owned()),
        (_, 0) => (Tone::Good, format!("{total} {storages}, none is full or out of reach.")),
        _ => (Tone::Bad, format!("{total} {storages}: {wrong} full or out of reach.")),
    };
    let mut text = format!("{}\n", paint.tone(tone, &summary));
    if !answer.storages.is_empty() {
        text.push('\n');
        let rows: Vec<_> = answer.storages.iter().map(row).collect();
        let headings = ["STORAGE", "NODES", "TYPE", "CONTENT", "HOLDS", "STATE"];
        text.push_str(&table::write(headings, &rows, paint, width));
    }
    text
}

fn row(counted: &CountedStorage) -> [Cell; 6] {
    let answer = &counted.storage;
    let (tone, state) = storage(answer);
    let tone = if counted.is_wrong() { Tone::Bad } else { tone };
    let or_none = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    [
        Cell::plain(answer.storage.clone()),
        Cell::plain(seen_by(counted)),
        Cell::plain(answer.kind.clone()),
        Cell::plain(or_none(answer.content.join(","))),
        Cell::plain(or_none(held(answer))),
        Cell::toned(state, tone),
    ]
}
