//! A backup is the store at one moment, taken while it is written, and a store is made from it.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};

use pvewatch_collector::store::{
    BackupError, Batch, EventFilter, NewRecord, Store, StoreError, StreamRow, backup, restore,
};
use pvewatch_protocol::Sequence;
use tempfile::TempDir;

use crate::{count, event, events, node, stream};

/// A batch whose parts contradict each other if only some of them are there.
fn step(sequence: u64) -> Batch {
    Batch {
        events: vec![event("pve1", sequence, 1)],
        streams: vec![StreamRow {
            node: node("pve1"),
            stream: stream(),
            ordinal: 1,
            through: Sequence(sequence),
            known: Sequence(sequence),
        }],
        records: vec![NewRecord {
            kind: "node".into(),
            key: "pve1".into(),
            body: Some(sequence.to_string()),
        }],
        ..Batch::default()
    }
}

#[test]
fn a_backup_taken_while_the_store_is_written_is_the_store_at_one_moment() {
    let (dir, copies) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut store = Store::open(dir.path()).unwrap();
    let first = store.epoch();
    for sequence in 1..=500 {
        store.commit(&step(sequence)).unwrap();
    }
    let done = AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut sequence = 500;
            while !done.load(Ordering::Relaxed) {
                sequence += 1;
                store.commit(&step(sequence)).unwrap();
            }
            sequence
        });
        for number in 0..5 {
            backup(dir.path(), &copies.path().join(format!("{number}.db"))).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    assert!(written > 500);
    drop(store);
    let mut newest = 0;
    for number in 0..5 {
        let file = copies.path().join(format!("{number}.db"));
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let data = TempDir::new().unwrap();
        assert_eq!(restore(data.path(), &file).unwrap(), None);
        let copy = Store::open(data.path()).unwrap();
        let through = copy.streams().unwrap()[0].through.0;
        assert_eq!(count(&copy, EventFilter::default()) as u64, through);
        assert_eq!(copy.records().unwrap()[0].body, through.to_string());
        assert_ne!(copy.epoch(), first, "another store speaks");
        assert!((newest..=written).contains(&through) && through >= 500);
        newest = through;
    }
    let names: Vec<_> = std::fs::read_dir(copies.path()).unwrap().flatten().collect();
    assert_eq!(names.len(), 5, "nothing is left beside them: {names:?}");
}

#[test]
fn a_backup_takes_no_files_place_and_what_is_wrong_is_named() {
    let (dir, copies) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let target = copies.path().join("a.db");
    let error = backup(dir.path(), &target).unwrap_err();
    assert!(matches!(error, BackupError::NoStore(_)), "{error}");
    drop(Store::open(dir.path()).unwrap());
    std::fs::write(&target, "precious").unwrap();
    let error = backup(dir.path(), &target).unwrap_err();
    assert!(matches!(error, BackupError::Exists(_)), "{error}");
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "precious");
    let nowhere = copies.path().join("missing/a.db");
    let error = backup(dir.path(), &nowhere).unwrap_err().to_string();
    assert!(error.contains("missing/") && error.contains("permissions"), "{error}");
}

#[test]
fn restoring_keeps_the_store_that_was_there_with_its_log() {
    let (dir, copies) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = copies.path().join("a.db");
    let mut store = Store::open(dir.path()).unwrap();
    store.commit(&step(1)).unwrap();
    backup(dir.path(), &file).unwrap();
    store.commit(&step(2)).unwrap();
    let error = restore(dir.path(), &file).unwrap_err();
    assert!(matches!(error, BackupError::Store(StoreError::InUse { .. })), "{error}");
    // As a killed process leaves it: the newest batch is in the log alone.
    let killed = TempDir::new().unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap().flatten() {
        std::fs::copy(entry.path(), killed.path().join(entry.file_name())).unwrap();
    }
    let before = restore(killed.path(), &file).unwrap().unwrap();
    let log = before.with_file_name("collector.db.before-restore-1-wal");
    assert!(!log.exists(), "the file alone is the whole store, whenever the restore is killed");
    let restored = Store::open(killed.path()).unwrap();
    assert_eq!(restored.streams().unwrap()[0].through, Sequence(1));
    drop(restored);
    let again = restore(killed.path(), &before).unwrap().unwrap();
    assert_ne!(again, before);
    let first = Store::open(killed.path()).unwrap();
    assert_eq!(first.streams().unwrap()[0].through, Sequence(2), "nothing of it was lost");
}

/// Restoring is root's work, collecting is not.
#[test]
fn what_root_restores_belongs_to_whom_the_folder_belongs() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (dir, copies) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = copies.path().join("a.db");
    drop(Store::open(copies.path()).unwrap());
    backup(copies.path(), &file).unwrap();
    std::os::unix::fs::chown(dir.path(), Some(12345), Some(12345)).unwrap();
    restore(dir.path(), &file).unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap().flatten() {
        let owner = std::os::unix::fs::MetadataExt::uid(&entry.metadata().unwrap());
        assert_eq!(owner, 12345, "{}", entry.path().display());
    }
}

#[test]
fn what_is_no_whole_store_is_not_restored() {
    let (dir, copies) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut store = Store::open(dir.path()).unwrap();
    store.commit(&events(1000)).unwrap();
    let file = copies.path().join("a.db");
    backup(dir.path(), &file).unwrap();
    drop(store);
    let whole = std::fs::read(&file).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2..whole.len() / 2 + 20_000].fill(0x5a);
    let cases = [
        ("text.db", b"not a database at all, but long enough to be one".to_vec()),
        ("cut.db", whole[..whole.len() / 2].to_vec()),
        ("damaged.db", damaged),
        ("empty.db", Vec::new()),
    ];
    for (name, bytes) in cases {
        let path = copies.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = restore(dir.path(), &path).unwrap_err().to_string();
        assert!(error.contains(name), "{name}: {error}");
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(count(&store, EventFilter::default()), 1000, "{name}");
    }
    let error = restore(dir.path(), &copies.path().join("none.db")).unwrap_err();
    assert!(matches!(error, BackupError::NoBackup(_)), "{error}");
    let newer = rusqlite::Connection::open(&file).unwrap();
    newer.pragma_update(None, "user_version", 999).unwrap();
    drop(newer);
    let error = restore(dir.path(), &file).unwrap_err();
    assert!(matches!(error, BackupError::Store(StoreError::NewerSchema { .. })), "{error}");
}

#[test]
fn the_history_of_a_copy_of_a_copy_began_with_the_first_store() {
    let (dir, copies) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = Store::open(dir.path()).unwrap();
    let first = store.epoch();
    assert_eq!(store.first_epoch().unwrap(), first);
    drop(store);
    for number in 0..2 {
        let file = copies.path().join(format!("{number}.db"));
        backup(dir.path(), &file).unwrap();
        restore(dir.path(), &file).unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert_ne!(store.epoch(), first);
        assert_eq!(store.first_epoch().unwrap(), first);
    }
}
