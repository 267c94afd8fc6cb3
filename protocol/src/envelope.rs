//! An event with everything around it: CloudEvents 1.0, structured mode, JSON.
//!
//! Source: the CloudEvents specification 1.0.2 and its JSON event format.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::event::EventData;
use crate::identity::{NodeName, Position, Sequence, Site, StreamId};

/// MQTT content type of an event.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// What every event type begins with.
const TYPE_PREFIX: &str = "pvewatch.";

/// A fact that happened once on a node.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The site of the node.
    pub site: Site,
    /// The node that saw it.
    pub node: NodeName,
    /// Its place in the node's history.
    pub position: Position,
    /// When it happened, by the node's clock.
    pub time: Timestamp,
    /// When the agent learned it, by the node's clock.
    pub recorded_time: Timestamp,
    /// What happened.
    pub data: EventData,
    /// Attributes of a later version, kept as they came.
    pub extensions: Map<String, Value>,
}

impl Event {
    /// The event's id: unique among all nodes and agent starts of a site.
    pub fn id(&self) -> String {
        format!("{}/{}/{}", self.node, self.position.stream, self.position.sequence)
    }

    /// Whether a text is the event's id, without writing that out.
    fn goes_by(&self, id: &str) -> bool {
        let Position { stream, sequence } = self.position;
        let mut buffer = Uuid::encode_buffer();
        let stream: &str = stream.0.hyphenated().encode_lower(&mut buffer);
        let mut rest = Some(id);
        for part in [self.node.as_str(), "/", stream, "/"] {
            rest = rest.and_then(|rest| rest.strip_prefix(part));
        }
        rest.and_then(|rest| rest.parse().ok()) == Some(sequence)
    }
}

/// Why an envelope is no event of ours, although it is JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Another version of CloudEvents.
    #[error("specversion is {0:?}, expected \"1.0\"")]
    SpecVersion(String),
    /// The type lacks the prefix.
    #[error("type {0:?} does not begin with \"{TYPE_PREFIX}\"")]
    ForeignType(String),
    /// The source is not `/site/node`, or a name in it is not valid.
    #[error("source {0:?} is not \"/site/node\" with valid names")]
    Source(String),
    /// The id is not made of the node, stream and sequence of the same event.
    #[error("id {id:?} does not match node, stream and sequence: expected {expected:?}")]
    Id {
        /// The id as it came.
        id: String,
        /// What it should be.
        expected: String,
    },
    /// Sequences begin at 1.
    #[error("sequence is 0, the first is 1")]
    SequenceZero,
    /// The data do not fit the kind.
    #[error("data of kind {kind}: {message}")]
    Data {
        /// The kind whose data are wrong.
        kind: String,
        /// What serde found.
        message: String,
    },
}

/// The JSON form. Field order is the reading order of a person.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct Envelope {
    specversion: String,
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    time: Timestamp,
    recordedtime: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    datacontenttype: Option<String>,
    stream: StreamId,
    sequence: Sequence,
    // As it came: what it means depends on the kind.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Value"))]
    data: Box<RawValue>,
    #[serde(flatten)]
    extensions: Map<String, Value>,
}

impl TryFrom<&Event> for Envelope {
    type Error = serde_json::Error;

    fn try_from(event: &Event) -> serde_json::Result<Self> {
        let subject = event.data.subject();
        Ok(Self {
            specversion: "1.0".to_owned(),
            id: event.id(),
            source: format!("/{}/{}", event.site, event.node),
            kind: format!("{TYPE_PREFIX}{}", event.data.kind()),
            subject: (!subject.is_empty()).then(|| subject.into_owned()),
            time: event.time,
            recordedtime: event.recorded_time,
            datacontenttype: Some("application/json".to_owned()),
            stream: event.position.stream,
            sequence: event.position.sequence,
            data: event.data.to_json()?,
            extensions: event.extensions.clone(),
        })
    }
}

impl TryFrom<Envelope> for Event {
    type Error = EnvelopeError;

    fn try_from(envelope: Envelope) -> Result<Self, EnvelopeError> {
        if envelope.specversion != "1.0" {
            return Err(EnvelopeError::SpecVersion(envelope.specversion));
        }
        let Some(kind) = envelope.kind.strip_prefix(TYPE_PREFIX) else {
            return Err(EnvelopeError::ForeignType(envelope.kind));
        };
        let (site, node) = parse_source(&envelope.source)
            .ok_or_else(|| EnvelopeError::Source(envelope.source.clone()))?;
        if envelope.sequence == Sequence(0) {
            return Err(EnvelopeError::SequenceZero);
        }
        let data = EventData::from_json(kind, envelope.data.get()).map_err(|error| {
            EnvelopeError::Data { kind: kind.to_owned(), message: error.to_string() }
        })?;
        let mut extensions = envelope.extensions;
        if let (EventData::Unknown { .. }, Some(subject)) = (&data, envelope.subject) {
            // For kinds that are known the subject follows from the data.
            extensions.insert("subject".to_owned(), Value::String(subject));
        }
        let event = Self {
            site,
            node,
            position: Position { stream: envelope.stream, sequence: envelope.sequence },
            time: envelope.time,
            recorded_time: envelope.recordedtime,
            data,
            extensions,
        };
        if !event.goes_by(&envelope.id) {
            return Err(EnvelopeError::Id { id: envelope.id, expected: event.id() });
        }
        Ok(event)
    }
}

fn parse_source(source: &str) -> Option<(Site, NodeName)> {
    let (site, node) = source.strip_prefix('/')?.split_once('/')?;
    Some((site.parse().ok()?, node.parse().ok()?))
}
