//! What the node is told to look at: its storages, and what is kept on them for whom.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use pvewatch_protocol::Vmid;

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
        let plan = self.plan.read()?;
        let node = self.plan.node()?;
        let text = optional(&self.paths.plan.config.join("storage.cfg"))?.unwrap_or_default();
        let node_wide = node_prune(&optional(&self.paths.vzdump)?.unwrap_or_default());
        let order = |mut storage: Storage| {
            storage.prune = storage.prune.or_else(|| node_wide.clone());
            order(storage, &node, &plan)
        };
        Ok(storages(&text, &node).into_iter().map(order).collect())
    }
}

fn order(storage: Storage, node: &str, plan: &Plan) -> Order {
    let mut configured: BTreeMap<Vmid, Vec<String>> = BTreeMap::new();
    let is_for_it = |id: &Option<String>| id.as_ref() == Some(&storage.id);
    for job in plan.jobs.iter().filter(|job| job.enabled && is_for_it(&job.storage)) {
        // What nobody says is kept for ever.
        let prune = job.prune.as_ref().or(storage.prune.as_ref());
        let prune = prune.map_or("keep-all=1", String::as_str);
        for vmid in &job.guests {
            configured.entry(*vmid).or_default().push(prune.to_owned());
        }
    }
    // Of what others see too each tells of its own guests.
    let own = || plan.guests.iter().map(|guest| guest.vmid).collect::<BTreeSet<_>>();
    let only = storage.is_shared.then(own);
    Order { node: node.to_owned(), storage, only, configured }
}
