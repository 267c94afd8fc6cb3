//! Whether a node is there, in one word: the page, the API and the metrics say the same.

use jiff::Timestamp;
use pvewatch_protocol::StopReason;
use serde::Serialize;

use crate::fleet::Node;

/// Whether a node can be heard, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Its agent is heard.
    Online,
    /// Something has been heard about it, but its agent has not spoken yet.
    Unheard,
    /// Nothing is heard from it, and it did not say goodbye.
    Silent,
    /// Its agent was stopped; the host may well run.
    Stopped,
    /// It said that it powers off.
    Shutdown,
    /// It said that it reboots.
    Rebooting,
    /// It is a guest that was stopped, as was meant.
    GuestStopped,
    /// It is a guest of a node that cannot be heard either.
    HostSilent,
}

impl Condition {
    /// The condition of a node.
    pub fn of(node: &Node) -> Self {
        if node.silent.is_none() {
            return if node.last_seen.is_some() { Self::Online } else { Self::Unheard };
        }
        match node.stop_reason() {
            Some(StopReason::Stopped) => Self::Stopped,
            Some(StopReason::Shutdown) => Self::Shutdown,
            Some(StopReason::Reboot) => Self::Rebooting,
            Some(StopReason::Lost | StopReason::Unknown) | None => match &node.inside {
                Some(inside) if inside.is_stopped => Self::GuestStopped,
                Some(inside) if inside.is_host_silent => Self::HostSilent,
                _ => Self::Silent,
            },
        }
    }

    /// The word for machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Unheard => "unheard",
            Self::Silent => "silent",
            Self::Stopped => "stopped",
            Self::Shutdown => "shutdown",
            Self::Rebooting => "rebooting",
            Self::GuestStopped => "guest_stopped",
            Self::HostSilent => "host_silent",
        }
    }

    /// The words for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Unheard => "not heard yet",
            Self::Silent => "silent",
            Self::Stopped => "agent stopped",
            Self::Shutdown => "shut down",
            Self::Rebooting => "rebooting",
            Self::GuestStopped => "guest stopped",
            Self::HostSilent => "silent with its host",
        }
    }
}

/// When a node was last heard, by the collector's clock.
pub fn last_heard(node: &Node) -> Option<Timestamp> {
    node.last_seen.map(|seen| seen.judged)
}
