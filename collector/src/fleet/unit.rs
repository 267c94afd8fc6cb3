//! A systemd unit of a node, as the newest event or checkpoint describes it.

use std::sync::Arc;

use jiff::Timestamp;
use pvewatch_protocol::event::{LogLine, UnitChange, UnitLog, UnitState};
use pvewatch_protocol::{NodeName, Position};
use serde::{Deserialize, Serialize};

use super::entity::Version;
use super::moment::Moment;

/// Journal lines kept for each unit: what fits on a phone. The oldest are left out.
pub const LOG_LINES_KEPT: usize = 10;

/// A systemd unit of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// The node that it runs on.
    pub node: NodeName,
    /// Name with suffix, such as `ssh.service`; the same as in `state`.
    pub id: Arc<str>,
    /// systemd's words.
    pub state: UnitState,
    /// What became of it last; none if only a checkpoint has described it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<UnitChange>,
    /// How new this description is.
    pub version: Version,
    /// The last event that this description includes.
    pub position: Position,
    /// Since when its active state is what it is.
    pub since: Moment,
    /// The last journal lines of its last failed run, if they were sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<UnitLogTail>,
}

impl Unit {
    /// Keeps the tail of a log; says whether it belongs to the unit's current description.
    pub(crate) fn keep_log(&mut self, log: &UnitLog, at: Timestamp) -> bool {
        let skipped = log.lines.len().saturating_sub(LOG_LINES_KEPT);
        self.log = Some(UnitLogTail {
            invocation_id: log.invocation_id.clone(),
            lines: log.lines[skipped..].to_vec(),
            at,
        });
        self.state.invocation_id.as_deref() == Some(log.invocation_id.as_str())
    }

    /// The lines of the run that the unit's state speaks of, oldest first.
    pub fn log_of_this_run(&self) -> &[LogLine] {
        match &self.log {
            Some(log) if self.state.invocation_id.as_ref() == Some(&log.invocation_id) => {
                &log.lines
            }
            _ => &[],
        }
    }
}

/// The end of what a failed run wrote to the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitLogTail {
    /// The run: 32 hexadecimal digits.
    pub invocation_id: String,
    /// Oldest first; [`LOG_LINES_KEPT`] at most.
    pub lines: Vec<LogLine>,
    /// When the event was made, by the node's clock.
    pub at: Timestamp,
}
