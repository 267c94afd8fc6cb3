//! The command `read-backup-log`: what the agent would understand of a file.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::log::{BackupLog, GuestBackup, Reader};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be read: {source}", path.display())]
pub struct ReadError {
    path: PathBuf,
    source: std::io::Error,
}

/// The guests of all files: as a JSON array, or as a table for people.
///
/// # Errors
/// When a file cannot be opened or read.
pub fn describe(paths: &[PathBuf], as_json: bool) -> Result<String, ReadError> {
    let mut guests = Vec::new();
    for path in paths {
        guests.extend(read(path)?.guests);
    }
    Ok(if as_json {
        // Plain data always has a JSON form.
        serde_json::to_string_pretty(&guests).unwrap_or_default()
    } else {
        table(&guests)
    })
}

fn read(path: &Path) -> Result<BackupLog, ReadError> {
    let error = |source| ReadError { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(error)?;
    let mut reader = Reader::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(reader.finish()),
            Ok(length) => reader.feed(&piece[..length]),
            Err(interrupted) if interrupted.kind() == std::io::ErrorKind::Interrupted => {}
            Err(failure) => return Err(error(failure)),
        }
    }
}

fn table(guests: &[GuestBackup]) -> String {
    let mut table = format!(
        "{:<10} {:<5} {:<12} {:>9} {:>15}  {}\n",
        "GUEST", "KIND", "RESULT", "SECONDS", "BYTES", "ARCHIVE, OR WHAT WENT WRONG"
    );
    for guest in guests {
        let details = &guest.details;
        let text = guest.root_cause.as_ref().or(guest.error.as_ref()).or(details.archive.as_ref());
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "{:<10} {:<5} {:<12} {:>9} {:>15}  {}",
            guest.vmid,
            details.kind.map_or("-", |kind| kind.as_str()),
            guest.outcome.as_str(),
            guest.duration_seconds.map_or_else(|| "-".to_owned(), |seconds| seconds.to_string()),
            details.size_bytes.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string()),
            text.map_or("-", String::as_str),
        );
    }
    table
}
