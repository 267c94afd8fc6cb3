//! Who may do what on the embedded broker.
//!
//! Pure: a decision depends on the role, the name and the topic alone, and every refusal has a
//! name. A node speaks below its own `node/{node}/` and hears its own acks; a reader hears
//! everything and says nothing; the collector may do all.

use pvewatch_protocol::topic::ROOT;
use pvewatch_protocol::{NodeName, Site};
use serde::Deserialize;

/// What a user is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// An agent; the user's name is the node's name.
    Node,
    /// A collector, or anybody who may do everything.
    Collector,
    /// Somebody who listens: a bridge, a dashboard. That includes the log lines of failed units.
    Reader,
}

/// What a client wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Publish to a topic, at once or by a will.
    Publish,
    /// Subscribe to a filter.
    Subscribe,
}

/// The answer to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Allowed,
    /// It may not.
    Denied(Denial),
}

/// Why a client may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// Nobody knows whose connection it is.
    Unknown,
    /// The user's name could not be a node's: it would reach into other topics.
    NotANodeName,
    /// A node publishes below its own `node/{node}/` only.
    OutsideOwnNode,
    /// Acks are the collector's word, even below a node's own topics.
    AcksAreTheCollectors,
    /// A node hears its own acks and presence and the collectors' presence, nothing else.
    NotForNodes,
    /// Readers publish nothing.
    ReadersOnlyListen,
    /// Client identifiers that begin with `pvewatch-` belong to the program of that name.
    ForeignClientId,
}

/// What the client identifiers of pvewatch's own programs begin with.
const OWN_CLIENT_IDS: &str = "pvewatch-";

/// Whether `name`, who is a `role`, may do `action` with `topic`.
pub fn decide(site: &Site, role: Role, name: &str, action: Action, topic: &str) -> Verdict {
    match (role, action) {
        (Role::Collector, _) | (Role::Reader, Action::Subscribe) => Verdict::Allowed,
        (Role::Reader, Action::Publish) => Verdict::Denied(Denial::ReadersOnlyListen),
        (Role::Node, action) => match name.parse::<NodeName>() {
            Err(_) => Verdict::Denied(Denial::NotANodeName),
            Ok(node) => decide_for_node(site, &node, action, topic),
        },
    }
}

/// Whether `name`, who is a `role`, may connect as `client_id`. A second client of the same
/// identifier ends the first, so one node must not take another's, or the collector's.
pub fn decide_client_id(site: &Site, role: Role, name: &str, client_id: &str) -> Verdict {
    let own = match role {
        Role::Collector => true,
        Role::Node => client_id == agent_client_id(site, name),
        Role::Reader => false,
    };
    if own || !client_id.starts_with(OWN_CLIENT_IDS) {
        Verdict::Allowed
    } else {
        Verdict::Denied(Denial::ForeignClientId)
    }
}

/// The client identifier of a node's agent.
fn agent_client_id(site: &Site, node: &str) -> String {
    format!("{OWN_CLIENT_IDS}agent-{site}-{node}")
}

