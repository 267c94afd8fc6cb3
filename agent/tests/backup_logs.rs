//! Logs of vzdump, read: golden pairs, real logs where they are at hand, and any cut of them.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up should fail at that place")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use pvewatch_agent::backups::log::{BackupLog, GuestBackup, Reader};
use pvewatch_agent::backups::task::{Context, Task};
use pvewatch_protocol::EventData;
use pvewatch_protocol::event::Outcome;
use serde_json::Value;

#[path = "../../tests/fuzzing/src/judge.rs"]
mod judge;

fn read(bytes: &[u8]) -> BackupLog {
    let mut reader = Reader::new();
    reader.feed(bytes);
    reader.finish()
}

fn logs_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut logs: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "log")).collect();
    logs.sort();
    logs
}

fn golden() -> Vec<PathBuf> {
    logs_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/backups"))
}

#[test]
fn golden_pairs() {
    let logs = golden();
    assert!(logs.len() >= 10, "{logs:?}");
    for path in logs {
        let log = read(&fs::read(&path).unwrap());
        let read = serde_json::to_string_pretty(&log.guests).unwrap() + "\n";
        let pair = path.with_extension("json");
        if std::env::var_os("PVEWATCH_WRITE_GOLDEN").is_some() {
            fs::write(&pair, &read).unwrap();
        }
        assert_eq!(fs::read_to_string(&pair).unwrap(), read, "{}", path.display());
    }
}

#[test]
fn a_log_can_be_cut_anywhere() {
    for path in golden() {
        let bytes = fs::read(&path).unwrap();
        let whole = read(&bytes);
        for cut in 0..=bytes.len() {
            let mut reader = Reader::new();
            reader.feed(&bytes[..cut]);
            reader.feed(&bytes[cut..]);
            assert_eq!(reader.finish(), whole, "{} cut at {cut}", path.display());
        }
    }
}

#[test]
fn a_log_that_is_told_while_it_grows_says_the_same_in_the_end() {
    let upid = "UPID:pve1:00000001:00000001:6AC05394:vzdump::root@pam:";
    let context = Context { zone: &TimeZone::UTC, job: &|| None };
    for path in golden() {
        let bytes = fs::read(&path).unwrap();
        let last_words = |guest: &GuestBackup| (guest.vmid, (guest.outcome, guest.error.clone()));
        let whole: BTreeMap<_, _> = read(&bytes).guests.iter().map(last_words).collect();
        for cut in 0..=bytes.len() {
            let mut task = Task::new(upid.parse().unwrap()).unwrap();
            task.feed(&bytes[..cut]);
            let mut told = task.news(context);
            task.feed(&bytes[cut..]);
            told.extend(task.news(context));
            told.extend(task.end(Timestamp::UNIX_EPOCH, context));
            let told: BTreeMap<_, _> = told
                .into_iter()
                .filter_map(|tidings| match tidings.data {
                    EventData::BackupFinished(told) => {
                        Some((told.vmid, (told.outcome, told.error)))
                    }
                    _ => None,
                })
                .collect();
            assert_eq!(told, whole, "{} cut at {cut}", path.display());
        }
    }
}

/// What a buffered writer that is killed leaves.
#[test]
fn a_log_that_ends_early_makes_no_success() {
    for path in golden() {
        let bytes = fs::read(&path).unwrap();
        let successes = |log: &BackupLog| {
            let is_success = |outcome| matches!(outcome, Outcome::Ok | Outcome::Warnings);
            log.guests.iter().filter(|guest| is_success(guest.outcome)).count()
        };
        let ends: Vec<usize> = (0..bytes.len())
            .filter(|at| bytes[..*at].ends_with(b")") && is_verdict(&bytes[..*at]))
            .collect();
        for cut in 0..bytes.len() {
            let expected = ends.iter().filter(|end| **end <= cut).count();
            let log = read(&bytes[..cut]);
            assert!(successes(&log) <= expected, "{} cut at {cut}: {log:?}", path.display());
        }
    }
}

fn is_verdict(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().last().unwrap_or_default();
    line.contains("INFO: Finished Backup of VM ")
}

#[test]
fn the_end_of_a_task_is_its_last_line() {
    use pvewatch_agent::backups::log::TaskEnd;
    for (text, end) in [
        ("TASK OK\n", Some(TaskEnd::Ok)),
        ("TASK OK", Some(TaskEnd::Ok)),
        ("\nTASK ERROR: job errors\n", Some(TaskEnd::Error("job errors".to_owned()))),
        ("TASK WARNINGS: 3\n", Some(TaskEnd::Warnings(3))),
        ("INFO: TASK OK\n", None),
        ("TASK O", None),
        ("", None),
    ] {
        assert_eq!(read(text.as_bytes()).end, end, "{text:?}");
    }
}

