//! What can happen: the kinds of events, and what each carries.
//!
//! A kind that this version does not know stays what it was: [`EventData::Unknown`].

mod agent;
mod unit;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use agent::{AgentFacts, AgentStarted, AgentStopping, OutboxDropped, SourceStatus};
pub use unit::{
    CrashLoop, Exit, LogLine, UnitChange, UnitChanged, UnitLog, UnitRemoved, UnitState,
};

/// The kinds of v1 and what they carry. Kinds are named without the prefix `pvewatch.`.
#[derive(Debug, Clone, PartialEq)]
pub enum EventData {
    /// `agent.started`: a new stream begins.
    AgentStarted(AgentStarted),
    /// `agent.stopping`: the stream ends on purpose.
    AgentStopping(AgentStopping),
    /// `unit.changed`: a unit failed, recovered, started or stopped.
    UnitChanged(Box<UnitChanged>),
    /// `unit.removed`: systemd does not know the unit any more.
    UnitRemoved(UnitRemoved),
    /// `unit.log`: the last journal lines of a failed invocation.
    UnitLog(UnitLog),
    /// `outbox.dropped`: a range of events that the agent no longer holds.
    OutboxDropped(OutboxDropped),
    /// A kind of a later version, kept as it came.
    Unknown {
        /// Its name without the prefix.
        kind: String,
        /// What it carries.
        data: Value,
    },
}

impl EventData {
    /// The kind as it stands in the topic, such as `unit.changed`.
    pub fn kind(&self) -> &str {
        match self {
            Self::AgentStarted(_) => "agent.started",
            Self::AgentStopping(_) => "agent.stopping",
            Self::UnitChanged(_) => "unit.changed",
            Self::UnitRemoved(_) => "unit.removed",
            Self::UnitLog(_) => "unit.log",
            Self::OutboxDropped(_) => "outbox.dropped",
            Self::Unknown { kind, .. } => kind,
        }
    }

    /// What the event is about within its node: a unit's name, or empty for the agent itself.
    pub fn subject(&self) -> &str {
        match self {
            Self::UnitChanged(changed) => &changed.state.unit,
            Self::UnitRemoved(removed) => &removed.unit,
            Self::UnitLog(log) => &log.unit,
            _ => "",
        }
    }

    pub(crate) fn to_value(&self) -> serde_json::Result<Value> {
        fn value<T: Serialize>(data: &T) -> serde_json::Result<Value> {
            serde_json::to_value(data)
        }
        match self {
            Self::AgentStarted(data) => value(data),
            Self::AgentStopping(data) => value(data),
            Self::UnitChanged(data) => value(data),
            Self::UnitRemoved(data) => value(data),
            Self::UnitLog(data) => value(data),
            Self::OutboxDropped(data) => value(data),
            Self::Unknown { data, .. } => Ok(data.clone()),
        }
    }

    pub(crate) fn from_value(kind: &str, data: Value) -> serde_json::Result<Self> {
        fn typed<T: DeserializeOwned>(data: Value) -> serde_json::Result<T> {
            serde_json::from_value(data)
        }
        Ok(match kind {
            "agent.started" => Self::AgentStarted(typed(data)?),
            "agent.stopping" => Self::AgentStopping(typed(data)?),
            "unit.changed" => Self::UnitChanged(Box::new(typed(data)?)),
            "unit.removed" => Self::UnitRemoved(typed(data)?),
            "unit.log" => Self::UnitLog(typed(data)?),
            "outbox.dropped" => Self::OutboxDropped(typed(data)?),
            _ => Self::Unknown { kind: kind.to_owned(), data },
        })
    }
}
