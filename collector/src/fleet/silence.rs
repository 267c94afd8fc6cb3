//! Whether a node can be heard: its presence, its goodbyes and its heartbeat.
//!
//! A node is silent when its connection ended or too many heartbeats are missing. What it said
//! before it went tells whether that was to be expected; the rules decide what to make of it.

use jiff::Timestamp;
use pvewatch_protocol::{Epoch, StopReason};
use serde::{Deserialize, Serialize};

use super::moment::Moment;

/// Heartbeats that may be missing before a node counts as silent: one may be lost (QoS 0), the
/// next be on its way.
pub const HEARTBEATS_MISSED_MAX: u32 = 3;

/// What the birth message or the last will said last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Presence {
    /// Nothing yet.
    #[default]
    Unknown,
    /// Connected.
    Online {
        /// The connection.
        epoch: Epoch,
    },
    /// Not connected.
    Offline {
        /// The connection that ended.
        epoch: Epoch,
        /// Why, as far as the message says.
        reason: StopReason,
    },
}

impl Presence {
    /// The connection that was spoken of last.
    pub fn epoch(&self) -> Option<Epoch> {
        match self {
            Self::Unknown => None,
            Self::Online { epoch } | Self::Offline { epoch, .. } => Some(*epoch),
        }
    }

    /// As rules and the page show it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Online { .. } => "online",
            Self::Offline { .. } => "offline",
        }
    }
}

/// A goodbye: by the event `agent.stopping`, or by an offline presence with a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Whether the agent alone stops, or its host with it.
    pub reason: StopReason,
    /// When it was said, by the node's clock.
    pub at: Timestamp,
}

/// What a presence message meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The node came or went.
    Changed,
    /// It says what was known.
    Known,
    /// The will of a connection that had been taken over: it says nothing.
    Superseded,
}

/// The time in a UUIDv7: when the connection was made, by the node's clock.
pub(crate) fn epoch_time(epoch: Epoch) -> Timestamp {
    let unix = epoch.0.get_timestamp().map(|time| time.to_unix());
    unix.and_then(|(seconds, nanos)| {
        let seconds = i64::try_from(seconds).ok()?;
        Timestamp::new(seconds, i32::try_from(nanos).ok()?).ok()
    })
    .unwrap_or(Timestamp::MIN)
}

/// Since when a node is silent.
pub(crate) type Silence = Option<Moment>;
