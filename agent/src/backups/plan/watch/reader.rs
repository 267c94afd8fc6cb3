//! Reads what the plan is made of, and only what has changed.
//!
//! `/etc/pve` is a file system of Proxmox' own that can hang: whoever calls must expect that.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pvewatch_protocol::event::GuestKind;
use pvewatch_protocol::{BackupJob, Guest, Vmid};

use crate::backups::plan::cover::Node;
use crate::backups::plan::guests::guest;
use crate::backups::plan::jobs::{Job, cron_jobs, jobs};
use crate::backups::plan::pools::pools;
use crate::backups::plan::replication::{Replications, targets};
use crate::backups::plan::versions::{Listed, Versions, guests_of};
use crate::backups::plan::watch::notes::notes;
use crate::proxmox::{ManagerStatus, cluster, config_folder};

/// Where the plan is.
#[derive(Debug, Clone)]
pub struct PlanPaths {
    /// Proxmox' configuration, `/etc/pve`.
    pub config: PathBuf,
    /// The scheduler's notes, a file for each job.
    pub states: PathBuf,
    /// Its notes on replication, one file for all.
    pub replication: PathBuf,
    /// The zone of the node, a link or a file.
    pub localtime: PathBuf,
}

/// What the node has to back up.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Its guests, by number; shared with whoever read them.
    pub guests: Vec<Arc<Guest>>,
    /// The jobs, in the order of their files.
    pub jobs: Vec<BackupJob>,
}

impl Plan {
    /// Whether guests of another plan are not in this one.
    pub fn lacks_guests_of(&self, other: &Self) -> bool {
        let is_there = |vmid| self.guests.iter().any(|guest| guest.vmid == vmid);
        other.guests.iter().any(|guest| !is_there(guest.vmid))
    }
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// There is nothing of Proxmox here.
    #[error("{} is not there: this is no Proxmox VE node", .0.display())]
    NoProxmox(PathBuf),
    /// The configuration is not there, though its place is.
    #[error("{} is not there: pve-cluster does not run", .0.display())]
    Absent(PathBuf),
    /// A file cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The cluster has no quorum.
    #[error(
        "the cluster has no quorum: what {} says can be old, until the nodes see each other again",
        .0.display()
    )]
    NoQuorum(PathBuf),
    /// A file of Proxmox' own making is not what it should be.
    #[error("{} is not as Proxmox writes it", .0.display())]
    Strange(PathBuf),
}

/// Reads the plan again and again.
#[derive(Debug)]
pub struct PlanReader {
    paths: PlanPaths,
    read: Option<Read>,
}

/// What was read, as of some versions.
#[derive(Debug)]
struct Read {
    versions: Versions,
    node: String,
    guests: BTreeMap<Vmid, (Listed, Arc<Guest>)>,
    pools: BTreeMap<String, Vec<Vmid>>,
    jobs: Vec<Job>,
    replications: BTreeMap<Vmid, Vec<String>>,
}

/// Whether enough nodes of the cluster see each other, or the node stands alone.
fn is_quorate(config: &Path) -> bool {
    let members = fs::read_to_string(config.join(".members")).unwrap_or_default();
    cluster(&members).is_none_or(|cluster| cluster.quorate)
}

impl PlanReader {
    /// A reader that has read nothing.
    pub fn new(paths: PlanPaths) -> Self {
        Self { paths, read: None }
    }

    /// The plan as it is now.
    ///
    /// # Errors
    /// When Proxmox' configuration is not there or cannot be read; what was read before counts
    /// for nothing then.
    pub fn read(&mut self) -> Result<Plan, PlanError> {
        let versions = versions(&self.paths.config)?;
        // A node that was away, or is cut off, can have what was true long ago: guests that are others'
        // by now.
        if !is_quorate(&self.paths.config) {
            return Err(PlanError::NoQuorum(self.paths.config.clone()));
        }
        // What was read counts as such only when all of it could be.
        let known = self.read.take();
        let mut read = match known {
            Some(known) if known.versions == versions => known,
            known => self.read_config(versions, known)?,
        };
        self.settle_replications(&mut read);
        self.settle_ha(&mut read);
        let plan = self.plan(&read);
        self.read = Some(read);
        Ok(plan)
    }

    fn read_config(&self, versions: Versions, known: Option<Read>) -> Result<Read, PlanError> {
        let config = |name: &str| self.paths.config.join(name);
        let text = |name: &str| Ok::<_, PlanError>(optional(&config(name))?.unwrap_or_default());
        let (node, listed) = listed_guests(&self.paths.config)?;
        let pools = pools(&text("user.cfg")?);
        // Another pmxcfs counts versions anew.
        let known = known.filter(|known| known.versions.is_same_run(&versions));
        let mut known = known.map(|known| known.guests).unwrap_or_default();
        let mut guests = BTreeMap::new();
        for (vmid, listed) in listed {
            let entry = match known.remove(&vmid).filter(|(before, _)| *before == listed) {
                Some((_, guest)) => Some(guest),
                None => self.read_guest(&node, vmid, listed.kind)?.map(Arc::new),
            };
            if let Some(mut guest) = entry {
                let pool = pool_of(&pools, vmid);
                if guest.pool != pool {
                    Arc::make_mut(&mut guest).pool = pool;
                }
                guests.insert(vmid, (listed, guest));
            }
        }
        let mut jobs = jobs(&text("jobs.cfg")?);
        jobs.extend(cron_jobs(&text("vzdump.cron")?));
        let replications = targets(&text("replication.cfg")?);
        Ok(Read { versions, node, guests, pools, jobs, replications })
    }

