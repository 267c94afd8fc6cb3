//! Understands a message, and checks that it says of itself what its topic says.
//!
//! The topic is what the broker's access rules protect, so a payload that claims another node
//! or site is refused. Bytes are never trusted: nothing here panics or blocks.

use pvewatch_protocol::codec::{self, DecodeError};
use pvewatch_protocol::envelope::EnvelopeError;
use pvewatch_protocol::{
    AlertMessage, Checkpoint, CollectorName, CollectorPresence, Event, EventData, Fingerprint,
    NodeName, NodePresence, Sample, Site, Topic,
};
use serde_json::Value;

/// A message that was understood.
#[derive(Debug, Clone, PartialEq)]
pub enum Decoded {
    /// Something happened on a node.
    Event {
        /// What.
        event: Box<Event>,
        /// Why its data could not be read, although its kind is known. The event then keeps
        /// its place as one of an unknown kind: refusing it would stop its stream for ever.
        doubt: Option<Rejection>,
    },
    /// A node's reading.
    Sample {
        /// The node.
        node: NodeName,
        /// The reading.
        sample: Box<Sample>,
    },
    /// A part of a node's picture.
    Checkpoint {
        /// The node.
        node: NodeName,
        /// The part.
        checkpoint: Box<Checkpoint>,
    },
    /// A node came or went.
    NodePresence {
        /// The node.
        node: NodeName,
        /// What it says.
        presence: NodePresence,
    },
    /// A collector came or went.
    CollectorPresence {
        /// The collector.
        collector: CollectorName,
        /// What it says.
        presence: CollectorPresence,
    },
    /// An alert as some collector tells it.
    Alert {
        /// The alert, by its topic.
        fingerprint: Fingerprint,
        /// What is told; none when the payload is not one of this version.
        message: Option<Box<AlertMessage>>,
    },
    /// Somebody took a retained alert back (an empty payload).
    AlertCleared {
        /// The alert, by its topic.
        fingerprint: Fingerprint,
    },
    /// Another retained message was cleared, or an ack or notice passed by.
    Nothing,
}

/// Why a message is not accepted. The names are label values: their number is fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The payload is above the limit.
    TooLarge,
    /// The payload is not JSON.
    NotJson,
    /// A member is missing or has a wrong type.
    WrongShape,
    /// The envelope contradicts itself.
    BadEnvelope,
    /// The data do not fit the kind.
    BadData,
    /// The topic is not one of ours.
    ForeignTopic,
    /// The topic or payload is of another site.
    WrongSite,
    /// The payload claims another node than the topic.
    WrongNode,
    /// The payload claims another kind, source or part than the topic.
    WrongKind,
    /// The sequence, or the range that is declared lost, is impossible.
    BadSequence,
    /// More nodes than a collector knows.
    TooManyNodes,
    /// Another event of this number is stored.
    AnotherEvent,
}

impl Reason {
    /// Every reason, in the order of [`Reason::index`].
    pub const ALL: [Self; 12] = [
        Self::TooLarge,
        Self::NotJson,
        Self::WrongShape,
        Self::BadEnvelope,
        Self::BadData,
        Self::ForeignTopic,
        Self::WrongSite,
        Self::WrongNode,
        Self::WrongKind,
        Self::BadSequence,
        Self::TooManyNodes,
        Self::AnotherEvent,
    ];

    /// The reason as a label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::NotJson => "not_json",
            Self::WrongShape => "wrong_shape",
            Self::BadEnvelope => "bad_envelope",
            Self::BadData => "bad_data",
            Self::ForeignTopic => "foreign_topic",
            Self::WrongSite => "wrong_site",
            Self::WrongNode => "wrong_node",
            Self::WrongKind => "wrong_kind",
            Self::BadSequence => "bad_sequence",
            Self::TooManyNodes => "too_many_nodes",
            Self::AnotherEvent => "another_event",
        }
    }

    /// Its place in [`Reason::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

/// A reason with what exactly was wrong, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The reason.
    pub reason: Reason,
    /// The detail.
    pub detail: String,
}

