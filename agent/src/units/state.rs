//! What is known of one unit at one moment, in few bytes: there can be ten thousand.
//!
//! Words of systemd's that are known cost no memory of their own; unknown ones are kept as they
//! came.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use pvewatch_protocol::event::{CrashLoop as CrashLoopSummary, Exit, UnitState};

use super::name::UnitName;

/// A word of systemd's: a state, a result.
pub type Word = Cow<'static, str>;

/// The words that need no memory of their own.
const KNOWN_WORDS: [&str; 55] = [
    "loaded",
    "not-found",
    "masked",
    "bad-setting",
    "error",
    "merged",
    "stub",
    "active",
    "reloading",
    "refreshing",
    "inactive",
    "failed",
    "activating",
    "deactivating",
    "maintenance",
    "dead",
    "running",
    "exited",
    "waiting",
    "elapsed",
    "listening",
    "mounted",
    "plugged",
    "start",
    "start-pre",
    "start-post",
    "condition",
    "reload",
    "stop",
    "stop-sigterm",
    "stop-sigkill",
    "stop-watchdog",
    "stop-post",
    "final-watchdog",
    "final-sigterm",
    "final-sigkill",
    "cleaning",
    "auto-restart",
    "auto-restart-queued",
    "failed-before-auto-restart",
    "dead-before-auto-restart",
    "dead-resources-pinned",
    "success",
    "exit-code",
    "signal",
    "core-dump",
    "timeout",
    "watchdog",
    "oom-kill",
    "resources",
    "protocol",
    "start-limit-hit",
    "exec-condition",
    "killed",
    "dumped",
];

/// Takes a word without allocating if it is a known one.
pub fn word(text: &str) -> Word {
    KNOWN_WORDS
        .iter()
        .find(|known| **known == text)
        .map_or_else(|| Cow::Owned(text.to_owned()), |known| Cow::Borrowed(*known))
}

/// One run of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InvocationId([u8; 16]);

impl InvocationId {
    /// Takes the bytes of the property; none if the unit never ran.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        <[u8; 16]>::try_from(bytes).ok().map(Self)
    }
}

impl fmt::Display for InvocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// How the latest run ended, as the interface of the unit's type tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ending {
    /// `Result`.
    pub result: Option<Word>,
    /// `ExecMainCode` and `ExecMainStatus`, if a main process ended.
    pub exit: Option<Exit>,
    /// `NRestarts`.
    pub restarts: u32,
}

impl Ending {
    /// Whether it is the ending of a run that failed.
    pub fn is_failure(&self) -> bool {
        self.result.as_deref().is_some_and(|result| result != "success")
    }
}

/// A unit at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// `LoadState`.
    pub load_state: Word,
    /// `ActiveState`.
    pub active_state: Word,
    /// `SubState`.
    pub sub_state: Word,
    /// How the latest run ended; none for units that were only seen in a listing.
    pub ending: Option<Box<Ending>>,
    /// Whether systemd is about to start it again by itself.
    pub will_restart: bool,
    /// The run that this is about.
    pub invocation: Option<InvocationId>,
    /// `StateChangeTimestamp`; none if it never changed or was only seen in a listing.
    pub changed_at: Option<Timestamp>,
}

impl Snapshot {
    /// A unit of which only its states are known.
    pub fn bare(load_state: Word, active_state: Word, sub_state: Word) -> Self {
        Self {
            load_state,
            active_state,
            sub_state,
            ending: None,
            will_restart: false,
            invocation: None,
            changed_at: None,
        }
    }

    /// As it goes over the wire.
    pub fn to_state(&self, unit: &UnitName, crash_loop: Option<CrashLoopSummary>) -> UnitState {
        let ending = self.ending.as_deref();
        UnitState {
            unit: unit.as_str().to_owned(),
            load_state: self.load_state.to_string(),
            active_state: self.active_state.to_string(),
            sub_state: self.sub_state.to_string(),
            result: ending.and_then(|ending| ending.result.as_ref()).map(ToString::to_string),
            exit: ending.and_then(|ending| ending.exit.clone()),
            restarts: ending.map_or(0, |ending| ending.restarts),
            will_restart: self.will_restart,
            invocation_id: self.invocation.map(|invocation| invocation.to_string()),
            changed_at: self.changed_at,
            crash_loop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_words_are_borrowed_and_unknown_ones_kept() {
        assert!(matches!(word("failed"), Cow::Borrowed("failed")));
        assert!(matches!(word("brand-new"), Cow::Owned(text) if text == "brand-new"));
    }

    #[test]
    fn an_invocation_is_sixteen_bytes_or_none() {
        assert_eq!(InvocationId::from_bytes(&[]), None);
        let id = InvocationId::from_bytes(&[0xab; 16]).unwrap();
        assert_eq!(id.to_string(), "ab".repeat(16));
    }
}
