//! The agent's configuration: `/etc/pvewatch/agent.toml`.
//!
//! Every key has a default except the broker's URL. What is impossible is refused when the
//! file is read, with its line; nothing is checked again later.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;
use pvewatch_edge::config::ConfigError;
use pvewatch_edge::mqtt::BrokerSettings;
use pvewatch_protocol::{CollectorName, NodeName, Site};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::backups::plan::watch::reader::PlanPaths;
use crate::backups::storages::watch::StoragePaths;
use crate::guests::watch::GuestsPaths;
use crate::host::HostPaths;
use crate::proxmox::ProxmoxConfig;
use crate::units::{UnitsConfig, UnitsPaths};

/// Where the configuration lies unless `--config` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/pvewatch/agent.toml";

/// The whole file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The installation that this node belongs to.
    pub site: Site,
    /// This node's name; its host name if not set.
    pub node: Option<NodeName>,
    /// The environment of this node, such as `prod` or `lab`; carried by every alert.
    pub environment: Option<LabelValue>,
    /// More labels, carried by every alert.
    pub labels: BTreeMap<LabelName, LabelValue>,
    /// The collectors whose acks count.
    pub collectors: Collectors,
    /// How to reach the broker.
    pub broker: BrokerSettings,
    /// The periodic reading.
    pub sample: SampleConfig,
    /// The queue of events that are not acked.
    pub outbox: OutboxConfig,
    /// Which systemd units are watched.
    pub units: UnitsConfig,
    /// Proxmox' own API.
    pub proxmox: ProxmoxConfig,
    /// Where the agent reads from.
    pub paths: Paths,
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// When the file cannot be read, has an unknown key, or an impossible value.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        pvewatch_edge::config::load(path)
    }

    /// All labels of this node: `labels` and `environment`.
    pub fn node_labels(&self) -> BTreeMap<String, String> {
        let environment =
            self.environment.iter().map(|value| ("environment".to_owned(), value.0.clone()));
        let labels = self.labels.iter().map(|(name, value)| (name.0.clone(), value.0.clone()));
        labels.chain(environment).collect()
    }
}

/// `[sample]`
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SampleConfig {
    /// The time from one sample to the next.
    pub interval: SampleInterval,
}

impl Default for SampleConfig {
    fn default() -> Self {
        Self { interval: SampleInterval(Duration::from_secs(10)) }
    }
}

/// 1 s to 10 min: the sample is the heartbeat, so a longer time would hide a dead node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "WrittenDuration")]
pub struct SampleInterval(pub Duration);

/// A duration as it stands in the file, or whatever stands in its place.
#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenDuration {
    Text(String),
    Other(IgnoredAny),
}

impl TryFrom<WrittenDuration> for SampleInterval {
    type Error = String;
    fn try_from(written: WrittenDuration) -> Result<Self, String> {
        let duration: Option<SignedDuration> = match written {
            WrittenDuration::Text(text) => text.parse().ok(),
            WrittenDuration::Other(_) => None,
        };
        let Some(duration) = duration else {
            return Err("an interval is a text with a unit, such as \"10s\" or \"1m\"".to_owned());
        };
        let allowed = SignedDuration::from_secs(1)..=SignedDuration::from_mins(10);
        if allowed.contains(&duration) {
            Ok(Self(duration.unsigned_abs()))
        } else {
            Err(format!("an interval of {duration:#} is not possible: use \"1s\" to \"10m\""))
        }
    }
}

/// `[outbox]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutboxConfig {
    /// Most bytes of events that are held; then the oldest are dropped, and that is reported.
    pub bytes_max: OutboxBytes,
    /// Where they are kept; below the service manager's state directory if not set, and in
    /// memory alone if there is none.
    pub directory: Option<PathBuf>,
}

impl Default for OutboxConfig {
    fn default() -> Self {
        Self { bytes_max: OutboxBytes(64 * 1024 * 1024), directory: None }
    }
}

/// 64 KiB to 1 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub struct OutboxBytes(pub u64);

impl TryFrom<u64> for OutboxBytes {
    type Error = String;
    fn try_from(bytes: u64) -> Result<Self, String> {
        if (64 * 1024..=1024 * 1024 * 1024).contains(&bytes) {
            Ok(Self(bytes))
        } else {
            Err(format!("{bytes} bytes are not possible: use 65536 to 1073741824"))
        }
    }
}

/// The names of the collectors: at least one, each once.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<CollectorName>")]
pub struct Collectors(Vec<CollectorName>);

impl Collectors {
    /// The names.
    pub fn names(&self) -> &[CollectorName] {
        &self.0
    }
}

impl Default for Collectors {
    fn default() -> Self {
        Self(vec![CollectorName::default()])
    }
}

impl TryFrom<Vec<CollectorName>> for Collectors {
    type Error = String;
    fn try_from(names: Vec<CollectorName>) -> Result<Self, String> {
        let mut sorted = names.clone();
        sorted.sort();
        sorted.dedup();
        if names.is_empty() {
            Err("at least one collector must be named, such as [\"main\"]".to_owned())
        } else if sorted.len() < names.len() {
            Err("a collector is named twice".to_owned())
        } else {
            Ok(Self(names))
        }
    }
}

