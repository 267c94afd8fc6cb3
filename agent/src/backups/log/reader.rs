//! From bytes to guests.

use jiff::civil::DateTime;
use pvewatch_protocol::Vmid;
use pvewatch_protocol::event::{GuestKind, Outcome};

use super::end::TaskEnd;
use super::guest::{Details, GuestBackup, Run, kept};
use super::job;
use super::line::{Level, Line, time_of};
use super::measure::clock_seconds;

/// Longest line, in bytes. Overflow: its rest is dropped; no line that decides is as long.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// Runs of one log. Overflow: later ones are dropped; a node has some hundred guests.
const GUESTS_MAX: usize = 20_000;

/// All that a log tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupLog {
    /// Every guest, in the order in which they were backed up.
    pub guests: Vec<GuestBackup>,
    /// How the task ended, if this is a task's log and it has ended.
    pub end: Option<TaskEnd>,
    /// The first error that was about no guest: of a worker that ends without a word, why.
    pub job_error: Option<String>,
}

/// Takes a log in pieces of any size.
#[derive(Debug, Default)]
pub struct Reader {
    /// A line whose end was not seen yet.
    partial: Vec<u8>,
    storage: Option<String>,
    run: Option<Run>,
    guests: Vec<GuestBackup>,
    /// How many of these have all their lines.
    settled: usize,
    /// How many of these were taken.
    taken: usize,
    /// Whether the last line was the verdict on a failure, or belongs to it.
    is_in_failure: bool,
    end: Option<TaskEnd>,
    job_error: Option<String>,
}

