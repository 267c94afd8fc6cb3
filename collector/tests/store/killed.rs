//! kill -9 at any moment, with real files: what was committed is there, whole, and nothing else.
//! The files are read by plain SQL, not by the store.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use pvewatch_collector::store::{Batch, NewRecord, Retention, Store, StreamRow};
use pvewatch_protocol::Sequence;
use rusqlite::config::DbConfig;
use tempfile::TempDir;

use crate::{at, event, node, stream, transition};

/// Names the folder that a child of this test writes to.
const CHILD: &str = "PVEWATCH_TEST_STORE_OF_CHILD";

/// Whether the child writes much and deletes it again.
const IN_BULK: &str = "PVEWATCH_TEST_STORE_IN_BULK";

/// How often the child is killed, if not [`KILLS`].
const KILLS_VARIABLE: &str = "PVEWATCH_TEST_KILLS";

/// Enough to meet commits and deletions; `tests/run` asks for thousands, which meet all there is.
const KILLS: u32 = 40;

/// From so many kills on each kind of work must have been met.
const ALL_MET_FROM: u32 = 1_000;

/// Every so many kills meet a child that works in bulk: only that brings checkpoints of the log
/// and free pages that are given back.
const BULK_EVERY: u32 = 20;

/// Events of a batch in bulk, and batches before they are deleted again.
const BULK: (u64, u32) = (1_500, 12);

/// Free pages that the store keeps: it gives back what is beyond them.
const FREE_PAGES_KEPT: i64 = 1_024;

/// Writes batches for ever, and says before each step what it is, and after each commit how far
/// it is.
fn write_until_killed(dir: &Path) -> ! {
    let mut store = Store::open(dir).unwrap();
    let beside = rusqlite::Connection::open(dir.join("collector.db")).unwrap();
    let in_bulk = std::env::var_os(IN_BULK).is_some();
    let mut through = store.streams().unwrap().first().map_or(0, |row| row.through.0);
    let retention = Retention { events_max: 3000, ..Retention::default() };
    let mut stdout = std::io::stdout();
    let mut say = |what: &str| {
        writeln!(stdout, "{what}").unwrap();
        stdout.flush().unwrap();
    };
    for number in 1_u32.. {
        let first = through + 1;
        through += if in_bulk { BULK.0 } else { 1 + through % 97 };
        let second = i64::try_from(through).unwrap();
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
            transitions: vec![transition(second)],
            ..Batch::default()
        };
        say("commit");
        store.commit(&batch).unwrap();
        say(&format!("committed {through}"));
        if in_bulk && !number.is_multiple_of(BULK.1) {
            continue;
        }
        loop {
            let free = "PRAGMA freelist_count";
            let free: i64 = beside.query_row(free, [], |row| row.get(0)).unwrap();
            say(if free > FREE_PAGES_KEPT { "vacuum" } else { "prune" });
            if !store.prune(&retention, at(second), Duration::ZERO).unwrap().more {
                break;
            }
        }
    }
    unreachable!("it is killed before")
}

/// What the files hold, by plain SQL: how far the stream is, after everything that must hold.
fn read_alone(dir: &Path) -> i64 {
    let connection = rusqlite::Connection::open(dir.join("collector.db")).unwrap();
    // What is in the log stays there: the next child goes on with it, and checkpoints it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
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
    let newest = "SELECT at FROM transitions ORDER BY id DESC LIMIT 1";
    assert_eq!(number(newest), at(through).as_microsecond());
    through
}

/// Whether the log was just being copied into the file: by the index of the log, which holds how
/// far that has come (at 96) and how far it was to come (at 128). Kills leave it as it was.
fn was_in_checkpoint(dir: &Path) -> bool {
    let Ok(index) = std::fs::File::open(dir.join("collector.db-shm")) else { return false };
    let number = |offset: u64| {
        let mut bytes = [0; 4];
        index.read_exact_at(&mut bytes, offset).map_or(0, |()| u32::from_ne_bytes(bytes))
    };
    number(128) > number(96)
}

#[test]
fn killed_at_any_moment_it_has_what_it_committed_whole() {
    if let Some(dir) = std::env::var_os(CHILD) {
        write_until_killed(Path::new(&dir));
    }
    let kills = std::env::var(KILLS_VARIABLE).ok().map_or(KILLS, |kills| kills.parse().unwrap());
    let dir = TempDir::new().unwrap();
    let mut seen = 0;
    let mut met: BTreeMap<&str, u32> = BTreeMap::new();
    for kill in 0..kills {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "killed::killed_at_any_moment_it_has_what_it_committed_whole"])
            .args(["--nocapture", "--test-threads", "1"])
            .env(CHILD, dir.path())
            .stdout(Stdio::piped());
        let in_bulk = kill % BULK_EVERY == BULK_EVERY - 1;
        if in_bulk {
            command.env(IN_BULK, "1");
        }
        let mut child = command.spawn().unwrap();
        // Killed after another number of steps each time, somewhere in what follows.
        let chance = kill.wrapping_mul(2_654_435_761);
        let wanted = usize::try_from(chance >> if in_bulk { 26 } else { 28 }).unwrap() + 2;
        let pause = Duration::from_micros(u64::from(chance % 4_096));
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        while said.lines().filter(|line| step(line).is_some()).count() < wanted {
            assert!(output.read_line(&mut said).unwrap() > 0, "the child ended: {said}");
        }
        std::thread::sleep(pause);
        child.kill().unwrap();
        child.wait().unwrap();
        output.read_to_string(&mut said).unwrap();
        // The last line can be cut off.
        let whole = &said[..=said.rfind('\n').unwrap()];
        let in_what = if was_in_checkpoint(dir.path()) {
            "in a checkpoint"
        } else {
            whole.lines().rev().find_map(step).unwrap()
        };
        *met.entry(in_what).or_default() += 1;
        let told = whole.lines().rev().find_map(|line| line.strip_prefix("committed "));
        let told = told.map_or(seen, |number| number.parse().unwrap());
        let through = read_alone(dir.path());
        assert!(told >= seen && through >= told, "{through} after {told} was committed");
        seen = through;
    }
    println!("killed {kills} times: {met:?}; {seen} events, each once, in order");
    if kills >= ALL_MET_FROM {
        for what in ["in a checkpoint", "in a commit", "while it pruned", "while it vacuumed"] {
            assert!(met.contains_key(what), "no kill {what}: {met:?}");
        }
    }
}

/// What the child was doing after this line.
fn step(line: &str) -> Option<&'static str> {
    match line {
        "commit" => Some("in a commit"),
        "prune" => Some("while it pruned"),
        "vacuum" => Some("while it vacuumed"),
        _ if line.starts_with("committed ") => Some("between two steps"),
        _ => None,
    }
}
