//! Reads the collector's store with SQLite alone, without the collector's code.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row};
use serde_json::Value;
use uuid::Uuid;

use super::spool::{Stream, digest};

/// The store's file in the collector's data folder.
const FILE: &str = "collector.db";

/// An event of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its node.
    pub node: String,
    /// Its stream.
    pub stream: Stream,
    /// Its number.
    pub sequence: u64,
    /// A digest of what was published.
    pub digest: u64,
    /// What it says that can be judged.
    pub says: Says,
}

/// What an event says, as far as it can be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    /// Everything from there up to itself is gone.
    Dropped {
        /// The first that is gone.
        from: u64,
    },
    /// A unit changed.
    Changed {
        /// When, in microseconds since 1970: what numbers the changes of a node.
        at: i64,
        /// Whether it failed; otherwise it recovered.
        failed: bool,
    },
    /// Something else.
    Other,
}

/// A reader of the store, also beside the collector.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
}

impl Store {
    /// Opens the store in a collector's data folder.
    ///
    /// # Errors
    /// When SQLite cannot.
    pub fn open(folder: &Path) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let connection = Connection::open_with_flags(folder.join(FILE), flags)?;
        Ok(Self { connection })
    }

    /// How far each stream of each node is said to be stored.
    ///
    /// # Errors
    /// When SQLite cannot.
    pub fn positions(&self) -> rusqlite::Result<BTreeMap<(String, Stream), u64>> {
        let mut query =
            self.connection.prepare_cached("SELECT node, stream, through FROM streams")?;
        let row = |row: &Row<'_>| Ok(((row.get(0)?, stream(row, 1)?), number(row, 2)?));
        query.query_map((), row)?.collect()
    }

    /// Gives every event to `take`, in the order in which they were applied.
    ///
    /// # Errors
    /// When SQLite cannot.
    pub fn each(&self, mut take: impl FnMut(Applied)) -> rusqlite::Result<()> {
        let mut query = self
            .connection
            .prepare("SELECT node, stream, sequence, kind, payload FROM events ORDER BY id")?;
        let mut rows = query.query(())?;
        while let Some(row) = rows.next()? {
            let kind: String = row.get(3)?;
            let payload = row.get_ref(4)?.as_blob()?;
            take(Applied {
                node: row.get(0)?,
                stream: stream(row, 1)?,
                sequence: number(row, 2)?,
                digest: digest(payload),
                says: says(&kind, payload),
            });
        }
        Ok(())
    }
}

fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}

fn stream(row: &Row<'_>, column: usize) -> rusqlite::Result<Stream> {
    Ok(Uuid::from_bytes(row.get(column)?).to_string())
}

fn says(kind: &str, payload: &[u8]) -> Says {
    let event: Value = serde_json::from_slice(payload).unwrap_or_default();
    let data = &event["data"];
    match kind {
        "outbox.dropped" => {
            let from = data["from"].as_str().and_then(|from| from.parse().ok());
            Says::Dropped { from: from.unwrap_or(u64::MAX) }
        }
        "unit.changed" => {
            let at = event["time"].as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok());
            let at = at.map_or(i64::MIN, jiff::Timestamp::as_microsecond);
            Says::Changed { at, failed: data["change"] == "failed" }
        }
        _ => Says::Other,
    }
}
