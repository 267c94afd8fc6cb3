//! A copy of a store while it is being written, and a store from such a copy.
//!
//! Promises: a backup is whole or not there, is checked before it gets its name, and never takes
//! the place of another file. It has an epoch of its own: agents that meet a store made from it
//! see that another store speaks, and send again what it lacks. Restoring refuses while a
//! collector runs, and keeps the store that was there.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use pvewatch_protocol::Epoch;
use rusqlite::{Connection, OpenFlags};
use uuid::Uuid;

use super::lock::Lock;
use super::{BUSY_TIMEOUT, FILE, LOCK_FILE, StoreError, create_dir, schema};

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is no store to copy.
    #[error("there is no store in {0}: set `data` in the configuration to the collector's folder")]
    NoStore(PathBuf),
    /// The file is there already.
    #[error("{0} is there already: a backup takes no file's place, choose another name")]
    Exists(PathBuf),
    /// The file to restore is not there.
    #[error("{0} is not there: name a file that pvewatch-collector backup has made")]
    NoBackup(PathBuf),
    /// The file cannot be written, read or moved.
    #[error("{path} cannot be {action}: {source}: look at its folder's permissions and free space")]
    File {
        /// The file.
        path: PathBuf,
        /// `written`, `copied`, `moved`.
        action: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The copy is not what was to be copied.
    #[error("{path} is damaged: {cause}: nothing was changed")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite found.
        cause: String,
    },
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Writes a copy of the store in `data` to `target`, as the store is at this moment; a collector
/// that runs goes on writing. Blocks for as long as it takes to copy.
///
/// # Errors
/// When there is no store, `target` is there already, or it cannot be written. What was begun is
/// removed.
pub fn backup(data: &Path, target: &Path) -> Result<(), BackupError> {
    let store = data.join(FILE);
    if !store.exists() {
        return Err(BackupError::NoStore(data.to_owned()));
    }
    if target.symlink_metadata().is_ok() {
        return Err(BackupError::Exists(target.to_owned()));
    }
    let partial = beside(target, "partial");
    let written = copy(&store, &partial).and_then(|()| {
        take_name(&partial, target).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => BackupError::Exists(target.to_owned()),
            _ => BackupError::File { path: target.to_owned(), action: "written", source },
        })
    });
    if written.is_err() {
        // What was not begun needs no removing.
        let _ = fs::remove_file(&partial);
    }
    written
}

/// Puts the backup `source` in the place of the store in `data`. Returns where the store that
/// was there is now.
///
/// # Errors
/// When a collector runs, `source` is no whole store of this version or an older one, or files
/// cannot be moved. The store that was there is still there then, under one name or the other.
pub fn restore(data: &Path, source: &Path) -> Result<Option<PathBuf>, BackupError> {
    if !source.is_file() {
        return Err(BackupError::NoBackup(source.to_owned()));
    }
    create_dir(data)?;
    let lock = data.join(LOCK_FILE);
    let _lock = Lock::acquire(&lock)?;
    own_as(&lock, data)?;
    let store = data.join(FILE);
    let partial = beside(&store, "partial");
    let moved = |source| BackupError::File { path: store.clone(), action: "moved", source };
    if let Err(error) = copy(source, &partial).and_then(|()| own_as(&partial, data)) {
        // What was not begun needs no removing.
        let _ = fs::remove_file(&partial);
        return Err(error);
    }
    let before = store.exists().then(|| free_name(&store));
    if let Some(before) = &before {
        // Then the file is the whole store, whenever this is killed. A store that is too damaged
        // for it keeps its log.
        let _ = take_in_log(&store);
        // The log beside the file belongs to it: left behind, it would be taken for the copy's.
        for ending in ["-wal", "-shm", ""] {
            let from = with_ending(&store, ending);
            if from.exists() {
                fs::rename(&from, with_ending(before, ending)).map_err(moved)?;
            }
        }
    }
    fs::rename(&partial, &store).and_then(|()| sync_folder(&store)).map_err(moved)?;
    Ok(before)
}

