//! The way out: publish and subscribe on a connection, from any task.
//!
//! Messages leave in the order in which they are handed over. Nothing is kept beyond the
//! connection: what was not acknowledged when it ends is the caller's to send again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rumqttc::{valid_filter, valid_topic};
use tokio::sync::{mpsc, oneshot};

use super::message::{Message, PAYLOAD_BYTES_MAX, PublishReason, Subscription, Ticket};

/// Messages and subscriptions that wait to be written. When it is full, [`Client::publish`]
/// waits and [`Client::try_publish`] says so: nothing is dropped.
pub const COMMANDS_MAX: usize = 64;

/// Longest topic in MQTT, in bytes.
const TOPIC_BYTES_MAX: usize = 65_535;

/// What a client asks of its connection.
#[derive(Debug)]
pub(super) enum Command {
    Publish { ticket: Ticket, message: Message, delivered: Option<oneshot::Sender<PublishReason>> },
    Subscribe { ticket: Ticket, subscriptions: Vec<Subscription> },
    Close,
}

/// A handle to one connection. Clones share it; all of them are useless once it has ended.
#[derive(Debug, Clone)]
pub struct Client {
    commands: mpsc::Sender<Command>,
    next_ticket: Arc<AtomicU64>,
    /// The largest packet that the broker takes, if it has said so.
    packet_bytes_max: Option<u32>,
}

/// Why something was not handed over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The connection has ended.
    #[error("the connection to the broker has ended")]
    Closed,
    /// The queue is full; the message is given back.
    #[error("{COMMANDS_MAX} messages wait to be written already")]
    Full(Box<Message>),
    /// The payload is larger than the contract allows.
    #[error("{topic}: a payload of {size} bytes is more than the {max} that are allowed")]
    TooLarge {
        /// The topic.
        topic: String,
        /// The payload's size in bytes.
        size: usize,
        /// The largest payload that is allowed, in bytes.
        max: usize,
    },
    /// The packet is larger than the broker takes.
    #[error("{topic}: a packet of {size} bytes is more than the {max} that the broker takes")]
    PacketTooLarge {
        /// The topic.
        topic: String,
        /// The size of the whole packet in bytes.
        size: usize,
        /// The broker's limit, in bytes.
        max: u32,
    },
    /// The topic or filter is not valid in MQTT.
    #[error("{0:?} is not a valid topic or filter")]
    Topic(String),
}

impl Client {
    /// `packet_bytes_max` is the largest packet that the broker accepts, if it says so.
    pub(super) fn new(commands: mpsc::Sender<Command>, packet_bytes_max: Option<u32>) -> Self {
        Self { commands, next_ticket: Arc::default(), packet_bytes_max }
    }

    /// Hands over a message; waits while the queue is full. With QoS 1 the broker's answer comes
    /// from [`super::Connection::next`] under the ticket.
    ///
    /// Do not await this in the task that calls `next` without calling `next` at the same time
    /// (`select!`): when both queues are full, each would wait for the other.
    ///
    /// # Errors
    /// When the connection has ended, or the message can never be sent.
    pub async fn publish(&self, message: Message) -> Result<Ticket, PublishError> {
        self.check(&message)?;
        let ticket = self.ticket();
        self.send(Command::Publish { ticket, message, delivered: None }).await?;
        Ok(ticket)
    }

    /// Hands over a message if there is room at once.
    ///
    /// # Errors
    /// As [`Client::publish`], and when the queue is full: then the message is given back.
    pub fn try_publish(&self, message: Message) -> Result<Ticket, PublishError> {
        self.check(&message)?;
        match self.commands.try_reserve() {
            Ok(place) => {
                let ticket = self.ticket();
                place.send(Command::Publish { ticket, message, delivered: None });
                Ok(ticket)
            }
            Err(mpsc::error::TrySendError::Full(())) => Err(PublishError::Full(Box::new(message))),
            Err(mpsc::error::TrySendError::Closed(())) => Err(PublishError::Closed),
        }
    }

    /// Hands over a message and waits for the broker's answer, which then does not come from
    /// `next`. A message with QoS 0 counts as answered once it is written.
    ///
    /// Somebody must be calling `next` meanwhile.
    ///
    /// # Errors
    /// As [`Client::publish`], and when the connection ends before the answer.
    pub async fn deliver(&self, message: Message) -> Result<PublishReason, PublishError> {
        self.check(&message)?;
        let ticket = self.ticket();
        let (delivered, answer) = oneshot::channel();
        self.send(Command::Publish { ticket, message, delivered: Some(delivered) }).await?;
        answer.await.map_err(|_| PublishError::Closed)
    }

    /// Asks for the messages of `subscriptions`; waits while the queue is full. The broker's
    /// answer comes from `next` under the ticket, possibly after the first messages.
    ///
    /// # Errors
    /// When the connection has ended, or a filter is not valid.
    pub async fn subscribe(
        &self,
        subscriptions: Vec<Subscription>,
    ) -> Result<Ticket, PublishError> {
        if subscriptions.is_empty() {
            return Err(PublishError::Topic(String::new()));
        }
        for Subscription { filter, .. } in &subscriptions {
            if filter.is_empty() || filter.len() > TOPIC_BYTES_MAX || !valid_filter(filter) {
                return Err(PublishError::Topic(filter.clone()));
            }
        }
        let ticket = self.ticket();
        self.send(Command::Subscribe { ticket, subscriptions }).await?;
        Ok(ticket)
    }

    /// Asks the connection to say goodbye after everything that was handed over before.
    pub(super) async fn close(&self) -> Result<(), PublishError> {
        self.send(Command::Close).await
    }

    async fn send(&self, command: Command) -> Result<(), PublishError> {
        self.commands.send(command).await.map_err(|_| PublishError::Closed)
    }

    fn ticket(&self) -> Ticket {
        Ticket(self.next_ticket.fetch_add(1, Ordering::Relaxed))
    }

    fn check(&self, message: &Message) -> Result<(), PublishError> {
        let Message { topic, payload, .. } = message;
        if topic.is_empty()
            || topic.len() > TOPIC_BYTES_MAX
            || topic.contains('\0')
            || !valid_topic(topic)
        {
            return Err(PublishError::Topic(topic.clone()));
        }
        let (size, max) = (payload.len(), PAYLOAD_BYTES_MAX);
        if size > max {
            return Err(PublishError::TooLarge { topic: topic.clone(), size, max });
        }
        // rumqttc would end the connection over it, and the next one again.
        if let Some(max) = self.packet_bytes_max {
            let size = message.packet_bytes();
            if u32::try_from(size).is_ok_and(|size| size <= max) {
                return Ok(());
            }
            return Err(PublishError::PacketTooLarge { topic: topic.clone(), size, max });
        }
        Ok(())
    }
}