impl Rejection {
    /// A rejection for `reason`.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

impl From<DecodeError> for Rejection {
    fn from(error: DecodeError) -> Self {
        let reason = match &error {
            DecodeError::TooLarge(_) => Reason::TooLarge,
            DecodeError::NotJson(_) => Reason::NotJson,
            DecodeError::Shape(_) => Reason::WrongShape,
            DecodeError::Envelope(EnvelopeError::Data { .. }) => Reason::BadData,
            DecodeError::Envelope(EnvelopeError::SequenceZero) => Reason::BadSequence,
            DecodeError::Envelope(_) => Reason::BadEnvelope,
        };
        Self { reason, detail: error.to_string() }
    }
}

/// Understands a message of `site`.
///
/// # Errors
/// When it is refused, with the reason.
pub fn decode(site: &Site, topic: &str, payload: &[u8]) -> Result<Decoded, Rejection> {
    let (topic_site, topic) = Topic::parse(topic)
        .map_err(|error| Rejection::new(Reason::ForeignTopic, error.to_string()))?;
    if topic_site != *site {
        let detail = format!("the topic is of site {topic_site}, this collector's is {site}");
        return Err(Rejection::new(Reason::WrongSite, detail));
    }
    if payload.is_empty() {
        return Ok(match topic {
            Topic::Alert { fingerprint } => Decoded::AlertCleared { fingerprint },
            _ => Decoded::Nothing,
        });
    }
    Ok(match topic {
        Topic::Event { node, kind } => {
            let (event, doubt) = decode_event(payload)?;
            check_event(site, &node, &kind, &event)?;
            Decoded::Event { event: Box::new(event), doubt }
        }
        Topic::Sample { node } => {
            Decoded::Sample { node, sample: Box::new(codec::decode(payload)?) }
        }
        Topic::Checkpoint { node, source, part } => {
            let checkpoint: Checkpoint = codec::decode(payload)?;
            check_checkpoint(&source, part, &checkpoint)?;
            Decoded::Checkpoint { node, checkpoint: Box::new(checkpoint) }
        }
        Topic::NodePresence { node } => {
            Decoded::NodePresence { node, presence: codec::decode(payload)? }
        }
        Topic::CollectorPresence { collector } => {
            Decoded::CollectorPresence { collector, presence: codec::decode(payload)? }
        }
        Topic::Alert { fingerprint } => {
            Decoded::Alert { fingerprint, message: codec::decode(payload).ok().map(Box::new) }
        }
        Topic::Ack { .. } | Topic::Notice => Decoded::Nothing,
    })
}

/// Decodes an event; one of a known kind whose data cannot be read becomes one of an unknown
/// kind, with the doubt beside it.
fn decode_event(payload: &[u8]) -> Result<(Event, Option<Rejection>), Rejection> {
    /// A kind that no version has: its data are taken as they come.
    const NO_KIND: &str = "pvewatch.unreadable";
    match codec::decode_event(payload) {
        Ok(event) => Ok((event, None)),
        Err(DecodeError::Envelope(EnvelopeError::Data { kind, message })) => {
            let detail = format!("data of kind {kind}: {message}");
            let doubt = Rejection::new(Reason::BadData, detail);
            let mut envelope: Value = codec::decode(payload)?;
            if let Some(slot) = envelope.get_mut("type") {
                *slot = Value::from(NO_KIND);
            }
            let bytes = codec::encode(&envelope).map_err(|_| doubt.clone())?;
            let mut event = codec::decode_event(&bytes)?;
            if let EventData::Unknown { kind: slot, .. } = &mut event.data {
                *slot = kind;
            }
            Ok((event, Some(doubt)))
        }
        Err(error) => Err(error.into()),
    }
}

fn check_event(site: &Site, node: &NodeName, kind: &str, event: &Event) -> Result<(), Rejection> {
    if event.site != *site {
        let detail = format!("the event is of site {}, its topic of {site}", event.site);
        return Err(Rejection::new(Reason::WrongSite, detail));
    }
    if event.node != *node {
        let detail = format!("the event is of node {}, its topic of {node}", event.node);
        return Err(Rejection::new(Reason::WrongNode, detail));
    }
    if event.data.kind() != kind {
        let detail = format!("the event's kind is {}, its topic's {kind}", event.data.kind());
        return Err(Rejection::new(Reason::WrongKind, detail));
    }
    Ok(())
}

fn check_checkpoint(source: &str, part: u32, checkpoint: &Checkpoint) -> Result<(), Rejection> {
    if checkpoint.part != part || part == 0 || part > checkpoint.of {
        let detail = format!(
            "the checkpoint is part {} of {}, its topic part {part}",
            checkpoint.part, checkpoint.of
        );
        return Err(Rejection::new(Reason::WrongKind, detail));
    }
    match checkpoint.content.source() {
        Some(found) if found != source => {
            let detail = format!("the checkpoint is of source {found}, its topic of {source}");
            Err(Rejection::new(Reason::WrongKind, detail))
        }
        _ => Ok(()),
    }
}
