//! What identifies an entity, and which of two descriptions of it is the newer.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use pvewatch_protocol::sample::{Filesystem, Pool};
use pvewatch_protocol::{NodeName, Position, Site};
use serde::{Deserialize, Serialize};

use super::backup::Backup;
use super::backup_job::BackupJob;
use super::drift::Drift;
use super::guest::Guest;
use super::members::SeenMember;
use super::moment::Moment;
use super::storage::Storage;
use super::traffic::SeenInterface;
use super::unit::Unit;

/// How new a description is: the order of a node's streams, then the sequence in the stream.
///
/// Ingest gives each stream its ordinal, in the order in which this collector first saw them.
/// The default is older than everything.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Version {
    /// Which of the node's streams, from 1.
    pub stream_ordinal: u64,
    /// The number within the stream, from 1; 0 is before the first event.
    pub sequence: u64,
}

/// How new a picture is of something that events do not tell: two pictures can include the same
/// last event, and then their own times decide. The default is older than every picture.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Drawn {
    /// That of the last event that it includes.
    pub version: Version,
    /// When it was drawn, by the node's clock.
    pub at: Timestamp,
}

/// The kinds of entities; a rule's `scope` names one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntityKind {
    /// A host that runs an agent.
    Node,
    /// A systemd unit of a node.
    Unit,
    /// The backups of a guest.
    Backup,
    /// A backup job on one node.
    BackupJob,
    /// A storage for backups, as one node sees it.
    Storage,
    /// A guest, on one node.
    Guest,
    /// A filesystem of a node, by the newest sample.
    Filesystem,
    /// A pool of disks of a node, by the newest sample.
    Pool,
    /// What a policy comes to on one node.
    Drift,
    /// A network interface of a node, by the newest sample.
    Interface,
    /// A member of a node's cluster, by the newest sample.
    Member,
}

impl EntityKind {
    /// All kinds, in the order of documentation.
    pub const ALL: [Self; 11] = [
        Self::Node,
        Self::Unit,
        Self::Filesystem,
        Self::Pool,
        Self::Interface,
        Self::Member,
        Self::Guest,
        Self::Backup,
        Self::BackupJob,
        Self::Storage,
        Self::Drift,
    ];

    /// The kinds of what belongs to a node.
    pub const OF_NODE: [Self; 10] = [
        Self::Unit,
        Self::Filesystem,
        Self::Pool,
        Self::Interface,
        Self::Member,
        Self::Guest,
        Self::Backup,
        Self::BackupJob,
        Self::Storage,
        Self::Drift,
    ];

    /// The kinds of what a sample names, and which are gone when the next one does not.
    pub const OF_SAMPLE: [Self; 4] = [Self::Filesystem, Self::Pool, Self::Interface, Self::Member];

    /// The kind as rules and records name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Unit => "unit",
            Self::Backup => "backup",
            Self::BackupJob => "backup_job",
            Self::Storage => "storage",
            Self::Guest => "guest",
            Self::Filesystem => "filesystem",
            Self::Pool => "pool",
            Self::Drift => "drift",
            Self::Interface => "interface",
            Self::Member => "member",
        }
    }
}

impl fmt::Display for EntityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Identifies one entity of a site.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntityKey {
    /// The site.
    pub site: Site,
    /// The node that the entity belongs to.
    pub node: NodeName,
    /// What it is.
    pub kind: EntityKind,
    /// Its name within node and kind, such as `ssh.service` or a guest's number; empty for the node
    /// itself.
    pub id: Arc<str>,
}

impl EntityKey {
    /// The key of a node.
    pub fn node(site: Site, node: NodeName) -> Self {
        Self { site, node, kind: EntityKind::Node, id: Arc::from("") }
    }

    /// The key of a unit.
    pub fn unit(site: Site, node: NodeName, unit: Arc<str>) -> Self {
        Self { site, node, kind: EntityKind::Unit, id: unit }
    }
}

impl fmt::Display for EntityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            EntityKind::Node => write!(f, "{}", self.node),
            _ => write!(f, "{}/{}", self.node, self.id),
        }
    }
}

