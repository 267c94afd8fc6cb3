//! How long things are kept, and their deletion in small steps.
//!
//! Ids grow with the time of arrival, so the oldest rows are those with the lowest ids and a
//! step never searches. A step is short: it must not hold up the events that wait.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};

/// Rows that one step deletes from one table, at most: about 10 ms of work.
pub const PRUNE_STEP_ROWS: u32 = 2000;

/// How much is kept of what grows; whichever of the bounds is reached first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// Events and transitions are kept this long after they came.
    pub events_age_max: Duration,
    /// Events kept at most.
    pub events_max: u64,
    /// Samples are kept this long.
    pub samples_age_max: Duration,
    /// Samples kept at most, of all nodes together; one has some 700 bytes.
    pub samples_max: u64,
}

impl Default for Retention {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            events_age_max: 90 * DAY,
            events_max: 1_000_000,
            samples_age_max: 7 * DAY,
            samples_max: 1_000_000,
        }
    }
}

/// Transitions kept at most: an output that lags further behind has lost them.
const TRANSITIONS_MAX: u64 = 100_000;

/// What a step did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Events deleted.
    pub events: usize,
    /// Samples deleted.
    pub samples: usize,
    /// Transitions deleted.
    pub transitions: usize,
    /// Whether a table may have more to delete: call again soon.
    pub more: bool,
}

struct Table {
    name: &'static str,
    time: &'static str,
    age_max: Duration,
    rows_max: u64,
}

pub(super) fn step(
    connection: &mut Connection,
    retention: &Retention,
    now: Timestamp,
) -> rusqlite::Result<Pruned> {
    let tx = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let prune = |table: Table| prune_table(&tx, &table, now);
    let events = prune(Table {
        name: "events",
        time: "received",
        age_max: retention.events_age_max,
        rows_max: retention.events_max,
    })?;
    let samples = prune(Table {
        name: "samples",
        time: "received",
        age_max: retention.samples_age_max,
        rows_max: retention.samples_max,
    })?;
    let transitions = prune(Table {
        name: "transitions",
        time: "at",
        age_max: retention.events_age_max,
        rows_max: TRANSITIONS_MAX,
    })?;
    tx.commit()?;
    let more = [events, samples, transitions].contains(&(PRUNE_STEP_ROWS as usize));
    Ok(Pruned { events, samples, transitions, more })
}

fn prune_table(tx: &Connection, table: &Table, now: Timestamp) -> rusqlite::Result<usize> {
    let Table { name, time, .. } = table;
    let (oldest, newest): (Option<i64>, Option<i64>) = tx
        .prepare_cached(&format!(
            "SELECT (SELECT min(id) FROM {name}), (SELECT max(id) FROM {name})"
        ))?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (Some(oldest), Some(newest)) = (oldest, newest) else { return Ok(0) };
    // Only the oldest are ever deleted, so the ids between have no holes.
    let rows_max = i64::try_from(table.rows_max).unwrap_or(i64::MAX);
    let too_many = newest.saturating_sub(rows_max);
    let cutoff = cutoff(now, table.age_max).as_microsecond();
    let last_of_step = oldest.saturating_add(i64::from(PRUNE_STEP_ROWS) - 1);
    tx.prepare_cached(&format!("DELETE FROM {name} WHERE id <= ?1 AND (id <= ?2 OR {time} < ?3)"))?
        .execute(params![last_of_step, too_many, cutoff])
}

fn cutoff(now: Timestamp, age_max: Duration) -> Timestamp {
    SignedDuration::try_from(age_max)
        .ok()
        .and_then(|age| now.checked_sub(age).ok())
        .unwrap_or(Timestamp::MIN)
}
