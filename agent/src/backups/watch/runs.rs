//! Which job asked for which run, as far as the scheduler has noted it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::backups::plan::states::JobState;
use crate::backups::plan::watch::notes::notes;
use crate::proxmox::Upid;

/// The last run of each job, read when it is first asked for.
pub struct Runs {
    folder: PathBuf,
    /// Jobs by their tasks.
    jobs: OnceLock<HashMap<String, String>>,
}

impl Runs {
    /// The runs that are noted in a folder.
    pub fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), jobs: OnceLock::new() }
    }

    /// The job that asked for a run.
    pub fn job_of(&self, upid: &Upid) -> Option<String> {
        let run = |(job, state): (String, JobState)| Some((state.upid?, job));
        let jobs = self.jobs.get_or_init(|| notes(&self.folder).filter_map(run).collect());
        jobs.get(upid.as_str()).cloned()
    }
}
