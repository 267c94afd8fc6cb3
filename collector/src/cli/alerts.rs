//! `pvewatch alerts`: what is wrong, the gravest first.

use pvewatch_protocol::AlertState;

use super::paint::{Paint, severity_tone};
use super::table::{self, Cell};
use crate::output::http::api::{AlertAnswer, AlertsAnswer, StatusAnswer};
use crate::output::http::{Tone, ago};

/// Digits of an alert's id that are shown: enough for `pvewatch alerts show`.
const ID_DIGITS: usize = 8;

/// Writes the alerts for people; they come sorted.
pub fn render(
    answer: &AlertsAnswer,
    status: &StatusAnswer,
    paint: Paint,
    width: Option<usize>,
) -> String {
    let count = |state, inhibited: bool| {
        let is_counted = |alert: &&AlertAnswer| {
            alert.state == state && alert.inhibited_by.is_some() == inhibited
        };
        answer.alerts.iter().filter(is_counted).count()
    };
    let (firing, pending) = (count(AlertState::Firing, false), count(AlertState::Pending, false));
    let (tone, mut summary) = match (firing, pending) {
        (0, 0) => (Tone::Good, "No alert is firing or pending".to_owned()),
        (0, pending) => (Tone::Doubtful, format!("No alert is firing, {pending} pending")),
        (firing, 0) => (Tone::Bad, format!("{firing} firing")),
        (firing, pending) => (Tone::Bad, format!("{firing} firing, {pending} pending")),
    };
    let inhibited = count(AlertState::Firing, true);
    if inhibited > 0 {
        summary.push_str(&format!(", {inhibited} inhibited"));
    }
    summary.push('.');
    let mut text = String::new();
    if !status.ready {
        let warning = format!("The collector is not ready: {}.", status.readiness);
        text.push_str(&format!("{}\n", paint.tone(Tone::Doubtful, &warning)));
    }
    text.push_str(&format!("{}\n", paint.tone(tone, &summary)));
    if answer.alerts.is_empty() {
        return text;
    }
    text.push('\n');
    let rows: Vec<_> = answer.alerts.iter().map(|alert| row(alert, answer)).collect();
    let headings = ["STATE", "SEVERITY", "ALERT", "NODE", "SINCE", "ID", "SUMMARY"];
    text.push_str(&table::write(headings, &rows, paint, width));
    text
}

fn row(alert: &AlertAnswer, answer: &AlertsAnswer) -> [Cell; 7] {
    let tone = severity_tone(alert.label("severity"));
    let (state, tone) = match (alert.state, &alert.inhibited_by) {
        (AlertState::Firing, None) => ("firing", tone),
        (AlertState::Firing, Some(_)) => ("inhibited", Tone::Neutral),
        (AlertState::Pending, _) => ("pending", Tone::Neutral),
        (AlertState::Resolved, _) => ("resolved", Tone::Good),
    };
    let mut summary = alert.summary().to_owned();
    if alert.stale {
        summary.push_str(" (last known: the node is not heard)");
    }
    if let Some(rule) = &alert.inhibited_by {
        summary.push_str(&format!(" (explained by {rule})"));
    }
    [
        Cell::toned(state, tone),
        Cell::toned(alert.label("severity"), tone),
        Cell::plain(alert.label("alertname")),
        Cell::plain(alert.label("node")),
        Cell::plain(ago(alert.starts_at, answer.at)),
        Cell::plain(&alert.fingerprint.to_string()[..ID_DIGITS]),
        Cell::plain(summary),
    ]
}
