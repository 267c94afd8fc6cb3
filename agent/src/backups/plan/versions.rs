//! Proxmox' own word on what changed below `/etc/pve`: `.version`, and `.vmlist` with the guests.
//!
//! The kernel tells nothing of changes that other nodes make there.

use std::collections::BTreeMap;

use pvewatch_protocol::Vmid;
use pvewatch_protocol::event::GuestKind;
use serde::Deserialize;

/// The versions of what the plan is made of. Different ones mean: read again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Versions {
    starttime: u64,
    #[serde(default)]
    vmlist: u64,
    #[serde(rename = "jobs.cfg", default)]
    jobs: u64,
    #[serde(rename = "vzdump.cron", default)]
    cron: u64,
    #[serde(rename = "user.cfg", default)]
    users: u64,
    #[serde(rename = "replication.cfg", default)]
    replication: u64,
}

impl Versions {
    /// Reads `.version`; none if it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Whether pmxcfs is the same process, so that its versions of guests can be compared.
    pub fn is_same_run(&self, other: &Self) -> bool {
        self.starttime == other.starttime
    }
}

/// A guest in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What it is.
    pub kind: GuestKind,
    /// Different when its configuration is.
    pub version: u64,
}

/// The guests of a node by `.vmlist`; none if it is something else. Guests of a kind that is not
/// known are left out.
pub fn guests_of(node: &str, vmlist: &str) -> Option<BTreeMap<Vmid, Listed>> {
    #[derive(Deserialize)]
    struct List {
        #[serde(default)]
        ids: BTreeMap<String, Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        node: String,
        #[serde(rename = "type")]
        kind: String,
        version: u64,
    }
    let list: List = serde_json::from_str(vmlist).ok()?;
    let own = list.ids.into_iter().filter(|(_, entry)| entry.node == node);
    let listed = own.filter_map(|(id, entry)| {
        let kind = match &*entry.kind {
            "qemu" => GuestKind::Qemu,
            "lxc" => GuestKind::Lxc,
            _ => return None,
        };
        Some((id.parse().ok()?, Listed { kind, version: entry.version }))
    });
    Some(listed.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_plan_is_made_of_counts() {
        let text = |vmlist, kvstore| {
            format!(
                r#"{{"starttime":7,"clinfo":2,"vmlist":{vmlist},"jobs.cfg":3,
                    "kvstore":{{"pve1":{{"tasklist":{kvstore}}}}}}}"#
            )
        };
        let versions = |vmlist, kvstore| Versions::parse(&text(vmlist, kvstore)).unwrap();
        assert_eq!(versions(4, 1), versions(4, 2));
        assert_ne!(versions(4, 1), versions(5, 1));
        assert_eq!(Versions::parse(""), None);
    }

    #[test]
    fn a_node_has_its_own_guests() {
        let list = r#"{"version":9,"ids":{
            "100":{"node":"pve1","type":"qemu","version":3},
            "101":{"node":"pve2","type":"lxc","version":4},
            "102":{"node":"pve1","type":"lxc","version":5},
            "103":{"node":"pve1","type":"other","version":5}}}"#;
        let own = guests_of("pve1", list).unwrap();
        let numbers: Vec<_> = own.keys().map(ToString::to_string).collect();
        assert_eq!(numbers, ["100", "102"]);
        assert_eq!(guests_of("pve1", r#"{"version":1}"#), Some(BTreeMap::new()));
        assert_eq!(guests_of("pve1", "torn"), None);
    }
}
