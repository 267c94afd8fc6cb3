//! The Proxmox clusters on the page: each is one thing, whoever sees it.

use std::collections::BTreeMap;

use pvewatch_protocol::sample::Cluster;
use serde::Serialize;

use super::headline::counted;
use crate::core::Snapshot;
use crate::fleet::NodeView;
use crate::output::http::words::Tone;

/// A cluster, as the best placed of its nodes sees it.
#[derive(Debug, Serialize)]
pub struct ClusterView {
    name: String,
    tone: Tone,
    /// How many of its members are there, and which are not.
    members: String,
    /// How many guests run on those that have an agent.
    guests: String,
    /// Who leads high availability; empty if nobody does.
    ha: String,
}

/// The clusters of the site, by name.
pub fn view(snapshot: &Snapshot) -> Vec<ClusterView> {
    let mut clusters: BTreeMap<&str, Vec<(&NodeView, &Cluster)>> = BTreeMap::new();
    for view in &snapshot.nodes {
        let reading = view.node.reading.as_ref();
        if let Some(cluster) = reading.and_then(|it| it.sample.cluster.as_deref()) {
            clusters.entry(&cluster.name).or_default().push((view, cluster));
        }
    }
    clusters.into_iter().filter_map(|(name, seen)| ClusterView::of(name, &seen)).collect()
}

impl ClusterView {
    fn of(name: &str, seen: &[(&NodeView, &Cluster)]) -> Option<Self> {
        // One that can be heard knows better, and one that sees a quorum better still.
        let is_heard = |view: &NodeView| view.node.silent.is_none();
        let (best, cluster) =
            seen.iter().max_by_key(|(view, cluster)| (is_heard(view), cluster.quorate))?;
        let all = cluster.members.len();
        let gone: Vec<&str> =
            cluster.members.iter().filter(|it| !it.online).map(|it| it.node.as_str()).collect();
        let mut members = match gone.as_slice() {
            [] => format!("{} online", counted(all, "node", "nodes")),
            gone => {
                format!("{} of {all} nodes online, without {}", all - gone.len(), gone.join(", "))
            }
        };
        if !cluster.quorate {
            members += "; no quorum: nothing can be changed";
        }
        if !is_heard(best) {
            members += ", when last heard";
        }
        let guests = seen.iter().flat_map(|(view, _)| &view.guests);
        let (running, total) = guests.fold((0, 0), |(running, total), guest| {
            (running + usize::from(guest.is_running()), total + 1)
        });
        let ha = cluster.ha.as_ref().map(|ha| format!("high availability led by {}", ha.master));
        Some(Self {
            name: name.to_owned(),
            tone: match (cluster.quorate, gone.is_empty() && is_heard(best)) {
                (false, _) => Tone::Bad,
                (true, false) => Tone::Doubtful,
                (true, true) => Tone::Good,
            },
            members,
            guests: match total {
                0 => String::new(),
                total => format!("{running} of {} run", counted(total, "guest", "guests")),
            },
            ha: ha.unwrap_or_default(),
        })
    }
}
