//! The collector's memory: one SQLite file with the log of events, the position in every
//! stream, the core's state and the transitions of alerts.
//!
//! What belongs together is one transaction: a [`Batch`] is stored as a whole or not at all,
//! and it is on disk (WAL, `synchronous=FULL`) when [`Store::commit`] returns. One process has
//! one store: a lock file says so. [`Reader`]s read beside the store and never block it, and so
//! does [`backup`].
//!
//! Absent on purpose: what an event or an alert means, clocks, retries.

mod backup;
mod batch;
mod error;
mod lock;
mod prune;
mod reader;
mod rows;
mod schema;
mod steady;

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use pvewatch_protocol::{Epoch, NodeName};
use rusqlite::{Connection, OpenFlags};

pub use backup::{BackupError, backup, restore};
pub use batch::{Batch, NewEvent, NewRecord, NewReject, NewSample, REJECT_PAYLOAD_BYTES_MAX};
pub use error::StoreError;
pub use prune::{PRUNE_STEP_ROWS, Pruned, Retention, Size, TRANSITIONS_MAX};
pub use reader::Reader;
pub use rows::{
    EventFilter, EventRow, Logged, RecordRow, RejectRow, SampleRow, StreamRow, TransitionRow,
};
pub use steady::{BELIEVED_AFTER, JUMP_MIN};

use steady::SteadyTime;

/// The database's name in the data folder.
const FILE: &str = "collector.db";

/// The lock's name in the data folder.
const LOCK_FILE: &str = "collector.lock";

/// How long a statement waits for a reader that holds the file, before it is an error.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Statements that stay prepared: more than this module has.
const STATEMENTS_CACHED: usize = 64;

/// What `PRAGMA auto_vacuum` says of a file whose free pages can be given back in steps.
const AUTO_VACUUM_INCREMENTAL: i64 = 2;

/// How often the steady time is stored, while the wall clock is believed: a collector that is
/// killed more often than that lags by less than what is believed at once.
const STEADY_STORED_EVERY: Duration = Duration::from_secs(60 * 60);

/// The store of one collector, open for writing.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    epoch: Epoch,
    /// None in a store that is new.
    steady: Option<SteadyTime>,
    steady_unstored: Duration,
    _lock: lock::Lock,
}

