//! What a log tells of one guest's backup.

use jiff::civil::DateTime;
use pvewatch_protocol::Vmid;
use pvewatch_protocol::event::{GuestKind, Outcome};
use serde::Serialize;

use super::cause::Suspects;
use super::line::{Level, Line, time_of};
use super::measure::{size_bytes, transferred_bytes};

/// Longest text that is kept of a line, in bytes. What is longer is cut: a failed tar names its
/// whole command line.
pub const TEXT_BYTES_MAX: usize = 2_000;

/// Warnings that are kept of a guest. Overflow: later ones are dropped; the first tell why.
pub const WARNINGS_MAX: usize = 20;

/// One run for one guest. Times are the node's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GuestBackup {
    /// The guest.
    pub vmid: Vmid,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it failed, as vzdump says it.
    pub error: Option<String>,
    /// An earlier line that explains the failure better.
    pub root_cause: Option<String>,
    /// How long it took; for a failure the time until then.
    pub duration_seconds: Option<u64>,
    /// When it ended.
    pub finished: Option<DateTime>,
    /// The rest.
    #[serde(flatten)]
    pub details: Details,
}

/// What is known of a run beside its verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Details {
    /// What the guest is.
    pub kind: Option<GuestKind>,
    /// The guest's name.
    pub name: Option<String>,
    /// When it began.
    pub started: Option<DateTime>,
    /// `snapshot`, `suspend` or `stop`.
    pub mode: Option<String>,
    /// Size of the archive; vzdump rounds it, and does not say it for a backup server.
    pub size_bytes: Option<u64>,
    /// Read from the guest's disks.
    pub transferred_bytes: Option<u64>,
    /// Found on the backup server already.
    pub reused_bytes: Option<u64>,
    /// Path of the archive, or its name on a backup server; `-` is standard output.
    pub archive: Option<String>,
    /// The storage that the job names.
    pub storage: Option<String>,
    /// Lines of `WARN` and `ERROR` that did not end the guest; at most [`WARNINGS_MAX`].
    pub warnings: Vec<String>,
}

/// A run that has no verdict yet.
#[derive(Debug, Default)]
pub struct Run {
    /// None in a log that begins in the middle of a run.
    pub vmid: Option<Vmid>,
    details: Details,
    suspects: Suspects,
    was_warned: bool,
}

impl Run {
    /// A run whose first line was seen.
    pub fn begun(
        vmid: Vmid,
        kind: GuestKind,
        at: Option<DateTime>,
        storage: Option<String>,
    ) -> Self {
        let details = Details { kind: Some(kind), started: at, storage, ..Details::default() };
        Self { vmid: Some(vmid), details, ..Self::default() }
    }

    /// A run of which nothing was seen but its end.
    pub fn unseen(storage: Option<String>) -> Self {
        Self { details: Details { storage, ..Details::default() }, ..Self::default() }
    }

    /// What is known of it so far.
    pub fn details(&self) -> &Details {
        &self.details
    }

    /// A line between the first and the last of a run.
    pub fn take(&mut self, line: Line<'_>) {
        match line.level {
            Some(Level::Info) => self.take_info(line.text),
            Some(Level::Warn) => {
                self.was_warned = true;
                self.warn(line.text);
            }
            Some(Level::Error) => {
                self.suspects.error(&kept(line.text));
                self.warn(line.text);
            }
            None => {}
        }
    }

    /// A line that vzdump did not say.
    pub fn take_raw(&mut self, text: &str) {
        if super::cause::is_complaint(text) {
            self.suspects.complaint(&kept(text.trim()));
        }
    }

    /// vzdump finished it.
    pub fn succeed(self, vmid: Vmid, duration_seconds: u64, at: Option<DateTime>) -> GuestBackup {
        GuestBackup {
            vmid,
            outcome: if self.was_warned { Outcome::Warnings } else { Outcome::Ok },
            error: None,
            root_cause: None,
            duration_seconds: Some(duration_seconds),
            finished: at,
            details: self.details,
        }
    }

    /// vzdump gave it up.
    pub fn fail(mut self, vmid: Vmid, error: &str, at: Option<DateTime>) -> GuestBackup {
        let root_cause = self.suspects.explain(error);
        // What the verdict says is no warning beside it.
        self.details.warnings.retain(|warning| {
            !error.contains(warning.as_str()) && root_cause.as_ref() != Some(warning)
        });
        let is_interrupted = error == "interrupted by signal";
        let mut backup = GuestBackup {
            vmid,
            outcome: if is_interrupted { Outcome::Interrupted } else { Outcome::Failed },
            error: Some(kept(error)),
            root_cause,
            duration_seconds: None,
            finished: None,
            details: self.details,
        };
        backup.ended_at(at);
        backup
    }

