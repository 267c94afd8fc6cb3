//! How long things are kept, and their deletion in small steps.
//!
//! Ids grow with the time of arrival, so the oldest rows are those with the lowest ids and a
//! step never searches. A step is short: it must not hold up the events that wait. What is freed
//! goes back to the file system, so that the file follows what it holds.

use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};

/// Rows that one step deletes from one table, at most: about 10 ms of work.
pub const PRUNE_STEP_ROWS: u32 = 2000;

/// Rows of a table that stay, however large the file is: what is wrong now can be looked into.
const ROWS_MIN: u64 = 1000;

/// Free pages that stay in the file for the next rows, 4 KiB each: giving back and taking again
/// would be work for nothing.
const FREE_PAGES_KEPT: u64 = 1024;

/// Pages that one step gives back to the file system: 1 MiB.
const VACUUM_STEP_PAGES: u64 = 256;

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
    /// Bytes in use in the file at most. Of events and samples, those that have used up the
    /// greater share of their age go first, so that both reach back less far alike.
    pub size_max: u64,
}

impl Default for Retention {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            events_age_max: 90 * DAY,
            events_max: 1_000_000,
            samples_age_max: 7 * DAY,
            samples_max: 1_000_000,
            size_max: 4 << 30,
        }
    }
}

/// Transitions kept at most: an output that lags further behind has lost them.
pub const TRANSITIONS_MAX: u64 = 100_000;

/// What a step did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Events deleted.
    pub events: usize,
    /// Samples deleted.
    pub samples: usize,
    /// Transitions deleted.
    pub transitions: usize,
    /// Transitions deleted that some output had not taken: it can no longer tell them.
    pub transitions_untold: usize,
    /// Whether there may be more to delete or to give back: call again soon.
    pub more: bool,
    /// How large the file is after the step.
    pub size: Size,
    /// How far the wall clock is from the time that is believed, if it jumped and is not
    /// believed: nothing grows old by the jump.
    pub clock_doubt: Option<SignedDuration>,
}

/// How large the store is, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// The whole file.
    pub file: u64,
    /// What is in use of it.
    pub used: u64,
    /// The log beside it: what was committed and is not in the file yet.
    pub log: u64,
}

struct Table {
    name: &'static str,
    age_max: Duration,
    rows_max: u64,
}

/// The ids of a table's oldest and newest row.
#[derive(Clone, Copy)]
struct Span {
    oldest: i64,
    newest: i64,
}

pub(super) fn step(
    connection: &mut Connection,
    path: &Path,
    retention: &Retention,
    now: Timestamp,
) -> rusqlite::Result<Pruned> {
    let events =
        Table { name: "events", age_max: retention.events_age_max, rows_max: retention.events_max };
    let samples = Table {
        name: "samples",
        age_max: retention.samples_age_max,
        rows_max: retention.samples_max,
    };
    let is_too_large = size(connection, path)?.used > retention.size_max;
    let mut pruned = Pruned::default();
    let tx = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    pruned.events = prune_table(&tx, &events, now)?;
    pruned.samples = prune_table(&tx, &samples, now)?;
    if is_too_large && pruned.events == 0 && pruned.samples == 0 {
        let shares = (used_share(&tx, &events, now)?, used_share(&tx, &samples, now)?);
        match shares {
            (Some(of_events), of_samples) if of_samples.is_none_or(|share| of_events >= share) => {
                pruned.events = prune_oldest(&tx, &events)?;
            }
            (_, Some(_)) => pruned.samples = prune_oldest(&tx, &samples)?,
            (_, None) => {}
        }
    }
    (pruned.transitions, pruned.transitions_untold) =
        prune_transitions(&tx, retention.events_age_max, now)?;
    tx.commit()?;
    let gave_back = give_back(connection)?;
    pruned.size = size(connection, path)?;
    let full = PRUNE_STEP_ROWS as usize;
    let of_size = is_too_large && (pruned.events > 0 || pruned.samples > 0);
    pruned.more =
        gave_back || of_size || [pruned.events, pruned.samples, pruned.transitions].contains(&full);
    Ok(pruned)
}

/// How large the file at `path` is, and its log.
pub(super) fn size(connection: &Connection, path: &Path) -> rusqlite::Result<Size> {
    let pages = pragma(connection, "page_count")?;
    let free = pragma(connection, "freelist_count")?;
    let page = pragma(connection, "page_size")?;
    let (file, used) = (pages * page, pages.saturating_sub(free) * page);
    Ok(Size { file, used, log: log_bytes(path) })
}

