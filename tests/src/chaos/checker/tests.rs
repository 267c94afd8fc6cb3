//! Doctored stores and spools, and what the judge says of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rusqlite::{Connection, params};
use uuid::Uuid;

use super::spool::Committed;
use super::spool::tests::record;
use super::store::Store;
use super::told::Told;
use super::{Findings, Judge};

const NODE: &str = "pve1";
const STREAM: &str = "01983a5e-7c1d-7f3a-9b42-5d0c6e8f1a2b";

/// An event as it is published: a change at that microsecond, unless it is a declaration.
fn payload(at: u64, from: Option<u64>) -> String {
    match from {
        Some(from) => format!(r#"{{"data":{{"from":"{from:020}","reason":"full"}}}}"#),
        None => {
            format!(r#"{{"time":"1970-01-01T00:00:00.{at:06}Z","data":{{"change":"failed"}}}}"#)
        }
    }
}

/// A row of the store: its number, the change that it is about, and what it declares as gone.
type Stored = (u64, u64, Option<u64>);

fn good(sequences: impl IntoIterator<Item = u64>) -> Vec<Stored> {
    sequences.into_iter().map(|sequence| (sequence, sequence, None)).collect()
}

/// Events 1 to 6 were told and committed; the store has these rows.
fn judged(stored: &[Stored]) -> Findings {
    let folder = tempfile::tempdir().unwrap();
    let mut segment =
        record(1, 1, "", &format!(r#"{{"version":1,"site":"home","stream":"{STREAM}"}}"#));
    for sequence in 1..=6 {
        segment.extend(record(2, sequence, "unit.changed", &payload(sequence, None)));
    }
    fs::write(folder.path().join("00000000000000000001.segment"), segment).unwrap();
    let mut committed = Committed::default();
    committed.read_folder(folder.path()).unwrap();

    let told: String = (1..=6).map(|at| Told::line(at, true)).collect();
    let told_file = folder.path().join("told");
    fs::write(&told_file, told).unwrap();
    write_store(folder.path(), stored);
    let mut judge = Judge::new(BTreeMap::from([(NODE.into(), Told::read(&told_file).unwrap())]));
    Store::open(folder.path()).unwrap().each(|row| judge.take(&row)).unwrap();
    judge.judge(&BTreeMap::from([(NODE.into(), committed)]))
}

fn write_store(folder: &Path, stored: &[Stored]) {
    let database = Connection::open(folder.join("collector.db")).unwrap();
    database
        .execute_batch(
            "CREATE TABLE events (id INTEGER PRIMARY KEY, node TEXT, stream BLOB, \
             sequence INTEGER, kind TEXT, payload BLOB)",
        )
        .unwrap();
    let stream: Uuid = STREAM.parse().unwrap();
    for (sequence, at, from) in stored {
        let kind = if from.is_some() { "outbox.dropped" } else { "unit.changed" };
        let payload = payload(*at, *from);
        let values = params![NODE, stream.as_bytes(), *sequence as i64, kind, payload.as_bytes()];
        let insert = "INSERT INTO events (node, stream, sequence, kind, payload) \
                      VALUES (?1, ?2, ?3, ?4, ?5)";
        database.execute(insert, values).unwrap();
    }
}

#[test]
fn what_is_declared_needs_something_that_can_have_cost_it() {
    let mut stored = good([1, 2, 5, 6]);
    stored.insert(2, (4, 4, Some(3)));
    let findings = judged(&stored);
    assert_eq!(findings.declared_by, BTreeMap::from([(NODE.to_owned(), 1)]));
    assert_eq!(findings.unexplained(&[NODE.to_owned()].into()), 0);
    assert_eq!(findings.unexplained(&["another".to_owned()].into()), 1);
}

/// Lost, twice, out of order, altered.
fn faults(findings: &Findings) -> [u64; 4] {
    [findings.lost, findings.twice, findings.out_of_order, findings.altered]
}

#[test]
fn a_kept_promise_is_said_to_be_kept() {
    let findings = judged(&good(1..=6));
    assert!(findings.is_kept() && findings.examples.is_empty(), "{findings:?}");
    assert_eq!((findings.committed, findings.applied, findings.streams), (6, 6, 1));
    assert_eq!((findings.from_memory, findings.given_up), (0, 0));
}

#[test]
fn whatever_is_broken_is_found() {
    for (what, stored, expected) in [
        ("one is missing", good([1, 2, 4, 5, 6]), [1, 0, 0, 0]),
        ("the last ones are missing", good([1, 2, 3]), [3, 0, 0, 0]),
        ("everything is missing", good([]), [6, 0, 0, 0]),
        ("a later one is there, never committed", good([1, 2, 3, 4, 5, 6, 8]), [1, 0, 0, 1]),
        ("two changed places", good([1, 2, 4, 3, 5, 6]), [0, 0, 2, 0]),
        ("one is there twice at once", good([1, 2, 2, 3, 4, 5, 6]), [0, 1, 1, 0]),
        ("one comes again", good([1, 2, 3, 4, 5, 6, 2]), [0, 1, 1, 0]),
        (
            "one says what nobody told",
            [good([1, 2]), vec![(3, 77, None)], good([4, 5, 6])].concat(),
            [0, 0, 1, 2],
        ),
    ] {
        let findings = judged(&stored);
        assert_eq!(faults(&findings), expected, "{what}: {findings:?}");
        assert!(!findings.is_kept() && !findings.examples.is_empty(), "{what}: {findings:?}");
    }
}

#[test]
fn a_declared_range_is_no_loss_but_only_as_far_as_it_goes() {
    let declared = |from, through, rest: &[u64]| {
        [vec![(through, 0, Some(from))], good(rest.iter().copied())].concat()
    };
    for (what, stored, lost, in_range) in [
        ("the first four", declared(1, 4, &[5, 6]), 0, 3),
        ("all", declared(1, 6, &[]), 0, 5),
        ("one fewer than are gone", declared(2, 4, &[5, 6]), 1, 2),
        ("and one after it is missing", declared(1, 4, &[6]), 1, 3),
    ] {
        let findings = judged(&stored);
        assert_eq!((findings.lost, findings.declared), (lost, in_range), "{what}: {findings:?}");
        assert_eq!((findings.ranges_declared, findings.given_up), (1, in_range), "{what}");
        assert_eq!(findings.is_kept(), lost == 0, "{what}: {findings:?}");
    }
    let late = [good(1..=4), vec![(6, 0, Some(2))]].concat();
    let findings = judged(&late);
    assert!(findings.is_kept(), "applied before it was declared is not twice: {findings:?}");
}
