//! What systemd says of units, in few bytes: there can be ten thousand.
//!
//! Words of systemd's that are known cost no memory of their own; unknown ones are kept as they
//! came.

use std::borrow::Cow;
use std::fmt;

use pvewatch_protocol::event::Exit;

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
