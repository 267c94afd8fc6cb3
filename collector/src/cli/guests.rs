//! `pvewatch guests`: every guest and whether it runs, the ones that should first.

use super::paint::Paint;
use super::table::{self, Cell};
use crate::output::http::api::{GuestAnswer, GuestsAnswer};
use crate::output::http::{Tone, ago, cpu_use, memory_use, what_became};

/// Writes the guests for people; they come sorted.
pub fn render(answer: &GuestsAnswer, paint: Paint, width: Option<usize>) -> String {
    let wrong = answer.guests.iter().filter(|guest| guest.is_wrong(answer.at)).count();
    let (running, total) = (answer.running, answer.total);
    let (tone, summary) = match (total, wrong) {
        (0, _) => (Tone::Neutral, "No guest is known.".to_owned()),
        (_, 0) => (Tone::Good, format!("{running} of {total} guests run; no other should.")),
        (_, 1) => (Tone::Bad, format!("{running} of {total} guests run; 1 more should.")),
        _ => (Tone::Bad, format!("{running} of {total} guests run; {wrong} more should.")),
    };
    let mut text = format!("{}\n", paint.tone(tone, &summary));
    if !answer.guests.is_empty() {
        text.push('\n');
        let rows: Vec<_> = answer.guests.iter().map(|guest| row(guest, answer)).collect();
        let headings =
            ["GUEST", "NAME", "NODE", "TYPE", "STATE", "SINCE", "CPU", "MEMORY", "POOL", "WHY"];
        text.push_str(&table::write(headings, &rows, paint, width));
    }
    text
}

fn row(guest: &GuestAnswer, answer: &GuestsAnswer) -> [Cell; 10] {
    let none = || "-".to_owned();
    let run = guest.run.as_ref();
    let state = run.map_or("unknown", |run| run.state.as_str());
    let tone = match guest.is_wrong(answer.at) {
        true => Tone::Bad,
        false => Tone::Neutral,
    };
    let why = run.filter(|run| run.cause.is_some()).map(what_became);
    let awaited = guest.awaited_since.filter(|since| *since <= answer.at);
    let why = match (guest.template, why, awaited) {
        (true, ..) => "template".to_owned(),
        (false, Some(why), Some(_)) => format!("{why} and has not come back"),
        (false, Some(why), None) => why,
        (false, None, _) if guest.unexpectedly_stopped => "should start at boot".to_owned(),
        (false, None, _) => String::new(),
    };
    let ha = guest.ha.as_ref().map(|state| format!("HA: {state}"));
    let words: Vec<String> =
        [Some(why), ha].into_iter().flatten().filter(|it| !it.is_empty()).collect();
    [
        Cell::plain(guest.vmid.to_string()),
        Cell::plain(guest.name.clone().unwrap_or_else(none)),
        Cell::plain(guest.node.as_str()),
        Cell::plain(guest.kind.as_str()),
        Cell::toned(state, tone),
        Cell::plain(ago(guest.since, answer.at)),
        used(cpu_use(guest)),
        used(memory_use(guest)),
        Cell::plain(guest.pool.clone().unwrap_or_else(none)),
        Cell::plain(if words.is_empty() { none() } else { words.join("; ") }),
    ]
}

fn used(told: Option<(Tone, String)>) -> Cell {
    told.map_or_else(|| Cell::plain("-"), |(tone, text)| Cell::toned(text, tone))
}
