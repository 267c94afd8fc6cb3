//! What was stored is there after a crash, and what is wrong with a file is named.

use std::path::Path;

use pvewatch_collector::store::{
    Batch, EventFilter, NewRecord, NewReject, NewSample, Store, StoreError, StreamRow,
};
use pvewatch_protocol::Sequence;
use tempfile::TempDir;

use crate::{at, count, event, events, node, stream, transition};

#[test]
fn a_batch_is_there_after_a_crash_and_the_epoch_stays() {
    let dir = TempDir::new().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    let epoch = store.epoch();
    let row = StreamRow {
        node: node("pve1"),
        stream: stream(),
        ordinal: 3,
        through: Sequence(2),
        known: Sequence(4),
    };
    let batch = Batch {
        streams: vec![row.clone()],
        records: vec![
            NewRecord { kind: "node".into(), key: "pve1".into(), body: Some("{}".into()) },
            NewRecord { kind: "unit".into(), key: "a".into(), body: Some("1".into()) },
        ],
        transitions: vec![transition(1)],
        outputs: vec![("mqtt-alerts".into(), 1)],
        samples: vec![NewSample { node: node("pve1"), received: at(1), body: "{}".into() }],
        ..events(2)
    };
    assert_eq!(store.commit(&batch).unwrap(), 1);
    let gone = NewRecord { kind: "unit".into(), key: "a".into(), body: None };
    store.commit(&Batch { records: vec![gone], ..Batch::default() }).unwrap();
    // What a killed process leaves behind: the files as they are now, with the log beside them.
    let copy = TempDir::new().unwrap();
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    assert!(copy.path().join("collector.db-wal").metadata().unwrap().len() > 0);
    let mut again = Store::open(copy.path()).unwrap();
    assert_eq!(again.epoch(), epoch);
    assert_eq!(again.streams().unwrap(), [row]);
    let records = again.records().unwrap();
    assert_eq!((records.len(), records[0].key.as_str()), (1, "pve1"));
    assert_eq!(again.outputs(&["mqtt-alerts", "mqtt-notices"]).unwrap(), [1, 0]);
    let reader = again.reader();
    assert_eq!(reader.transitions_after(0, 10).unwrap().len(), 1);
    assert_eq!(reader.samples(&node("pve1"), at(0), 10).unwrap().len(), 1);
    let found = reader.events(&EventFilter { limit: 10, ..EventFilter::default() }).unwrap();
    assert_eq!(found.iter().map(|event| event.sequence.0).collect::<Vec<_>>(), [2, 1]);
    assert_eq!((found[1].received, found[1].payload.len()), (at(1), 400));
}

#[test]
fn events_are_found_by_node_kind_and_page() {
    let dir = TempDir::new().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    store.commit(&events(10)).unwrap();
    let other = Batch { events: vec![event("alert", 1, 1)], ..Batch::default() };
    store.commit(&other).unwrap();
    let all = EventFilter::default;
    assert_eq!(count(&store, all()), 11);
    assert_eq!(count(&store, EventFilter { node: Some(node("alert")), ..all() }), 1);
    assert_eq!(count(&store, EventFilter { kind: Some("unit.changed".into()), ..all() }), 5);
    assert_eq!(count(&store, EventFilter { subject: Some("no".into()), ..all() }), 0);
    assert_eq!(count(&store, EventFilter { before: Some(4), ..all() }), 3);
}

#[test]
fn the_last_bad_messages_are_kept_for_a_look() {
    let dir = TempDir::new().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    for round in 0..3 {
        let rejects = (0..150)
            .map(|n| NewReject {
                received: at(n),
                topic: format!("topic/{round}/{n}"),
                reason: "not_json",
                detail: "payload is not JSON".into(),
                payload: vec![b'x'; 10_000].into(),
            })
            .collect();
        store.commit(&Batch { rejects, ..Batch::default() }).unwrap();
    }
    let kept = store.reader().rejects().unwrap();
    assert_eq!((kept.len(), kept[0].topic.as_str()), (200, "topic/2/149"));
    assert!(kept.iter().all(|reject| reject.payload.len() == 512));
}

#[test]
fn two_collectors_on_one_folder_are_a_clear_error() {
    let dir = TempDir::new().unwrap();
    let first = Store::open(dir.path()).unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }));
    assert!(error.to_string().contains("in use by another collector"), "{error}");
    drop(first);
    Store::open(dir.path()).unwrap();
}

#[test]
fn a_file_of_a_newer_version_or_of_something_else_is_left_alone() {
    let dir = TempDir::new().unwrap();
    drop(Store::open(dir.path()).unwrap());
    let path = dir.path().join("collector.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 999).unwrap();
    drop(connection);
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::NewerSchema { found: 999, .. }), "{error}");
    std::fs::write(&path, vec![b'x'; 8192]).unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("collector.db"), "{error}");
}

#[test]
fn a_folder_that_cannot_be_made_or_written_is_named() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Store::open(&file.join("data")).unwrap_err();
    assert!(matches!(error, StoreError::Folder { .. }), "{error}");
    assert!(error.to_string().contains("file/data"), "{error}");
    // The kernel's own read-only file system, which no user can write to.
    let error = Store::open(Path::new("/proc/sys")).unwrap_err();
    assert!(matches!(error, StoreError::NotWritable { .. }), "{error}");
    assert!(error.to_string().contains("chown"), "{error}");
}

/// How fast the store is here; a figure to read, not a bound.
#[test]
fn the_rate_of_inserts_is_printed() {
    let dir = TempDir::new().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    let batch = events(1000);
    #[expect(clippy::disallowed_methods, reason = "a figure is measured")]
    let begun = std::time::Instant::now();
    for _ in 0..20 {
        store.commit(&batch).unwrap();
    }
    let took = begun.elapsed();
    println!("20 commits of 1000 events: {took:?}, {:.0}/s", 20_000.0 / took.as_secs_f64());
    assert_eq!(count(&store, EventFilter::default()), 20_000);
}
