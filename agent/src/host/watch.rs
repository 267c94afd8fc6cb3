//! Reads the host at intervals and hands the newest reading over; an older one is replaced.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pvewatch_protocol::sample::{Cpu, Load, Memory, Pressure, Stall, Swap};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::pressure;

/// One reading of the host; the parts of a sample that are not the agent's own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// Time since boot, in seconds.
    pub uptime_seconds: f64,
    /// Load averages.
    pub load: Load,
    /// Processors.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Memory,
    /// Swap.
    pub swap: Swap,
    /// Pressure; none where the kernel has it switched off.
    pub pressure: Option<Pressure>,
    /// Resident memory of the agent, in bytes.
    pub rss_bytes: u64,
}

/// Reads the host every `period` until nobody wants readings any more.
pub async fn run(period: Duration, pressure: PathBuf, readings: watch::Sender<Option<Reading>>) {
    let mut reader = match Reader::new(pressure) {
        Ok(reader) => reader,
        Err(error) => {
            log::error!("load: /proc cannot be read ({error}): no samples are sent");
            return;
        }
    };
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = readings.closed() => return,
        }
        match reader.read() {
            Ok(reading) => {
                if readings.send(Some(reading)).is_err() {
                    return;
                }
            }
            Err(error) => log::warn!("load: /proc cannot be read: {error}"),
        }
    }
}

/// Keeps what a reading is compared with: processor time is a difference.
struct Reader {
    system: System,
    pressure: PathBuf,
    first: bool,
}

impl Reader {
    fn new(pressure: PathBuf) -> Result<Self, sysinfo::Error> {
        let narrow = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing().with_usage())
            .with_memory(MemoryRefreshKind::everything());
        Ok(Self { system: System::new_with_specifics(narrow)?, pressure, first: true })
    }

    fn read(&mut self) -> Result<Reading, sysinfo::Error> {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory();
        let busy_ratio = f64::from(self.system.global_cpu_usage()) / 100.0;
        // The time since the reader began is too short for the first one to mean anything.
        let first = std::mem::take(&mut self.first);
        let load = System::load_average()?;
        Ok(Reading {
            uptime_seconds: System::uptime()? as f64,
            load: Load { one: load.one, five: load.five, fifteen: load.fifteen },
            cpu: Cpu {
                count: u32::try_from(self.system.cpus().len()).unwrap_or(u32::MAX),
                busy_ratio: (!first && busy_ratio.is_finite()).then(|| busy_ratio.clamp(0.0, 1.0)),
            },
            memory: Memory {
                total_bytes: self.system.total_memory(),
                available_bytes: self.system.available_memory(),
            },
            swap: Swap {
                total_bytes: self.system.total_swap(),
                free_bytes: self.system.free_swap(),
            },
            pressure: read_pressure(&self.pressure),
            rss_bytes: own_rss_bytes(),
        })
    }
}

fn read_pressure(directory: &Path) -> Option<Pressure> {
    let stall = |name: &str| -> Option<Stall> {
        pressure::parse(&std::fs::read_to_string(directory.join(name)).ok()?)
    };
    Some(Pressure { cpu: stall("cpu")?, io: stall("io")?, memory: stall("memory")? })
}

/// Resident memory of this process (`/proc/self/statm`, second field, in pages).
fn own_rss_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or_default() * rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_of_this_machine_makes_sense() {
        let mut reader = Reader::new("/proc/pressure".into()).unwrap();
        let first = reader.read().unwrap();
        let second = reader.read().unwrap();
        assert_eq!(first.cpu.busy_ratio, None);
        assert!(second.cpu.busy_ratio.is_some_and(|busy| (0.0..=1.0).contains(&busy)));
        assert!(second.cpu.count >= 1);
        assert!(second.memory.total_bytes >= second.memory.available_bytes);
        assert!(second.rss_bytes > 100_000);
        assert!(second.uptime_seconds > 0.0);
    }

    #[test]
    fn pressure_that_is_switched_off_is_left_out() {
        assert_eq!(read_pressure(Path::new("/nonexistent")), None);
    }
}
