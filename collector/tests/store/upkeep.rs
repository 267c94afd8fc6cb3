//! The file does not grow for ever: what is too old, too many or too large goes, in small steps,
//! and no clock that jumps makes anything too old.

use std::time::Duration;

use jiff::Timestamp;
use pvewatch_collector::store::{
    BELIEVED_AFTER, Batch, EventFilter, NewSample, Pruned, Retention, Store,
};
use tempfile::TempDir;

use crate::{at, count, event, events, node, transition};

const DAY: i64 = 24 * 60 * 60;

fn prune_all(store: &mut Store, retention: &Retention, now: Timestamp) -> Vec<Pruned> {
    let mut steps = Vec::new();
    loop {
        let pruned = store.prune(retention, now, Duration::ZERO).unwrap();
        steps.push(pruned);
        if !pruned.more {
            return steps;
        }
    }
}

#[test]
fn what_is_too_old_or_too_many_goes_in_small_steps() {
    let dir = TempDir::new().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    store.commit(&events(5000)).unwrap();
    let retention = Retention {
        events_max: 4500,
        events_age_max: Duration::from_secs(3000),
        ..Retention::default()
    };
    let steps: Vec<usize> =
        prune_all(&mut store, &retention, at(5001)).iter().map(|step| step.events).collect();
    assert_eq!(steps, [2000, 0], "events of seconds 1 to 2000 are older than 3000 s at 5001 s");
    let few = Retention { events_max: 10, ..Retention::default() };
    prune_all(&mut store, &few, at(5001));
    assert_eq!(count(&store, EventFilter::default()), 10);
}

#[test]
fn a_clock_that_jumps_ahead_deletes_nothing_until_it_has_stood_by_it() {
    let dir = TempDir::new().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    store.commit(&events(100)).unwrap();
    let retention = Retention::default();
    store.prune(&retention, at(100), Duration::from_secs(1)).unwrap();
    let later = at(400 * DAY);
    let pruned = store.prune(&retention, later, Duration::from_secs(1)).unwrap();
    assert!(pruned.clock_doubt.is_some());
    // Started again with the wrong clock, which is no proof of it.
    drop(store);
    let mut store = Store::open(dir.path()).unwrap();
    for now in [later, Timestamp::MAX, Timestamp::MIN, later] {
        assert_eq!(store.prune(&retention, now, Duration::ZERO).unwrap().events, 0, "{now}");
    }
    assert_eq!(count(&store, EventFilter::default()), 100);
    // It was right: the collector had been switched off for a year.
    let stood_by_it = later + BELIEVED_AFTER;
    assert_eq!(store.prune(&retention, stood_by_it, BELIEVED_AFTER).unwrap().events, 100);
    let pruned = store.prune(&retention, stood_by_it, Duration::from_secs(1)).unwrap();
    assert_eq!(pruned.clock_doubt, None);
}

#[test]
fn an_old_file_without_a_steady_time_begins_at_its_newest_row() {
    let dir = TempDir::new().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    store.commit(&events(100)).unwrap();
    drop(store);
    let mut store = Store::open(dir.path()).unwrap();
    let pruned = store.prune(&Retention::default(), at(400 * DAY), Duration::ZERO).unwrap();
    assert!(pruned.events == 0 && pruned.clock_doubt.is_some());
}

#[test]
fn an_older_file_is_written_anew_so_that_it_can_shrink() {
    let dir = TempDir::new().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    store.commit(&events(10)).unwrap();
    drop(store);
    let path = dir.path().join("collector.db");
    let auto_vacuum = || {
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.pragma_query_value(None, "auto_vacuum", |row| row.get::<_, i64>(0)).unwrap()
    };
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch("PRAGMA auto_vacuum = none; VACUUM").unwrap();
    drop(connection);
    assert_eq!(auto_vacuum(), 0);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(count(&store, EventFilter::default()), 10);
    drop(store);
    assert_eq!(auto_vacuum(), 2);
}

fn samples(from: i64, count: i64) -> Vec<NewSample> {
    let body = "s".repeat(700);
    let sample =
        |second| NewSample { node: node("pve1"), received: at(second), body: body.clone() };
    (from..from + count).map(sample).collect()
}

