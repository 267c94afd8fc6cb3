//! Which job asked for which run, as far as the scheduler has noted it.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::backups::plan::states::{JobState, job_of};
use crate::backups::upid::Upid;

/// The last run of each job, read when it is first asked for.
pub struct Runs {
    folder: PathBuf,
    jobs: OnceLock<HashMap<String, String>>,
}

impl Runs {
    /// The runs that are noted in a folder.
    pub fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), jobs: OnceLock::new() }
    }

    /// The job that asked for a run.
    pub fn job_of(&self, upid: &Upid) -> Option<String> {
        let jobs = self.jobs.get_or_init(|| {
            let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
            entries.filter_map(|entry| run(&entry)).collect()
        });
        jobs.get(upid.as_str()).cloned()
    }
}

/// A task, and the job that asked for it.
fn run(entry: &fs::DirEntry) -> Option<(String, String)> {
    let name = entry.file_name();
    let job = job_of(name.to_str()?)?;
    let state = JobState::parse(&fs::read_to_string(entry.path()).ok()?)?;
    Some((state.upid?, job.to_owned()))
}
