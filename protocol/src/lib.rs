//! The wire of pvewatch: what agents, collectors and subscribers say to each other over MQTT.
//!
//! Every payload is JSON. Each type here validates itself when it is decoded, accepts fields
//! and kinds that it does not know, and keeps what it does not understand.
//!
//! Absent on purpose: I/O, clocks, MQTT itself. A payload never says when it is "now".

pub mod ack;
pub mod alert;
pub mod backup_plan;
pub mod backup_storage;
pub mod checkpoint;
pub mod codec;
pub mod envelope;
pub mod event;
pub mod identity;
pub mod notice;
pub mod presence;
pub mod sample;
#[cfg(feature = "schema")]
pub mod schema;
pub mod topic;

pub use ack::{Ack, AckMessage};
pub use alert::{AlertMessage, AlertState};
pub use backup_plan::{BackupJob, Guest, GuestDisk, GuestSettings, Replication, Snapshot};
pub use backup_storage::{Archive, BackupStorage, GuestArchives, StorageState, takes_backups};
pub use checkpoint::{Checkpoint, CheckpointContent};
pub use envelope::Event;
pub use event::EventData;
pub use identity::{
    CollectorName, Epoch, Fingerprint, NodeName, Position, Sequence, Site, StreamId, Vmid,
};
pub use notice::Notice;
pub use presence::{CollectorPresence, NodePresence, PresenceState, StopReason};
pub use sample::Sample;
pub use topic::Topic;
