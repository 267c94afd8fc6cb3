//! Alerts on MQTT: `alert/{fingerprint}`, retained, and `notice`, rendered for people.
//!
//! Transitions are read from the store, from this output's own durable position on, so none is
//! lost while the broker is away; a notice can come twice, and its key tells. What the broker
//! retains is brought in line with the store at each connection.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use pvewatch_edge::mqtt::{Client, Message, PublishError, PublishReason};
use pvewatch_protocol::{AlertMessage, AlertState, CollectorName, Fingerprint, Site, Topic, codec};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::alerts::{Alert, News, Transition};
use crate::core::Snapshot;
use crate::run::{Counters, Queries};
use crate::store::{Reader, StoreError, TransitionRow};

/// The output's name in the store.
pub const NAME: &str = "mqtt";

/// How long a resolved alert is retained.
const RESOLVED_EXPIRY: Duration = Duration::from_secs(60 * 60);

/// Transitions read at a time.
const PAGE: u32 = 100;

/// The pause after the broker refused something, or the store could not be read.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Why alerts cannot be published on this connection any longer.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The connection is gone, or the message can never be sent.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The broker does not want it.
    #[error("the broker refuses {topic} ({reason:?})")]
    Refused {
        /// The topic.
        topic: String,
        /// Its reason.
        reason: PublishReason,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An alert cannot be written as JSON.
    #[error("an alert cannot be encoded: {0}")]
    Encode(#[from] serde_json::Error),
    /// The collector stops.
    #[error("the collector stops")]
    Stopping,
}

/// The output; it outlives connections.
#[derive(Debug)]
pub struct MqttOutput {
    site: Site,
    collector: CollectorName,
    reader: Reader,
    queries: Queries,
    counters: Arc<Counters>,
    /// The newest transition in the store.
    newest: watch::Receiver<i64>,
    /// The last transition that was published; the owner stores it.
    position: watch::Sender<i64>,
}

/// What an output is made of.
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
    /// Where the output is; begins with what the store says.
    pub position: watch::Sender<i64>,
}

impl MqttOutput {
    /// An output that begins at its position.
    pub fn new(parts: Parts) -> Self {
        let Parts { site, collector, reader, queries, counters, newest, position } = parts;
        Self { site, collector, reader, queries, counters, newest, position }
    }

    /// Publishes on this connection until it ends. `retained` is what the broker retains of
    /// this collector's alerts.
    pub async fn speak(
        &mut self,
        client: &Client,
        retained: HashMap<Fingerprint, AlertMessage>,
    ) -> OutputError {
        let mut to_reconcile = Some(retained);
        loop {
            let done = async {
                self.publish_transitions(client).await?;
                if let Some(retained) = &to_reconcile {
                    self.reconcile(client, retained).await?;
                }
                Ok(())
            };
            match done.await {
                Ok(()) => to_reconcile = None,
                Err(OutputError::Publish(PublishError::Closed)) => {
                    // Whoever reads from the connection learns why it ended.
                    return std::future::pending().await;
                }
                Err(OutputError::Stopping) => return OutputError::Stopping,
                Err(error) => {
                    log::error!("alerts wait: {error}; trying again");
                    sleep(RETRY_AFTER).await;
                    continue;
                }
            }
            if self.newest.changed().await.is_err() {
                return OutputError::Stopping;
            }
        }
    }

    async fn publish_transitions(&mut self, client: &Client) -> Result<(), OutputError> {
        // Seen before reading: what is stored meanwhile wakes this output again.
        self.newest.borrow_and_update();
        loop {
            let after = *self.position.borrow();
            let reader = self.reader.clone();
            let read = tokio::task::spawn_blocking(move || reader.transitions_after(after, PAGE));
            let page = read.await.map_err(|_| OutputError::Stopping)??;
            if page.is_empty() {
                return Ok(());
            }
            for TransitionRow { id, body, .. } in page {
                match serde_json::from_str::<Transition>(&body) {
                    Ok(transition) => self.publish_transition(client, &transition).await?,
                    Err(error) => log::error!("transition {id} cannot be read: {error}; skipped"),
                }
                self.position.send_replace(id);
            }
        }
    }

    async fn publish_transition(
        &self,
        client: &Client,
        transition: &Transition,
    ) -> Result<(), OutputError> {
        if transition.news == News::Past {
            return Ok(());
        }
        // The alert goes first: whoever acts on a notice finds it there.
        if transition.to.is_some() {
            self.publish_alert(client, &transition.alert.message(&self.collector)).await?;
        }
        if let Some(notice) = transition.notice() {
            let topic = Topic::Notice.at(&self.site);
            let message = Message::new(topic, codec::encode(&notice)?);
            self.deliver(client, message.content_type("application/json")).await?;
            self.counters.notices.add(1);
        }
        Ok(())
    }

    /// Brings what is retained in line with what is so.
    async fn reconcile(
        &self,
        client: &Client,
        retained: &HashMap<Fingerprint, AlertMessage>,
    ) -> Result<(), OutputError> {
        let snapshot: Arc<Snapshot> = self.queries.snapshot().await;
        let known: HashMap<Fingerprint, AlertMessage> = snapshot
            .alerts
            .iter()
            .map(|alert| (alert.fingerprint, alert.message(&self.collector)))
            .collect();
        // What has ended is told as resolved in a moment, unless it began again.
        let has_ended = |alert: &&Arc<Alert>| alert.has_ended(snapshot.at);
        let ended: HashSet<Fingerprint> =
            snapshot.alerts.iter().filter(has_ended).map(|alert| alert.fingerprint).collect();
        for (fingerprint, message) in &known {
            let before = retained.get(fingerprint);
            let is_told = match message.state {
                AlertState::Firing if ended.contains(fingerprint) => true,
                AlertState::Firing => before == Some(message),
                // What expired, or never was there, needs not be resolved again.
                AlertState::Resolved => before.is_none_or(|b| b.state != AlertState::Firing),
                AlertState::Pending => true,
            };
            if !is_told {
                self.publish_alert(client, message).await?;
            }
        }
        for (fingerprint, message) in retained {
            let is_over =
                known.get(fingerprint).is_none_or(|known| known.state == AlertState::Pending);
            if is_over && message.state == AlertState::Firing {
                log::info!("alert {fingerprint} is retained by the broker but not known: cleared");
                let topic = Topic::Alert { fingerprint: *fingerprint }.at(&self.site);
                self.deliver(client, Message::new(topic, Vec::new()).retained()).await?;
            }
        }
        Ok(())
    }

    async fn publish_alert(
        &self,
        client: &Client,
        alert: &AlertMessage,
    ) -> Result<(), OutputError> {
        let topic = Topic::Alert { fingerprint: alert.fingerprint }.at(&self.site);
        let message = Message::new(topic, codec::encode(alert)?);
        let message = message.retained().content_type("application/json");
        let message = match alert.state {
            AlertState::Firing => message,
            AlertState::Resolved => message.expiry(RESOLVED_EXPIRY),
            // A condition that may not last is nobody's business yet.
            AlertState::Pending => return Ok(()),
        };
        self.deliver(client, message).await
    }

    async fn deliver(&self, client: &Client, message: Message) -> Result<(), OutputError> {
        let topic = message.topic.clone();
        match client.deliver(message).await? {
            PublishReason::Success | PublishReason::NoMatchingSubscribers => Ok(()),
            reason => Err(OutputError::Refused { topic, reason }),
        }
    }
}
