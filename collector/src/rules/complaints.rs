//! What is wrong with a TOML file that people write, such as rules and policies.
//!
//! Promised: each complaint names the file and the line; of a key that is not known, the one that
//! was probably meant.

use serde::de::DeserializeOwned;

use super::nearest::hint;

/// Something wrong in a file that people write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {message}")]
pub struct FileError {
    /// The file, as it was named to whoever reads it.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Whoever finds them in one file.
pub struct Complaints<'a> {
    file: &'a str,
    text: &'a str,
    /// What was found, in order.
    pub found: Vec<FileError>,
}

impl<'a> Complaints<'a> {
    /// None yet about this file and its text.
    pub fn of(file: &'a str, text: &'a str) -> Self {
        Self { file, text, found: Vec::new() }
    }

    /// Reads the whole text; none if it is not as it has to be. `section` is what a key is missing
    /// from, if one is.
    pub fn read<T: DeserializeOwned>(&mut self, section: &str) -> Option<T> {
        match toml::from_str(self.text) {
            Ok(read) => Some(read),
            Err(error) => {
                let line = self.line(error.span().map_or(0, |span| span.start));
                self.add(line, key_complaint(error.message(), section));
                None
            }
        }
    }

    /// The line of a place in the text, from 1.
    pub fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or_default();
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    /// Something is wrong in a line.
    pub fn add(&mut self, line: usize, message: String) {
        self.found.push(FileError { file: self.file.to_owned(), line, message });
    }
}

/// What toml says of a file with keys in sections, with the key that was probably meant.
fn key_complaint(message: &str, section: &str) -> String {
    let message = message.trim().replace('\n', " ");
    let mut quoted = message.split('`').skip(1).step_by(2);
    match quoted.next() {
        Some(unknown) if message.starts_with("unknown field") => {
            let known: Vec<&str> = quoted.collect();
            let listed = known.join(", ");
            let hint = hint(unknown, known.into_iter());
            format!("unknown key {unknown:?}{hint} (there are: {listed})")
        }
        Some(missing) if message.starts_with("missing field") => {
            format!("{section} lacks the key {missing:?}")
        }
        _ => message,
    }
}
