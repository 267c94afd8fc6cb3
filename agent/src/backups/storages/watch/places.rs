//! What the node is told to look at: its storages, and whose archives count on them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::look::Order;
use crate::backups::plan::watch::reader::{PlanError, listed_guests, optional, versions};
use crate::backups::storages::config::{Storage, node_prune, storages};

/// Where the source reads from, beside the storages themselves.
#[derive(Debug, Clone)]
pub struct StoragePaths {
    /// Proxmox' configuration, `/etc/pve`.
    pub config: PathBuf,
    /// The node's own defaults for vzdump.
    pub vzdump: PathBuf,
    /// What is mounted (proc(5)).
    pub mountinfo: PathBuf,
    /// What should be (fstab(5)).
    pub fstab: PathBuf,
}

/// What is to be looked at now.
///
/// # Errors
/// When Proxmox' configuration is not there or cannot be read.
pub fn orders(paths: &StoragePaths) -> Result<Vec<Order>, PlanError> {
    // In this order: if Proxmox' file system goes away in between, that is an error.
    let text = optional(&paths.config.join("storage.cfg"))?.unwrap_or_default();
    versions(&paths.config)?;
    let (node, guests) = listed_guests(&paths.config)?;
    let node_wide = node_prune(&optional(&paths.vzdump)?.unwrap_or_default());
    let order = |mut storage: Storage| {
        storage.prune = storage.prune.or_else(|| node_wide.clone());
        // Of what others see too each tells of its own guests.
        let own = || guests.keys().copied().collect::<BTreeSet<_>>();
        let only = storage.is_shared.then(own);
        Order { node: node.clone(), storage, only }
    };
    Ok(storages(&text, &node).into_iter().map(order).collect())
}
