//! `pvewatch alerts show`: one alert in words: what it is about, by which rule, how it came to be so,
//! and why people are told or not.

use pvewatch_protocol::AlertState;

use super::paint::{Paint, severity_tone};
use super::table::{self, Cell};
use crate::output::http::api::{AlertAnswer, AlertDetails, RuleAnswer, StepAnswer};
use crate::output::http::{Tone, ago};
use crate::rules::human;

/// Writes an alert for people.
pub fn render(answer: &AlertDetails, paint: Paint, width: Option<usize>) -> String {
    let alert = &answer.alert;
    let tone = match alert.state {
        AlertState::Firing => severity_tone(alert.label("severity")),
        AlertState::Pending => Tone::Doubtful,
        AlertState::Resolved => Tone::Good,
    };
    let head =
        format!("{} ({}): {}", alert.label("alertname"), alert.state.as_str(), alert.summary());
    let mut text = format!("{}\n", paint.tone(tone, &table::printable(&head)));
    let lines = alert.annotations.get("description").into_iter().flat_map(|it| it.lines());
    for line in lines {
        text.push_str(&format!("{}\n", table::printable(line)));
    }
    text.push('\n');
    for (what, words) in facts(answer) {
        text.push_str(&format!("{what:<10}{}\n", table::printable(&words)));
    }
    if !answer.detail.is_empty() {
        text.push('\n');
        for line in &answer.detail {
            text.push_str(&format!("  {}\n", table::printable(line)));
        }
    }
    if !answer.steps.is_empty() {
        text.push('\n');
        let rows: Vec<_> = answer.steps.iter().map(row).collect();
        text.push_str(&table::write(["WHEN", "STATE", "TOLD", "WHY"], &rows, paint, width));
    }
    text
}

/// What is to be said of it, in order, each with a word before it.
fn facts(answer: &AlertDetails) -> Vec<(&'static str, String)> {
    let alert = &answer.alert;
    let labels = alert.labels.iter().filter(|(name, _)| *name != "alertname");
    let labels =
        labels.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ");
    let mut facts = vec![
        ("id", alert.fingerprint.to_string()),
        ("labels", labels),
        (
            "since",
            format!("{} ({})", human::time(alert.starts_at), ago(alert.starts_at, answer.at)),
        ),
    ];
    facts.extend(
        alert.ends_at.map(|at| ("ended", format!("{} ({})", human::time(at), ago(at, answer.at)))),
    );
    facts.extend(alert.value.map(|value| ("value", human::number(value))));
    facts.push(("rule", rule(answer.rule.as_ref())));
    facts.push(("told", told(alert, answer.told)));
    if alert.stale {
        let words =
            "its node cannot be heard: this is the last that is known, and silence ends nothing";
        facts.push(("held", words.to_owned()));
    }
    facts.extend(alert.annotations.get("runbook_url").map(|url| ("guide", url.clone())));
    facts
}

/// The condition, and how long it must last.
fn rule(rule: Option<&RuleAnswer>) -> String {
    let Some(rule) = rule else { return "gone: it is in no rule file any more".to_owned() };
    let condition: Vec<&str> = rule.terms.condition.split_whitespace().collect();
    let lasts = match rule.terms.for_seconds {
        0.0 => "at once".to_owned(),
        seconds => format!("for {}", human::duration(seconds)),
    };
    let adapted = if rule.variants.is_empty() { "" } else { "; adapted on some entities" };
    format!("if {}, {lasts} ({}:{}{adapted})", condition.join(" "), rule.file, rule.line)
}

/// Whether people are told, and why not.
fn told(alert: &AlertAnswer, is_told: bool) -> String {
    match (alert.state, &alert.inhibited_by, is_told) {
        (AlertState::Pending, ..) => match alert.fires_at {
            Some(at) => format!("not yet: it fires at {} if the condition lasts", human::time(at)),
            None => "not yet".to_owned(),
        },
        (AlertState::Firing, Some(rule), _) => {
            format!("not while {rule} fires, which explains it")
        }
        (AlertState::Firing, None, true) => "yes, that it fires".to_owned(),
        (AlertState::Firing, None, false) => {
            "no: it was over, or explained, when it was learned".to_owned()
        }
        (AlertState::Resolved, _, true) => "yes, that it fired and that it is over".to_owned(),
        (AlertState::Resolved, _, false) => {
            "no: it was over, or explained by another, before anybody had to know".to_owned()
        }
    }
}

fn row(step: &StepAnswer) -> [Cell; 4] {
    [
        Cell::plain(human::time(step.at)),
        Cell::plain(step.state.map_or("gone", AlertState::as_str)),
        Cell::plain(if step.told { "yes" } else { "no" }),
        Cell::plain(step.why.replace('_', " ")),
    ]
}
