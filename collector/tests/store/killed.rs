//! kill -9 at any moment, with real files: what was committed is there, whole, and nothing else.
//! The files are read by plain SQL, not by the store.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use pvewatch_collector::store::{Batch, NewRecord, NewTransition, Retention, Store, StreamRow};
use pvewatch_protocol::{Fingerprint, Sequence};
use tempfile::TempDir;

use crate::{at, event, node, stream};

/// Names the folder that a child of this test writes to.
const CHILD: &str = "PVEWATCH_TEST_STORE_OF_CHILD";

/// How often the child is killed, if not [`KILLS`].
const KILLS_VARIABLE: &str = "PVEWATCH_TEST_KILLS";

/// Enough to meet commits, deletions and checkpoints of the log; `tests/run` asks for thousands.
const KILLS: u32 = 40;

/// Writes batches for ever, and says after each what was committed.
fn write_until_killed(dir: &Path) -> ! {
    let mut store = Store::open(dir).unwrap();
    let mut through = store.streams().unwrap().first().map_or(0, |row| row.through.0);
    let retention = Retention { events_max: 3000, ..Retention::default() };
    let mut stdout = std::io::stdout();
    loop {
        let first = through + 1;
        through += 1 + through % 97;
        let second = i64::try_from(through).unwrap();
        let transition = NewTransition {
            at: at(second),
            fingerprint: Fingerprint::of([]),
            body: through.to_string(),
        };
        let batch = Batch {
            events: (first..=through).map(|n| event("pve1", n, second)).collect(),
            streams: vec![StreamRow {
                node: node("pve1"),
                stream: stream(),
                ordinal: 1,
                through: Sequence(through),
                known: Sequence(through),
            }],
            records: vec![NewRecord {
                kind: "node".into(),
                key: "pve1".into(),
                body: Some(through.to_string()),
            }],
            transitions: vec![transition],
            ..Batch::default()
        };
        store.commit(&batch).unwrap();
        writeln!(stdout, "committed {through}").unwrap();
        stdout.flush().unwrap();
        store.prune(&retention, at(second), Duration::ZERO).unwrap();
    }
}

/// What the files hold, by plain SQL: how far the stream is, after everything that must hold.
fn read_alone(dir: &Path) -> i64 {
    let connection = rusqlite::Connection::open(dir.join("collector.db")).unwrap();
    let text = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(text("PRAGMA integrity_check"), "ok");
    if number("SELECT count(*) FROM streams") == 0 {
        assert_eq!(number("SELECT count(*) FROM events"), 0);
        return 0;
    }
    let through = number("SELECT through FROM streams");
    assert_eq!(number("SELECT max(sequence) FROM events"), through);
    // Each once, without a hole, in the order of the log; the oldest may have been deleted.
    let span = "SELECT max(sequence) - min(sequence) + 1 FROM events";
    assert_eq!(number(span), number("SELECT count(DISTINCT sequence) FROM events"));
    assert_eq!(number(span), number("SELECT count(*) FROM events"));
    let disorder = "SELECT count(*) FROM events a JOIN events b ON b.id = a.id + 1 \
                    WHERE b.sequence != a.sequence + 1";
    assert_eq!(number(disorder), 0);
    // The parts of one batch are all there or none is.
    assert_eq!(text("SELECT body FROM records"), through.to_string());
    assert_eq!(text("SELECT body FROM transitions ORDER BY id DESC LIMIT 1"), through.to_string());
    through
}

#[test]
fn killed_at_any_moment_it_has_what_it_committed_whole() {
    if let Some(dir) = std::env::var_os(CHILD) {
        write_until_killed(Path::new(&dir));
    }
    let kills = std::env::var(KILLS_VARIABLE).ok().map_or(KILLS, |kills| kills.parse().unwrap());
    let dir = TempDir::new().unwrap();
    let mut seen = 0;
    for kill in 0..kills {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::killed_at_any_moment_it_has_what_it_committed_whole"])
            .args(["--nocapture", "--test-threads", "1"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let committed = lines.map_while(Result::ok).filter_map(|line| {
            line.strip_prefix("committed ").and_then(|number| number.parse::<i64>().ok())
        });
        // Killed after another number of commits each time, in the middle of whatever follows.
        let wanted = usize::try_from(kill.wrapping_mul(2_654_435_761) >> 28).unwrap() + 1;
        let told: Vec<i64> = committed.take(wanted).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        let told = told.last().copied().unwrap();
        let through = read_alone(dir.path());
        assert!(told > seen && through >= told, "{through} after {told} was committed");
        seen = through;
    }
    println!("killed {kills} times; {seen} events, each once, in order");
}
