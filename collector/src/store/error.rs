//! Why the store cannot do what it was asked, and what to do about it.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use rusqlite::ffi::SQLITE_IOERR_SHMSIZE;

use crate::rules::human;

/// A failure of the store. Each message names the file, the cause and the way out.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data folder cannot be created.
    #[error(
        "data folder {path} cannot be created: {source}: create it for the collector's user, \
         or set `data` to another folder"
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file or its folder is not writable.
    #[error(
        "store {path} is not writable: {cause}: give the folder to the collector's user \
         (chown), mount its disk for writing, or set `data` to another folder"
    )]
    NotWritable {
        /// The file.
        path: PathBuf,
        /// The cause.
        cause: String,
    },
    /// The disk has no room left.
    #[error(
        "store {path} cannot grow: {cause}{room}: free space on its disk, or lower `[retention]`; \
         the collector tries again by itself, and the agents keep their events meanwhile"
    )]
    Full {
        /// The file.
        path: PathBuf,
        /// The cause.
        cause: String,
        /// What room there is.
        room: Room,
    },
    /// The file is damaged, or is no store at all.
    #[error(
        "store {path} is damaged: {cause}: move it away with its -wal and -shm files; the \
         agents then send again what they still hold"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The file was written by a newer version.
    #[error(
        "store {path} has schema version {found}, this version knows up to {known}: install the \
         newer pvewatch again, or move the file away"
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },
    /// Another collector uses the folder.
    #[error(
        "data folder is in use by another collector (lock {path}): stop it, or set `data` to \
         another folder"
    )]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// Anything else that the operating system or SQLite refused.
    #[error("store {path} cannot be {action}: {source}")]
    Other {
        /// The file.
        path: PathBuf,
        /// `opened`, `read`, `written`, `pruned`, `copied`.
        action: &'static str,
        /// The cause.
        source: rusqlite::Error,
    },
}

/// What is free on a file system, for a message; nothing if it cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Room(Option<(PathBuf, u64)>);

impl Room {
    /// The room where the file at `path` is.
    pub(super) fn beside(path: &Path) -> Self {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let free = rustix::fs::statvfs(folder).map(|free| free.f_bavail * free.f_frsize);
        let folder = folder.canonicalize().ok();
        Self(folder.map(|folder| mount_point(&folder).to_owned()).zip(free.ok()))
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some((mounted, free)) => {
                let free = human::bytes(*free as f64);
                write!(f, " ({free} are free on the file system {})", mounted.display())
            }
            None => Ok(()),
        }
    }
}

/// Where the file system of a folder is mounted: the last folder above it that is on the same one.
fn mount_point(folder: &Path) -> &Path {
    let device = |path: &Path| path.metadata().ok().map(|found| found.dev());
    let own = device(folder);
    folder.ancestors().take_while(|above| device(above) == own).last().unwrap_or(folder)
}

impl StoreError {
    /// Names what SQLite found while the file at `path` was to be `action`.
    pub(super) fn of(path: &Path, action: &'static str, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        let cause = source.to_string();
        // The log's index cannot grow: SQLite does not say that it is for want of room.
        let has_no_index =
            source.sqlite_error().is_some_and(|error| error.extended_code == SQLITE_IOERR_SHMSIZE);
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::full(path, cause),
            _ if has_no_index => Self::full(path, cause),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Corrupt { path, cause }
            }
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                Self::NotWritable { path, cause }
            }
            _ => match source {
                // Columns are written by this program alone: what does not fit is damage.
                rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::InvalidColumnType(..) => Self::Corrupt { path, cause },
                source => Self::Other { path, action, source },
            },
        }
    }

    /// There is no room left for the file at `path`.
    pub(super) fn full(path: PathBuf, cause: String) -> Self {
        let room = Room::beside(&path);
        Self::Full { path, cause, room }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi::{Error, SQLITE_FULL, SQLITE_IOERR_WRITE};

    use super::*;

    #[test]
    fn a_disk_without_room_is_named_whatever_sqlite_calls_it() {
        let says = |code| {
            let source = rusqlite::Error::SqliteFailure(Error::new(code), None);
            StoreError::of(Path::new("/data/collector.db"), "opened", source).to_string()
        };
        for (code, is_full) in
            [(SQLITE_FULL, true), (SQLITE_IOERR_SHMSIZE, true), (SQLITE_IOERR_WRITE, false)]
        {
            let text = says(code);
            assert_eq!(text.contains("free space on its disk"), is_full, "{code}: {text}");
            assert!(text.contains("/data/collector.db"), "{text}");
        }
    }
}
