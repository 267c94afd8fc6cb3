//! What can happen: the kinds of events, and what each carries.
//!
//! A kind that this version does not know stays what it was: [`EventData::Unknown`].

mod agent;
mod backup;
mod guest;
mod unit;

use std::borrow::Cow;

use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, from_str};

pub use agent::{AgentFacts, AgentStarted, AgentStopping, OutboxDropped, SourceStatus};
pub use backup::{
    BackupFinished, BackupJobFinished, BackupStarted, GuestKind, Outcome, TaskFinished,
};
pub use guest::{GuestCause, GuestRun, GuestState};
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
    /// `backup.started`: vzdump began with a guest.
    BackupStarted(BackupStarted),
    /// `backup.finished`: a guest's backup ended.
    BackupFinished(Box<BackupFinished>),
    /// `backup_job.finished`: a run of vzdump ended.
    BackupJobFinished(BackupJobFinished),
    /// `task.finished`: another task that matters ended.
    TaskFinished(TaskFinished),
    /// `guest.changed`: a guest runs now, or does no more.
    GuestChanged(GuestRun),
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
            Self::BackupStarted(_) => "backup.started",
            Self::BackupFinished(_) => "backup.finished",
            Self::BackupJobFinished(_) => "backup_job.finished",
            Self::TaskFinished(_) => "task.finished",
            Self::GuestChanged(_) => "guest.changed",
            Self::OutboxDropped(_) => OutboxDropped::KIND,
            Self::Unknown { kind, .. } => kind,
        }
    }

    /// What the event is about within its node: a unit's name, a guest's number, a job; empty for
    /// the agent itself.
    pub fn subject(&self) -> Cow<'_, str> {
        match self {
            Self::UnitChanged(changed) => changed.state.unit.as_str().into(),
            Self::UnitRemoved(removed) => removed.unit.as_str().into(),
            Self::UnitLog(log) => log.unit.as_str().into(),
            Self::BackupStarted(started) => started.vmid.to_string().into(),
            Self::BackupFinished(finished) => finished.vmid.to_string().into(),
            Self::BackupJobFinished(finished) => finished.job.as_deref().unwrap_or_default().into(),
            Self::TaskFinished(finished) => {
                finished.vmid.map(|vmid| vmid.to_string()).unwrap_or_default().into()
            }
            Self::GuestChanged(run) => run.vmid.to_string().into(),
            _ => "".into(),
        }
    }

    pub(crate) fn to_json(&self) -> serde_json::Result<Box<RawValue>> {
        match self {
            Self::AgentStarted(data) => to_raw_value(data),
            Self::AgentStopping(data) => to_raw_value(data),
            Self::UnitChanged(data) => to_raw_value(data),
            Self::UnitRemoved(data) => to_raw_value(data),
            Self::UnitLog(data) => to_raw_value(data),
            Self::BackupStarted(data) => to_raw_value(data),
            Self::BackupFinished(data) => to_raw_value(data),
            Self::BackupJobFinished(data) => to_raw_value(data),
            Self::TaskFinished(data) => to_raw_value(data),
            Self::GuestChanged(data) => to_raw_value(data),
            Self::OutboxDropped(data) => to_raw_value(data),
            Self::Unknown { data, .. } => to_raw_value(data),
        }
    }

    pub(crate) fn from_json(kind: &str, data: &str) -> serde_json::Result<Self> {
        Ok(match kind {
            "agent.started" => Self::AgentStarted(from_str(data)?),
            "agent.stopping" => Self::AgentStopping(from_str(data)?),
            "unit.changed" => Self::UnitChanged(Box::new(from_str(data)?)),
            "unit.removed" => Self::UnitRemoved(from_str(data)?),
            "unit.log" => Self::UnitLog(from_str(data)?),
            "backup.started" => Self::BackupStarted(from_str(data)?),
            "backup.finished" => Self::BackupFinished(Box::new(from_str(data)?)),
            "backup_job.finished" => Self::BackupJobFinished(from_str(data)?),
            "task.finished" => Self::TaskFinished(from_str(data)?),
            "guest.changed" => Self::GuestChanged(from_str(data)?),
            OutboxDropped::KIND => Self::OutboxDropped(from_str(data)?),
            _ => Self::Unknown { kind: kind.to_owned(), data: from_str(data)? },
        })
    }
}
