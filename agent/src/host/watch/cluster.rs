//! Looks at `/etc/pve/.members`. Its file system can hang: one look at a time, on its own thread.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use pvewatch_protocol::sample::Cluster;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use crate::host::members::cluster;

/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whoever looks.
#[derive(Debug)]
pub struct Members {
    path: PathBuf,
    /// A look that is not over.
    looking: Option<JoinHandle<Option<Cluster>>>,
}

impl Members {
    /// Has not looked yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, looking: None }
    }

    /// The cluster as it is now; none without one, or while nobody can say.
    pub async fn read(&mut self) -> Option<Cluster> {
        if self.looking.as_ref().is_some_and(|looking| !looking.is_finished()) {
            return None;
        }
        let path = self.path.clone();
        let mut look =
            spawn_blocking(move || cluster(&fs::read_to_string(path).unwrap_or_default()));
        match timeout(PATIENCE, &mut look).await {
            Ok(looked) => looked.ok().flatten(),
            Err(_) => {
                self.looking = Some(look);
                None
            }
        }
    }
}
