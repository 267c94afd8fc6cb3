//! Segments as files of one folder, which one agent at a time may use.
//!
//! Names are `{number:020}.segment`; what was set aside ends in `.damaged`; `mark` says how far
//! what is durable went. The folder is locked for as long as this lives. A new file's name is made durable together with its bytes.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::storage::{Storage, SyncJob};

const SUFFIX: &str = ".segment";

/// The name of the file that says how far what is durable went.
const MARK: &str = "mark";

/// Segments that were set aside and are kept; the oldest goes for a new one.
const SET_ASIDE_MAX: usize = 4;

/// A folder of segments.
#[derive(Debug)]
pub struct Files {
    folder: PathBuf,
    /// Locked until it is dropped; none before the first use.
    lock: Option<File>,
    /// The segment that is appended to.
    open: Option<(u64, File)>,
    /// The mark, once it was set.
    mark: Option<File>,
    /// Whether a name was made that is not durable yet.
    names_changed: bool,
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be made or written.
    #[error("spool {}: {source}: give it to the agent's user, or set [outbox] directory", folder.display())]
    Unusable {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another agent has it.
    #[error("spool {} is in use by another agent: stop that one, or set [outbox] directory", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
}

impl From<OpenError> for io::Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Unusable { source, .. } => source,
            OpenError::InUse { .. } => {
                Self::new(io::ErrorKind::ResourceBusy, "it is in use by another agent")
            }
        }
    }
}

impl Files {
    /// A folder that is made and locked when it is first listed, as often as that is tried.
    pub fn at(folder: &Path) -> Self {
        // A start that was killed can have left names that are not durable.
        Self { folder: folder.to_owned(), lock: None, open: None, mark: None, names_changed: true }
    }

    /// Makes the folder if it is not there, and locks it.
    ///
    /// # Errors
    /// When the folder cannot be made, written, or locked.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let mut files = Self::at(folder);
        files.lock()?;
        Ok(files)
    }

    fn lock(&mut self) -> Result<(), OpenError> {
        if self.lock.is_some() {
            return Ok(());
        }
        let folder = &self.folder;
        let unusable = |source| OpenError::Unusable { folder: folder.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unusable)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(folder.join("lock"))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::InUse { folder: folder.clone() });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        self.lock = Some(lock);
        Ok(())
    }

    fn path(&self, segment: u64) -> PathBuf {
        self.folder.join(format!("{segment:020}{SUFFIX}"))
    }

    fn close(&mut self, segment: u64) {
        if self.open.as_ref().is_some_and(|(open, _)| *open == segment) {
            self.open = None;
        }
    }

    fn file(&mut self, segment: u64) -> io::Result<&mut File> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != segment) {
            let path = self.path(segment);
            self.names_changed |= !path.exists();
            let file =
                OpenOptions::new().append(true).read(true).create(true).mode(0o600).open(path)?;
            self.open = Some((segment, file));
        }
        match &mut self.open {
            Some((_, file)) => Ok(file),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Storage for Files {
    fn segments(&mut self) -> io::Result<Vec<u64>> {
        self.lock()?;
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
            numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn read(&mut self, segment: u64) -> io::Result<Vec<u8>> {
        fs::read(self.path(segment))
    }

    fn append(&mut self, segment: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(segment)?.write_all(bytes)
    }

    fn truncate(&mut self, segment: u64, length: u64) -> io::Result<()> {
        self.file(segment)?.set_len(length)
    }

    fn sync(&mut self, segments: &[u64]) -> io::Result<SyncJob> {
        let mut files = Vec::with_capacity(segments.len());
        for segment in segments {
            match &self.open {
                Some((open, file)) if open == segment => files.push(file.try_clone()?),
                _ => files.push(File::open(self.path(*segment))?),
            }
        }
        let folder = if std::mem::take(&mut self.names_changed) {
            Some(File::open(&self.folder)?)
        } else {
            None
        };
        Ok(Box::new(move || {
            files.iter().try_for_each(File::sync_data)?;
            folder.as_ref().map_or(Ok(()), File::sync_all)
        }))
    }

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        self.close(segment);
        fs::remove_file(self.path(segment))
    }

    fn set_aside(&mut self, segment: u64) -> io::Result<String> {
        let mut kept: Vec<PathBuf> = fs::read_dir(&self.folder)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "damaged"))
            .collect();
        kept.sort();
        let path = self.path(segment).with_extension("damaged");
        kept.retain(|kept| *kept != path);
        while kept.len() >= SET_ASIDE_MAX {
            fs::remove_file(kept.remove(0))?;
        }
        // Not copied over: it can be another name of the very file.
        remove_if_there(&path)?;
        if fs::copy(self.path(segment), &path).is_err() {
            // A second name needs neither room nor a disk that can read the first.
            remove_if_there(&path)?;
            fs::hard_link(self.path(segment), &path)?;
        }
        Ok(path.display().to_string())
    }

    fn set_mark(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mark = match self.mark.take() {
            Some(mark) => mark,
            None => OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(self.folder.join(MARK))?,
        };
        mark.write_all_at(bytes, 0)?;
        self.mark = Some(mark);
        Ok(())
    }

    fn mark(&mut self) -> io::Result<Vec<u8>> {
        match fs::read(self.folder.join(MARK)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            read => read,
        }
    }

    fn place(&self) -> String {
        self.folder.display().to_string()
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
