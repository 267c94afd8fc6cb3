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

    /// Where it is, for messages.
    fn place(&self) -> String;
}
