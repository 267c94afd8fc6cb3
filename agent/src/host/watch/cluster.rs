//! Looks at `/etc/pve/.members`, and at the notes of the HA manager; their file system can hang.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pvewatch_protocol::sample::Cluster;

use crate::patience::PatientLook;
use crate::proxmox::{ManagerStatus, cluster};

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
        self.eye.look(PATIENCE, move || look(&path)).await.flatten()
    }
}

fn look(members: &Path) -> Option<Cluster> {
    let text = fs::read_to_string(members).ok()?;
    let ha = || {
        let folder = members.parent()?;
        let node = fs::read_link(folder.join("local")).ok()?;
        let notes = fs::read_to_string(folder.join("ha/manager_status")).ok()?;
        ManagerStatus::parse(&notes)?.manager(node.file_name()?.to_str()?)
    };
    Some(Cluster { ha: ha(), ..cluster(&text)? })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[tokio::test]
    async fn the_manager_of_high_availability_belongs_to_the_cluster() {
        let pve = tempfile::tempdir().unwrap();
        let path = |name: &str| pve.path().join(name);
        let mut members = Members::new(path(".members"));
        assert_eq!(members.read().await, None);
        let text = r#"{"cluster":{"name":"lab","quorate":1},"nodelist":{"pve1":{"online":1}}}"#;
        fs::write(path(".members"), text).unwrap();
        assert_eq!(members.read().await.unwrap().ha, None);
        symlink("nodes/pve1", path("local")).unwrap();
        fs::create_dir(path("ha")).unwrap();
        let notes = r#"{"master_node":"pve1","node_status":{"pve1":"online"},"timestamp":1}"#;
        fs::write(path("ha/manager_status"), notes).unwrap();
        let ha = members.read().await.unwrap().ha.unwrap();
        assert_eq!((&*ha.master, &*ha.node_state), ("pve1", "online"));
    }
}
