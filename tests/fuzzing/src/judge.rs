//! What must hold of every log, whatever is in it.
//!
//! Shared with the agent's tests, which try it on logs made of lines that mean something.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use pvewatch_agent::backups::log::{BackupLog, LINE_BYTES_MAX, Reader};
use pvewatch_agent::backups::task::{Context, Task, Tidings};
use pvewatch_protocol::event::Outcome;
use pvewatch_protocol::{EventData, Vmid};

/// Guests, and how often each.
type Counts = BTreeMap<Vmid, usize>;

/// Reads a log whole, in pieces, and as a task that grows.
///
/// # Panics
/// When a success has no line that says so, or what is read depends on how the log was cut.
pub fn judge(log: &[u8]) {
    let whole = read(&[log]);
    let said = said_to_be_finished(log);
    let read_as_ok = count(whole.guests.iter().map(|guest| (guest.vmid, guest.outcome)));
    assert_vouched(&read_as_ok, &said);
    let (first, last) = log.split_at(place_to_cut(log));
    assert_eq!(read(&[first, last]), whole, "cut after {} bytes", first.len());
    judge_growing(first, last, &whole);
}

/// The same log as its task tells it: in its middle, and when it is over.
fn judge_growing(first: &[u8], last: &[u8], whole: &BackupLog) {
    let context = Context { zone: &TimeZone::UTC, job: &|| None };
    let upid = "UPID:pve1:00000001:00000001:6AC05394:vzdump::root@pam:".parse();
    let mut task = upid.ok().and_then(Task::new).expect("a task of vzdump");
    task.feed(first);
    let mut told = task.news(context);
    // The last line may be told of when it is whole alone.
    let lines = &first[..first.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)];
    assert_vouched(&count(told.iter().filter_map(finished)), &said_to_be_finished(lines));
    task.feed(last);
    told.extend(task.news(context));
    told.extend(task.end(Timestamp::UNIX_EPOCH, context));
    let last_told: BTreeMap<_, _> = told.iter().filter_map(finished).collect();
    let last_read: BTreeMap<_, _> =
        whole.guests.iter().map(|guest| (guest.vmid, guest.outcome)).collect();
    assert_eq!(last_told, last_read, "what was told last of each guest");
}

fn read(pieces: &[&[u8]]) -> BackupLog {
    let mut reader = Reader::new();
    for piece in pieces {
        reader.feed(piece);
    }
    reader.finish()
}

/// Somewhere, as the log itself has it: the same each time that it is tried.
fn place_to_cut(log: &[u8]) -> usize {
    let sum = log.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31) + usize::from(*byte));
    sum % (log.len() + 1)
}

/// The guests that lines of this log say to be finished, and that did not fail before: of a line
/// that can be read in two ways it is believed what makes a success.
fn said_to_be_finished(log: &[u8]) -> Counts {
    let mut counts = Counts::new();
    let mut failed = BTreeSet::new();
    for line in log.split(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(&line[..line.len().min(LINE_BYTES_MAX)]);
        let line = line.trim_end_matches('\r');
        if let Some(vmid) = guest_of(line, "INFO: Starting Backup of VM ", " ") {
            failed.remove(&vmid);
        } else if line.contains("INFO: starting new backup job: ") {
            failed.clear();
        } else if line.starts_with("ERROR: Backup of VM ") {
            failed.extend(guest_of(line, "ERROR: Backup of VM ", " failed - "));
        } else if let Some(vmid) = guest_of(line, "INFO: Finished Backup of VM ", " (")
            && line.ends_with(')')
            && !failed.contains(&vmid)
        {
            *counts.entry(vmid).or_default() += 1;
        }
    }
    counts
}

/// The number between two texts.
fn guest_of(line: &str, before: &str, after: &str) -> Option<Vmid> {
    let (_, rest) = line.split_once(before)?;
    rest.split_once(after)?.0.parse().ok()
}

fn assert_vouched(successes: &Counts, said: &Counts) {
    for (vmid, count) in successes {
        let vouched = said.get(vmid).copied().unwrap_or_default();
        assert!(*count <= vouched, "guest {vmid}: {count} successes, {vouched} lines that say so");
    }
}

fn count(outcomes: impl IntoIterator<Item = (Vmid, Outcome)>) -> Counts {
    let mut counts = Counts::new();
    for (vmid, outcome) in outcomes {
        if matches!(outcome, Outcome::Ok | Outcome::Warnings) {
            *counts.entry(vmid).or_default() += 1;
        }
    }
    counts
}

fn finished(tidings: &Tidings) -> Option<(Vmid, Outcome)> {
    match &tidings.data {
        EventData::BackupFinished(finished) => Some((finished.vmid, finished.outcome)),
        _ => None,
    }
}
