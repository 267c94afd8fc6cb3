//! The cluster as this node sees it, by pmxcfs' `.members`.

use std::collections::BTreeMap;

use pvewatch_protocol::sample::{Cluster, Member};
use serde::Deserialize;

/// Members of one cluster. Overflow: the rest is left out; corosync has at most some dozens.
const MEMBERS_MAX: usize = 256;

#[derive(Deserialize)]
struct Members {
    cluster: Option<Named>,
    #[serde(default)]
    nodelist: BTreeMap<String, Listed>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    quorate: Option<u8>,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    online: u8,
}

/// The cluster; none of a node that stands alone, or if the text is something else.
pub fn cluster(members: &str) -> Option<Cluster> {
    let members: Members = serde_json::from_str(members).ok()?;
    let named = members.cluster?;
    let member = |(node, listed): (String, Listed)| Member { node, online: listed.online == 1 };
    Some(Cluster {
        name: named.name,
        // A version that does not say it has nothing to complain of.
        quorate: named.quorate != Some(0),
        members: members.nodelist.into_iter().take(MEMBERS_MAX).map(member).collect(),
        ha: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_sees_its_cluster_and_one_that_stands_alone_none() {
        let text = r#"{"nodename":"pve1","version":4,
            "cluster":{"name":"berlin","version":2,"nodes":2,"quorate":0},
            "nodelist":{"pve1":{"id":1,"online":1,"ip":"192.0.2.1"},"pve2":{"id":2,"online":0}}}"#;
        let cluster = cluster(text).unwrap();
        assert_eq!((&*cluster.name, cluster.quorate), ("berlin", false));
        let members: Vec<_> =
            cluster.members.iter().map(|member| (&*member.node, member.online)).collect();
        assert_eq!(members, [("pve1", true), ("pve2", false)]);
        for text in [r#"{"nodename":"pve1","version":4}"#, "", "{"] {
            assert_eq!(super::cluster(text), None, "{text}");
        }
    }
}