/// Writes for a long time and looks at the files as the file system has them.
#[test]
fn the_size_of_the_file_levels_off() {
    const MIB: u64 = 1 << 20;
    let dir = TempDir::new().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    let retention = Retention { size_max: 8 * MIB, ..Retention::default() };
    let len = |name: &str| dir.path().join(name).metadata().unwrap().len();
    let (mut file_max, mut wal_max, mut written) = (0, 0, 0);
    for round in 0..100_i64 {
        let first = round * 1000;
        let events = (first..first + 1000)
            .map(|second| event("pve1", u64::try_from(second + 1).unwrap(), second))
            .collect();
        let batch = Batch { events, samples: samples(first, 200), ..Batch::default() };
        written += 1000 * 400 + 200 * 700;
        store.commit(&batch).unwrap();
        prune_all(&mut store, &retention, at(first + 1000));
        file_max = file_max.max(len("collector.db"));
        wal_max = wal_max.max(len("collector.db-wal"));
    }
    let size = store.size().unwrap();
    println!(
        "written {} MiB, file at most {} KiB, log at most {} KiB, in use {} KiB",
        written / MIB,
        file_max / 1024,
        wal_max / 1024,
        size.used / 1024
    );
    assert!(written > 6 * retention.size_max, "much more was written than may stay");
    assert!(size.used <= retention.size_max && file_max < 2 * retention.size_max, "{size:?}");
    assert!(wal_max <= 64 * MIB);
    assert!(count(&store, EventFilter::default()) >= 1000, "the newest stay");
    assert_eq!(store.reader().samples(&node("pve1"), at(99_000), 200).unwrap().len(), 200);

    // Less may be kept from now on: the file follows.
    let less = Retention { events_max: 1000, samples_max: 1000, ..retention };
    prune_all(&mut store, &less, at(100_000));
    drop(store);
    assert!(len("collector.db") < 6 * MIB, "{} KiB", len("collector.db") / 1024);
}

#[test]
fn samples_make_room_before_events_that_have_their_time_before_them() {
    let dir = TempDir::new().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    // Five days old: little for events, which have 90, much for samples, which have 7.
    let batch = Batch { samples: samples(1, 5000), ..events(5000) };
    store.commit(&batch).unwrap();
    let retention = Retention { size_max: 1, ..Retention::default() };
    let step = store.prune(&retention, at(5 * DAY), Duration::from_secs(5 * 86_400)).unwrap();
    assert_eq!((step.events, step.samples), (0, 2000));
    // However small the bound is, the newest of both stay.
    prune_all(&mut store, &retention, at(5 * DAY));
    assert_eq!(count(&store, EventFilter::default()), 1000);
    assert_eq!(store.reader().samples(&node("pve1"), at(0), 9999).unwrap().len(), 1000);
}

#[test]
fn transitions_wait_for_their_output_however_old_they_are() {
    let dir = TempDir::new().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    store.outputs(&["slow"]).unwrap();
    let outputs = |through| vec![("slow".into(), through)];
    let transitions = (1..=5).map(transition).collect();
    store.commit(&Batch { transitions, ..Batch::default() }).unwrap();
    let retention = Retention { events_age_max: Duration::from_secs(3600), ..Retention::default() };
    let left = |store: &mut Store, outputs| {
        store.commit(&Batch { outputs, ..Batch::default() }).unwrap();
        let pruned = store.prune(&retention, at(9000), Duration::from_secs(9000)).unwrap();
        assert_eq!(pruned.transitions_untold, 0);
        store.reader().transitions_after(0, 10).unwrap().len()
    };
    assert_eq!(left(&mut store, vec![]), 5, "no output has ever taken one");
    assert_eq!(left(&mut store, outputs(3)), 2);
    assert_eq!(left(&mut store, vec![("other".into(), 4)]), 2, "the slowest decides");
    assert_eq!(left(&mut store, outputs(5)), 1);
}

#[test]
fn a_new_output_does_not_tell_the_past_and_one_that_is_gone_keeps_nothing() {
    let dir = TempDir::new().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    assert_eq!(store.outputs(&["first"]).unwrap(), [0]);
    let transitions = vec![transition(1), transition(1)];
    store.commit(&Batch { transitions, ..Batch::default() }).unwrap();
    assert_eq!(store.newest_transition().unwrap(), 2);
    assert_eq!(store.outputs(&["first", "second"]).unwrap(), [0, 2]);
    let retention = Retention { events_age_max: Duration::from_secs(60), ..Retention::default() };
    let left = |store: &mut Store| {
        store.prune(&retention, at(9000), Duration::from_secs(9000)).unwrap();
        store.reader().transitions_after(0, 10).unwrap().len()
    };
    assert_eq!(left(&mut store), 2, "the first has taken none");
    assert_eq!(store.outputs(&["second"]).unwrap(), [2]);
    assert_eq!(left(&mut store), 0);
    assert_eq!(store.newest_transition().unwrap(), 2, "numbers are not used twice");
}

#[test]
fn an_output_that_is_away_for_too_long_loses_the_oldest_and_it_is_counted() {
    let dir = TempDir::new().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    let many = std::iter::repeat_n(transition(1), 101_500).collect();
    store.outputs(&["slow"]).unwrap();
    let outputs = vec![("slow".into(), 500)];
    store.commit(&Batch { transitions: many, outputs, ..Batch::default() }).unwrap();
    let steps = prune_all(&mut store, &Retention::default(), at(2));
    let untold: usize = steps.iter().map(|step| step.transitions_untold).sum();
    let deleted: usize = steps.iter().map(|step| step.transitions).sum();
    assert_eq!((deleted, untold), (1500, 1000));
}