    /// The log ends here; nothing is known of a run whose guest was never named.
    pub fn cut_off(self) -> Option<GuestBackup> {
        Some(GuestBackup {
            vmid: self.vmid?,
            outcome: Outcome::Unknown,
            error: None,
            root_cause: None,
            duration_seconds: None,
            finished: None,
            details: self.details,
        })
    }

    fn warn(&mut self, text: &str) {
        if self.details.warnings.len() < WARNINGS_MAX && !text.is_empty() {
            self.details.warnings.push(kept(text));
        }
    }

    fn take_info(&mut self, text: &str) {
        let details = &mut self.details;
        if let Some((key, value)) = text.split_once(": ") {
            match key {
                "backup mode" => details.mode = Some(kept(value)),
                "VM Name" => details.is_a(GuestKind::Qemu, value),
                "CT Name" => details.is_a(GuestKind::Lxc, value),
                "archive file size" => details.size_bytes = size_bytes(value),
                "HOOK-ENV" => details.take_hook(value),
                "Total bytes written" => {
                    let bytes = value.split(' ').next().and_then(|bytes| bytes.parse().ok());
                    details.transferred_bytes = bytes.or(details.transferred_bytes);
                }
                _ if super::cause::is_complaint(text) => self.suspects.complaint(&kept(text)),
                _ => {}
            }
        }
        if let Some(rest) = text.strip_prefix("Backup started at ") {
            details.started = time_of(rest).or(details.started);
        } else if let Some(rest) = text.strip_prefix("transferred ") {
            details.transferred_bytes = transferred_bytes(rest);
        } else if let Some((_, rest)) = text.split_once("backup was done incrementally, reused ") {
            let reused = rest.split_once(" (").and_then(|(size, _)| size_bytes(size));
            details.add_reused(reused);
        } else if text == "sending archive to stdout" {
            details.archive = Some("-".to_owned());
        } else if let Some(rest) = text.strip_prefix("creating ") {
            details.take_archive(rest);
        } else if let Some(group) = quoted(text, "running 'proxmox-backup-client prune' for ") {
            details.take_kind_of(group);
        }
    }
}

impl GuestBackup {
    /// A backup that ended before it began, so that the log names no guest.
    pub fn unseen(vmid: Vmid, outcome: Outcome, error: String, storage: Option<String>) -> Self {
        Self {
            vmid,
            outcome,
            error: Some(error),
            root_cause: None,
            duration_seconds: None,
            finished: None,
            details: Details { storage, ..Details::default() },
        }
    }

    /// The moment at which a failure is told; the verdict's own line tells it in a guest's log.
    pub fn ended_at(&mut self, at: Option<DateTime>) {
        let Some(at) = at else { return };
        self.finished = Some(at);
        if self.duration_seconds.is_none()
            && let Some(started) = self.details.started
        {
            self.duration_seconds = u64::try_from(at.duration_since(started).as_secs()).ok();
        }
    }
}

impl Details {
    fn is_a(&mut self, kind: GuestKind, name: &str) {
        self.kind.get_or_insert(kind);
        self.name = Some(kept(name));
    }

    /// `vzdump archive '/path'`, `Proxmox Backup Server archive 'vm/100/...'`, or only `archive`.
    fn take_archive(&mut self, text: &str) {
        let Some((what, path)) = text.split_once('\'') else { return };
        if let Some(path) = path.strip_suffix('\'')
            && (what == "archive " || what.ends_with(" archive "))
        {
            self.archive = Some(kept(path));
            self.take_kind_of(path);
        }
    }

    fn take_kind_of(&mut self, archive: &str) {
        let name = archive.rsplit_once("/vzdump-").map_or(archive, |(_, name)| name);
        let kind = match name.split(['/', '-']).next() {
            Some("vm" | "qemu") => GuestKind::Qemu,
            Some("ct" | "lxc" | "openvz") => GuestKind::Lxc,
            _ => return,
        };
        self.kind.get_or_insert(kind);
    }

    /// The example script of Proxmox prints what it was told.
    fn take_hook(&mut self, environment: &str) {
        let storage = environment.split(';').find_map(|pair| pair.strip_prefix("storeid="));
        if let Some(storage) = storage.filter(|storage| !storage.is_empty()) {
            self.storage.get_or_insert_with(|| kept(storage));
        }
    }

    /// A container can have several archives on the server, each with a line.
    fn add_reused(&mut self, bytes: Option<u64>) {
        if let Some(bytes) = bytes {
            self.reused_bytes = Some(self.reused_bytes.unwrap_or(0).saturating_add(bytes));
        }
    }
}

fn quoted<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    text.strip_prefix(prefix)?.strip_prefix('\'')?.strip_suffix('\'')
}

/// A text within [`TEXT_BYTES_MAX`].
pub fn kept(text: &str) -> String {
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    text[..end].to_owned()
}
