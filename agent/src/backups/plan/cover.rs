//! Which of a node's guests a job covers, with Proxmox' rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use pvewatch_protocol::{BackupJob, Guest, Vmid};

use super::jobs::{Job, Selection};
use super::states::JobState;

/// The node for which jobs are judged.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    /// This node, as Proxmox names it.
    pub node: &'a str,
    /// The zone of its clock.
    pub zone: &'a str,
    /// Its guests.
    pub guests: &'a [Arc<Guest>],
    /// All pools.
    pub pools: &'a BTreeMap<String, Vec<Vmid>>,
}

impl Node<'_> {
    /// A job as it concerns the node. `state` is the scheduler's note of its last run.
    pub fn job(&self, job: Job, state: Option<&JobState>) -> BackupJob {
        let is_kept_elsewhere = job.node.as_ref().is_some_and(|node| node != self.node);
        let guests = if is_kept_elsewhere { Vec::new() } else { self.covered(&job.selection) };
        BackupJob {
            enabled: job.is_enabled && !is_kept_elsewhere,
            guests,
            zone: self.zone.to_owned(),
            last_run: state.and_then(|state| state.began),
            running: state.is_some_and(|state| state.is_running),
            notes_runs: job.has_notes,
            job: job.id,
            schedule: job.schedule,
            storage: job.storage,
            mode: Some(job.mode),
            prune: job.prune,
            repeat_missed: job.repeats_missed,
            comment: job.comment,
        }
    }

    fn covered(&self, selection: &Selection) -> Vec<Vmid> {
        let own = self.guests.iter().map(|guest| guest.vmid);
        let is_meant = |vmid: &Vmid| match selection {
            Selection::All { exclude } => !exclude.contains(vmid),
            Selection::Guests(named) => named.contains(vmid),
            Selection::Pool { name, exclude } => {
                let members = self.pools.get(name);
                members.is_some_and(|members| members.contains(vmid)) && !exclude.contains(vmid)
            }
        };
        own.filter(is_meant).collect()
    }
}

#[cfg(test)]
mod tests {
    use pvewatch_protocol::event::GuestKind;

    use super::super::guests::guest;
    use super::super::{jobs, pools};
    use super::*;

    fn vmid(number: u32) -> Vmid {
        Vmid::try_from(number).unwrap()
    }

    /// The guests of pve1 that a job covers, and whether it is on there.
    fn covers(keys: &str) -> (Vec<u32>, bool) {
        let guests =
            [100, 101, 102].map(|number| Arc::new(guest(vmid(number), GuestKind::Qemu, "")));
        let pools = pools::pools("pool:p::101,102,900::\n");
        let here = Node { node: "pve1", zone: "UTC", guests: &guests, pools: &pools };
        let job = jobs::jobs(&format!("vzdump: a\n{keys}")).remove(0);
        let job = here.job(job, None);
        (job.guests.into_iter().map(u32::from).collect(), job.enabled)
    }

    #[test]
    fn a_job_covers_what_proxmox_would_back_up_here() {
        for (keys, expected) in [
            ("\tall 1\n", (vec![100, 101, 102], true)),
            ("\tall 1\n\texclude 101\n", (vec![100, 102], true)),
            ("\tvmid 102,900\n", (vec![102], true)),
            ("\tpool p\n", (vec![101, 102], true)),
            ("\tpool p\n\texclude 102\n", (vec![101], true)),
            ("\tpool gone\n", (vec![], true)),
            ("\tall 1\n\tenabled 0\n", (vec![100, 101, 102], false)),
            ("\tall 1\n\tnode pve1\n", (vec![100, 101, 102], true)),
            ("\tall 1\n\tnode pve2\n", (vec![], false)),
        ] {
            assert_eq!(covers(keys), expected, "{keys}");
        }
    }
}
