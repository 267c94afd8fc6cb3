//! What following backups costs an agent: the logs that it finds at its start, one that is far too
//! long, and many that grow at once; then what knowing the archives costs.
//!
//! Logs are as vzdump writes them, in lines of 60 to 90 bytes; the agent reads them from files, and
//! tells a subscriber through Mosquitto. No node is needed, and no root.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use pvewatch_protocol::{EventData, NodeName};
use rustix::process::getpid;
use tempfile::TempDir;

use super::archives;
use super::figure::{Budget, Figure, Report};
use super::listener::Listener;
use super::soak::RSS_KIB_MAX;
use super::stage::load_average;
use super::usage::{Cost, Meter, memory, processor};
use crate::deadline::{Deadline, now};
use crate::process::Process;
use crate::servers::{Mosquitto, Security};

/// Runs that ended before the agent starts, and the guests of each.
const RUNS: usize = 40;
const GUESTS_OF_A_RUN: usize = 25;

/// The size of the log that is far too long.
const LONG_LOG_BYTES: usize = 200 * 1024 * 1024;

/// Backups that are under way at once; a node has one at a time, a test of patience has more.
const AT_ONCE: usize = 20;

/// For how long they write a line of progress each second.
const GROWING_FOR: Duration = Duration::from_secs(60);

/// How long the agent may take for anything before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(300);

/// Measures all three, one after the other, with one agent; then archives, with another.
///
/// # Panics
/// When something does not start, or a file cannot be written.
#[track_caller]
pub fn run(program: &Path) -> Report {
    let mosquitto = Mosquitto::start(Security::Open);
    let access = mosquitto.access(None);
    let node: NodeName = "bench".parse().expect("a good name");
    let mut listener = Listener::connect(&access, &node);
    let logs = Logs::new();
    let bytes_at_start: usize = (0..RUNS).map(|run| logs.ended_run(run)).sum();

    let started = now();
    let agent = logs.start_agent(program, &access.url());
    let guests = RUNS * GUESTS_OF_A_RUN;
    let at_start = tell_of(&mut listener, guests).then(|| seconds_since(started));
    let cpu_at_start = processor(agent.id()).ok().map(|spent| spent.own_seconds);
    listener.wait_for_quiet(Duration::from_secs(3));
    listener.acknowledge();

    let long = logs.long_run(RUNS);
    let before = processor(agent.id()).ok().map(|spent| spent.own_seconds);
    let written = now();
    long.end();
    let read_long = tell_of(&mut listener, 1).then(|| seconds_since(written));
    let cpu_long = processor(agent.id()).ok().map(|spent| spent.own_seconds);
    let cpu_long = cpu_long.zip(before).map(|(after, before)| after - before);
    listener.wait_for_quiet(Duration::from_secs(3));

    let growing = logs.grow(&agent, &mut listener);
    let peak = memory(agent.id()).ok();

    let mib = |kib: u64| kib as f64 / 1024.0;
    let mut figures = vec![
        Figure::new("logs at start, guests", guests as f64, ""),
        Figure::new("logs at start, size", bytes_at_start as f64 / 1e6, "MB"),
        Figure::new("logs at start, told within", at_start, "s"),
        Figure::new("logs at start, processor time", cpu_at_start, "s"),
        Figure::new("a log of 200 MiB, told within", read_long, "s"),
        Figure::new("a log of 200 MiB, processor time", cpu_long, "s"),
        Figure::new(
            format!("{AT_ONCE} backups that write a line a second, CPU of a core"),
            growing.as_ref().map(|cost| cost.cpu_percent),
            "%",
        ),
        Figure::new(
            format!("{AT_ONCE} backups that write a line a second, wake-ups"),
            growing.as_ref().map(|cost| cost.wake_ups_per_second),
            "/s",
        ),
        Figure::new("agent at the end, RSS", peak.map(|it| it.rss_kib as f64), "KiB")
            .within(Budget::AtMost(RSS_KIB_MAX)),
        Figure::new("agent, peak", peak.map(|it| mib(it.peak_rss_kib)), "MiB"),
    ];
    drop(agent);
    figures.extend(archives::figures(program, &access));
    let setting = format!("Mosquitto, no TLS, load average {}", load_average());
    Report { name: "backups", setting, figures }
}

fn seconds_since(then: Timestamp) -> f64 {
    now().duration_since(then).as_secs_f64()
}

/// Waits until so many guests' backups are told to have ended.
fn tell_of(listener: &mut Listener, guests: usize) -> bool {
    let is_end = |data: &EventData| matches!(data, EventData::BackupFinished(_));
    (0..guests).all(|_| listener.find(PATIENCE, |it| is_end(&it.event.data)).is_some())
}

/// The folders of an agent.
struct Logs {
    directory: TempDir,
}

/// A task that runs.
struct Running {
    file: File,
    vmid: usize,
}

