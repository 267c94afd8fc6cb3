//! What Proxmox' HA manager notes of itself and of the guests that it keeps running
//! (`/etc/pve/ha/manager_status`, rewritten every ten seconds by the node that leads).

use std::collections::BTreeMap;

use jiff::Timestamp;
use pvewatch_protocol::Vmid;
use pvewatch_protocol::sample::HaManager;
use serde::Deserialize;

/// The notes.
#[derive(Debug, Default, Deserialize)]
pub struct ManagerStatus {
    #[serde(default)]
    master_node: String,
    #[serde(default)]
    node_status: BTreeMap<String, String>,
    /// By `vm:100` or `ct:101`.
    #[serde(default)]
    service_status: BTreeMap<String, Service>,
    #[serde(default)]
    timestamp: i64,
}

#[derive(Debug, Deserialize)]
struct Service {
    node: String,
    state: String,
}

impl ManagerStatus {
    /// Reads the notes; none if it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The guests of a node that the manager keeps, and the state that it has them in.
    pub fn guests_of(&self, node: &str) -> BTreeMap<Vmid, &str> {
        let guest = |sid: &String| sid.split_once(':')?.1.parse().ok();
        let of_node = self.service_status.iter().filter(|(_, service)| service.node == node);
        of_node.filter_map(|(sid, it)| Some((guest(sid)?, it.state.as_str()))).collect()
    }

    /// The manager, as a node sees it; none if nobody leads, as where nothing is kept by it.
    pub fn manager(&self, node: &str) -> Option<HaManager> {
        if self.master_node.is_empty() {
            return None;
        }
        Some(HaManager {
            master: self.master_node.clone(),
            node_state: self.node_status.get(node).cloned().unwrap_or_default(),
            at: Timestamp::from_second(self.timestamp).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"master_node":"pve2","timestamp":1795230420,
        "node_status":{"pve1":"online","pve2":"online","pve3":"fence"},
        "service_status":{
            "vm:100":{"node":"pve1","state":"started","uid":"a","running":1},
            "ct:101":{"node":"pve1","state":"error","uid":"b"},
            "vm:102":{"node":"pve3","state":"fence","uid":"c"},
            "odd":{"node":"pve1","state":"started"}}}"#;

    #[test]
    fn a_node_has_its_own_guests_in_the_managers_states() {
        let status = ManagerStatus::parse(TEXT).unwrap();
        let guests: Vec<_> = status
            .guests_of("pve1")
            .into_iter()
            .map(|(vmid, state)| (u32::from(vmid), state))
            .collect();
        assert_eq!(guests, [(100, "started"), (101, "error")]);
        assert!(status.guests_of("pve2").is_empty());
    }

    #[test]
    fn the_manager_is_who_leads() {
        let manager = ManagerStatus::parse(TEXT).unwrap().manager("pve3").unwrap();
        assert_eq!((&*manager.master, &*manager.node_state), ("pve2", "fence"));
        assert_eq!(manager.at.to_string(), "2026-11-21T03:07:00Z");
        assert_eq!(ManagerStatus::parse("{}").unwrap().manager("pve1"), None);
        assert!(ManagerStatus::parse("").is_none());
    }
}
