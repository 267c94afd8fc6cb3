//! `[units]` of the agent's configuration, and the places that the source reads from.
//!
//! The defaults are meant to be quiet on a Proxmox node: services and timers, without what
//! comes and goes with sessions and connections.

use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use regex_lite::Regex;
use serde::Deserialize;

use super::crash_loop::CrashLoopSettings;
use crate::systemd::{Selection, UnitGlob};

/// What is watched unless `include` says otherwise.
const INCLUDE_DEFAULTS: [&str; 2] = ["*.service", "*.timer"];

/// What is left out unless `exclude_defaults = false`.
const EXCLUDE_DEFAULTS: [&str; 13] = [
    // Come and go with every login.
    "user@*.service",
    "user-runtime-dir@*.service",
    "getty@*.service",
    "serial-getty@*.service",
    "container-getty@*.service",
    "console-getty.service",
    "autovt@*.service",
    // One for every connection of a socket with Accept=yes (`ssh@0-10.0.0.1:22-10.0.0.2:4711`):
    // a peer that hangs up early is a "failed" unit.
    "*@*-*:*-*:*.service",
    // One for every crash; the crash itself is told by the unit that crashed.
    "systemd-coredump@*.service",
    // Started by a bus name and gone when idle: their comings and goings mean nothing.
    "systemd-hostnamed.service",
    "systemd-localed.service",
    "systemd-timedated.service",
    "packagekit.service",
];

/// `[units]`: which systemd units are watched, and how much is told about them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UnitsConfig {
    /// Patterns of the units to watch.
    pub include: Vec<UnitGlob>,
    /// Patterns of units to leave out, in addition to the curated ones.
    pub exclude: Vec<UnitGlob>,
    /// Whether the curated list of noisy units is left out too.
    pub exclude_defaults: bool,
    /// When repeated failures are folded into one.
    pub crash_loop: CrashLoopConfig,
    /// The journal lines that follow a failure.
    pub log: LogConfig,
}

impl Default for UnitsConfig {
    fn default() -> Self {
        Self {
            include: globs(&INCLUDE_DEFAULTS),
            exclude: Vec::new(),
            exclude_defaults: true,
            crash_loop: CrashLoopConfig::default(),
            log: LogConfig::default(),
        }
    }
}

impl UnitsConfig {
    /// Which units are watched.
    pub fn selection(&self) -> Selection {
        let mut exclude = self.exclude.clone();
        if self.exclude_defaults {
            exclude.extend(globs(&EXCLUDE_DEFAULTS));
        }
        Selection { include: self.include.clone(), exclude }
    }
}

/// `[units.crash_loop]`
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CrashLoopConfig {
    /// This many failures with an automatic restart...
    pub failures: FailureCount,
    /// ... within this time are a crash loop.
    pub window: LoopTime,
    /// A loop is over when the unit has stayed up for this long.
    pub calm: LoopTime,
}

impl Default for CrashLoopConfig {
    fn default() -> Self {
        Self {
            failures: FailureCount(5),
            window: LoopTime(Duration::from_secs(600)),
            calm: LoopTime(Duration::from_secs(300)),
        }
    }
}

impl CrashLoopConfig {
    /// As the rules of crash loops take it.
    pub fn settings(&self) -> CrashLoopSettings {
        CrashLoopSettings { failures: self.failures.0, window: self.window.0, calm: self.calm.0 }
    }
}

/// 2 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "usize")]
pub struct FailureCount(pub usize);

impl TryFrom<usize> for FailureCount {
    type Error = String;
    fn try_from(count: usize) -> Result<Self, String> {
        if (2..=100).contains(&count) {
            Ok(Self(count))
        } else {
            Err(format!("{count} failures are not possible: use 2 to 100"))
        }
    }
}

/// 1 s to 24 h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "SignedDuration")]
pub struct LoopTime(pub Duration);

impl TryFrom<SignedDuration> for LoopTime {
    type Error = String;
    fn try_from(duration: SignedDuration) -> Result<Self, String> {
        let allowed = SignedDuration::from_secs(1)..=SignedDuration::from_hours(24);
        if allowed.contains(&duration) {
            Ok(Self(duration.unsigned_abs()))
        } else {
            Err(format!("a time of {duration:#} is not possible: use \"1s\" to \"24h\""))
        }
    }
}

/// `[units.log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Whether journal lines follow a failure at all.
    pub enabled: bool,
    /// Most lines of one failure.
    pub lines_max: LogLines,
    /// Most bytes of text of one failure; older lines are left out.
    pub bytes_max: LogBytes,
    /// Patterns of units whose lines are never sent.
    pub exclude: Vec<UnitGlob>,
    /// More regular expressions whose matches are blanked; a group named `secret` blanks only
    /// that group.
    pub redact: Vec<RedactPattern>,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            lines_max: LogLines(50),
            bytes_max: LogBytes(16 * 1024),
            exclude: Vec::new(),
            redact: Vec::new(),
        }
    }
}

