//! What was told already, on disk: a line each, added when what was told is kept.
//!
//! A line that is torn or lost costs that something is told once more, and the collector knows it
//! by its task. Without a folder to keep it in, a new start tells everything again.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The file's name in the folder of the agent's state.
const FILE: &str = "tasks-told";

/// The names under which things were told.
#[derive(Debug, Default)]
pub struct Told {
    path: Option<PathBuf>,
    keys: BTreeSet<String>,
    /// Whether the file was there: an agent that never ran has told nothing.
    is_known: bool,
}

impl Told {
    /// Reads what earlier starts told.
    pub fn open(folder: Option<&Path>) -> Self {
        let path = folder.map(|folder| folder.join(FILE));
        let read = path.as_ref().and_then(|path| fs::read(path).ok());
        let text = read.as_deref().map(String::from_utf8_lossy);
        // What no line end is behind may be the half of it.
        let whole = text.as_deref().and_then(|text| Some(&text[..text.rfind('\n')?]));
        let mut told = Self { path, keys: BTreeSet::new(), is_known: read.is_some() };
        let keys = whole.unwrap_or_default().lines().filter(|key| !key.is_empty());
        keys.for_each(|key| told.insert(key.to_owned()));
        told
    }

    /// Whether an earlier start told anything.
    pub fn is_known(&self) -> bool {
        self.is_known
    }

    /// Whether this was told.
    pub fn has(&self, key: &str) -> bool {
        self.keys.contains(key)
    }

    /// Notes that this was told; for this start alone, until [`Self::write`]. When the whole of a
    /// task was told, its parts are of no interest any more.
    pub fn insert(&mut self, key: String) {
        if !key.contains(' ') {
            let parts = self.keys.range(format!("{key} ")..).take_while(|it| it.starts_with(&key));
            let parts: Vec<String> = parts.cloned().collect();
            for part in parts {
                self.keys.remove(&part);
            }
        }
        self.keys.insert(key);
    }

    /// Adds lines to the file.
    ///
    /// # Errors
    /// When it cannot be written; then the next start tells them again.
    pub fn write(&self, keys: &[String]) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        // The first line end closes what a crash tore.
        let lines: String = keys.iter().flat_map(|key| ["\n", key]).chain(["\n"]).collect();
        file.write_all(lines.as_bytes())
    }

    /// Forgets what is not `wanted` any more, and writes the rest anew if that is worth it.
    ///
    /// # Errors
    /// When it cannot be written; the old file stays.
    pub fn forget(&mut self, is_wanted: impl Fn(&str) -> bool) -> io::Result<()> {
        let before = self.keys.len();
        self.keys.retain(|key| is_wanted(key));
        let Some(path) = self.path.as_ref().filter(|_| self.keys.len() < before) else {
            return Ok(());
        };
        let lines: String = self.keys.iter().flat_map(|key| [key, "\n"]).collect();
        let new = path.with_extension("new");
        File::create(&new)?.write_all(lines.as_bytes())?;
        fs::rename(new, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_was_told_as_a_whole_is_one_line() {
        let mut told = Told::default();
        for key in ["UPID:a: 100 ok", "UPID:a: 101 failed", "UPID:b: 100 ok", "UPID:a:"] {
            told.insert(key.to_owned());
        }
        assert_eq!(told.keys.iter().collect::<Vec<_>>(), ["UPID:a:", "UPID:b: 100 ok"]);
    }

    #[test]
    fn what_was_written_in_several_goes_is_all_there_after_a_start() {
        let folder = tempfile::tempdir().unwrap();
        let told = Told::open(Some(folder.path()));
        for keys in [["UPID:a: 100 ok", "UPID:a:"], ["UPID:b: 100 ok", "UPID:b: 101 ok"]] {
            told.write(&keys.map(str::to_owned)).unwrap();
        }
        let again = Told::open(Some(folder.path()));
        for key in ["UPID:a:", "UPID:b: 100 ok", "UPID:b: 101 ok"] {
            assert!(again.has(key), "{key}");
        }
        assert!(!again.has(""));
    }
}