/// Moves what is in the log beside a store into its file.
fn take_in_log(store: &Path) -> rusqlite::Result<()> {
    let connection = open(store)?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// Copies a store, gives the copy an epoch of its own, and looks whether it is whole.
fn copy(store: &Path, to: &Path) -> Result<(), BackupError> {
    let failed = |action| move |source| BackupError::File { path: to.to_owned(), action, source };
    // Left over from an attempt that was killed.
    if to.exists() {
        fs::remove_file(to).map_err(failed("written"))?;
    }
    // It holds what units wrote to their logs: nobody else needs to read it.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    let file = file.map_err(failed("written"))?;
    let of_store = |e| BackupError::Store(StoreError::of(store, "copied", e));
    let of_copy = |e| BackupError::Store(StoreError::of(to, "written", e));
    let source = open(store).map_err(of_store)?;
    source.execute("VACUUM INTO ?1", [to.to_string_lossy()]).map_err(of_store)?;
    let copy = open(to).map_err(of_copy)?;
    let found: String =
        copy.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(of_copy)?;
    if found != "ok" {
        return Err(BackupError::Damaged { path: store.to_owned(), cause: found });
    }
    schema::check(&copy, store)?;
    // Its history began with the store, and not with the copy.
    copy.execute(
        "INSERT OR IGNORE INTO meta (key, value) SELECT ?1, value FROM meta WHERE key = 'epoch'",
        [schema::FIRST_EPOCH],
    )
    .map_err(|e| BackupError::Damaged { path: store.to_owned(), cause: e.to_string() })?;
    let epoch = Epoch(Uuid::now_v7()).to_string();
    let changed = copy
        .execute("UPDATE meta SET value = ?1 WHERE key = 'epoch'", [epoch])
        .map_err(|e| BackupError::Damaged { path: store.to_owned(), cause: e.to_string() })?;
    if changed != 1 {
        let cause = "it is no store of a collector".to_owned();
        return Err(BackupError::Damaged { path: store.to_owned(), cause });
    }
    copy.close().map_err(|(_, e)| of_copy(e))?;
    file.sync_all().map_err(failed("written"))
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// Gives a file to whom the folder belongs: restoring is root's work, collecting is not.
fn own_as(path: &Path, folder: &Path) -> Result<(), BackupError> {
    let owner = fs::metadata(folder);
    let own = fs::metadata(path);
    let owned = owner.and_then(|owner| {
        let own = own?;
        if (own.uid(), own.gid()) == (owner.uid(), owner.gid()) {
            return Ok(());
        }
        chown(path, Some(owner.uid()), Some(owner.gid()))
    });
    owned.map_err(|source| BackupError::File { path: path.to_owned(), action: "written", source })
}

/// Gives a file its name, unless there is one of that name.
fn take_name(partial: &Path, target: &Path) -> io::Result<()> {
    // Unlike a renaming, a link fails if somebody else was faster; but not every file system that
    // backups are put on has links.
    match fs::hard_link(partial, target) {
        Ok(()) => fs::remove_file(partial)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
        Err(_) if target.symlink_metadata().is_ok() => {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Err(_) => fs::rename(partial, target)?,
    }
    sync_folder(target)
}

/// A name beside `path` that says what the file is, hidden from whoever looks for backups.
fn beside(path: &Path, what: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{what}"))
}

/// The first free name for a store that makes room.
fn free_name(store: &Path) -> PathBuf {
    let mut number = 1;
    loop {
        let name = with_ending(store, &format!(".before-restore-{number}"));
        if !name.exists() {
            return name;
        }
        number += 1;
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match File::open(folder.unwrap_or(Path::new(".")))?.sync_all() {
        // A network file system that does not know how does it by itself, or never.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}
