//! One notification, rendered and ready to send on.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::alert::AlertState;
use crate::identity::Fingerprint;

/// Payload of `notice`: not retained.
///
/// A notice can come twice (from two collectors, or after a restart); `key` tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Notice {
    /// The same for the same transition, whoever sends it and how often.
    pub key: String,
    /// One line of plain text.
    pub title: String,
    /// Some lines of plain text.
    pub text: String,
    /// The highest severity among the alerts: `critical`, `warning` or `info`.
    pub severity: String,
    /// Firing or resolved.
    pub status: AlertState,
    /// The alerts that it speaks of.
    pub alerts: Vec<Fingerprint>,
    /// When the transition happened.
    pub at: Timestamp,
}
