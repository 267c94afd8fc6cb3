//! The newest events as the page tells them; the log lines of a failed run are folded into the
//! failure that they explain.

use std::collections::HashMap;

use jiff::Timestamp;
use pvewatch_protocol::event::LogLine;
use pvewatch_protocol::{Event, EventData, codec};
use serde::Serialize;

use super::view::{LineView, Moment};
use crate::output::http::words::{self, Told, Tone};
use crate::rules::human;
use crate::store::EventRow;

/// One event on the page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventView {
    /// Identifies it while the page is kept current.
    pub key: String,
    /// When it happened.
    pub at: Moment,
    /// Its node.
    pub node: String,
    /// What it is about; empty for the agent itself.
    pub subject: String,
    /// How it is to be seen.
    pub tone: Tone,
    /// What happened.
    pub text: String,
    /// How much later it was learned; none if at once.
    pub learned_later: Option<String>,
    /// What the failed run wrote.
    pub lines: Vec<LineView>,
}

/// Tells the events, the newest first.
pub fn tell(rows: &[EventRow], now: Timestamp) -> Vec<EventView> {
    let decoded: Vec<(&EventRow, Option<Event>)> =
        rows.iter().map(|row| (row, codec::decode_event(&row.payload).ok())).collect();
    let mut logs = logs_by_run(&decoded);
    let mut views = Vec::with_capacity(decoded.len());
    // From the oldest on: a log belongs to the failure that came before it.
    for (row, event) in decoded.iter().rev() {
        let told = match event {
            Some(event) => words::tell(&event.data),
            None => Told { tone: Tone::Doubtful, text: "cannot be read".to_owned() },
        };
        let lines = match event.as_ref().map(|event| &event.data) {
            Some(EventData::UnitLog(log)) if !logs.contains_key(log.invocation_id.as_str()) => {
                continue;
            }
            Some(EventData::UnitLog(log)) => logs.remove(log.invocation_id.as_str()),
            Some(EventData::UnitChanged(changed)) if told.tone != Tone::Neutral => {
                let run = changed.state.invocation_id.as_deref();
                run.and_then(|run| logs.remove(run))
            }
            _ => None,
        };
        views.push(EventView {
            key: format!("event-{}", row.id),
            at: Moment::of(row.time, now),
            node: row.node.to_string(),
            subject: row.subject.clone(),
            tone: told.tone,
            text: told.text,
            learned_later: row.late.then(|| {
                human::duration(row.received.duration_since(row.time).abs().as_secs_f64())
            }),
            lines: lines.unwrap_or_default().iter().map(LineView::of).collect(),
        });
    }
    views.reverse();
    views
}

/// The lines of each run; the newest log wins.
fn logs_by_run<'a>(decoded: &'a [(&EventRow, Option<Event>)]) -> HashMap<&'a str, &'a [LogLine]> {
    let oldest_first = decoded.iter().rev().filter_map(|(_, event)| event.as_ref());
    oldest_first
        .filter_map(|event| match &event.data {
            EventData::UnitLog(log) => Some((log.invocation_id.as_str(), &*log.lines)),
            _ => None,
        })
        .collect()
}
