//! Topics, both ways: what a payload is and who may have sent it.
//!
//! All lie below `pvewatch/v1/{site}/`. Names are validated, so a topic cannot hold a wildcard.

use std::fmt;

use crate::identity::{CollectorName, Fingerprint, NodeName, Site};

/// What every topic begins with; the version changes only with a new major wire version.
pub const ROOT: &str = "pvewatch/v1";

/// Why a topic is not one of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a topic of pvewatch")]
pub struct TopicError(pub String);

/// A topic below `pvewatch/v1/{site}/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topic {
    /// `node/{node}/event/{kind}`
    Event {
        /// The sender.
        node: NodeName,
        /// The kind, such as `unit.changed`.
        kind: String,
    },
    /// `node/{node}/sample`
    Sample {
        /// The sender.
        node: NodeName,
    },
    /// `node/{node}/checkpoint/{source}/{part}`
    Checkpoint {
        /// The sender.
        node: NodeName,
        /// The source, such as `units`.
        source: String,
        /// The part's number, from 1.
        part: u32,
    },
    /// `node/{node}/presence`
    NodePresence {
        /// The sender.
        node: NodeName,
    },
    /// `node/{node}/ack/{collector}`
    Ack {
        /// The receiver.
        node: NodeName,
        /// The sender.
        collector: CollectorName,
    },
    /// `collector/{collector}/presence`
    CollectorPresence {
        /// The sender.
        collector: CollectorName,
    },
    /// `alert/{fingerprint}`
    Alert {
        /// The alert.
        fingerprint: Fingerprint,
    },
    /// `notice`
    Notice,
}

impl Topic {
    /// The full topic of a site.
    pub fn at(&self, site: &Site) -> String {
        format!("{ROOT}/{site}/{self}")
    }

    /// Reads a full topic.
    ///
    /// # Errors
    /// When it is not below [`ROOT`], a level is missing or too many, or a name is not valid.
    pub fn parse(topic: &str) -> Result<(Site, Self), TopicError> {
        Self::parse_levels(topic).ok_or_else(|| TopicError(topic.to_owned()))
    }

    /// The node that a topic belongs to, if it belongs to one.
    pub fn node(&self) -> Option<&NodeName> {
        match self {
            Self::Event { node, .. }
            | Self::Sample { node }
            | Self::Checkpoint { node, .. }
            | Self::NodePresence { node }
            | Self::Ack { node, .. } => Some(node),
            Self::CollectorPresence { .. } | Self::Alert { .. } | Self::Notice => None,
        }
    }

    fn parse_levels(topic: &str) -> Option<(Site, Self)> {
        let rest = topic.strip_prefix(ROOT)?.strip_prefix('/')?;
        let (site, rest) = rest.split_once('/')?;
        let levels: Vec<&str> = rest.split('/').collect();
        let parsed = match levels.as_slice() {
            ["node", node, "event", kind] if is_word(kind) => {
                Self::Event { node: node.parse().ok()?, kind: (*kind).to_owned() }
            }
            ["node", node, "sample"] => Self::Sample { node: node.parse().ok()? },
            ["node", node, "checkpoint", source, part] if is_word(source) => Self::Checkpoint {
                node: node.parse().ok()?,
                source: (*source).to_owned(),
                part: parse_part(part)?,
            },
            ["node", node, "presence"] => Self::NodePresence { node: node.parse().ok()? },
            ["node", node, "ack", collector] => {
                Self::Ack { node: node.parse().ok()?, collector: collector.parse().ok()? }
            }
            ["collector", collector, "presence"] => {
                Self::CollectorPresence { collector: collector.parse().ok()? }
            }
            ["alert", fingerprint] => Self::Alert { fingerprint: fingerprint.parse().ok()? },
            ["notice"] => Self::Notice,
            _ => return None,
        };
        Some((site.parse().ok()?, parsed))
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event { node, kind } => write!(f, "node/{node}/event/{kind}"),
            Self::Sample { node } => write!(f, "node/{node}/sample"),
            Self::Checkpoint { node, source, part } => {
                write!(f, "node/{node}/checkpoint/{source}/{part}")
            }
            Self::NodePresence { node } => write!(f, "node/{node}/presence"),
            Self::Ack { node, collector } => write!(f, "node/{node}/ack/{collector}"),
            Self::CollectorPresence { collector } => write!(f, "collector/{collector}/presence"),
            Self::Alert { fingerprint } => write!(f, "alert/{fingerprint}"),
            Self::Notice => write!(f, "notice"),
        }
    }
}

/// Topic filters to subscribe to.
pub mod filter {
    use super::{NodeName, ROOT, Site};

    /// Everything that nodes send, and no acks: events, samples, checkpoints, presence.
    pub fn from_nodes(site: &Site) -> [String; 4] {
        ["event/+", "sample", "checkpoint/+/+", "presence"]
            .map(|leaf| format!("{ROOT}/{site}/node/+/{leaf}"))
    }

    /// The acks of all collectors for one node.
    pub fn acks_for(site: &Site, node: &NodeName) -> String {
        format!("{ROOT}/{site}/node/{node}/ack/+")
    }

    /// The presence of all collectors.
    pub fn collectors(site: &Site) -> String {
        format!("{ROOT}/{site}/collector/+/presence")
    }

    /// The alerts that are retained.
    pub fn alerts(site: &Site) -> String {
        format!("{ROOT}/{site}/alert/+")
    }
}

/// A part's number as it is written: no sign, no leading zero.
fn parse_part(text: &str) -> Option<u32> {
    text.parse().ok().filter(|part: &u32| part.to_string() == text)
}

/// Kinds and sources: lower-case words joined by dots, underscores or hyphens.
fn is_word(text: &str) -> bool {
    let inner =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
    !text.is_empty() && text.len() <= 64 && text.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_reads_back_as_it_was_written() {
        let node: NodeName = "alert".parse().unwrap();
        let collector = CollectorName::default();
        let site = Site::default();
        for topic in [
            Topic::Event { node: node.clone(), kind: "unit.changed".into() },
            Topic::Sample { node: node.clone() },
            Topic::Checkpoint { node: node.clone(), source: "units".into(), part: 3 },
            Topic::NodePresence { node: node.clone() },
            Topic::Ack { node, collector: collector.clone() },
            Topic::CollectorPresence { collector },
            Topic::Alert { fingerprint: Fingerprint::of([("a", "b")]) },
            Topic::Notice,
        ] {
            assert_eq!(Topic::parse(&topic.at(&site)), Ok((site.clone(), topic)));
        }
    }

    #[test]
    fn foreign_topics_are_refused() {
        for bad in [
            "",
            "pvewatch/v1/home",
            "pvewatch/v2/home/notice",
            "pvewatch/v1/home/node/../sample",
            "pvewatch/v1/home/node/+/sample",
            "pvewatch/v1/home/node/a b/sample",
            "pvewatch/v1/home/node/a/event/",
            "pvewatch/v1/home/node/a/sample/more",
            "pvewatch/v1//node/a/sample",
            "pvewatch/v1/home/node/a/checkpoint/units/-1",
            "pvewatch/v1/home/node/a/checkpoint/units/+1",
            "pvewatch/v1/home/node/a/checkpoint/units/01",
        ] {
            assert_eq!(Topic::parse(bad), Err(TopicError(bad.to_owned())));
        }
    }
}