#[test]
fn a_line_without_end_takes_a_bounded_place() {
    let mut reader = Reader::new();
    reader.feed(b"INFO: starting new backup job: vzdump 100 --storage nas\n");
    for _ in 0..1_000 {
        reader.feed(&[b'x'; 4_096]);
    }
    reader.feed(b"\nINFO: Starting Backup of VM 100 (qemu)\nERROR: Backup of VM 100 failed - ");
    for _ in 0..1_000 {
        reader.feed(&[b'y'; 4_096]);
    }
    let log = reader.finish();
    assert_eq!(log.guests.len(), 1);
    assert_eq!(log.guests[0].outcome, Outcome::Failed);
    assert_eq!(log.guests[0].error.as_ref().unwrap().len(), 2_000);
}

#[test]
fn a_failure_is_not_taken_back_after_other_guests() {
    let log = read(
        b"INFO: Starting Backup of VM 100 (qemu)\nERROR: Backup of VM 100 failed - why\n\
          INFO: Starting Backup of VM 101 (lxc)\nINFO: Finished Backup of VM 101 (00:00:01)\n\
          INFO: Finished Backup of VM 100 (00:00:01)\n",
    );
    let outcomes: Vec<_> =
        log.guests.iter().map(|guest| (u32::from(guest.vmid), guest.outcome)).collect();
    assert_eq!(outcomes, [(100, Outcome::Failed), (101, Outcome::Ok)]);
}

/// Lines that mean something, for logs that no vzdump would write.
const LINES: &[&str] = &[
    "INFO: starting new backup job: vzdump 100 --storage nas\n",
    "INFO: Starting Backup of VM 100 (qemu)\n",
    "INFO: Starting Backup of VM 101 (lxc)\n",
    "INFO: Finished Backup of VM 100 (00:00:01)\n",
    "INFO: Finished Backup of VM 101 (99:00:01)\n",
    "ERROR: Backup of VM 100 failed - why\n",
    "ERROR: Backup of VM 101 failed - interrupted by signal\n",
    "INFO: Failed at 2026-11-02 21:02:41\n",
    "INFO: Backup started at 2026-11-02 21:02:41\n",
    "INFO: archive file size: 1.10GB\n",
    "WARN: beware\n",
    "ERROR: \n",
    "  raw\n",
    "TASK ERROR: interrupted by signal\n",
    "TASK OK\n",
    "\u{fffd}\0\n",
];

proptest! {
    #[test]
    fn nothing_panics_and_no_success_is_invented(
        picks in prop::collection::vec(0..LINES.len(), 0..40),
        noise in prop::collection::vec(any::<u8>(), 0..64),
        at in any::<prop::sample::Index>(),
    ) {
        let mut bytes: Vec<u8> = picks.iter().flat_map(|pick| LINES[*pick].bytes()).collect();
        let at = at.index(bytes.len() + 1);
        bytes.splice(at..at, noise);
        judge::judge(&bytes);
    }
}

/// Real logs, with what a perfect reader extracts; they lie beside the checkout, if at all.
#[test]
fn real_logs() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    if !corpus.is_dir() {
        println!("{} is not there: no real log was read", corpus.display());
        return;
    }
    let mut guests = 0;
    for path in logs_in(&corpus) {
        let log = read(&fs::read(&path).unwrap());
        let expected = fs::read(path.with_extension("json")).unwrap();
        let expected: Value = serde_json::from_slice(&expected).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let wanted = expected["guests"].as_array().unwrap();
        assert_eq!(log.guests.len(), wanted.len(), "{name}: {log:#?}");
        for (guest, wanted) in log.guests.iter().zip(wanted) {
            let read = serde_json::to_value(guest).unwrap();
            compare(name, &read, wanted);
            guests += 1;
        }
    }
    println!("{guests} guests in real logs");
}

fn compare(name: &str, read: &Value, wanted: &Value) {
    let exact = [
        ("vmid", "vmid"),
        ("type", "kind"),
        ("duration_s", "duration_seconds"),
        ("size_bytes", "size_bytes"),
        ("storage_or_archive", "archive"),
    ];
    for (theirs, ours) in exact {
        assert_eq!(read[ours], wanted[theirs], "{name}: {ours} of {read:#}");
    }
    for (theirs, ours) in [("transferred_bytes", "transferred_bytes"), ("storage", "storage")] {
        if !wanted[theirs].is_null() {
            assert_eq!(read[ours], wanted[theirs], "{name}: {ours}");
        }
    }
    let outcome = match wanted["result"].as_str().unwrap() {
        "running" => "unknown",
        result => result,
    };
    assert_eq!(read["outcome"], outcome, "{name}: {read:#}");
    for text in ["error", "root_cause"] {
        similar(name, text, read[text].as_str(), wanted[text].as_str());
    }
}

/// Long texts are abbreviated with `...`.
fn similar(name: &str, what: &str, read: Option<&str>, wanted: Option<&str>) {
    let (Some(read), Some(wanted)) = (read, wanted) else {
        // A cause is only told where it tells more.
        return assert_eq!(read, wanted, "{name}: {what}");
    };
    match wanted.split_once("...") {
        Some((begin, end)) => {
            assert!(read.starts_with(begin) && read.ends_with(end), "{name}: {what}: {read}");
        }
        None => assert_eq!(read, wanted, "{name}: {what}"),
    }
}
