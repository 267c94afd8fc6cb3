//! The spool on real files: what survives a restart, a torn end, damage, and a second agent.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up should fail at that place")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use pvewatch_agent::outbox::spool::{
    Files, Finding, Limits, OpenError, Opened, Owner, Read, Spool, Stored, Why,
};
use pvewatch_protocol::{Sequence, Site, StreamId};
use uuid::Uuid;

const LIMITS: Limits = Limits { bytes_max: 1024 * 1024, events_max: 10_000 };

#[expect(clippy::disallowed_methods, reason = "an Instant cannot be made otherwise")]
fn now() -> Instant {
    Instant::now()
}

fn stream(number: u128) -> StreamId {
    StreamId(Uuid::from_u128(number))
}

fn owner(node: &str) -> Owner {
    Owner { site: Site::default(), node: node.parse().unwrap() }
}

fn open(folder: &Path, id: StreamId) -> (Spool, Opened) {
    let files = Files::open(folder).unwrap();
    Spool::open(Box::new(files), owner("pve1"), LIMITS, id, now())
}

fn event(sequence: u64) -> Stored {
    let payload = format!("event {sequence}").into_bytes().into();
    Stored { sequence: Sequence(sequence), at_ms: 5, kind: "unit.changed".to_owned(), payload }
}

/// A spool that was killed with these events in it.
fn left_behind(folder: &Path, count: u64) {
    let (mut spool, _) = open(folder, stream(1));
    for sequence in 1..=count {
        assert_eq!(spool.append(now(), event(sequence)), []);
    }
}

fn segment(folder: &Path) -> PathBuf {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.into_iter().find(|path| path.extension().is_some_and(|it| it == "segment")).unwrap()
}

fn sequences(spool: &mut Spool, last: u64) -> Vec<u64> {
    let held = |sequence: &u64| {
        matches!(spool.read(now(), stream(1), Sequence(*sequence)), Read::Event(_))
    };
    (1..=last).filter(held).collect()
}

#[test]
fn what_was_put_in_is_there_after_a_restart_behind_nothing() {
    let folder = tempfile::tempdir().unwrap();
    left_behind(folder.path(), 3);
    let (mut spool, opened) = open(folder.path(), stream(2));
    assert_eq!(opened.streams, [(stream(1), Sequence(3))]);
    assert_eq!(opened.findings, []);
    assert_eq!(spool.read(now(), stream(1), Sequence(2)), Read::Event(event(2)));
    spool.append(now(), event(1));
    assert_eq!(spool.read(now(), stream(2), Sequence(1)), Read::Event(event(1)));
}

#[test]
fn an_event_leaves_memory_when_it_is_durable_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(folder.path(), stream(1));
    spool.append(now(), event(1));
    let (ticket, job) = spool.begin_sync(now()).unwrap();
    assert!(!spool.is_durable());
    spool.on_synced(now(), &ticket, job());
    assert!(spool.is_durable());
    assert!(spool.begin_sync(now()).is_none());
    assert_eq!(spool.read(now(), stream(1), Sequence(1)), Read::Event(event(1)));
}

#[test]
fn a_torn_end_is_cut_off_and_what_is_before_it_used() {
    let folder = tempfile::tempdir().unwrap();
    left_behind(folder.path(), 3);
    let path = segment(folder.path());
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 4]).unwrap();
    let (mut spool, opened) = open(folder.path(), stream(2));
    assert!(matches!(opened.findings[..], [Finding::Torn(_)]), "{:?}", opened.findings);
    assert_eq!(sequences(&mut spool, 3), [1, 2]);
}

#[test]
fn a_damaged_event_is_told_as_gone_and_its_segment_is_kept_aside() {
    let folder = tempfile::tempdir().unwrap();
    left_behind(folder.path(), 3);
    let path = segment(folder.path());
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(7).position(|bytes| bytes == b"event 2").unwrap();
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    let (mut spool, opened) = open(folder.path(), stream(2));
    assert!(matches!(opened.findings[..], [Finding::Damaged(_)]), "{:?}", opened.findings);
    assert_eq!(sequences(&mut spool, 3), [1, 3]);
    let gone = spool.read(now(), stream(1), Sequence(2));
    assert_eq!(gone, Read::Gone { through: Sequence(2), why: Why::Damaged });
    assert!(path.with_extension("damaged").exists());
}

#[test]
fn damage_to_the_last_event_that_was_durable_is_no_torn_end() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(folder.path(), stream(1));
    (1..=3).for_each(|sequence| drop(spool.append(now(), event(sequence))));
    let (ticket, job) = spool.begin_sync(now()).unwrap();
    spool.on_synced(now(), &ticket, job());
    drop(spool);
    let path = segment(folder.path());
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, &bytes).unwrap();

    let (mut spool, opened) = open(folder.path(), stream(2));
    assert!(matches!(opened.findings[..], [Finding::Damaged(_)]), "{:?}", opened.findings);
    assert_eq!(opened.streams, [(stream(1), Sequence(3))]);
    assert_eq!(sequences(&mut spool, 3), [1, 2]);
    let gone = spool.read(now(), stream(1), Sequence(3));
    assert_eq!(gone, Read::Gone { through: Sequence(3), why: Why::Damaged });
    assert_eq!(fs::read(path.with_extension("damaged")).unwrap(), bytes);
}

