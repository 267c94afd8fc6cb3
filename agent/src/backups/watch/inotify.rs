//! The kernel's word on what happens in folders.
//!
//! A thread waits for it, since a file descriptor that is no socket cannot be waited for otherwise
//! without unsafe code. What happens within a moment comes as one batch: a log can grow by many
//! lines in a second. Overflow of the kernel's queue, or of the one behind the thread, is told.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use tokio::sync::mpsc;

/// After something happened, what else does is gathered for so long.
const GATHER: Duration = Duration::from_millis(250);

/// Room for what is read at once: some hundred names.
const BUFFER_BYTES: usize = 16 * 1024;

/// Batches that may wait. When it is full the thread waits, and the kernel keeps the rest.
const BATCHES_MAX: usize = 4;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// A folder came.
    Folder(PathBuf),
    /// A file came, or grew.
    Grew(PathBuf),
    /// Nobody writes a file any more.
    Closed(PathBuf),
    /// A folder that was watched is gone, or more happened than the kernel keeps.
    Doubt,
}

/// Watches folders, not files: a file that is replaced would be lost sight of.
#[derive(Debug)]
pub struct Inotify {
    fd: Arc<OwnedFd>,
    folders: HashMap<i32, PathBuf>,
    batches: mpsc::Receiver<io::Result<Vec<Raw>>>,
}

/// What the kernel says: the number of a folder, what happened, and the name of a file.
#[derive(Debug, PartialEq, Eq)]
struct Raw {
    folder: i32,
    flags: ReadFlags,
    name: Option<Box<[u8]>>,
}

impl Inotify {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// When the kernel gives no instance, of which `fs.inotify.max_user_instances` are the most,
    /// or no thread.
    pub fn new() -> io::Result<Self> {
        let fd = Arc::new(inotify::init(CreateFlags::CLOEXEC)?);
        let (batches_in, batches) = mpsc::channel(BATCHES_MAX);
        let (watched, name) = (fd.clone(), "inotify".to_owned());
        thread::Builder::new().name(name).spawn(move || wait(&watched, &batches_in))?;
        Ok(Self { fd, folders: HashMap::new(), batches })
    }

    /// Watches a folder; one that is watched already stays so.
    ///
    /// # Errors
    /// When it is not there or cannot be read, or `fs.inotify.max_user_watches` is reached.
    pub fn watch(&mut self, folder: &Path) -> io::Result<()> {
        let flags = WatchFlags::CREATE
            | WatchFlags::MODIFY
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let number = inotify::add_watch(&*self.fd, folder, flags)?;
        self.folders.insert(number, folder.to_owned());
        Ok(())
    }

    /// Waits until something happened, and gives what there is.
    ///
    /// # Errors
    /// When the kernel does not say any more.
    pub async fn next(&mut self) -> io::Result<Vec<Happening>> {
        let ended = || Err(io::Error::other("the thread that waits for inotify ended"));
        let batch = self.batches.recv().await.unwrap_or_else(ended)?;
        let mut happenings = Vec::with_capacity(batch.len());
        for raw in batch {
            if raw.flags.contains(ReadFlags::IGNORED) {
                self.folders.remove(&raw.folder);
            } else if let Some(happening) = self.understand(&raw)
                && happenings.last() != Some(&happening)
            {
                happenings.push(happening);
            }
        }
        Ok(happenings)
    }

    fn understand(&self, raw: &Raw) -> Option<Happening> {
        const DOUBTS: ReadFlags =
            ReadFlags::QUEUE_OVERFLOW.union(ReadFlags::DELETE_SELF).union(ReadFlags::MOVE_SELF);
        if raw.flags.intersects(DOUBTS) {
            return Some(Happening::Doubt);
        }
        let path = self.folders.get(&raw.folder)?.join(OsStr::from_bytes(raw.name.as_deref()?));
        Some(if raw.flags.contains(ReadFlags::ISDIR) {
            Happening::Folder(path)
        } else if raw.flags.contains(ReadFlags::CLOSE_WRITE) {
            Happening::Closed(path)
        } else {
            Happening::Grew(path)
        })
    }
}

/// Waits for the kernel until it fails or nobody wants to know any more.
fn wait(fd: &OwnedFd, batches: &mpsc::Sender<io::Result<Vec<Raw>>>) {
    loop {
        let batch = read(fd);
        let is_error = batch.is_err();
        if batches.blocking_send(batch).is_err() || is_error {
            return;
        }
        thread::sleep(GATHER);
    }
}

/// Everything that fits one buffer, as soon as there is something.
fn read(fd: &OwnedFd) -> io::Result<Vec<Raw>> {
    let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
    let mut reader = inotify::Reader::new(fd, &mut buffer);
    let mut batch = Vec::new();
    loop {
        let event = match reader.next() {
            Err(rustix::io::Errno::INTR) => continue,
            event => event?,
        };
        batch.push(Raw {
            folder: event.wd(),
            flags: event.events(),
            name: event.file_name().map(|name| name.to_bytes().into()),
        });
        if reader.is_buffer_empty() {
            return Ok(batch);
        }
    }
}