/// `[paths]`: every place that the agent reads from.
///
/// Load, memory and processors come from the kernel through sysinfo, which always reads `/proc`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Paths {
    /// D-Bus address of the system bus, such as `unix:path=/run/dbus/system_bus_socket`.
    pub system_bus: Option<String>,
    /// The program that reads the journal.
    pub journalctl: PathBuf,
    /// A journal directory other than the system's own.
    pub journal_directory: Option<PathBuf>,
    /// Pressure stall information.
    pub pressure: PathBuf,
    /// The kernel's word on pools of disks and on memory.
    pub proc: PathBuf,
    /// Is there when something that was installed waits for a reboot.
    pub reboot_required: PathBuf,
    /// The devices that the kernel shows.
    pub sys: PathBuf,
    /// systemd's note that it runs in a container.
    pub container: PathBuf,
    /// The kernel's boot id.
    pub boot_id: PathBuf,
    /// The machine id.
    pub machine_id: PathBuf,
    /// Proxmox' cluster file system.
    pub pve: PathBuf,
    /// The logs of Proxmox' tasks.
    pub tasks: PathBuf,
    /// The log of each guest's last backup.
    pub guest_logs: PathBuf,
    /// What Proxmox' scheduler notes of each job's last run.
    pub job_states: PathBuf,
    /// How the replications of guests go, as the scheduler notes it.
    pub replication_states: PathBuf,
    /// The zone of this host's clock.
    pub localtime: PathBuf,
    /// The node's own defaults for vzdump.
    pub vzdump: PathBuf,
    /// What is mounted.
    pub mountinfo: PathBuf,
    /// What should be mounted.
    pub fstab: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            system_bus: None,
            journalctl: "journalctl".into(),
            journal_directory: None,
            pressure: "/proc/pressure".into(),
            proc: "/proc".into(),
            reboot_required: "/run/reboot-required".into(),
            sys: "/sys".into(),
            container: "/run/systemd/container".into(),
            boot_id: "/proc/sys/kernel/random/boot_id".into(),
            machine_id: "/etc/machine-id".into(),
            pve: "/etc/pve".into(),
            tasks: "/var/log/pve/tasks".into(),
            guest_logs: "/var/log/vzdump".into(),
            job_states: "/var/lib/pve-manager/jobs".into(),
            replication_states: "/var/lib/pve-manager/pve-replication-state.json".into(),
            localtime: "/etc/localtime".into(),
            vzdump: "/etc/vzdump.conf".into(),
            mountinfo: "/proc/self/mountinfo".into(),
            fstab: "/etc/fstab".into(),
        }
    }
}

impl Paths {
    /// The places that the source `backup_jobs` reads from.
    pub fn plan(&self) -> PlanPaths {
        PlanPaths {
            config: self.pve.clone(),
            states: self.job_states.clone(),
            replication: self.replication_states.clone(),
            localtime: self.localtime.clone(),
        }
    }

    /// The places that the source `backup_storages` reads from, beside the storages.
    pub fn storages(&self) -> StoragePaths {
        StoragePaths {
            config: self.pve.clone(),
            vzdump: self.vzdump.clone(),
            mountinfo: self.mountinfo.clone(),
            fstab: self.fstab.clone(),
        }
    }

    /// The places that the host's readings come from.
    pub fn host(&self) -> HostPaths {
        HostPaths {
            pressure: self.pressure.clone(),
            mountinfo: self.mountinfo.clone(),
            proc: self.proc.clone(),
            reboot_required: self.reboot_required.clone(),
            members: self.pve.join(".members"),
            sys: self.sys.clone(),
            container: self.container.clone(),
            certificates: self.pve.join("local"),
        }
    }

    /// The places that the source `guests` reads from.
    pub fn guests(&self) -> GuestsPaths {
        GuestsPaths {
            system_bus: self.system_bus.clone(),
            pve: self.pve.clone(),
            tasks: self.tasks.clone(),
        }
    }

    /// The places that the source `units` reads from.
    pub fn units(&self) -> UnitsPaths {
        UnitsPaths {
            system_bus: self.system_bus.clone(),
            journalctl: self.journalctl.clone(),
            journal_directory: self.journal_directory.clone(),
        }
    }
}

/// Labels that pvewatch sets itself.
const RESERVED_LABELS: [&str; 10] = [
    "alertname",
    "severity",
    "site",
    "node",
    "unit",
    "vmid",
    "backup_job",
    "storage",
    "instance",
    "job",
];

/// A label name as Prometheus allows it, and not one that pvewatch sets itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct LabelName(String);

impl TryFrom<String> for LabelName {
    type Error = String;
    fn try_from(name: String) -> Result<Self, String> {
        let first = |b: u8| b.is_ascii_alphabetic() || b == b'_';
        let well_formed = name.len() <= 64
            && name.bytes().next().is_some_and(first)
            && name.bytes().all(|b| first(b) || b.is_ascii_digit());
        if RESERVED_LABELS.contains(&name.as_str()) {
            Err(format!("the label {name:?} is set by pvewatch itself: choose another name"))
        } else if name == "environment" {
            Err("set `environment` at the top of the file, not among the labels".to_owned())
        } else if name.starts_with("__") || !well_formed {
            Err(format!(
                "{name:?} is not a label name: use letters, digits and '_', not beginning with \
                 a digit or \"__\""
            ))
        } else {
            Ok(Self(name))
        }
    }
}

/// A label value: at most 256 bytes, no control characters.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct LabelValue(String);

impl TryFrom<String> for LabelValue {
    type Error = String;
    fn try_from(value: String) -> Result<Self, String> {
        if value.is_empty() || value.len() > 256 || value.chars().any(char::is_control) {
            Err(format!("{value:?} is not a label value: use 1 to 256 printable bytes"))
        } else {
            Ok(Self(value))
        }
    }
}