#[test]
fn a_bound_lets_the_oldest_go_and_says_which() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::open(folder.path()).unwrap();
    let limits = Limits { events_max: 40, ..LIMITS };
    let (mut spool, _) = Spool::open(Box::new(files), owner("pve1"), limits, stream(1), now());
    let dropped: Vec<_> =
        (1..=50).flat_map(|sequence| spool.append(now(), event(sequence))).collect();
    let last = dropped.last().unwrap().through;
    assert!(spool.held_events() <= 40);
    assert_eq!(dropped[0].from, Sequence(1));
    assert_eq!(spool.first_of(stream(1)), last.next());
    assert_eq!(
        spool.read(now(), stream(1), Sequence(1)),
        Read::Gone { through: last, why: Why::Full }
    );
}

#[test]
fn what_another_node_left_is_not_sent_as_this_ones() {
    let folder = tempfile::tempdir().unwrap();
    left_behind(folder.path(), 1);
    let files = Files::open(folder.path()).unwrap();
    let (_, opened) = Spool::open(Box::new(files), owner("pve2"), LIMITS, stream(2), now());
    assert_eq!(opened.streams, []);
    let [Finding::Damaged(text)] = &opened.findings[..] else { panic!("{:?}", opened.findings) };
    assert!(text.contains("belongs to node pve1"), "{text}");
}

#[test]
fn two_agents_cannot_have_one_spool_and_an_unusable_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Files::open(folder.path()).unwrap();
    let second = Files::open(folder.path()).unwrap_err();
    assert!(matches!(second, OpenError::InUse { .. }), "{second}");

    let file = folder.path().join("a file");
    fs::write(&file, "").unwrap();
    let error = Files::open(&file).unwrap_err().to_string();
    assert!(error.contains("a file") && error.contains("[outbox] directory"), "{error}");
}

#[test]
fn a_segment_whose_file_cannot_be_read_is_set_aside_and_does_not_block_the_next() {
    let folder = tempfile::tempdir().unwrap();
    left_behind(folder.path(), 3);
    let (mut spool, _) = open(folder.path(), stream(2));
    // Root reads whatever its rights are; nobody reads a folder.
    let path = segment(folder.path());
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let mut at = now();
    while spool.read(at, stream(1), Sequence(1)) == Read::Later {
        at = spool.next_deadline().unwrap();
    }
    let Read::Gone { why, .. } = spool.read(at, stream(1), Sequence(1)) else { panic!("held") };
    assert!(matches!(&why, Why::Unreadable(error) if error.contains("directory")), "{why:?}");
    let waited = at.duration_since(now());
    assert!((50..70).contains(&waited.as_secs()), "{waited:?}");
    assert!(!spool.holds(stream(1)));
}

#[test]
fn a_folder_that_cannot_be_used_at_the_start_is_used_when_it_can_be() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("spool");
    left_behind(&place, 3);
    let away = folder.path().join("away");
    fs::rename(&place, &away).unwrap();
    fs::write(&place, "").unwrap();

    let files = Box::new(Files::at(&place));
    let (mut spool, opened) = Spool::open(files, owner("pve1"), LIMITS, stream(2), now());
    assert_eq!(opened, Opened::default());
    spool.append(now(), event(1));
    let trouble = spool.trouble().unwrap().to_owned();
    for part in [place.to_str().unwrap(), "kept in memory", "set [outbox] directory"] {
        assert!(trouble.contains(part), "{part:?} is not in: {trouble}");
    }
    spool.on_deadline(spool.next_deadline().unwrap());
    assert_eq!(spool.take_opened(), None);

    fs::remove_file(&place).unwrap();
    fs::rename(&away, &place).unwrap();
    let at = spool.next_deadline().unwrap();
    spool.on_deadline(at);
    let opened = spool.take_opened().unwrap();
    assert_eq!(opened.streams, [(stream(1), Sequence(3))]);
    assert_eq!(spool.unsaved_events(), 1, "it is written when its reader knows of the others");
    spool.on_deadline(spool.next_deadline().unwrap());
    assert_eq!(spool.unsaved_events(), 0);
    let (ticket, job) = spool.begin_sync(at).unwrap();
    spool.on_synced(at, &ticket, job());
    assert_eq!(spool.trouble(), None);
    drop(spool);
    let (_, opened) = open(&place, stream(3));
    assert_eq!(opened.streams, [(stream(1), Sequence(3)), (stream(2), Sequence(1))]);
}
