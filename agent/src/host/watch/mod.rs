//! Reads the host at intervals and hands the newest reading over; an older one is replaced.

mod certificate;
mod clock;
mod cluster;
mod filesystems;
mod groups;
mod interfaces;
mod temperatures;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pvewatch_protocol::sample::{
    Certificate, Clock, Cluster, Cpu, Filesystem, GuestUsage, Interface, Load, Memory, Pool,
    Pressure, Stall, Swap, Temperature,
};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::{pools, pressure};
use certificate::NodeCertificate;
use cluster::Members;
use filesystems::Filesystems;
use groups::Groups;
use temperatures::Temperatures;

/// One reading of the host; the parts of a sample that are not the agent's own.
#[derive(Debug, Clone, PartialEq)]
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
    /// Filesystems, by place.
    pub filesystems: Vec<Filesystem>,
    /// Pools of disks.
    pub pools: Vec<Pool>,
    /// Network interfaces.
    pub interfaces: Vec<Interface>,
    /// How hot chips are.
    pub temperatures: Vec<Temperature>,
    /// The kernel's clock; none of a container, which has its host's.
    pub clock: Option<Clock>,
    /// The certificate of the web interface.
    pub certificate: Option<Certificate>,
    /// The cluster, if the host is in one.
    pub cluster: Option<Cluster>,
    /// Processes that the kernel killed for memory since it started; none if it does not count.
    pub oom_kills: Option<u64>,
    /// Whether something that was installed waits for a reboot.
    pub reboot_required: bool,
    /// What guests have used, now and then.
    pub guests: Option<Vec<GuestUsage>>,
    /// Resident memory of the agent, in bytes.
    pub rss_bytes: u64,
}

/// Where the host is read, beside what has one place everywhere.
#[derive(Debug, Clone)]
pub struct HostPaths {
    /// Pressure stall information.
    pub pressure: PathBuf,
    /// What is mounted.
    pub mountinfo: PathBuf,
    /// The kernel's word on pools, counters and memory.
    pub proc: PathBuf,
    /// Is there when something waits for a reboot.
    pub reboot_required: PathBuf,
    /// Which nodes of a cluster see each other.
    pub members: PathBuf,
    /// The devices that the kernel shows.
    pub sys: PathBuf,
    /// Is there in a container.
    pub container: PathBuf,
    /// The folder of the node's certificates.
    pub certificates: PathBuf,
}

