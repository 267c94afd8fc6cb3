//! Reads the scheduler's notes, a file for each job.

use std::fs;
use std::path::Path;

use crate::backups::plan::states::{JobState, job_of};

/// Each job that is noted in a folder, and its state. What cannot be read is as if not noted.
pub fn notes(folder: &Path) -> impl Iterator<Item = (String, JobState)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let name = entry.file_name();
        let job = job_of(name.to_str()?)?;
        Some((job.to_owned(), JobState::parse(&fs::read_to_string(entry.path()).ok()?)?))
    })
}
