//! `/api/v1/events`: the log, the newest first, page by page.

use jiff::Timestamp;
use pvewatch_protocol::{NodeName, Sequence, Site, StreamId, codec};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::checked_limit;
use crate::output::http::error::ApiError;
use crate::output::http::words::{self, Told, Tone};
use crate::store::{EventFilter, EventRow};

/// Events in one answer, unless a limit is given.
pub const EVENTS_DEFAULT: usize = 100;

/// Events in one answer at most: below what the store gives at once.
pub const EVENTS_MAX: u32 = 500;

/// The parameters of `/api/v1/events`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    /// Of this node only.
    pub node: Option<NodeName>,
    /// Of this kind only, such as `unit.changed`.
    pub kind: Option<String>,
    /// About this subject only, such as `ssh.service`.
    pub subject: Option<String>,
    /// Only those before the one with this number in the log: `next_before` of the page before.
    pub before: Option<i64>,
    /// At most so many.
    pub limit: Option<usize>,
}

/// The answer of `/api/v1/events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventsAnswer {
    /// The site.
    pub site: Site,
    /// The events, the newest first.
    pub events: Vec<EventAnswer>,
    /// What `before` has to be for the next page; none on the last.
    pub next_before: Option<i64>,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventAnswer {
    /// Its CloudEvents id.
    pub id: String,
    /// Its node.
    pub node: NodeName,
    /// The agent start that it belongs to.
    pub stream: StreamId,
    /// Its number in the stream, from 1.
    pub sequence: u64,
    /// What it is, such as `unit.changed`.
    pub kind: String,
    /// What it is about within the node, such as `ssh.service`; empty for the agent itself.
    pub subject: String,
    /// What happened, in words; follows the subject.
    pub text: String,
    /// `bad`, `doubtful`, `good` or `neutral`.
    pub tone: Tone,
    /// When it happened, by the node's clock.
    pub time: Timestamp,
    /// When the agent learned it, by the node's clock.
    pub recorded_time: Timestamp,
    /// When it reached the collector, by the collector's clock.
    pub received_at: Timestamp,
    /// Whether it was learned late: much later than it happened, the clocks' difference set aside.
    pub late: bool,
    /// What it carries, as it came.
    pub data: Value,
}

impl EventsQuery {
    /// What the store is asked for: one more than the answer shows, to know whether more follow.
    ///
    /// # Errors
    /// When the limit is not possible.
    pub fn filter(&self) -> Result<EventFilter, ApiError> {
        Ok(EventFilter {
            node: self.node.clone(),
            kind: self.kind.clone(),
            subject: self.subject.clone(),
            before: self.before,
            limit: u32::try_from(self.shown()?).unwrap_or(EVENTS_MAX) + 1,
        })
    }

    fn shown(&self) -> Result<usize, ApiError> {
        checked_limit(self.limit, EVENTS_DEFAULT, EVENTS_MAX as usize)
    }
}

impl EventsAnswer {
    /// Answers with what the store gave.
    ///
    /// # Errors
    /// When the limit is not possible.
    pub fn of(site: &Site, query: &EventsQuery, rows: Vec<EventRow>) -> Result<Self, ApiError> {
        let shown = query.shown()?;
        let more = rows.len() > shown;
        let next_before = rows.get(shown - 1).filter(|_| more).map(|row| row.id);
        let events = rows.into_iter().take(shown).map(EventAnswer::of).collect();
        Ok(Self { site: site.clone(), events, next_before })
    }
}

impl EventAnswer {
    fn of(row: EventRow) -> Self {
        let Told { tone, text } = match codec::decode_event(&row.payload) {
            Ok(event) => words::tell(&event.data),
            Err(_) => Told { tone: Tone::Doubtful, text: "cannot be read".to_owned() },
        };
        let Sequence(sequence) = row.sequence;
        let mut envelope: Value = serde_json::from_slice(&row.payload).unwrap_or_default();
        Self {
            id: format!("{}/{}/{}", row.node, row.stream, row.sequence),
            node: row.node,
            stream: row.stream,
            sequence,
            kind: row.kind,
            subject: row.subject,
            text,
            tone,
            time: row.time,
            recorded_time: row.recorded,
            received_at: row.received,
            late: row.late,
            data: envelope.get_mut("data").map(Value::take).unwrap_or_default(),
        }
    }
}
