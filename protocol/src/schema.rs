//! JSON Schemas of every payload, for those who write subscribers in another language.

use schemars::{Schema, schema_for};

use crate::envelope::Envelope;
use crate::{
    AckMessage, AlertMessage, Checkpoint, CollectorPresence, NodePresence, Notice, Sample, event,
};

/// The schemas with their file names, without the ending `.json`.
pub fn all() -> Vec<(&'static str, Schema)> {
    vec![
        ("event", schema_for!(Envelope)),
        ("event.agent.started", schema_for!(event::AgentStarted)),
        ("event.agent.stopping", schema_for!(event::AgentStopping)),
        ("event.unit.changed", schema_for!(event::UnitChanged)),
        ("event.unit.removed", schema_for!(event::UnitRemoved)),
        ("event.unit.log", schema_for!(event::UnitLog)),
        ("event.backup.started", schema_for!(event::BackupStarted)),
        ("event.backup.finished", schema_for!(event::BackupFinished)),
        ("event.backup_job.finished", schema_for!(event::BackupJobFinished)),
        ("event.task.finished", schema_for!(event::TaskFinished)),
        ("event.guest.changed", schema_for!(event::GuestRun)),
        ("event.outbox.dropped", schema_for!(event::OutboxDropped)),
        ("sample", schema_for!(Sample)),
        ("checkpoint", schema_for!(Checkpoint)),
        ("node.presence", schema_for!(NodePresence)),
        ("collector.presence", schema_for!(CollectorPresence)),
        ("ack", schema_for!(AckMessage)),
        ("alert", schema_for!(AlertMessage)),
        ("notice", schema_for!(Notice)),
    ]
}
