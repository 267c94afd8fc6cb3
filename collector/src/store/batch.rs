//! What is stored in one transaction, and how.

use bytes::Bytes;
use jiff::Timestamp;
use pvewatch_protocol::{NodeName, Position, StreamId};
use rusqlite::{Connection, Transaction, params};

use super::rows::{self, StreamRow};
use crate::alerts::Transition;

/// How much of a rejected message is kept for a look, in bytes.
pub const REJECT_PAYLOAD_BYTES_MAX: usize = 512;

/// Rejected messages kept: the newest; enough to see a pattern, too few to fill a disk.
const REJECTS_MAX: i64 = 200;

/// An event for the log.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// Its node.
    pub node: NodeName,
    /// Its place in the node's history.
    pub position: Position,
    /// Its kind, such as `unit.changed`.
    pub kind: String,
    /// What it is about within the node; empty for the agent itself.
    pub subject: String,
    /// When it happened, by the node's clock.
    pub time: Timestamp,
    /// When the agent learned it, by the node's clock.
    pub recorded: Timestamp,
    /// When it reached the collector, by the collector's clock.
    pub received: Timestamp,
    /// Whether it was learned late, differences of the clocks set aside.
    pub late: bool,
    /// The message as it came.
    pub payload: Bytes,
}

/// A piece of the core's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// What it is a piece of.
    pub kind: String,
    /// Which one of its kind.
    pub key: String,
    /// Its content as JSON; none deletes it.
    pub body: Option<String>,
}

/// A sample for the plots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSample {
    /// Its node.
    pub node: NodeName,
    /// When it reached the collector.
    pub received: Timestamp,
    /// The sample as JSON.
    pub body: String,
}

/// A message that was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewReject {
    /// When it came.
    pub received: Timestamp,
    /// Its topic.
    pub topic: String,
    /// The reason as a label value.
    pub reason: &'static str,
    /// What exactly was wrong, for people.
    pub detail: String,
    /// Its payload; what is beyond [`REJECT_PAYLOAD_BYTES_MAX`] is not stored.
    pub payload: Bytes,
}

/// What is stored in one transaction.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// Events, in the order in which they were applied.
    pub events: Vec<NewEvent>,
    /// Streams whose position or ordinal changed.
    pub streams: Vec<StreamRow>,
    /// Streams that are forgotten.
    pub forgotten: Vec<(NodeName, StreamId)>,
    /// Pieces of the core's state that changed.
    pub records: Vec<NewRecord>,
    /// Transitions of alerts, in order.
    pub transitions: Vec<Transition>,
    /// Outputs that came further, and to which transition.
    pub outputs: Vec<(String, i64)>,
    /// Samples to keep.
    pub samples: Vec<NewSample>,
    /// Messages that were not accepted.
    pub rejects: Vec<NewReject>,
}

impl Batch {
    /// Whether there is nothing to store.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
            && self.streams.is_empty()
            && self.forgotten.is_empty()
            && self.records.is_empty()
            && self.transitions.is_empty()
            && self.outputs.is_empty()
            && self.samples.is_empty()
            && self.rejects.is_empty()
    }

    pub(super) fn write(&self, connection: &mut Connection) -> rusqlite::Result<i64> {
        // Immediate: a writer that would have to wait learns so before it did the work.
        let tx = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        self.write_events(&tx)?;
        self.write_streams(&tx)?;
        self.write_records(&tx)?;
        self.write_transitions(&tx)?;
        self.write_samples(&tx)?;
        self.write_rejects(&tx)?;
        let newest = rows::newest_transition(&tx)?;
        tx.commit()?;
        Ok(newest)
    }

    fn write_events(&self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut insert = tx.prepare_cached(
            "INSERT INTO events (node, stream, sequence, kind, subject, time, recorded, received, \
             payload, late) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?;
        for event in &self.events {
            insert.execute(params![
                event.node.as_str(),
                event.position.stream.0.as_bytes().as_slice(),
                as_column(event.position.sequence.0),
                event.kind,
                event.subject,
                event.time.as_microsecond(),
                event.recorded.as_microsecond(),
                event.received.as_microsecond(),
                event.payload.as_ref(),
                event.late,
            ])?;
        }
        Ok(())
    }

    fn write_streams(&self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut upsert = tx.prepare_cached(
            "INSERT INTO streams (node, stream, ordinal, through, known) \
             VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT (node, stream) DO UPDATE SET ordinal = ?3, through = ?4, known = ?5",
        )?;
        for row in &self.streams {
            upsert.execute(params![
                row.node.as_str(),
                row.stream.0.as_bytes().as_slice(),
                as_column(row.ordinal),
                as_column(row.through.0),
                as_column(row.known.0),
            ])?;
        }
        let mut delete =
            tx.prepare_cached("DELETE FROM streams WHERE node = ?1 AND stream = ?2")?;
        for (node, stream) in &self.forgotten {
            delete.execute(params![node.as_str(), stream.0.as_bytes().as_slice()])?;
        }
        Ok(())
    }

    fn write_records(&self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut upsert = tx.prepare_cached(
            "INSERT INTO records (kind, key, body) VALUES (?1, ?2, ?3) \
             ON CONFLICT (kind, key) DO UPDATE SET body = ?3",
        )?;
        let mut delete = tx.prepare_cached("DELETE FROM records WHERE kind = ?1 AND key = ?2")?;
        for record in &self.records {
            match &record.body {
                Some(body) => upsert.execute(params![record.kind, record.key, body])?,
                None => delete.execute(params![record.kind, record.key])?,
            };
        }
        Ok(())
    }

    fn write_transitions(&self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut insert = tx.prepare_cached(
            "INSERT INTO transitions (at, fingerprint, body) VALUES (?1, ?2, ?3)",
        )?;
        for transition in &self.transitions {
            let body = serde_json::to_string(transition)
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
            let at = transition.at.as_microsecond();
            insert.execute(params![at, transition.fingerprint.to_string(), body])?;
        }
        let mut position = tx.prepare_cached(
            "INSERT INTO outputs (name, through) VALUES (?1, ?2) \
             ON CONFLICT (name) DO UPDATE SET through = ?2",
        )?;
        for (name, through) in &self.outputs {
            position.execute(params![name, through])?;
        }
        Ok(())
    }

    fn write_samples(&self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut insert =
            tx.prepare_cached("INSERT INTO samples (node, received, body) VALUES (?1, ?2, ?3)")?;
        for sample in &self.samples {
            insert.execute(params![
                sample.node.as_str(),
                sample.received.as_microsecond(),
                sample.body
            ])?;
        }
        Ok(())
    }

    fn write_rejects(&self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        if self.rejects.is_empty() {
            return Ok(());
        }
        let mut insert = tx.prepare_cached(
            "INSERT INTO rejects (received, topic, reason, detail, payload) \
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        // A flood writes no more than what stays: older ones would be deleted again below.
        let older = self.rejects.len().saturating_sub(REJECTS_MAX as usize);
        for reject in self.rejects.iter().skip(older) {
            let kept = reject.payload.len().min(REJECT_PAYLOAD_BYTES_MAX);
            insert.execute(params![
                reject.received.as_microsecond(),
                reject.topic,
                reject.reason,
                reject.detail,
                reject.payload.slice(..kept).as_ref(),
            ])?;
        }
        tx.prepare_cached("DELETE FROM rejects WHERE id <= (SELECT max(id) FROM rejects) - ?1")?
            .execute([REJECTS_MAX])?;
        Ok(())
    }
}

/// SQLite's integers are signed. A sequence beyond them cannot be reached by counting; ingest
/// refuses one that claims to be there.
fn as_column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
