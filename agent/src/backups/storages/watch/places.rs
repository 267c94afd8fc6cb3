//! What the node is told to look at: its storages, and whose archives count on them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::look::Order;
use crate::backups::plan::watch::reader::{Plan, PlanError, PlanPaths, PlanReader, optional};
use crate::backups::storages::config::{Storage, node_prune, storages};

/// Where the source reads from, beside the storages themselves.
#[derive(Debug, Clone)]
pub struct StoragePaths {
    /// Proxmox' configuration, and what the plan is made of.
    pub plan: PlanPaths,
    /// The node's own defaults for vzdump.
    pub vzdump: PathBuf,
    /// What is mounted (proc(5)).
    pub mountinfo: PathBuf,
    /// What should be (fstab(5)).
    pub fstab: PathBuf,
}

/// Reads what is to be looked at, again and again.
#[derive(Debug)]
pub struct PlacesReader {
    paths: StoragePaths,
    plan: PlanReader,
}

impl PlacesReader {
    /// A reader that has read nothing.
    pub fn new(paths: StoragePaths) -> Self {
        Self { plan: PlanReader::new(paths.plan.clone()), paths }
    }

    /// What is to be looked at now.
    ///
    /// # Errors
    /// When Proxmox' configuration is not there or cannot be read.
    pub fn read(&mut self) -> Result<Vec<Order>, PlanError> {
        // In this order: if Proxmox' file system goes away in between, that is an error.
        let text = optional(&self.paths.plan.config.join("storage.cfg"))?.unwrap_or_default();
        let plan = self.plan.read()?;
        let node = self.plan.node()?;
        let node_wide = node_prune(&optional(&self.paths.vzdump)?.unwrap_or_default());
        let order = |mut storage: Storage| {
            storage.prune = storage.prune.or_else(|| node_wide.clone());
            order(storage, &node, &plan)
        };
        Ok(storages(&text, &node).into_iter().map(order).collect())
    }
}

fn order(storage: Storage, node: &str, plan: &Plan) -> Order {
    // Of what others see too each tells of its own guests.
    let own = || plan.guests.iter().map(|guest| guest.vmid).collect::<BTreeSet<_>>();
    let only = storage.is_shared.then(own);
    Order { node: node.to_owned(), storage, only }
}