impl Reader {
    /// A reader at the beginning of a log.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next piece.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            if self.partial.is_empty() && line.len() <= LINE_BYTES_MAX {
                self.take_bytes(line);
            } else {
                self.keep(line);
                let line = std::mem::take(&mut self.partial);
                self.take_bytes(&line);
            }
            bytes = rest;
        }
        self.keep(bytes);
    }

    /// Guests whose backup is over, since the last call. One of which more is said later comes
    /// again.
    pub fn take_settled(&mut self) -> &[GuestBackup] {
        let from = self.taken;
        self.taken = self.settled.max(from);
        &self.guests[from..self.taken]
    }

    /// How many guests were taken already: those are the first of [`BackupLog::guests`].
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// The guest that is being backed up, if its first line was seen.
    pub fn running(&self) -> Option<(Vmid, &Details)> {
        let run = self.run.as_ref()?;
        Some((run.vmid?, run.details()))
    }

    /// Whether a line was seen that ends a task.
    pub fn has_end(&self) -> bool {
        self.end.is_some()
    }

    /// The storage that the job names.
    pub fn storage(&self) -> Option<&str> {
        self.storage.as_deref()
    }

    /// The log ends here, maybe in the middle of a line.
    pub fn finish(mut self) -> BackupLog {
        if !self.partial.is_empty() {
            let line = std::mem::take(&mut self.partial);
            self.take_bytes(&line);
        }
        if let Some(run) = self.run.take() {
            let verdict = match (run.vmid, &self.end) {
                // A worker that is stopped outside a guest's part tells it for the job alone.
                (Some(vmid), Some(TaskEnd::Error(error))) if error != "job errors" => {
                    Some(run.fail(vmid, error, None))
                }
                _ => run.cut_off(),
            };
            self.guests.extend(verdict);
        }
        BackupLog { guests: self.guests, end: self.end, job_error: self.job_error }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES_MAX - self.partial.len();
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn take_bytes(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        self.take(text.trim_end_matches('\r'));
    }

    fn take(&mut self, whole: &str) {
        let line = Line::parse(whole);
        let text = line.text;
        match line.level {
            None => self.take_raw(text),
            Some(Level::Info) => {
                self.is_in_failure = false;
                self.take_info(line);
            }
            Some(Level::Error) if self.take_failure(line) => {}
            Some(Level::Error | Level::Warn) => {
                // Further lines of a message that has several: the first says most.
                if self.is_in_failure && line.level == Some(Level::Error) {
                    self.continue_failure(text.trim());
                    return;
                }
                let is_about_a_guest = self.run.as_ref().is_some_and(|run| run.vmid.is_some());
                if line.level == Some(Level::Error) && !is_about_a_guest && !text.is_empty() {
                    self.job_error.get_or_insert_with(|| kept(text));
                }
                if let Some(run) = &mut self.run {
                    run.take(line);
                }
            }
        }
    }

    /// What no level is before: the end of the task, a mail's command, output of programs.
    fn take_raw(&mut self, text: &str) {
        if let Some(end) = TaskEnd::parse(text) {
            self.end = Some(end);
        } else if text.starts_with("vzdump ") {
            self.storage = job::option(text, "storage");
        } else if self.is_in_failure && text.starts_with(' ') {
            // Nothing but whoever copied the log breaks a message like this.
            let wrapped = format!(" {}", text.trim());
            self.lengthen_failure(&wrapped);
            return;
        } else if let Some(run) = &mut self.run {
            run.take_raw(text);
        }
        self.is_in_failure = false;
    }

    fn take_info(&mut self, line: Line<'_>) {
        let text = line.text;
        if let Some(command) = text.strip_prefix("starting new backup job: ") {
            self.cut_off();
            self.storage = job::option(command, "storage");
        } else if let Some((vmid, kind)) = starting(text) {
            self.cut_off();
            self.settled = self.guests.len();
            self.run = Some(Run::begun(vmid, kind, line.at, self.storage.clone()));
        } else if let Some((vmid, seconds)) = finished(text) {
            if !self.has_failed_since_start(vmid) {
                let run = self.run_of(vmid);
                self.push(run.succeed(vmid, seconds, line.at));
            }
        } else if let Some(at) = text.strip_prefix("Backup finished at ") {
            self.last_ended_at(time_of(at), |outcome| {
                matches!(outcome, Outcome::Ok | Outcome::Warnings)
            });
        } else if let Some(at) = text.strip_prefix("Failed at ") {
            self.last_ended_at(time_of(at), |outcome| {
                matches!(outcome, Outcome::Failed | Outcome::Interrupted)
            });
        } else if !text.starts_with("Backup job ") {
            self.run.get_or_insert_with(|| Run::unseen(self.storage.clone())).take(line);
        }
    }

    /// `Backup of VM 100 failed - why`. Returns whether the line is one.
    fn take_failure(&mut self, line: Line<'_>) -> bool {
        let Some((vmid, error)) = failed(line.text) else { return false };
        // A failure is worse than what was said before, so it stands.
        if let Some(last) = self.guests.last_mut().filter(|last| last.vmid == vmid)
            && self.run.as_ref().is_none_or(|run| run.vmid.is_none())
        {
            last.outcome = Outcome::Failed;
            last.error = Some(kept(error));
            self.taken = self.taken.min(self.guests.len() - 1);
        } else {
            let run = self.run_of(vmid);
            self.push(run.fail(vmid, error, line.at));
        }
        self.is_in_failure = true;
        true
    }

    fn continue_failure(&mut self, text: &str) {
        if self.guests.last().and_then(|last| last.error.as_deref()).is_some_and(str::is_empty) {
            self.lengthen_failure(text);
        }
    }

    fn lengthen_failure(&mut self, text: &str) {
        if let Some(error) = self.guests.last_mut().and_then(|last| last.error.as_mut()) {
            *error = kept(&format!("{error}{text}"));
        }
    }

    /// The run that a verdict is about; one that was never begun if it is another guest's.
    fn run_of(&mut self, vmid: Vmid) -> Run {
        match self.run.take() {
            Some(run) if run.vmid.is_none_or(|of| of == vmid) => run,
            other => {
                self.run = other;
                self.cut_off();
                Run::unseen(self.storage.clone())
            }
        }
    }

    /// Another run begins, or another job: what was under way has no verdict.
    fn cut_off(&mut self) {
        if let Some(backup) = self.run.take().and_then(Run::cut_off) {
            self.push(backup);
        }
    }

    fn push(&mut self, backup: GuestBackup) {
        if self.guests.len() < GUESTS_MAX {
            self.guests.push(backup);
        }
    }

    /// A failure is never taken back, whatever comes between it and such a line.
    fn has_failed_since_start(&self, vmid: Vmid) -> bool {
        let is_running = self.run.as_ref().is_some_and(|run| run.vmid == Some(vmid));
        let last = self.guests.iter().rfind(|backup| backup.vmid == vmid);
        let has_failed =
            last.is_some_and(|last| matches!(last.outcome, Outcome::Failed | Outcome::Interrupted));
        !is_running && has_failed
    }

    fn last_ended_at(&mut self, at: Option<DateTime>, is_meant: fn(Outcome) -> bool) {
        if let Some(last) = self.guests.last_mut().filter(|last| is_meant(last.outcome)) {
            last.ended_at(at);
            self.settled = self.guests.len();
        }
    }
}

/// `Starting Backup of VM 100 (qemu)`, of containers too.
fn starting(text: &str) -> Option<(Vmid, GuestKind)> {
    let (vmid, kind) = text.strip_prefix("Starting Backup of VM ")?.split_once(' ')?;
    let kind = match kind {
        "(qemu)" => GuestKind::Qemu,
        "(lxc)" | "(openvz)" => GuestKind::Lxc,
        _ => return None,
    };
    Some((vmid.parse().ok()?, kind))
}

/// `Finished Backup of VM 100 (00:01:26)`: the only line that makes a success.
fn finished(text: &str) -> Option<(Vmid, u64)> {
    let (vmid, clock) = text.strip_prefix("Finished Backup of VM ")?.split_once(" (")?;
    Some((vmid.parse().ok()?, clock_seconds(clock.strip_suffix(')')?)?))
}

fn failed(text: &str) -> Option<(Vmid, &str)> {
    let rest = text.strip_prefix("Backup of VM ")?;
    // A message that begins with an empty line has lost the blank at the end of its first.
    let (vmid, error) =
        rest.split_once(" failed - ").or_else(|| Some((rest.strip_suffix(" failed -")?, "")))?;
    Some((vmid.parse().ok()?, error.trim_end()))
}
