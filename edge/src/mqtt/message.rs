//! What goes out on a connection and what comes in.
//!
//! Plain data; [`PAYLOAD_BYTES_MAX`] bounds a payload both ways.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    Filter, LastWill, LastWillProperties, PubAckReason, Publish, PublishProperties,
    RetainForwardRule, SubscribeReasonCode,
};

/// The largest payload that is sent or accepted, in bytes: the wire contract's limit.
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;
/// The largest packet that is accepted, in bytes: a payload with its topic and properties. The
/// broker is told, and discards larger ones instead of sending them.
pub const PACKET_BYTES_MAX: u32 = (PAYLOAD_BYTES_MAX + 128 * 1024) as u32;

/// Whether the broker acknowledges a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos {
    /// Fire and forget (QoS 0).
    AtMostOnce,
    /// Acknowledged by the broker (QoS 1).
    AtLeastOnce,
}

/// A message to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The full topic.
    pub topic: String,
    /// The payload, at most [`PAYLOAD_BYTES_MAX`] bytes.
    pub payload: Bytes,
    /// QoS 1 unless changed.
    pub qos: Qos,
    /// Whether the broker keeps it for later subscribers.
    pub retain: bool,
    /// The payload's media type.
    pub content_type: Option<String>,
    /// How long the broker keeps it for those who have not got it; whole seconds.
    pub expiry: Option<Duration>,
    /// Where an answer is expected.
    pub response_topic: Option<String>,
    /// What the answer repeats.
    pub correlation_data: Option<Bytes>,
}

impl Message {
    /// A message with QoS 1, not retained, without properties.
    pub fn new(topic: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            qos: Qos::AtLeastOnce,
            retain: false,
            content_type: None,
            expiry: None,
            response_topic: None,
            correlation_data: None,
        }
    }

    /// The same with QoS 0: the broker does not acknowledge it.
    pub fn at_most_once(mut self) -> Self {
        self.qos = Qos::AtMostOnce;
        self
    }

    /// The same, kept by the broker for later subscribers.
    pub fn retained(mut self) -> Self {
        self.retain = true;
        self
    }

    /// The same with a media type.
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// The same, forgotten by the broker after this time.
    pub fn expiry(mut self, expiry: Duration) -> Self {
        self.expiry = Some(expiry);
        self
    }

    /// The size of its packet in MQTT 5, in bytes.
    pub(super) fn packet_bytes(&self) -> usize {
        let packet = Publish {
            // Every identifier takes the same room, and with QoS 0 there is none.
            pkid: 1,
            ..Publish::new(
                self.topic.clone(),
                self.qos.into(),
                self.payload.clone(),
                Some(self.properties()),
            )
        };
        packet.size()
    }

    pub(super) fn properties(&self) -> PublishProperties {
        PublishProperties {
            message_expiry_interval: self.expiry.map(whole_seconds),
            response_topic: self.response_topic.clone(),
            correlation_data: self.correlation_data.clone(),
            content_type: self.content_type.clone(),
            ..PublishProperties::default()
        }
    }
}

/// What the broker publishes in this client's name when the connection ends without a goodbye.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// The full topic.
    pub topic: String,
    /// The payload.
    pub payload: Bytes,
    /// Whether the broker keeps it for later subscribers.
    pub retain: bool,
    /// The payload's media type.
    pub content_type: Option<String>,
}

impl Will {
    pub(super) fn into_packet(self) -> LastWill {
        let properties = LastWillProperties {
            delay_interval: None,
            payload_format_indicator: None,
            message_expiry_interval: None,
            content_type: self.content_type,
            response_topic: None,
            correlation_data: None,
            user_properties: Vec::new(),
        };
        let payload = self.payload.to_vec();
        LastWill::new(self.topic, payload, QoS::AtLeastOnce, self.retain, Some(properties))
    }
}

/// A topic filter to subscribe to, with QoS 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The filter; `+` and `#` as in MQTT.
    pub filter: String,
    /// Whether messages that this connection published are left out.
    pub no_local: bool,
}

impl Subscription {
    /// Everything that matches `filter`, retained messages first.
    pub fn new(filter: impl Into<String>) -> Self {
        Self { filter: filter.into(), no_local: false }
    }

    /// The same without what this connection publishes itself.
    pub fn no_local(mut self) -> Self {
        self.no_local = true;
        self
    }

    pub(super) fn into_packet(self) -> Filter {
        Filter {
            path: self.filter,
            qos: QoS::AtLeastOnce,
            nolocal: self.no_local,
            // A live message has the flag cleared: only what the broker kept counts as retained.
            preserve_retain: false,
            retain_forward_rule: RetainForwardRule::OnEverySubscribe,
        }
    }
}

/// Names a message or a subscription on one connection, to match the broker's answer with it.
/// Tickets grow in the order in which they were given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(super) u64);

/// Anything that comes in on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A message of a subscription. The broker has been told that it arrived.
    Message(Received),
    /// The broker's answer to a message with QoS 1; answers come in the order of publishing.
    PublishAcked {
        /// What [`super::Client::publish`] returned.
        ticket: Ticket,
        /// What the broker did with it.
        reason: PublishReason,
    },
    /// The broker's answer to a subscription.
    Subscribed {
        /// What [`super::Client::subscribe`] returned.
        ticket: Ticket,
        /// One answer a filter, in their order.
        reasons: Vec<SubscribeReason>,
    },
}