/// An entity as it is, beside the node that it belongs to.
#[derive(Debug, Clone, Copy)]
pub enum Entity<'a> {
    /// The node itself.
    Node,
    /// One of its units.
    Unit(&'a Unit),
    /// The backups of one of its guests.
    Backup(&'a Backup),
    /// One of its backup jobs.
    BackupJob(&'a BackupJob),
    /// One of its storages.
    Storage(&'a Storage),
    /// One of its guests.
    Guest(&'a Guest),
    /// One of its filesystems.
    Filesystem(&'a Filesystem),
    /// One of its pools of disks.
    Pool(&'a Pool),
    /// What one of the policies comes to on it.
    Drift(&'a Drift),
    /// One of its network interfaces.
    Interface(SeenInterface<'a>),
    /// One of the members of its cluster.
    Member(SeenMember<'a>),
}

impl<'a> Entity<'a> {
    /// The unit, if it is one.
    pub fn unit(self) -> Option<&'a Unit> {
        match self {
            Self::Unit(unit) => Some(unit),
            _ => None,
        }
    }

    /// The backups, if it is those.
    pub fn backup(self) -> Option<&'a Backup> {
        match self {
            Self::Backup(backup) => Some(backup),
            _ => None,
        }
    }

    /// The backup job, if it is one.
    pub fn backup_job(self) -> Option<&'a BackupJob> {
        match self {
            Self::BackupJob(job) => Some(job),
            _ => None,
        }
    }

    /// The storage, if it is one.
    pub fn storage(self) -> Option<&'a Storage> {
        match self {
            Self::Storage(storage) => Some(storage),
            _ => None,
        }
    }

    /// The guest, if it is one.
    pub fn guest(self) -> Option<&'a Guest> {
        match self {
            Self::Guest(guest) => Some(guest),
            _ => None,
        }
    }

    /// The filesystem, if it is one.
    pub fn filesystem(self) -> Option<&'a Filesystem> {
        match self {
            Self::Filesystem(filesystem) => Some(filesystem),
            _ => None,
        }
    }

    /// The pool of disks, if it is one.
    pub fn pool(self) -> Option<&'a Pool> {
        match self {
            Self::Pool(pool) => Some(pool),
            _ => None,
        }
    }

    /// What a policy comes to, if it is that.
    pub fn drift(self) -> Option<&'a Drift> {
        match self {
            Self::Drift(drift) => Some(drift),
            _ => None,
        }
    }

    /// The member of a cluster, if it is one.
    pub fn member(self) -> Option<SeenMember<'a>> {
        match self {
            Self::Member(member) => Some(member),
            _ => None,
        }
    }

    /// The network interface, if it is one.
    pub fn interface(self) -> Option<SeenInterface<'a>> {
        match self {
            Self::Interface(interface) => Some(interface),
            _ => None,
        }
    }

    /// Since when it is as it is; a node does not say, nor does a sample or what follows from
    /// others.
    pub fn since(self) -> Option<Moment> {
        match self {
            Self::Node
            | Self::Filesystem(_)
            | Self::Pool(_)
            | Self::Interface(_)
            | Self::Member(_)
            | Self::Drift(_) => None,
            Self::Unit(unit) => Some(unit.since),
            Self::Backup(backup) => Some(backup.since),
            Self::BackupJob(job) => Some(job.since),
            Self::Storage(storage) => Some(storage.since),
            Self::Guest(guest) => Some(guest.since),
        }
    }

    /// The last event that its description includes; of a node that is another matter, and jobs
    /// and storages are known from pictures.
    pub fn position(self) -> Option<Position> {
        match self {
            Self::Node
            | Self::BackupJob(_)
            | Self::Storage(_)
            | Self::Filesystem(_)
            | Self::Pool(_)
            | Self::Interface(_)
            | Self::Member(_)
            | Self::Drift(_) => None,
            Self::Unit(unit) => Some(unit.position),
            Self::Backup(backup) => Some(backup.position),
            Self::Guest(guest) => Some(guest.position),
        }
    }
}
