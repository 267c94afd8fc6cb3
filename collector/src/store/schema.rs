//! The tables, and how an older file becomes a newer one.
//!
//! `user_version` counts the migrations that a file has seen. A migration is never changed once
//! released; a new one is appended.

use std::path::Path;

use pvewatch_protocol::Epoch;
use rusqlite::{Connection, OptionalExtension};
use uuid::Uuid;

use super::StoreError;

/// The key of the epoch of the first file that a file is a copy of.
pub(super) const FIRST_EPOCH: &str = "first_epoch";

/// Every migration, in order. Times are microseconds since 1970, UTC.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

    -- The log. The position of a stream guards against a second copy, so no unique index does.
    CREATE TABLE events (
        id INTEGER PRIMARY KEY,
        node TEXT NOT NULL,
        stream BLOB NOT NULL,
        sequence INTEGER NOT NULL,
        kind TEXT NOT NULL,
        subject TEXT NOT NULL,
        time INTEGER NOT NULL,
        recorded INTEGER NOT NULL,
        received INTEGER NOT NULL,
        payload BLOB NOT NULL
    );
    CREATE INDEX events_of_node ON events (node, id);

    CREATE TABLE streams (
        node TEXT NOT NULL,
        stream BLOB NOT NULL,
        ordinal INTEGER NOT NULL,
        through INTEGER NOT NULL,
        PRIMARY KEY (node, stream)
    ) WITHOUT ROWID;

    CREATE TABLE records (
        kind TEXT NOT NULL,
        key TEXT NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (kind, key)
    ) WITHOUT ROWID;

    -- AUTOINCREMENT: outputs remember ids, so none may come twice.
    CREATE TABLE transitions (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        fingerprint TEXT NOT NULL,
        body TEXT NOT NULL
    );

    CREATE TABLE outputs (name TEXT PRIMARY KEY, through INTEGER NOT NULL) WITHOUT ROWID;

    CREATE TABLE samples (
        id INTEGER PRIMARY KEY,
        node TEXT NOT NULL,
        received INTEGER NOT NULL,
        body TEXT NOT NULL
    );
    CREATE INDEX samples_of_node ON samples (node, received);

    CREATE TABLE rejects (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        received INTEGER NOT NULL,
        topic TEXT NOT NULL,
        reason TEXT NOT NULL,
        detail TEXT NOT NULL,
        payload BLOB NOT NULL
    );
",
    "
    ALTER TABLE events ADD COLUMN late INTEGER NOT NULL DEFAULT 0;
",
    "
    ALTER TABLE streams ADD COLUMN known INTEGER NOT NULL DEFAULT 0;
",
    "
    -- Alerts and notices are told apart: each is a channel with a position of its own.
    INSERT INTO outputs SELECT channel, coalesce((SELECT through FROM outputs WHERE name = 'mqtt'), 0)
        FROM (SELECT 'mqtt-alerts' AS channel UNION SELECT 'mqtt-notices');
    DELETE FROM outputs WHERE name = 'mqtt';
",
];

/// Brings the file to the newest schema; each migration is one transaction.
pub(super) fn migrate(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |e| StoreError::of(path, "opened", e);
    let done = check(connection, path)?;
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(done) {
        let version = index + 1;
        connection
            .execute_batch(&format!(
                "BEGIN IMMEDIATE; {migration} PRAGMA user_version = {version}; COMMIT;"
            ))
            .map_err(failed)?;
    }
    Ok(())
}

/// How many migrations the file has seen; refuses one of a newer version.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<usize, StoreError> {
    let failed = |e| StoreError::of(path, "opened", e);
    let found: i64 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    let known = MIGRATIONS.len() as i64;
    let done = usize::try_from(found).ok().filter(|done| *done <= MIGRATIONS.len());
    done.ok_or_else(|| StoreError::NewerSchema { path: path.to_owned(), found, known })
}

/// The epoch of the file: made with it, and never changed.
pub(super) fn epoch(connection: &Connection, path: &Path) -> Result<Epoch, StoreError> {
    let failed = |e| StoreError::of(path, "opened", e);
    if let Some(epoch) = known_epoch(connection, path, "epoch")? {
        return Ok(epoch);
    }
    let epoch = Epoch(Uuid::now_v7());
    connection
        .execute("INSERT INTO meta (key, value) VALUES ('epoch', ?1)", [epoch.to_string()])
        .map_err(failed)?;
    Ok(epoch)
}

/// The epoch of the first file that this one is a copy of; its own if it is no copy.
pub(super) fn first_epoch(connection: &Connection, path: &Path) -> Result<Epoch, StoreError> {
    match known_epoch(connection, path, FIRST_EPOCH)? {
        Some(epoch) => Ok(epoch),
        None => epoch(connection, path),
    }
}

fn known_epoch(
    connection: &Connection,
    path: &Path,
    key: &str,
) -> Result<Option<Epoch>, StoreError> {
    let found: Option<String> = connection
        .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
        .optional()
        .map_err(|e| StoreError::of(path, "opened", e))?;
    let parse = |text: String| {
        text.parse().map_err(|_| StoreError::Corrupt {
            path: path.to_owned(),
            cause: format!("its epoch {text:?} is not a UUID"),
        })
    };
    found.map(parse).transpose()
}
