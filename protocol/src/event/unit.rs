//! Events of systemd units. States are systemd's own words (`systemctl show`).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What became of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum UnitChange {
    /// It runs, and did not before.
    Started,
    /// It stopped without a failure.
    Stopped,
    /// It failed. `will_restart` says whether systemd tries again by itself.
    Failed,
    /// It left the failed state: it runs again, or the failure was reset.
    Recovered,
    /// It fails and restarts again and again; single failures are counted, not told.
    CrashLooping,
    /// A change of a later version.
    #[serde(other)]
    Unknown,
}

/// The state of one unit; also an element of the checkpoint `units`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UnitState {
    /// Name with suffix, such as `pveproxy.service`.
    pub unit: String,
    /// `loaded`, `not-found`, `masked`, `bad-setting`, `error`.
    pub load_state: String,
    /// `active`, `reloading`, `inactive`, `failed`, `activating`, `deactivating`, ...
    pub active_state: String,
    /// The finer state, which depends on the type: `running`, `exited`, `auto-restart`, ...
    pub sub_state: String,
    /// `success`, `exit-code`, `signal`, `timeout`, `oom-kill`, ...; none if not a service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// How the main process ended, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// Automatic restarts since it was last started on purpose (`NRestarts`).
    #[serde(default)]
    pub restarts: u32,
    /// Whether systemd is about to start it again by itself.
    #[serde(default)]
    pub will_restart: bool,
    /// The run that this is about: 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invocation_id: Option<String>,
    /// When it entered this state (`StateChangeTimestamp`); none if it never changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Timestamp>,
    /// The crash loop that it is in, if it is in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crash_loop: Option<CrashLoop>,
}

impl UnitState {
    /// Whether the unit is in the failed state.
    pub fn is_failed(&self) -> bool {
        self.active_state == "failed"
    }
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Exit {
    /// `exited`, `killed` or `dumped` (`ExecMainCode`).
    pub code: String,
    /// The exit status, or the number of the signal (`ExecMainStatus`).
    pub status: i32,
}

/// A unit that fails and restarts again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CrashLoop {
    /// When the first failure of the loop happened.
    pub since: Timestamp,
    /// Failures in the loop so far.
    pub failures: u32,
}

/// `unit.changed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UnitChanged {
    /// What became of it.
    pub change: UnitChange,
    /// Its state after the change.
    #[serde(flatten)]
    pub state: UnitState,
}

/// `unit.removed`: systemd says not-found when asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UnitRemoved {
    /// Name with suffix.
    pub unit: String,
}

/// `unit.log`: the last journal lines of a failed invocation. Never retained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UnitLog {
    /// Name with suffix.
    pub unit: String,
    /// The run that wrote them: 32 hexadecimal digits.
    pub invocation_id: String,
    /// Oldest first.
    pub lines: Vec<LogLine>,
    /// Whether older lines were left out to stay within the bounds.
    #[serde(default)]
    pub truncated: bool,
    /// Places that were blanked because they looked like secrets.
    #[serde(default)]
    pub redacted: u32,
}

/// One line of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LogLine {
    /// When the journal received it.
    pub at: Timestamp,
    /// Syslog priority, 0 (emergency) to 7 (debug).
    pub priority: u8,
    /// The text.
    pub message: String,
}