/// The size of the log beside a file; there is none before the first commit.
fn log_bytes(path: &Path) -> u64 {
    let mut log = path.to_owned().into_os_string();
    log.push("-wal");
    std::fs::metadata(log).map_or(0, |log| log.len())
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<u64> {
    let value: i64 = connection.pragma_query_value(None, name, |row| row.get(0))?;
    Ok(u64::try_from(value).unwrap_or(0))
}

fn span(tx: &Connection, name: &str) -> rusqlite::Result<Option<Span>> {
    let (oldest, newest): (Option<i64>, Option<i64>) = tx
        .prepare_cached(&format!(
            "SELECT (SELECT min(id) FROM {name}), (SELECT max(id) FROM {name})"
        ))?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(oldest.zip(newest).map(|(oldest, newest)| Span { oldest, newest }))
}

fn prune_table(tx: &Connection, table: &Table, now: Timestamp) -> rusqlite::Result<usize> {
    let Table { name, .. } = table;
    let Some(Span { oldest, newest }) = span(tx, name)? else { return Ok(0) };
    // Only the oldest are ever deleted, so the ids between have no holes.
    let too_many = newest.saturating_sub(i64::try_from(table.rows_max).unwrap_or(i64::MAX));
    let cutoff = cutoff(now, table.age_max).as_microsecond();
    tx.prepare_cached(&format!(
        "DELETE FROM {name} WHERE id <= ?1 AND (id <= ?2 OR received < ?3)"
    ))?
    .execute(params![last_of_step(oldest), too_many, cutoff])
}

/// Deletes the oldest rows whatever their age.
fn prune_oldest(tx: &Connection, table: &Table) -> rusqlite::Result<usize> {
    let Table { name, .. } = table;
    let Some(Span { oldest, newest }) = span(tx, name)? else { return Ok(0) };
    let last = last_of_step(oldest).min(newest.saturating_sub(ROWS_MIN as i64));
    tx.prepare_cached(&format!("DELETE FROM {name} WHERE id <= ?1"))?.execute([last])
}

/// How much of their age the oldest rows have used up, from 0 to 1; none if they have to stay.
fn used_share(tx: &Connection, table: &Table, now: Timestamp) -> rusqlite::Result<Option<f64>> {
    let Table { name, age_max, .. } = table;
    let Some(Span { oldest, newest }) = span(tx, name)? else { return Ok(None) };
    if newest.saturating_sub(oldest) < ROWS_MIN as i64 {
        return Ok(None);
    }
    let received: i64 = tx
        .prepare_cached(&format!("SELECT received FROM {name} WHERE id = ?1"))?
        .query_row([oldest], |row| row.get(0))?;
    let age_us = now.as_microsecond().saturating_sub(received) as f64;
    Ok(Some(age_us / 1e6 / age_max.as_secs_f64().max(1.0)))
}

/// Transitions that an output has yet to take stay, whatever their age; only their number is
/// bounded. Returns how many were deleted, and how many of them an output had not taken.
fn prune_transitions(
    tx: &Connection,
    age_max: Duration,
    now: Timestamp,
) -> rusqlite::Result<(usize, usize)> {
    let Some(Span { oldest, newest }) = span(tx, "transitions")? else { return Ok((0, 0)) };
    let taken: i64 = tx
        .prepare_cached("SELECT coalesce(min(through), 0) FROM outputs")?
        .query_row([], |row| row.get(0))?;
    let too_many = newest.saturating_sub(i64::try_from(TRANSITIONS_MAX).unwrap_or(i64::MAX));
    let cutoff = cutoff(now, age_max).as_microsecond();
    let last = last_of_step(oldest);
    let deleted = tx
        .prepare_cached(
            "DELETE FROM transitions WHERE id <= ?1 AND (id <= ?2 OR (id <= ?3 AND at < ?4))",
        )?
        .execute(params![last, too_many, taken, cutoff])?;
    // Ids have no holes up to where the number alone decides.
    let untold = last.min(too_many).saturating_sub(taken.max(oldest - 1)).max(0);
    Ok((deleted, usize::try_from(untold).unwrap_or(0)))
}

/// Gives free pages back to the file system; says whether there are more to give.
fn give_back(connection: &Connection) -> rusqlite::Result<bool> {
    let free = pragma(connection, "freelist_count")?;
    let spare = free.saturating_sub(FREE_PAGES_KEPT);
    if spare == 0 {
        return Ok(false);
    }
    let pages = spare.min(VACUUM_STEP_PAGES);
    let mut vacuum = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    // It works a page at a time, as its rows are asked for.
    let mut rows = vacuum.query([])?;
    while rows.next()?.is_some() {}
    Ok(spare > pages)
}

fn last_of_step(oldest: i64) -> i64 {
    oldest.saturating_add(i64::from(PRUNE_STEP_ROWS) - 1)
}

fn cutoff(now: Timestamp, age_max: Duration) -> Timestamp {
    SignedDuration::try_from(age_max)
        .ok()
        .and_then(|age| now.checked_sub(age).ok())
        .unwrap_or(Timestamp::MIN)
}
