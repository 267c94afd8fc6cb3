//! Looks at `/etc/pve/.members`, whose file system can hang.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use pvewatch_protocol::sample::Cluster;

use crate::host::members::cluster;
use crate::patience::PatientLook;

/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whoever looks.
#[derive(Debug)]
pub struct Members {
    path: PathBuf,
    eye: PatientLook<Option<Cluster>>,
}

impl Members {
    /// Has not looked yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, eye: PatientLook::default() }
    }

    /// The cluster as it is now; none without one, or while nobody can say.
    pub async fn read(&mut self) -> Option<Cluster> {
        let path = self.path.clone();
        let look = move || cluster(&fs::read_to_string(path).unwrap_or_default());
        self.eye.look(PATIENCE, look).await.flatten()
    }
}
