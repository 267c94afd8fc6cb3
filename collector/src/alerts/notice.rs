//! Notices: one transition in words, ready to send on.

use jiff::Timestamp;
use pvewatch_protocol::{AlertState, Notice};

use super::alert::Alert;
use super::transition::{News, Transition};
use crate::rules::human;

/// Longest text of a notice in bytes; the rest is cut off. Telegram takes 4096 characters.
const TEXT_BYTES_MAX: usize = 3500;

impl Transition {
    /// The notice that tells people of it; none if it is not to be told.
    ///
    /// Made of facts only: two collectors make the same notice with the same key.
    pub fn notice(&self) -> Option<Notice> {
        if self.news != News::Tell {
            return None;
        }
        let status = self.to?;
        let alert = &self.alert;
        Some(Notice {
            key: key(alert, status),
            title: title(alert, status),
            text: text(alert, status, self.at),
            severity: alert.severity().to_owned(),
            status,
            alerts: vec![alert.fingerprint],
            at: self.at,
        })
    }
}

/// The same for the same step of the same alert, whoever tells it and how often.
fn key(alert: &Alert, status: AlertState) -> String {
    format!("{}/{}/{}", alert.fingerprint, alert.starts_at, status.as_str())
}

fn title(alert: &Alert, status: AlertState) -> String {
    let summary = match alert.summary() {
        "" => format!("{} on {}", alert.rule, alert.entity),
        summary => summary.replace('\n', " "),
    };
    match status {
        AlertState::Resolved => format!("Resolved: {summary}"),
        AlertState::Firing | AlertState::Pending => {
            let severity = alert.severity();
            let (first, rest) = severity.split_at(severity.len().min(1));
            format!("{}{rest}: {summary}", first.to_uppercase())
        }
    }
}

fn text(alert: &Alert, status: AlertState, at: Timestamp) -> String {
    let mut lines = Vec::new();
    if let Some(description) = alert.annotations.get("description") {
        lines.push(description.clone());
    }
    let lasted = human::duration(at.duration_since(alert.starts_at).as_secs_f64());
    let since = human::time(alert.starts_at);
    lines.push(match status {
        AlertState::Resolved => format!("It lasted {lasted}, from {since}."),
        AlertState::Firing | AlertState::Pending if at > alert.starts_at => {
            format!("Since {since}, for {lasted}.")
        }
        AlertState::Firing | AlertState::Pending => format!("Since {since}."),
    });
    if let Some(environment) = alert.labels.get("environment") {
        lines.push(format!("Environment: {environment}."));
    }
    if status != AlertState::Resolved && !alert.detail.is_empty() {
        lines.push("Its last words:".to_owned());
        lines.extend(alert.detail.iter().cloned());
    }
    let mut text = lines.join("\n");
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push('…');
    }
    text
}