/// A message of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The full topic; what is not UTF-8 in it is replaced.
    pub topic: String,
    /// The payload.
    pub payload: Bytes,
    /// Whether the broker had kept it: it was sent before this subscription.
    pub retained: bool,
    /// The payload's media type, if the sender named one.
    pub content_type: Option<String>,
    /// Where the sender expects an answer.
    pub response_topic: Option<String>,
    /// What the answer has to repeat.
    pub correlation_data: Option<Bytes>,
}

impl From<Qos> for QoS {
    fn from(qos: Qos) -> Self {
        match qos {
            Qos::AtMostOnce => Self::AtMostOnce,
            Qos::AtLeastOnce => Self::AtLeastOnce,
        }
    }
}

impl From<Publish> for Received {
    fn from(packet: Publish) -> Self {
        let properties = packet.properties.unwrap_or_default();
        Self {
            topic: String::from_utf8_lossy(&packet.topic).into_owned(),
            payload: packet.payload,
            retained: packet.retain,
            content_type: properties.content_type,
            response_topic: properties.response_topic,
            correlation_data: properties.correlation_data,
        }
    }
}

/// What the broker did with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishReason {
    /// It took the message. That proves nothing about any subscriber.
    Success,
    /// It took the message, and nobody is subscribed.
    NoMatchingSubscribers,
    /// Its access rules forbid this client the topic: the message is gone.
    NotAuthorized,
    /// A limit of the broker is reached: the message is gone.
    QuotaExceeded,
    /// It refused the message for another reason.
    Refused(PublishRefusal),
}

impl PublishReason {
    /// Why it did not take the message, in words; none if it took it.
    pub fn refusal(self) -> Option<&'static str> {
        Some(match self {
            Self::Success | Self::NoMatchingSubscribers => return None,
            Self::NotAuthorized => "not authorized",
            Self::QuotaExceeded => "quota exceeded",
            Self::Refused(refusal) => match refusal {
                PublishRefusal::Unspecified => "unspecified error",
                PublishRefusal::ImplementationSpecific => "an error of the broker's own",
                PublishRefusal::TopicNameInvalid => "topic name invalid",
                PublishRefusal::PacketIdentifierInUse => "packet identifier in use",
                PublishRefusal::PayloadFormatInvalid => "payload format invalid",
            },
        })
    }

    /// Whether it would refuse the same message at any other time too.
    pub fn is_for_good(self) -> bool {
        matches!(
            self,
            Self::Refused(PublishRefusal::TopicNameInvalid | PublishRefusal::PayloadFormatInvalid)
        )
    }
}

/// The rarer reasons to refuse a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishRefusal {
    /// The broker does not say why.
    Unspecified,
    /// A reason of this broker's own.
    ImplementationSpecific,
    /// It does not accept the topic's name.
    TopicNameInvalid,
    /// The packet's identifier is in use: a fault of the client or the broker.
    PacketIdentifierInUse,
    /// The payload is not what its properties say.
    PayloadFormatInvalid,
}

impl From<PubAckReason> for PublishReason {
    fn from(reason: PubAckReason) -> Self {
        match reason {
            PubAckReason::Success => Self::Success,
            PubAckReason::NoMatchingSubscribers => Self::NoMatchingSubscribers,
            PubAckReason::NotAuthorized => Self::NotAuthorized,
            PubAckReason::QuotaExceeded => Self::QuotaExceeded,
            PubAckReason::UnspecifiedError => Self::Refused(PublishRefusal::Unspecified),
            PubAckReason::ImplementationSpecificError => {
                Self::Refused(PublishRefusal::ImplementationSpecific)
            }
            PubAckReason::TopicNameInvalid => Self::Refused(PublishRefusal::TopicNameInvalid),
            PubAckReason::PacketIdentifierInUse => {
                Self::Refused(PublishRefusal::PacketIdentifierInUse)
            }
            PubAckReason::PayloadFormatInvalid => {
                Self::Refused(PublishRefusal::PayloadFormatInvalid)
            }
        }
    }
}

/// What the broker said to one filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscribeReason {
    /// Messages will come.
    Granted,
    /// Its access rules forbid this client the filter.
    NotAuthorized,
    /// A limit of the broker is reached.
    QuotaExceeded,
    /// It does not accept or support the filter.
    Refused,
}

impl From<SubscribeReasonCode> for SubscribeReason {
    fn from(reason: SubscribeReasonCode) -> Self {
        match reason {
            SubscribeReasonCode::Success(_) => Self::Granted,
            SubscribeReasonCode::NotAuthorized => Self::NotAuthorized,
            SubscribeReasonCode::QuotaExceeded => Self::QuotaExceeded,
            _ => Self::Refused,
        }
    }
}

/// MQTT counts whole seconds and 0 means at once: less than a second counts as one.
fn whole_seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX).max(1)
}
