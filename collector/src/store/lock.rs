//! One collector a folder: a lock that the kernel lets go when the process ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

use super::StoreError;

/// Held as long as the store is open.
#[derive(Debug)]
pub(super) struct Lock {
    // Closing the file ends the lock; the file itself stays.
    _file: File,
}

impl Lock {
    /// Takes the lock, without waiting.
    pub(super) fn acquire(path: &Path) -> Result<Self, StoreError> {
        let not_writable = |source: io::Error| match source.kind() {
            io::ErrorKind::StorageFull => StoreError::full(path.to_owned(), source.to_string()),
            _ => StoreError::NotWritable { path: path.to_owned(), cause: source.to_string() },
        };
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(not_writable)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(not_writable(source)),
        }
    }
}