/// 1 to 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "usize")]
pub struct LogLines(pub usize);

impl TryFrom<usize> for LogLines {
    type Error = String;
    fn try_from(lines: usize) -> Result<Self, String> {
        if (1..=500).contains(&lines) {
            Ok(Self(lines))
        } else {
            Err(format!("{lines} lines are not possible: use 1 to 500"))
        }
    }
}

/// 256 to 131072: an event must fit into the smallest packet that a broker may allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "usize")]
pub struct LogBytes(pub usize);

impl TryFrom<usize> for LogBytes {
    type Error = String;
    fn try_from(bytes: usize) -> Result<Self, String> {
        if (256..=128 * 1024).contains(&bytes) {
            Ok(Self(bytes))
        } else {
            Err(format!("{bytes} bytes are not possible: use 256 to 131072"))
        }
    }
}

/// A regular expression for secrets.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub struct RedactPattern(pub Regex);

impl TryFrom<String> for RedactPattern {
    type Error = String;
    fn try_from(pattern: String) -> Result<Self, String> {
        match Regex::new(&pattern) {
            Ok(regex) if regex.is_match("") => {
                Err(format!("the pattern {pattern:?} matches an empty text: it would blank all"))
            }
            Ok(regex) => Ok(Self(regex)),
            Err(error) => Err(format!("the pattern {pattern:?} is no regular expression: {error}")),
        }
    }
}

/// The places that the source reads from.
#[derive(Debug, Clone)]
pub struct UnitsPaths {
    /// The D-Bus address of the system bus; none is the usual one.
    pub system_bus: Option<String>,
    /// The command `journalctl`.
    pub journalctl: PathBuf,
    /// A folder with journal files; none is the system's own.
    pub journal_directory: Option<PathBuf>,
}

impl Default for UnitsPaths {
    fn default() -> Self {
        Self { system_bus: None, journalctl: "journalctl".into(), journal_directory: None }
    }
}

/// Compiles the defaults, which a test proves to be well formed.
fn globs(patterns: &[&str]) -> Vec<UnitGlob> {
    patterns.iter().filter_map(|pattern| UnitGlob::try_from((*pattern).to_owned()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_well_formed_and_quiet() {
        let config = UnitsConfig::default();
        let selection = config.selection();
        assert_eq!(selection.include.len(), INCLUDE_DEFAULTS.len());
        assert_eq!(selection.exclude.len(), EXCLUDE_DEFAULTS.len());
        for (unit, watched) in [
            ("pveproxy.service", true),
            ("pve-container@101.service", true),
            ("apt-daily.timer", true),
            ("run-u12.service", true),
            ("ssh.service", true),
            ("user@0.service", false),
            ("getty@tty1.service", false),
            ("ssh@3-10.0.0.1:22-10.0.0.2:50112.service", false),
            ("systemd-timedated.service", false),
            ("102.scope", false),
            ("-.mount", false),
        ] {
            assert_eq!(selection.watches(unit), watched, "{unit}");
        }
    }

    #[test]
    fn every_key_can_be_set() {
        let config: UnitsConfig = toml::from_str(
            r#"
            include = ["pve*.service"]
            exclude = ["pvestatd.service"]
            exclude_defaults = false
            [crash_loop]
            failures = 3
            window = "1m"
            calm = "30s"
            [log]
            enabled = false
            lines_max = 10
            bytes_max = 4096
            exclude = ["vault*.service"]
            redact = ['pin=(?<secret>\d+)']
            "#,
        )
        .unwrap();
        assert!(config.selection().watches("pveproxy.service"));
        assert!(!config.selection().watches("pvestatd.service"));
        assert_eq!(config.crash_loop.settings().failures, 3);
        assert!(!config.log.enabled);
    }

    #[test]
    fn impossible_values_are_refused() {
        for (text, says) in [
            ("includes = []", "unknown field `includes`"),
            ("include = [\"ssh\"]", "names no unit"),
            ("crash_loop.failures = 1", "use 2 to 100"),
            ("crash_loop.window = \"0s\"", "use \"1s\" to \"24h\""),
            ("log.lines_max = 0", "use 1 to 500"),
            ("log.bytes_max = 1", "use 256 to 131072"),
            ("log.redact = [\"(\"]", "no regular expression"),
            ("log.redact = [\"x*\"]", "would blank all"),
        ] {
            let error = toml::from_str::<UnitsConfig>(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
