//! What the spool needs of a disk. Two implementations: files, and the simulation's disk.

use std::io;

/// Makes durable what was appended before it was made. It blocks, so it runs apart.
pub type SyncJob = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// Numbered segments that grow at their end.
///
/// What was appended is there for a later read at once, but survives a loss of power only after
/// a [`SyncJob`] that was made later has run without an error.
pub trait Storage: Send {
    /// The numbers of all segments, ascending.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn segments(&mut self) -> io::Result<Vec<u64>>;

    /// All bytes of a segment.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn read(&mut self, segment: u64) -> io::Result<Vec<u8>>;

    /// Appends to a segment, which comes into being with the first append. After an error the
    /// segment may end with a part of the bytes.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn append(&mut self, segment: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts a segment off.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn truncate(&mut self, segment: u64, length: u64) -> io::Result<()>;

    /// A job that makes durable what these segments hold now.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn sync(&mut self, segments: &[u64]) -> io::Result<SyncJob>;

    /// Deletes a segment.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn remove(&mut self, segment: u64) -> io::Result<()>;

    /// Keeps a segment's bytes under another name, for a person to look at. Returns that name.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn set_aside(&mut self, segment: u64) -> io::Result<String>;

    /// Keeps a few bytes beside the segments, in place of those before. They survive a kill; of a
    /// loss of power they may know nothing.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn set_mark(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// The bytes that were last kept so; none if there were none.
    ///
    /// # Errors
    /// Whatever the disk says.
    fn mark(&mut self) -> io::Result<Vec<u8>>;

    /// Where it is, for messages.
    fn place(&self) -> String;
}

/// The disk below.
pub(super) enum Disk {
    /// There is none: everything is in memory alone.
    Absent,
    /// What is on it could not be read yet; nothing is written before.
    Closed {
        storage: Box<dyn Storage>,
        /// How often it said what there is, but did not give all of it.
        tries: u32,
    },
    /// It is in use.
    Open(Box<dyn Storage>),
}

impl Disk {
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Open(_))
    }

    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed { .. })
    }

    pub fn opened(&mut self) -> Option<&mut dyn Storage> {
        match self {
            Self::Open(storage) => Some(&mut **storage),
            Self::Absent | Self::Closed { .. } => None,
        }
    }

    pub fn place(&self) -> Option<String> {
        match self {
            Self::Absent => None,
            Self::Closed { storage, .. } | Self::Open(storage) => Some(storage.place()),
        }
    }
}