/// Reads the host every `period` until nobody wants readings any more.
pub async fn run(period: Duration, paths: HostPaths, readings: watch::Sender<Option<Reading>>) {
    let mut reader = match Reader::new(paths) {
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
        match reader.read().await {
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
    filesystems: Filesystems,
    members: Members,
    temperatures: Temperatures,
    certificate: NodeCertificate,
    groups: Groups,
    /// A container is shown its host's chips, and has its host's clock: neither is its own to tell.
    is_container: bool,
    paths: HostPaths,
    first: bool,
}

impl Reader {
    fn new(paths: HostPaths) -> Result<Self, sysinfo::Error> {
        let narrow = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing().with_usage())
            .with_memory(MemoryRefreshKind::everything());
        let filesystems = Filesystems::new(paths.mountinfo.clone());
        let members = Members::new(paths.members.clone());
        let is_container = paths.container.exists();
        let temperatures = Temperatures::new(&paths.sys);
        let certificate = NodeCertificate::new(paths.certificates.clone());
        let groups = Groups::new(&paths.sys);
        let system = System::new_with_specifics(narrow)?;
        Ok(Self {
            system,
            filesystems,
            members,
            temperatures,
            certificate,
            groups,
            is_container,
            paths,
            first: true,
        })
    }

    async fn read(&mut self) -> Result<Reading, sysinfo::Error> {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory();
        let busy_ratio = f64::from(self.system.global_cpu_usage()) / 100.0;
        // The time since the reader began is too short for the first one to mean anything.
        let first = std::mem::take(&mut self.first);
        let load = System::load_average()?;
        Ok(Reading {
            uptime_seconds: match read_uptime(&self.paths.proc) {
                Some(seconds) => seconds,
                None => System::uptime()? as f64,
            },
            load: Load { one: load.one, five: load.five, fifteen: load.fifteen },
            cpu: Cpu {
                count: u32::try_from(self.system.cpus().len()).unwrap_or(u32::MAX),
                busy_ratio: (!first && busy_ratio.is_finite()).then(|| busy_ratio.clamp(0.0, 1.0)),
            },
            memory: Memory {
                total_bytes: self.system.total_memory(),
                available_bytes: self.available_bytes(),
            },
            swap: Swap {
                total_bytes: self.system.total_swap(),
                free_bytes: self.system.free_swap(),
            },
            pressure: read_pressure(&self.paths.pressure),
            filesystems: self.filesystems.read().await,
            pools: read_pools(&self.paths.proc),
            interfaces: interfaces::read(&self.paths.proc),
            temperatures: match self.is_container {
                true => Vec::new(),
                false => self.temperatures.read().await,
            },
            clock: if self.is_container { None } else { clock::read() },
            certificate: self.certificate.read().await,
            cluster: self.members.read().await,
            oom_kills: read_oom_kills(&self.paths.proc),
            reboot_required: self.paths.reboot_required.exists(),
            guests: self.groups.read().await,
            rss_bytes: own_rss_bytes(),
        })
    }
}

impl Reader {
    /// Memory that programs could still get. The kernel counts the cache of ZFS as in use; of a
    /// container it is the host's.
    fn available_bytes(&self) -> u64 {
        let arcstats = self.paths.proc.join("spl/kstat/zfs/arcstats");
        let arcstats = match self.is_container {
            true => String::new(),
            false => fs::read_to_string(arcstats).unwrap_or_default(),
        };
        let available = self.system.available_memory();
        let available = available.saturating_add(pools::arc_that_can_shrink(&arcstats));
        available.min(self.system.total_memory())
    }
}

/// The pools of ZFS and the arrays of md; none without either.
fn read_pools(proc: &Path) -> Vec<Pool> {
    let mut found = Vec::new();
    for entry in fs::read_dir(proc.join("spl/kstat/zfs")).into_iter().flatten().flatten() {
        if let Ok(state) = fs::read_to_string(entry.path().join("state")) {
            found.push(pools::zfs(&entry.file_name().to_string_lossy(), &state));
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found.extend(pools::md(&fs::read_to_string(proc.join("mdstat")).unwrap_or_default()));
    found.truncate(pools::POOLS_MAX);
    found
}

/// The first number of `uptime`, to the hundredth: what the collector makes of counters is divided
/// by differences of it.
fn read_uptime(proc: &Path) -> Option<f64> {
    let text = fs::read_to_string(proc.join("uptime")).ok()?;
    text.split(' ').next()?.parse().ok().filter(|seconds: &f64| seconds.is_finite())
}

/// `oom_kill` in `vmstat`.
fn read_oom_kills(proc: &Path) -> Option<u64> {
    let text = fs::read_to_string(proc.join("vmstat")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
}

fn read_pressure(directory: &Path) -> Option<Pressure> {
    let stall = |name: &str| -> Option<Stall> {
        pressure::parse(&fs::read_to_string(directory.join(name)).ok()?)
    };
    Some(Pressure { cpu: stall("cpu")?, io: stall("io")?, memory: stall("memory")? })
}

/// Resident memory of this process (`/proc/self/statm`, second field, in pages).
fn own_rss_bytes() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or_default() * rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths() -> HostPaths {
        HostPaths {
            pressure: "/proc/pressure".into(),
            mountinfo: "/proc/self/mountinfo".into(),
            proc: "/proc".into(),
            reboot_required: "/run/reboot-required".into(),
            members: "/etc/pve/.members".into(),
            sys: "/sys".into(),
            container: "/nonexistent".into(),
            certificates: "/etc/pve/local".into(),
        }
    }

    #[tokio::test]
    async fn a_reading_of_this_machine_makes_sense() {
        let mut reader = Reader::new(paths()).unwrap();
        let first = reader.read().await.unwrap();
        let second = reader.read().await.unwrap();
        assert_eq!(first.cpu.busy_ratio, None);
        assert!(second.cpu.busy_ratio.is_some_and(|busy| (0.0..=1.0).contains(&busy)));
        assert!(second.cpu.count >= 1);
        assert!(second.memory.total_bytes >= second.memory.available_bytes);
        assert!(second.rss_bytes > 100_000);
        assert!(second.uptime_seconds > 0.0);
        assert!(second.oom_kills.is_some());
    }

    #[tokio::test]
    async fn a_container_tells_nothing_of_its_hosts_clock_and_chips() {
        let sys = tempfile::tempdir().unwrap();
        let chip = sys.path().join("class/hwmon/hwmon0");
        fs::create_dir_all(&chip).unwrap();
        fs::write(chip.join("name"), "k10temp").unwrap();
        fs::write(chip.join("temp1_input"), "48000").unwrap();
        let sys = sys.path().to_owned();
        let host = HostPaths { sys: sys.clone(), ..paths() };
        let container = HostPaths { sys: sys.clone(), container: sys, ..paths() };
        for (paths, chips) in [(host, 1), (container, 0)] {
            let reading = Reader::new(paths).unwrap().read().await.unwrap();
            assert_eq!(reading.temperatures.len(), chips);
            assert!(chips > 0 || reading.clock.is_none());
        }
    }

    #[tokio::test]
    async fn what_zfs_would_give_up_is_available_unless_it_is_the_hosts() {
        let proc = tempfile::tempdir().unwrap();
        let zfs = proc.path().join("spl/kstat/zfs");
        fs::create_dir_all(&zfs).unwrap();
        fs::write(zfs.join("arcstats"), "size 4 1152921504606846976\nc_min 4 0\n").unwrap();
        let paths = HostPaths { proc: proc.path().to_owned(), ..paths() };
        let host = Reader::new(paths.clone()).unwrap();
        assert_eq!(host.available_bytes(), host.system.total_memory());
        let paths = HostPaths { container: proc.path().to_owned(), ..paths };
        let container = Reader::new(paths).unwrap();
        assert_eq!(container.available_bytes(), container.system.available_memory());
    }

    #[test]
    fn the_time_since_boot_is_read_to_the_hundredth() {
        let proc = tempfile::tempdir().unwrap();
        assert_eq!(read_uptime(proc.path()), None);
        for (text, expected) in
            [("22215.37 160000.00\n", Some(22215.37)), ("", None), ("NaN 1", None), ("x 1", None)]
        {
            fs::write(proc.path().join("uptime"), text).unwrap();
            assert_eq!(read_uptime(proc.path()), expected, "{text:?}");
        }
    }

    #[test]
    fn pools_are_read_where_the_kernel_shows_them() {
        let proc = tempfile::tempdir().unwrap();
        assert_eq!(read_pools(proc.path()), []);
        let rpool = proc.path().join("spl/kstat/zfs/rpool");
        fs::create_dir_all(&rpool).unwrap();
        fs::write(rpool.join("state"), "DEGRADED\n").unwrap();
        fs::write(proc.path().join("mdstat"), "md0 : active raid1 sda1[0]\n").unwrap();
        let names: Vec<_> = read_pools(proc.path()).into_iter().map(|pool| pool.name).collect();
        assert_eq!(names, ["rpool", "md0"]);
    }

    #[test]
    fn pressure_that_is_switched_off_is_left_out() {
        assert_eq!(read_pressure(Path::new("/nonexistent")), None);
    }
}
