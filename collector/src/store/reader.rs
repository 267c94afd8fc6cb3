//! Reading beside the store, from any thread.
//!
//! Every call opens the file anew, read only: a reader never holds the log back from being
//! checkpointed, needs no lock, and sees the newest commit. Calls block on the disk.

use std::path::PathBuf;

use jiff::Timestamp;
use pvewatch_protocol::{Epoch, Fingerprint, NodeName};
use rusqlite::{Connection, OpenFlags};

use super::rows::{self, EventFilter, EventRow, RejectRow, SampleRow, TransitionRow};
use super::{BUSY_TIMEOUT, StoreError};

/// Reads the store of a collector.
#[derive(Debug, Clone)]
pub struct Reader {
    path: PathBuf,
}

impl Reader {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Who the store is.
    ///
    /// # Errors
    /// When the file cannot be read or holds what this version never wrote.
    pub fn epoch(&self) -> Result<Epoch, StoreError> {
        self.read(rows::epoch)
    }

    /// Events of the log, the newest first.
    ///
    /// # Errors
    /// As [`Reader::epoch`].
    pub fn events(&self, filter: &EventFilter) -> Result<Vec<EventRow>, StoreError> {
        self.read(|connection| rows::events(connection, filter))
    }

    /// At most `limit` transitions after the one with this id, the oldest first.
    ///
    /// # Errors
    /// As [`Reader::epoch`].
    pub fn transitions_after(&self, id: i64, limit: u32) -> Result<Vec<TransitionRow>, StoreError> {
        self.read(|connection| rows::transitions_after(connection, id, limit))
    }

    /// At most `limit` transitions of an alert, the newest first.
    ///
    /// # Errors
    /// As [`Reader::epoch`].
    pub fn transitions_of(
        &self,
        fingerprint: Fingerprint,
        limit: u32,
    ) -> Result<Vec<TransitionRow>, StoreError> {
        self.read(|connection| rows::transitions_of(connection, fingerprint, limit))
    }

    /// At most `limit` kept samples of a node since then, the oldest first.
    ///
    /// # Errors
    /// As [`Reader::epoch`].
    pub fn samples(
        &self,
        node: &NodeName,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<SampleRow>, StoreError> {
        self.read(|connection| rows::samples(connection, node, since, limit))
    }

    /// The last messages that were not accepted, the newest first.
    ///
    /// # Errors
    /// As [`Reader::epoch`].
    pub fn rejects(&self) -> Result<Vec<RejectRow>, StoreError> {
        self.read(rows::rejects)
    }

    fn read<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let run = || {
            let connection = Connection::open_with_flags(
                &self.path,
                OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
            )?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            query(&connection)
        };
        run().map_err(|e| StoreError::of(&self.path, "read", e))
    }
}