    /// A guest; none if it was removed meanwhile.
    fn read_guest(
        &self,
        node: &str,
        vmid: Vmid,
        kind: GuestKind,
    ) -> Result<Option<Guest>, PlanError> {
        let file = format!("nodes/{node}/{}/{vmid}.conf", config_folder(kind));
        let text = optional(&self.paths.config.join(file))?;
        Ok(text.map(|text| guest(vmid, kind, &text)))
    }

    /// Says of each guest how its replications go; one of which that is known is left as it is.
    fn settle_replications(&self, read: &mut Read) {
        let noted = match read.replications.is_empty() {
            true => None,
            false => optional(&self.paths.replication).ok().flatten(),
        };
        let noted = noted.and_then(|text| Replications::parse(&text)).unwrap_or_default();
        for (vmid, (_, guest)) in &mut read.guests {
            let targets = read.replications.get(vmid).map_or(&[][..], Vec::as_slice);
            let replications = noted.of(*vmid, targets);
            if guest.replications != replications {
                Arc::make_mut(guest).replications = replications;
            }
        }
    }

    /// Says of each guest how the manager of high availability has it. Its notes change all the time,
    /// so they are read at each look; without any nothing is kept by it. While they cannot be read,
    /// what was known stands.
    fn settle_ha(&self, read: &mut Read) {
        let notes = match optional(&self.paths.config.join("ha/manager_status")) {
            Ok(None) => Some(ManagerStatus::default()),
            Ok(Some(text)) => ManagerStatus::parse(&text),
            Err(_) => None,
        };
        let Some(notes) = notes else { return };
        let states = notes.guests_of(&read.node);
        for (vmid, (_, guest)) in &mut read.guests {
            let state = states.get(vmid).copied();
            if guest.ha.as_deref() != state {
                Arc::make_mut(guest).ha = state.map(str::to_owned);
            }
        }
    }

    fn plan(&self, read: &Read) -> Plan {
        let guests: Vec<Arc<Guest>> =
            read.guests.values().map(|(_, guest)| guest.clone()).collect();
        let zone = zone(&self.paths.localtime);
        let here = Node { node: &read.node, zone: &zone, guests: &guests, pools: &read.pools };
        let states: BTreeMap<_, _> = notes(&self.paths.states).collect();
        let job = |job: &Job| here.job(job.clone(), states.get(&job.id));
        let jobs = read.jobs.iter().map(job).collect();
        Plan { guests, jobs }
    }
}

/// The versions of what Proxmox' configuration is made of.
///
/// # Errors
/// When there is none, or it cannot be read.
pub fn versions(config: &Path) -> Result<Versions, PlanError> {
    let path = config.join(".version");
    let Some(text) = optional(&path)? else {
        return Err(match config.exists() {
            true => PlanError::Absent(path),
            false => PlanError::NoProxmox(config.to_owned()),
        });
    };
    Versions::parse(&text).ok_or(PlanError::Strange(path))
}

/// This node, as Proxmox names it, and its guests.
///
/// # Errors
/// When the configuration does not say it.
pub fn listed_guests(config: &Path) -> Result<(String, BTreeMap<Vmid, Listed>), PlanError> {
    let path = config.join("local");
    let link = fs::read_link(&path)
        .map_err(|source| PlanError::Unreadable { path: path.clone(), source })?;
    let node = link.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let node = node.ok_or(PlanError::Strange(path))?;
    let path = config.join(".vmlist");
    let guests = guests_of(&node, &required(&path)?).ok_or(PlanError::Strange(path))?;
    Ok((node, guests))
}

fn pool_of(pools: &BTreeMap<String, Vec<Vmid>>, vmid: Vmid) -> Option<String> {
    let pool = pools.iter().find(|(_, members)| members.contains(&vmid));
    pool.map(|(name, _)| name.clone())
}

/// A file's text; none if there is no such file. What is no text is replaced.
///
/// # Errors
/// When it is there and cannot be read.
pub fn optional(path: &Path) -> Result<Option<String>, PlanError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PlanError::Unreadable { path: path.to_owned(), source }),
    }
}

fn required(path: &Path) -> Result<String, PlanError> {
    optional(path)?.ok_or_else(|| PlanError::Absent(path.to_owned()))
}

/// The zone's name, by where the link leads; of a file that is no link its rule, which stands at
/// the end of it as POSIX writes such. UTC if there is none, as for the C library.
fn zone(localtime: &Path) -> String {
    let target = fs::read_link(localtime).ok();
    let target = target.as_ref().and_then(|target| target.to_str());
    if let Some((_, name)) = target.and_then(|target| target.split_once("zoneinfo/")) {
        return name.to_owned();
    }
    let rule = fs::read(localtime).ok().and_then(|bytes| {
        let text = bytes.strip_suffix(b"\n")?;
        let rule = text.rsplit(|byte| *byte == b'\n').next()?;
        String::from_utf8(rule.to_vec()).ok().filter(|rule| !rule.is_empty())
    });
    rule.unwrap_or_else(|| "UTC".to_owned())
}
