//! What comes out of the store again.

use jiff::Timestamp;
use pvewatch_protocol::{Epoch, Fingerprint, NodeName, Position, Sequence, StreamId};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params, params_from_iter};
use uuid::Uuid;

use super::steady::SteadyTime;

/// How far one stream of a node is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRow {
    /// The node.
    pub node: NodeName,
    /// The stream.
    pub stream: StreamId,
    /// Its place among the node's streams: a later stream has a greater one.
    pub ordinal: u64,
    /// Every event up to this one is stored; 0 if none is.
    pub through: Sequence,
    /// The last event that was ever heard of; a word of it can come long before it does.
    pub known: Sequence,
}

/// A piece of the core's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordRow {
    /// What it is a piece of.
    pub kind: String,
    /// Which one of its kind.
    pub key: String,
    /// Its content as JSON.
    pub body: String,
}

/// An event of the log, as far as it tells it from another one of its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// Its place in the node's history.
    pub position: Position,
    /// Its kind.
    pub kind: String,
    /// When it happened, by the node's clock.
    pub time: Timestamp,
    /// When the agent learned it, by the node's clock.
    pub recorded: Timestamp,
}

/// Which events are asked for; the newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Of this node only.
    pub node: Option<NodeName>,
    /// Of this kind only.
    pub kind: Option<String>,
    /// About this subject only.
    pub subject: Option<String>,
    /// Only with an id below this one: the way to the next page.
    pub before: Option<i64>,
    /// At most so many; 0 asks for none.
    pub limit: u32,
}

/// An event of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct EventRow {
    /// Its number in the log: the order in which events were applied.
    pub id: i64,
    /// Its node.
    pub node: NodeName,
    /// Its stream.
    pub stream: StreamId,
    /// Its number in the stream.
    pub sequence: Sequence,
    /// Its kind, such as `unit.changed`.
    pub kind: String,
    /// What it is about within the node.
    pub subject: String,
    /// When it happened, by the node's clock.
    pub time: Timestamp,
    /// When the agent learned it, by the node's clock.
    pub recorded: Timestamp,
    /// When it reached the collector.
    pub received: Timestamp,
    /// Whether it was learned late, differences of the clocks set aside.
    pub late: bool,
    /// The message as it came.
    pub payload: Vec<u8>,
}

/// A transition of an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransitionRow {
    /// Its number: outputs remember the last that they took.
    pub id: i64,
    /// When it happened.
    pub at: Timestamp,
    /// The alert.
    pub fingerprint: Fingerprint,
    /// The transition as JSON.
    pub body: String,
}

/// A sample that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleRow {
    /// When it reached the collector.
    pub received: Timestamp,
    /// The sample as JSON.
    pub body: String,
}

/// A message that was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectRow {
    /// When it came.
    pub received: Timestamp,
    /// Its topic.
    pub topic: String,
    /// The reason as a label value.
    pub reason: String,
    /// What exactly was wrong.
    pub detail: String,
    /// The first bytes of its payload.
    pub payload: Vec<u8>,
}

pub(super) fn streams(connection: &Connection) -> rusqlite::Result<Vec<StreamRow>> {
    connection
        .prepare_cached(
            "SELECT node, stream, ordinal, through, known FROM streams ORDER BY node, ordinal",
        )?
        .query_map([], |row| {
            Ok(StreamRow {
                node: parsed(row, 0)?,
                stream: stream(row, 1)?,
                ordinal: number(row, 2)?,
                through: Sequence(number(row, 3)?),
                known: Sequence(number(row, 4)?),
            })
        })?
        .collect()
}

pub(super) fn records(connection: &Connection) -> rusqlite::Result<Vec<RecordRow>> {
    connection
        .prepare_cached("SELECT kind, key, body FROM records ORDER BY kind, key")?
        .query_map([], |row| {
            Ok(RecordRow { kind: row.get(0)?, key: row.get(1)?, body: row.get(2)? })
        })?
        .collect()
}

pub(super) fn newest_transition(connection: &Connection) -> rusqlite::Result<i64> {
    connection
        .prepare_cached(
            "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'transitions'",
        )?
        .query_row([], |row| row.get(0))
}

pub(super) fn outputs(
    connection: &mut Connection,
    names: &[&'static str],
) -> rusqlite::Result<Vec<i64>> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let known: Vec<String> = tx
        .prepare("SELECT name FROM outputs")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for gone in known.iter().filter(|name| !names.contains(&name.as_str())) {
        tx.execute("DELETE FROM outputs WHERE name = ?1", [gone])?;
    }
    let mut positions = Vec::with_capacity(names.len());
    for name in names {
        tx.execute(
            "INSERT OR IGNORE INTO outputs SELECT ?1, \
             coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'transitions'), 0)",
            [name],
        )?;
        let through = "SELECT through FROM outputs WHERE name = ?1";
        positions.push(tx.query_row(through, [name], |row| row.get(0))?);
    }
    tx.commit()?;
    Ok(positions)
}

pub(super) fn epoch(connection: &Connection) -> rusqlite::Result<Epoch> {
    connection
        .prepare_cached("SELECT value FROM meta WHERE key = 'epoch'")?
        .query_row([], |row| parsed(row, 0))
}

/// The time that was stored as steady; in a file that has none, the newest arrival.
pub(super) fn steady_time(connection: &Connection) -> rusqlite::Result<Option<SteadyTime>> {
    let kept: Option<String> = connection
        .prepare_cached("SELECT value FROM meta WHERE key = 'steady_time'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    if let Some(steady) = kept.and_then(|text| text.parse().ok()) {
        return Ok(Some(steady));
    }
    let newest = connection
        .prepare_cached(
            "SELECT max(received) FROM (\
             SELECT received FROM events WHERE id = (SELECT max(id) FROM events) UNION ALL \
             SELECT received FROM samples WHERE id = (SELECT max(id) FROM samples))",
        )?
        .query_row([], |row| row.get::<_, Option<i64>>(0))?;
    Ok(newest.and_then(|at| Timestamp::from_microsecond(at).ok()).map(SteadyTime::new))
}