fn decide_for_node(site: &Site, node: &NodeName, action: Action, topic: &str) -> Verdict {
    let below_site = topic
        .strip_prefix(ROOT)
        .and_then(|rest| rest.strip_prefix('/'))
        .and_then(|rest| rest.strip_prefix(site.as_str()))
        .and_then(|rest| rest.strip_prefix('/'));
    let levels: Vec<&str> = below_site.map(|rest| rest.split('/').collect()).unwrap_or_default();
    match (action, levels.as_slice()) {
        (Action::Publish, ["node", own, "ack", ..]) if *own == node.as_str() => {
            Verdict::Denied(Denial::AcksAreTheCollectors)
        }
        (Action::Publish, ["node", own, _, ..]) if *own == node.as_str() => Verdict::Allowed,
        (Action::Publish, _) => Verdict::Denied(Denial::OutsideOwnNode),
        (Action::Subscribe, ["node", own, "ack", collector])
            if *own == node.as_str() && *collector != "#" =>
        {
            Verdict::Allowed
        }
        // So that an agent notices another one that goes by its name.
        (Action::Subscribe, ["node", own, "presence"]) if *own == node.as_str() => Verdict::Allowed,
        (Action::Subscribe, ["collector", collector, "presence"]) if *collector != "#" => {
            Verdict::Allowed
        }
        (Action::Subscribe, _) => Verdict::Denied(Denial::NotForNodes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(role: Role, name: &str, action: Action, leaf: &str, expected: Verdict) {
        let topic = format!("pvewatch/v1/home/{leaf}");
        let verdict = decide(&Site::default(), role, name, action, &topic);
        assert_eq!(verdict, expected, "{role:?} {name:?} {action:?} {topic}");
    }

    #[test]
    fn a_node_speaks_below_its_own_topics_and_hears_its_own_acks() {
        use Denial::{AcksAreTheCollectors, NotForNodes, OutsideOwnNode};
        use Verdict::{Allowed, Denied};
        for (leaf, publish, subscribe) in [
            ("node/pve1/event/unit.changed", Allowed, Denied(NotForNodes)),
            ("node/pve1/sample", Allowed, Denied(NotForNodes)),
            ("node/pve1/checkpoint/units/1", Allowed, Denied(NotForNodes)),
            ("node/pve1/presence", Allowed, Allowed),
            ("node/pve2/presence", Denied(OutsideOwnNode), Denied(NotForNodes)),
            ("node/pve1", Denied(OutsideOwnNode), Denied(NotForNodes)),
            ("node/pve1/ack/main", Denied(AcksAreTheCollectors), Allowed),
            ("node/pve1/ack/+", Denied(AcksAreTheCollectors), Allowed),
            ("node/pve1/ack/#", Denied(AcksAreTheCollectors), Denied(NotForNodes)),
            ("node/pve1/#", Allowed, Denied(NotForNodes)),
            ("node/pve2/sample", Denied(OutsideOwnNode), Denied(NotForNodes)),
            ("node/pve2/ack/main", Denied(OutsideOwnNode), Denied(NotForNodes)),
            ("node/+/ack/+", Denied(OutsideOwnNode), Denied(NotForNodes)),
            ("node/pve11/sample", Denied(OutsideOwnNode), Denied(NotForNodes)),
            ("collector/main/presence", Denied(OutsideOwnNode), Allowed),
            ("collector/+/presence", Denied(OutsideOwnNode), Allowed),
            ("collector/#", Denied(OutsideOwnNode), Denied(NotForNodes)),
            ("alert/0123456789abcdef", Denied(OutsideOwnNode), Denied(NotForNodes)),
            ("notice", Denied(OutsideOwnNode), Denied(NotForNodes)),
            ("command", Denied(OutsideOwnNode), Denied(NotForNodes)),
            ("#", Denied(OutsideOwnNode), Denied(NotForNodes)),
        ] {
            check(Role::Node, "pve1", Action::Publish, leaf, publish);
            check(Role::Node, "pve1", Action::Subscribe, leaf, subscribe);
        }
    }

    #[test]
    fn topics_outside_the_site_are_refused_to_nodes() {
        for topic in [
            "",
            "#",
            "$SYS/#",
            "pvewatch/v1/other/node/pve1/sample",
            "pvewatch/v1/homer/node/pve1/sample",
            "pvewatch/v2/home/node/pve1/sample",
            "x/pvewatch/v1/home/node/pve1/sample",
            "$share/g/pvewatch/v1/home/node/pve1/ack/+",
        ] {
            for action in [Action::Publish, Action::Subscribe] {
                let verdict = decide(&Site::default(), Role::Node, "pve1", action, topic);
                assert!(matches!(verdict, Verdict::Denied(_)), "{action:?} {topic}");
            }
        }
    }

    #[test]
    fn a_certificate_cannot_name_itself_into_other_topics() {
        let denied = Verdict::Denied(Denial::NotANodeName);
        for name in ["+", "#", "", "pve1/ack", "..", "pve 1", "pve1/../pve2"] {
            check(Role::Node, name, Action::Subscribe, &format!("node/{name}/ack/+"), denied);
            check(Role::Node, name, Action::Publish, &format!("node/{name}/sample"), denied);
        }
    }

    #[test]
    fn readers_listen_and_the_collector_may_do_all() {
        for leaf in ["#", "node/+/event/+", "alert/+", "command"] {
            check(Role::Reader, "bot", Action::Subscribe, leaf, Verdict::Allowed);
            let denied = Verdict::Denied(Denial::ReadersOnlyListen);
            check(Role::Reader, "bot", Action::Publish, leaf, denied);
            for action in [Action::Publish, Action::Subscribe] {
                check(Role::Collector, "main", action, leaf, Verdict::Allowed);
            }
        }
    }

    #[test]
    fn nobody_connects_under_the_identifier_of_another_program() {
        let denied = Verdict::Denied(Denial::ForeignClientId);
        for (role, client_id, expected) in [
            (Role::Node, "pvewatch-agent-home-pve1", Verdict::Allowed),
            (Role::Node, "pvewatch-agent-home-pve2", denied),
            (Role::Node, "pvewatch-agent-home-pve1-2", denied),
            (Role::Node, "pvewatch-collector-home-main", denied),
            (Role::Node, "mosq-1234", Verdict::Allowed),
            (Role::Reader, "pvewatch-agent-home-pve1", denied),
            (Role::Reader, "telegram", Verdict::Allowed),
            (Role::Collector, "pvewatch-collector-home-main", Verdict::Allowed),
        ] {
            let verdict = decide_client_id(&Site::default(), role, "pve1", client_id);
            assert_eq!(verdict, expected, "{role:?} {client_id}");
        }
    }
}