impl Store {
    /// Opens the store in `dir`, or makes a new one there; folders are created as needed.
    ///
    /// # Errors
    /// When the folder or file cannot be written, is full, damaged, of a newer version, or when
    /// another collector has it. The message names the file and what to do.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        create_dir(dir)?;
        let lock = lock::Lock::acquire(&dir.join(LOCK_FILE))?;
        let path = dir.join(FILE);
        let connection = open_connection(&path).map_err(|e| StoreError::of(&path, "opened", e))?;
        schema::migrate(&connection, &path)?;
        let epoch = schema::epoch(&connection, &path)?;
        let steady =
            rows::steady_time(&connection).map_err(|e| StoreError::of(&path, "read", e))?;
        let steady_unstored = STEADY_STORED_EVERY;
        Ok(Self { connection, path, epoch, steady, steady_unstored, _lock: lock })
    }

    /// Who this store is: made once, when the file was.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads beside the store; may be used from any thread, and outlives the store.
    pub fn reader(&self) -> Reader {
        Reader::new(self.path.clone())
    }

    /// Stores a batch, durably, as a whole. Returns the id of the newest transition of all.
    ///
    /// # Errors
    /// When nothing of the batch was stored.
    pub fn commit(&mut self, batch: &Batch) -> Result<i64, StoreError> {
        batch.write(&mut self.connection).map_err(|e| StoreError::of(&self.path, "written", e))
    }

    /// Deletes a bounded number of rows that `retention` does not keep, and gives a bounded part
    /// of what is free back to the file system.
    ///
    /// `now` is what the wall clock says, `elapsed` what has passed since the last call by a
    /// clock that nobody can set: a wall clock that jumps ahead deletes nothing.
    ///
    /// # Errors
    /// When something of it could not be done.
    pub fn prune(
        &mut self,
        retention: &Retention,
        now: Timestamp,
        elapsed: Duration,
    ) -> Result<Pruned, StoreError> {
        let steady = self.steady.get_or_insert(SteadyTime::new(now));
        let judged = steady.advance(now, elapsed);
        let clock_doubt = steady.doubt();
        self.steady_unstored = self.steady_unstored.saturating_add(elapsed);
        let failed = |e| StoreError::of(&self.path, "pruned", e);
        if self.steady_unstored >= STEADY_STORED_EVERY {
            rows::keep_steady_time(&self.connection, steady).map_err(failed)?;
            self.steady_unstored = Duration::ZERO;
        }
        let pruned = prune::step(&mut self.connection, &self.path, retention, judged);
        Ok(Pruned { clock_doubt, ..pruned.map_err(failed)? })
    }

    /// How large the file is.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn size(&self) -> Result<Size, StoreError> {
        prune::size(&self.connection, &self.path).map_err(|e| StoreError::of(&self.path, "read", e))
    }

    /// The position in every stream.
    ///
    /// # Errors
    /// When the file cannot be read or holds what this version never wrote.
    pub fn streams(&self) -> Result<Vec<StreamRow>, StoreError> {
        rows::streams(&self.connection).map_err(|e| StoreError::of(&self.path, "read", e))
    }

    /// The newest events of a node, at most `limit`, the newest first.
    ///
    /// # Errors
    /// As [`Store::streams`].
    pub fn newest_of(&self, node: &NodeName, limit: u32) -> Result<Vec<Logged>, StoreError> {
        rows::newest_of(&self.connection, node, limit)
            .map_err(|e| StoreError::of(&self.path, "read", e))
    }

    /// When the store's history began: with the first of the files that it is a copy of. What
    /// came before that is not missing.
    ///
    /// # Errors
    /// As [`Store::streams`].
    pub fn first_epoch(&self) -> Result<Epoch, StoreError> {
        schema::first_epoch(&self.connection, &self.path)
    }

    /// The core's state as it was last stored.
    ///
    /// # Errors
    /// As [`Store::streams`].
    pub fn records(&self) -> Result<Vec<RecordRow>, StoreError> {
        rows::records(&self.connection).map_err(|e| StoreError::of(&self.path, "read", e))
    }

    /// The id of the newest transition that was ever stored; 0 if none was.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn newest_transition(&self) -> Result<i64, StoreError> {
        rows::newest_transition(&self.connection).map_err(|e| StoreError::of(&self.path, "read", e))
    }

    /// How far each of these outputs has come in the transitions. One that is new begins at the
    /// newest: it does not tell the past. Those of other names are forgotten, and nothing is kept
    /// for them any more.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn outputs(&mut self, names: &[&'static str]) -> Result<Vec<i64>, StoreError> {
        rows::outputs(&mut self.connection, names)
            .map_err(|e| StoreError::of(&self.path, "written", e))
    }
}

fn create_dir(dir: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(dir)
        .map_err(|source| StoreError::Folder { path: dir.to_owned(), source })
}

fn open_connection(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    // Before anything is written to a new file; an older one is written anew, once.
    connection.pragma_update(None, "auto_vacuum", "incremental")?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", false)?;
    // 16 MiB of cache: the index leaves that a thousand nodes write to stay in memory.
    connection.pragma_update(None, "cache_size", -16_384)?;
    // A checkpoint every 16 MiB of log costs fewer fsyncs than one every 4 MiB.
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 4096, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", 67_108_864, |_| Ok(()))?;
    let auto_vacuum: i64 = connection.pragma_query_value(None, "auto_vacuum", |row| row.get(0))?;
    if auto_vacuum != AUTO_VACUUM_INCREMENTAL {
        connection.execute_batch("VACUUM")?;
    }
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SQLite's own limit of pages gives the same error as a full disk, without needing one.
    #[test]
    fn a_full_disk_stores_nothing_and_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let record = |n: usize, bytes: usize| NewRecord {
            kind: "unit".to_owned(),
            key: n.to_string(),
            body: Some("x".repeat(bytes)),
        };
        store.connection.pragma_update_and_check(None, "max_page_count", 40, |_| Ok(())).unwrap();
        let large = (0..1000).map(|n| record(n, 1000)).collect();
        let error = store.commit(&Batch { records: large, ..Batch::default() }).unwrap_err();
        assert!(matches!(error, StoreError::Full { .. }), "{error}");
        assert!(error.to_string().contains("free space"), "{error}");
        assert!(error.to_string().contains("are free on the file system /"), "{error}");
        assert_eq!(store.records().unwrap(), []);
        store.commit(&Batch { records: vec![record(0, 1)], ..Batch::default() }).unwrap();
        assert_eq!(store.records().unwrap().len(), 1);
    }
}