pub(super) fn keep_steady_time(
    connection: &Connection,
    steady: &SteadyTime,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO meta (key, value) VALUES ('steady_time', ?1) \
             ON CONFLICT (key) DO UPDATE SET value = ?1",
        )?
        .execute([steady.to_string()])?;
    Ok(())
}

pub(super) fn newest_of(
    connection: &Connection,
    node: &NodeName,
    limit: u32,
) -> rusqlite::Result<Vec<Logged>> {
    connection
        .prepare_cached(
            "SELECT stream, sequence, kind, time, recorded FROM events WHERE node = ?1 \
             ORDER BY id DESC LIMIT ?2",
        )?
        .query_map(params![node.as_str(), limit], |row| {
            let position =
                Position { stream: stream(row, 0)?, sequence: Sequence(number(row, 1)?) };
            let (time, recorded) = (time(row, 3)?, time(row, 4)?);
            Ok(Logged { position, kind: row.get(2)?, time, recorded })
        })?
        .collect()
}

pub(super) fn events(
    connection: &Connection,
    filter: &EventFilter,
) -> rusqlite::Result<Vec<EventRow>> {
    let mut sql = "SELECT id, node, stream, sequence, kind, subject, time, recorded, received, \
                   payload, late FROM events WHERE id < ?"
        .to_owned();
    let mut values: Vec<rusqlite::types::Value> = vec![filter.before.unwrap_or(i64::MAX).into()];
    for (column, wanted) in [
        ("node", filter.node.as_ref().map(|node| node.as_str().to_owned())),
        ("kind", filter.kind.clone()),
        ("subject", filter.subject.clone()),
    ] {
        if let Some(wanted) = wanted {
            sql.push_str(&format!(" AND {column} = ?"));
            values.push(wanted.into());
        }
    }
    sql.push_str(" ORDER BY id DESC LIMIT ?");
    values.push(i64::from(filter.limit).into());
    connection
        .prepare_cached(&sql)?
        .query_map(params_from_iter(values), |row| {
            Ok(EventRow {
                id: row.get(0)?,
                node: parsed(row, 1)?,
                stream: stream(row, 2)?,
                sequence: Sequence(number(row, 3)?),
                kind: row.get(4)?,
                subject: row.get(5)?,
                time: time(row, 6)?,
                recorded: time(row, 7)?,
                received: time(row, 8)?,
                payload: row.get(9)?,
                late: row.get(10)?,
            })
        })?
        .collect()
}

pub(super) fn transitions_after(
    connection: &Connection,
    id: i64,
    limit: u32,
) -> rusqlite::Result<Vec<TransitionRow>> {
    connection
        .prepare_cached(
            "SELECT id, at, fingerprint, body FROM transitions WHERE id > ?1 ORDER BY id LIMIT ?2",
        )?
        .query_map(params![id, limit], transition)?
        .collect()
}

/// The newest transitions of an alert, the newest first.
pub(super) fn transitions_of(
    connection: &Connection,
    fingerprint: Fingerprint,
    limit: u32,
) -> rusqlite::Result<Vec<TransitionRow>> {
    connection
        .prepare_cached(
            "SELECT id, at, fingerprint, body FROM transitions WHERE fingerprint = ?1 \
             ORDER BY id DESC LIMIT ?2",
        )?
        .query_map(params![fingerprint.to_string(), limit], transition)?
        .collect()
}

fn transition(row: &Row<'_>) -> rusqlite::Result<TransitionRow> {
    Ok(TransitionRow {
        id: row.get(0)?,
        at: time(row, 1)?,
        fingerprint: parsed(row, 2)?,
        body: row.get(3)?,
    })
}

pub(super) fn samples(
    connection: &Connection,
    node: &NodeName,
    since: Timestamp,
    limit: u32,
) -> rusqlite::Result<Vec<SampleRow>> {
    connection
        .prepare_cached(
            "SELECT received, body FROM samples WHERE node = ?1 AND received >= ?2 \
             ORDER BY received LIMIT ?3",
        )?
        .query_map(params![node.as_str(), since.as_microsecond(), limit], |row| {
            Ok(SampleRow { received: time(row, 0)?, body: row.get(1)? })
        })?
        .collect()
}

pub(super) fn rejects(connection: &Connection) -> rusqlite::Result<Vec<RejectRow>> {
    connection
        .prepare_cached(
            "SELECT received, topic, reason, detail, payload FROM rejects ORDER BY id DESC",
        )?
        .query_map([], |row| {
            Ok(RejectRow {
                received: time(row, 0)?,
                topic: row.get(1)?,
                reason: row.get(2)?,
                detail: row.get(3)?,
                payload: row.get(4)?,
            })
        })?
        .collect()
}

fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let found: i64 = row.get(column)?;
    u64::try_from(found).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, found))
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    Timestamp::from_microsecond(row.get(column)?)
        .map_err(|e| does_not_fit(column, Type::Integer, e))
}

fn stream(row: &Row<'_>, column: usize) -> rusqlite::Result<StreamId> {
    let bytes: [u8; 16] = row.get(column)?;
    Ok(StreamId(Uuid::from_bytes(bytes)))
}

fn parsed<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|e| does_not_fit(column, Type::Text, e))
}

fn does_not_fit(
    column: usize,
    found: Type,
    cause: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, found, Box::new(cause))
}
