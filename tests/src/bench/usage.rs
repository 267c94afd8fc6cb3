//! What a running process costs: memory, processor time and wake-ups, as the kernel counts them.
//!
//! Reading is thin, understanding is pure. Processor time comes in ticks of 10 ms, so it takes
//! minutes to tell of an idle process. A wake-up is a context switch, voluntary or not, of
//! any thread. Children that a process starts are not counted: their time is reported apart.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use jiff::Timestamp;

use crate::deadline::now;

/// Memory of a process at one moment, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Resident, as `status` says (`VmRSS`); cheap, and on some kernels a little behind.
    pub status_rss_kib: u64,
    /// The most that was ever resident (`VmHWM`).
    pub peak_rss_kib: u64,
    /// Resident, counted page by page (`Rss` of `smaps_rollup`).
    pub rss_kib: u64,
    /// Of these, pages that belong to no file.
    pub anonymous_kib: u64,
}

/// Processor time since a process began, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Processor {
    /// Its own, user and system.
    pub own_seconds: f64,
    /// Of children that have ended and were waited for.
    pub children_seconds: f64,
}

/// Counts of a process from a moment on.
#[derive(Debug)]
pub struct Meter {
    id: u32,
    since: Timestamp,
    at_start: Processor,
    written_at_start: u64,
    switches: BTreeMap<u32, u64>,
    wake_ups: u64,
}

/// What a process cost from the start of its [`Meter`] until now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// The time that was measured, in seconds.
    pub seconds: f64,
    /// Processor time of its own, in percent of one core.
    pub cpu_percent: f64,
    /// Processor time of its children, in percent of one core.
    pub children_cpu_percent: f64,
    /// Context switches of all its threads, a second.
    pub wake_ups_per_second: f64,
    /// What it had the disks write, in bytes; whole pages count.
    pub written_bytes: u64,
}

impl Meter {
    /// Begins to count.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn start(id: u32) -> io::Result<Self> {
        Ok(Self {
            id,
            since: now(),
            at_start: processor(id)?,
            written_at_start: written_bytes(id)?,
            switches: switches(id)?,
            wake_ups: 0,
        })
    }

    /// Takes note of the threads; to be called now and then, since the counts of a thread are
    /// gone when it ends.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn note(&mut self) -> io::Result<()> {
        let current = switches(self.id)?;
        for (thread, count) in &current {
            let before = self.switches.get(thread).copied().unwrap_or(0);
            self.wake_ups += count.saturating_sub(before);
        }
        self.switches = current;
        Ok(())
    }

    /// The cost so far.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn cost(&mut self) -> io::Result<Cost> {
        self.note()?;
        let seconds = now().duration_since(self.since).as_secs_f64();
        let spent = processor(self.id)?;
        let percent = |from: f64, to: f64| (to - from) / seconds * 100.0;
        Ok(Cost {
            seconds,
            cpu_percent: percent(self.at_start.own_seconds, spent.own_seconds),
            children_cpu_percent: percent(self.at_start.children_seconds, spent.children_seconds),
            wake_ups_per_second: self.wake_ups as f64 / seconds,
            written_bytes: written_bytes(self.id)?.saturating_sub(self.written_at_start),
        })
    }
}

/// Reads the memory of a process.
///
/// # Errors
/// When the process is gone, or the kernel does not tell.
pub fn memory(id: u32) -> io::Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let rollup = fs::read_to_string(format!("/proc/{id}/smaps_rollup"))?;
    parse_memory(&status, &rollup).ok_or_else(|| gone(id))
}

/// Reads the processor time of a process.
///
/// # Errors
/// When the process is gone.
pub fn processor(id: u32) -> io::Result<Processor> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
    parse_processor(&stat, ticks_per_second).ok_or_else(|| gone(id))
}

/// Reads what a process has had the disks write since it began, in bytes.
///
/// # Errors
/// When the process is gone, or is somebody else's.
pub fn written_bytes(id: u32) -> io::Result<u64> {
    let counts = fs::read_to_string(format!("/proc/{id}/io"))?;
    number_of(&counts, "write_bytes").ok_or_else(|| gone(id))
}

/// The context switches of each thread.
fn switches(id: u32) -> io::Result<BTreeMap<u32, u64>> {
    let threads = fs::read_dir(format!("/proc/{id}/task"))?.flatten();
    let counts: BTreeMap<u32, u64> = threads
        .filter_map(|entry| {
            let thread = entry.file_name().to_str()?.parse().ok()?;
            let status = fs::read_to_string(entry.path().join("status")).ok()?;
            Some((thread, parse_switches(&status)?))
        })
        .collect();
    if counts.is_empty() { Err(gone(id)) } else { Ok(counts) }
}

fn gone(id: u32) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("process {id} has ended"))
}

/// The number after a name at the beginning of a line, as in `status`, `io` and `smaps_rollup`.
fn number_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

fn parse_memory(status: &str, rollup: &str) -> Option<Memory> {
    Some(Memory {
        status_rss_kib: number_of(status, "VmRSS")?,
        peak_rss_kib: number_of(status, "VmHWM")?,
        rss_kib: number_of(rollup, "Rss")?,
        anonymous_kib: number_of(rollup, "Anonymous")?,
    })
}

fn parse_switches(status: &str) -> Option<u64> {
    let voluntary = number_of(status, "voluntary_ctxt_switches")?;
    Some(voluntary + number_of(status, "nonvoluntary_ctxt_switches")?)
}

/// Fields 14 to 17 of `stat`; the name before them may hold anything.
fn parse_processor(stat: &str, ticks_per_second: f64) -> Option<Processor> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let seconds = |field: usize| Some(fields.get(field)?.parse::<f64>().ok()? / ticks_per_second);
    Some(Processor {
        own_seconds: seconds(11)? + seconds(12)?,
        children_seconds: seconds(13)? + seconds(14)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_status_and_rollup() {
        let status =
            "Name:\tagent\nVmPeak:\t   99999 kB\nVmHWM:\t    5300 kB\nVmRSS:\t    5200 kB\n";
        let rollup = "5581-7ffd ---p 00000000 00:00 0 [rollup]\nRss:    5204 kB\n\
                      Pss:    2000 kB\nAnonymous:    900 kB\n";
        let expected =
            Memory { status_rss_kib: 5200, peak_rss_kib: 5300, rss_kib: 5204, anonymous_kib: 900 };
        assert_eq!(parse_memory(status, rollup), Some(expected));
        assert_eq!(parse_memory("Name:\tzombie\n", rollup), None);
    }

    #[test]
    fn both_kinds_of_context_switches_count() {
        let status = "voluntary_ctxt_switches:\t150\nnonvoluntary_ctxt_switches:\t7\n";
        assert_eq!(parse_switches(status), Some(157));
    }

    #[test]
    fn processor_time_is_found_after_a_name_with_brackets() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 250 50 30 20 20 0 1 0 9 0 0";
        let expected = Processor { own_seconds: 3.0, children_seconds: 0.5 };
        assert_eq!(parse_processor(stat, 100.0), Some(expected));
    }

    #[test]
    fn this_process_can_be_measured() {
        let id = std::process::id();
        let mut meter = Meter::start(id).unwrap();
        assert!(memory(id).unwrap().rss_kib > 0);
        assert!(meter.cost().unwrap().cpu_percent >= 0.0);
        assert!(Meter::start(u32::MAX).is_err());
    }
}
