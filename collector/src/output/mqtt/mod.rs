//! Alerts on MQTT, in two channels: `alert/{fingerprint}`, retained, and `notice`, rendered for
//! people. Each has its own durable position, so neither holds up the other.
//!
//! An alert counts as told when the broker has passed something on after it: a PUBACK alone
//! proves nothing. Its notice follows it. What the broker retains is brought in line with the
//! store at each connection.

mod alerts;
mod notices;
mod retained;

use std::sync::Arc;

use pvewatch_edge::mqtt::{Client, Message, PublishError, PublishReason};
use pvewatch_protocol::{CollectorName, Fingerprint, Site};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::channel::{Channel, ChannelError, Progresses, RETRY_AFTER};
use crate::run::{Counters, Queries};
use crate::store::Reader;
use alerts::Alerts;
use notices::Notices;
pub use retained::Retained;

/// The channel of retained alerts.
pub const ALERTS: &str = "mqtt-alerts";

/// The channel of notices.
pub const NOTICES: &str = "mqtt-notices";

/// Cleared alerts that wait to be looked at; more are looked at with the next connection.
pub const CLEARED_MAX: usize = 256;

/// Why alerts cannot be published on this connection any longer.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The connection is gone, or the message can never be sent.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The broker does not want it.
    #[error("the broker refuses {topic} ({reason:?}): allow this collector's user to write it")]
    Refused {
        /// The topic.
        topic: String,
        /// Its reason.
        reason: PublishReason,
    },
    /// There is nothing to tell any more.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// An alert cannot be written as JSON.
    #[error("an alert cannot be encoded: {0}")]
    Encode(#[from] serde_json::Error),
}

/// One connection to the broker, as these channels use it.
#[derive(Debug, Clone)]
pub struct Voice {
    /// Publishes.
    pub client: Client,
    /// Changes whenever the broker passes something on; one that never does is left.
    pub heard: watch::Receiver<u64>,
}

impl Voice {
    /// Publishes and waits for the broker's answer.
    async fn deliver(&self, message: Message) -> Result<(), OutputError> {
        let topic = message.topic.clone();
        match self.client.deliver(message).await? {
            PublishReason::Success | PublishReason::NoMatchingSubscribers => Ok(()),
            reason => Err(OutputError::Refused { topic, reason }),
        }
    }
}

/// What both channels are made of.
#[derive(Debug)]
pub struct Parts {
    /// The site.
    pub site: Site,
    /// The collector that speaks.
    pub collector: CollectorName,
    /// Reads transitions.
    pub reader: Reader,
    /// Knows the present state.
    pub queries: Queries,
    /// Counts notices.
    pub counters: Arc<Counters>,
    /// The newest transition in the store.
    pub newest: watch::Receiver<i64>,
    /// How far the channels are; begins with what the store says.
    pub progresses: Progresses,
}

/// Both channels; they outlive connections.
#[derive(Debug)]
pub struct MqttOutput {
    alerts: Alerts,
    notices: Notices,
}

impl MqttOutput {
    /// Channels that begin at their positions; none if `progresses` does not know them.
    pub fn new(parts: Parts) -> Option<Self> {
        let Parts { site, collector, reader, queries, counters, newest, progresses } = parts;
        let channel = |name| Channel::new(name, &progresses, newest.clone(), reader.clone());
        Some(Self {
            alerts: Alerts { channel: channel(ALERTS)?, site: site.clone(), collector, queries },
            notices: Notices { channel: channel(NOTICES)?, site, counters },
        })
    }

    /// Publishes on this connection until it ends. `retained` is what the broker retains of
    /// alerts, `cleared` are those that somebody takes back meanwhile.
    pub async fn speak(
        &mut self,
        voice: &Voice,
        retained: &Retained,
        cleared: &mut mpsc::Receiver<Fingerprint>,
    ) -> OutputError {
        tokio::select! {
            error = self.alerts.speak(voice.clone(), retained, cleared) => error,
            error = self.notices.speak(voice) => error,
        }
    }
}

/// Deals with what stopped a channel: returns if it is to be tried again after a pause, and
/// gives back what ends the connection. Does neither when the connection is gone: whoever reads
/// from it learns why.
async fn pause_after(channel: &Channel, error: OutputError) -> Result<(), OutputError> {
    match error {
        OutputError::Publish(PublishError::Closed) => std::future::pending().await,
        error @ OutputError::Channel(ChannelError::Stopping) => Err(error),
        error => {
            channel.is_stuck(error.to_string());
            sleep(RETRY_AFTER).await;
            Ok(())
        }
    }
}
