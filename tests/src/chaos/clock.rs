//! A clock of its own for each place, by libfaketime: the machine's clock stays as it is.
//!
//! Only the time of day jumps; the time that only ever goes on is the machine's, as it is when
//! somebody sets a clock.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where Debian's package has it, below the architecture's folder.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// A clock that can be set.
#[derive(Debug)]
pub struct Clock {
    file: PathBuf,
}

impl Clock {
    /// A clock that is right.
    ///
    /// # Panics
    /// When its file cannot be written.
    #[track_caller]
    pub fn right(file: &Path) -> Self {
        let this = Self { file: file.to_owned() };
        this.set(0);
        this
    }

    /// Sets it so many seconds off; a program sees it within a second.
    ///
    /// # Panics
    /// When its file cannot be written.
    #[track_caller]
    pub fn set(&self, seconds: i64) {
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{seconds:+}\n")).expect("the run's folder can be written");
        fs::rename(new, &self.file).expect("the run's folder can be written");
    }

    /// Lets a command go by it.
    ///
    /// # Panics
    /// When libfaketime is not installed.
    #[track_caller]
    pub fn give_to(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", library())
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_CACHE_DURATION", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("FAKETIME_DISABLE_SHM", "1");
    }
}

#[track_caller]
fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut candidates = folders.map(|folder| folder.path().join(LIBRARY));
    candidates.find(|file| file.exists()).expect("./tests/run installs libfaketime")
}