impl Logs {
    #[track_caller]
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(directory.path().join("tasks")).expect("a temporary directory");
        Self { directory }
    }

    fn tasks(&self) -> PathBuf {
        self.directory.path().join("tasks")
    }

    #[track_caller]
    fn start_agent(&self, program: &Path, url: &str) -> Process {
        let directory = self.directory.path();
        let text = format!(
            "node = \"bench\"\n[broker]\nurl = \"{url}\"\n[outbox]\ndirectory = {:?}\n[paths]\n\
             system_bus = \"unix:path=/nonexistent/bus\"\ntasks = {:?}\n",
            directory.join("spool"),
            self.tasks(),
        );
        let file = directory.join("agent.toml");
        fs::write(&file, text).expect("a temporary directory can be written");
        let arguments = ["--config", &file.display().to_string()];
        Process::start("pvewatch-agent", &directory.join("agent.log"), program, &arguments)
    }

    /// A new log, of a worker that lives as long as this process.
    #[track_caller]
    fn task(&self, number: usize) -> File {
        let pid = getpid().as_raw_nonzero();
        let started = now().as_second();
        let upid = format!("UPID:bench:{pid:08X}:{number:08X}:{started:08X}:vzdump::root@pam:");
        let folder = self.tasks().join(format!("{:X}", started & 0xF));
        fs::create_dir_all(&folder).expect("a temporary directory can be written");
        let file = OpenOptions::new().append(true).create_new(true).open(folder.join(upid));
        file.expect("a temporary directory can be written")
    }

    /// A run that is over. Returns the size of its log.
    #[track_caller]
    fn ended_run(&self, run: usize) -> usize {
        let mut text = String::from("INFO: starting new backup job: vzdump --all 1 --quiet 1\n");
        for guest in 0..GUESTS_OF_A_RUN {
            let vmid = 100 + run * GUESTS_OF_A_RUN + guest;
            text.push_str(&beginning(vmid));
            (1..=100).for_each(|percent| text.push_str(&progress(percent)));
            text.push_str(&ending(vmid));
        }
        text.push_str("INFO: Backup job finished successfully\nTASK OK\n");
        write(&mut self.task(run), &text);
        text.len()
    }

    /// A run whose log is far too long, but for its end.
    #[track_caller]
    fn long_run(&self, number: usize) -> Running {
        let (mut file, vmid) = (self.task(number), 90_000);
        write(&mut file, &beginning(vmid));
        let lines: String = (1..=100).map(progress).collect();
        for _ in 0..LONG_LOG_BYTES / lines.len() {
            write(&mut file, &lines);
        }
        Running { file, vmid }
    }

    /// Many runs at once, each with a line a second; none if the agent did not tell of all of them.
    #[track_caller]
    fn grow(&self, agent: &Process, listener: &mut Listener) -> Option<Cost> {
        let mut running: Vec<Running> = (0..AT_ONCE)
            .map(|number| Running { file: self.task(RUNS + 1 + number), vmid: 91_000 + number })
            .collect();
        for run in &mut running {
            write(&mut run.file, &beginning(run.vmid));
        }
        listener.wait_for_quiet(Duration::from_secs(3));
        listener.acknowledge();
        let mut meter = Meter::start(agent.id()).ok()?;
        let end = Deadline::after(GROWING_FOR);
        for second in 1.. {
            if end.has_passed() {
                break;
            }
            let tick = Deadline::after(Duration::from_secs(1));
            for run in &mut running {
                write(&mut run.file, &progress(second % 100));
            }
            while listener.next(tick.remaining()).is_some() {}
            meter.note().ok()?;
        }
        let cost = meter.cost().ok();
        running.into_iter().for_each(Running::end);
        cost.filter(|_| tell_of(listener, AT_ONCE))
    }
}

impl Running {
    #[track_caller]
    fn end(mut self) {
        let text = ending(self.vmid) + "INFO: Backup job finished successfully\nTASK OK\n";
        write(&mut self.file, &text);
    }
}

#[track_caller]
fn write(file: &mut File, text: &str) {
    file.write_all(text.as_bytes()).expect("a temporary directory can be written");
}

fn beginning(vmid: usize) -> String {
    format!(
        "INFO: Starting Backup of VM {vmid} (qemu)\nINFO: Backup started at 2026-11-02 21:00:04\n\
         INFO: status = running\nINFO: VM Name: guest-{vmid}\n\
         INFO: include disk 'scsi0' 'local-lvm:vm-{vmid}-disk-0' 32G\n\
         INFO: backup mode: snapshot\nINFO: ionice priority: 7\nINFO: creating vzdump archive \
         '/mnt/pve/nas/dump/vzdump-qemu-{vmid}-2026_11_02-21_00_04.vma.zst'\n\
         INFO: started backup task '3f0a5c1e-0000-4000-8000-00000000abcd'\n"
    )
}

fn progress(percent: usize) -> String {
    let mut line = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        line,
        "INFO: {percent:3}% ({percent}.0 GiB of 100.0 GiB) in 1h 2m 3s, read: 151.2 MiB/s, write: \
         148.0 MiB/s"
    );
    line
}

fn ending(vmid: usize) -> String {
    format!(
        "INFO: backup is sparse: 11.19 GiB (34%) total zero data\n\
         INFO: transferred 32.00 GiB in 186 seconds (176.2 MiB/s)\n\
         INFO: archive file size: 4.20GB\nINFO: Finished Backup of VM {vmid} (00:03:06)\n\
         INFO: Backup finished at 2026-11-02 21:03:10\n"
    )
}
