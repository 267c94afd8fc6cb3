//! `pvewatch drift`: what policies want of guests, and what is otherwise.

use super::paint::Paint;
use super::table::{self, Cell, printable};
use crate::output::http::api::{DifferenceAnswer, DriftAnswer};
use crate::output::http::{Tone, drift, drift_troubles};

/// Writes the differences for people.
pub fn render(answer: &DriftAnswer, paint: Paint, width: Option<usize>) -> String {
    let Some(summary) = drift(answer) else {
        return "There is no policy, so nothing is said of how guests should be. \
                /etc/pvewatch/policy.toml on the collector shows how to write one.\n"
            .to_owned();
    };
    let tone = if answer.is_anything_wrong() { Tone::Bad } else { Tone::Good };
    let mut text = format!("{}\n", paint.tone(tone, &summary));
    for trouble in drift_troubles(answer) {
        for line in trouble.lines() {
            text.push_str(&format!("{}\n", printable(line)));
        }
    }
    if !answer.differences.is_empty() {
        text.push('\n');
        let rows: Vec<_> = answer.differences.iter().map(row).collect();
        let headings = ["POLICY", "GUEST", "NAME", "NODE", "WHAT", "EXPECTED", "FOUND", "WHERE"];
        text.push_str(&table::write(headings, &rows, paint, width));
        let left_out = answer.total.saturating_sub(answer.differences.len());
        if left_out > 0 {
            text.push_str(&format!("{left_out} more are not shown.\n"));
        }
    }
    text
}

fn row(difference: &DifferenceAnswer) -> [Cell; 8] {
    [
        Cell::plain(&difference.policy),
        Cell::plain(difference.vmid.to_string()),
        Cell::plain(difference.name.as_deref().unwrap_or("-")),
        Cell::plain(difference.node.as_str()),
        Cell::plain(&difference.what),
        Cell::plain(&difference.expected),
        Cell::toned(&difference.found, Tone::Bad),
        Cell::plain(&difference.place),
    ]
}
