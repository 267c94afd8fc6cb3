//! One connection of the link, from the subscription to its end.
//!
//! The broker's retained messages come first. They are complete when this connection's own
//! birth message has come back and no retained message followed it for a moment: Mosquitto
//! sends them in order, rmqtt beside what is published meanwhile.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use pvewatch_edge::mqtt::{
    BrokerUrl, Client, Connection, Incoming, Message, PublishError, PublishReason, Received,
    SubscribeReason, Subscription,
};
use pvewatch_protocol::topic::filter;
use pvewatch_protocol::{
    AlertMessage, CollectorName, CollectorPresence, Fingerprint, PresenceState, Topic, codec,
};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::{Outgoing, Says, Speaker, wall_clock};
use crate::ingest::{Decoded, decode};
use crate::output::mqtt::MqttOutput;
use crate::run::told::{Arrived, Told};
use crate::run::{INBOX_BYTES_MAX, MESSAGE_BYTES};

/// How long after the birth message's return, and after any retained message that follows, the
/// retained messages count as complete.
const QUIET: Duration = Duration::from_millis(300);

/// How long a broker may pass nothing on, of its own or of ours, before the birth message has come
/// back. Shorter than it takes for a connection to count as proved: the next broker is tried.
const MUTE_MAX: Duration = Duration::from_secs(20);

/// Why a session ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The collector stops, or its owner is gone.
    Stopped,
    /// The connection cannot be used any longer, and why.
    Lost(String),
}

/// What a session works with.
pub(super) struct Session<'a> {
    pub speaker: &'a Speaker,
    pub url: &'a BrokerUrl,
    /// Which connection of the link this is.
    pub number: u64,
    pub client: Client,
    pub inbox: mpsc::Sender<Told>,
    pub room: &'a Arc<Semaphore>,
    pub birth: CollectorPresence,
}

/// Retained alerts of this collector, as the broker has them.
type Retained = HashMap<Fingerprint, AlertMessage>;

/// What is known of the retained messages.
#[derive(Default)]
struct Reading {
    alerts: Retained,
    complete: Option<oneshot::Sender<Retained>>,
    /// When they count as complete; none before the birth message came back.
    quiet_at: Option<Instant>,
}

impl Session<'_> {
    /// Reads and sends until the connection or the owner ends.
    pub(super) async fn run(
        self,
        connection: &mut Connection,
        outgoing: &mut Outgoing,
        output: &mut MqttOutput,
    ) -> Ended {
        // Whoever listens hears that it is ready before anything that follows from it.
        let (said_ready, mut ready) = watch::channel(false);
        let (complete, retained) = oneshot::channel();
        let reading = Reading { complete: Some(complete), ..Reading::default() };
        let speak = async {
            // The other half lives as long as this session.
            let Ok(retained) = retained.await else { return std::future::pending().await };
            if ready.wait_for(|ready| *ready).await.is_err() {
                return std::future::pending().await;
            }
            output.speak(&self.client, retained).await
        };
        tokio::select! {
            ended = self.read(connection, reading) => ended,
            // What ends these is the end of the connection, and reading knows why.
            ended = self.send(outgoing, &said_ready) => ended,
            ended = speak => Ended::Lost(format!("alerts cannot be published: {ended}")),
        }
    }

    async fn read(&self, connection: &mut Connection, mut reading: Reading) -> Ended {
        let mut heard_at = Instant::now();
        loop {
            let quiet_at = reading.quiet_at;
            let is_waiting = reading.complete.is_some() && quiet_at.is_none();
            let quiet = async {
                match quiet_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let incoming = tokio::select! {
                biased;
                incoming = connection.next() => incoming,
                () = quiet => {
                    reading.quiet_at = None;
                    if let Some(complete) = reading.complete.take() {
                        // Nobody waits for them while the collector is not ready to speak.
                        let _ = complete.send(std::mem::take(&mut reading.alerts));
                        if self.inbox.send(Told::RetainedRead).await.is_err() {
                            return Ended::Stopped;
                        }
                    }
                    continue;
                }
                () = sleep_until(heard_at + MUTE_MAX), if is_waiting => {
                    return Ended::Lost(format!(
                        "the broker takes messages and passes none on, not even this collector's \
                         own, for {MUTE_MAX:?}: allow its user to read below pvewatch/v1/{}/",
                        self.speaker.site
                    ));
                }
            };
            let ended = match incoming {
                Ok(Incoming::Message(received)) => self.take(received, &mut reading).await,
                Ok(Incoming::Subscribed { reasons, .. }) => self.check_subscription(&reasons),
                Ok(Incoming::PublishAcked { reason, .. }) => {
                    self.check_publish(reason);
                    None
                }
                Err(lost) => Some(Ended::Lost(lost.to_string())),
            };
            if let Some(ended) = ended {
                return ended;
            }
            heard_at = Instant::now();
        }
    }

    async fn take(&self, received: Received, reading: &mut Reading) -> Option<Ended> {
        let Received { topic, payload, retained, .. } = received;
        let decoded = decode(&self.speaker.site, &topic, &payload);
        if retained && let Some(quiet_at) = &mut reading.quiet_at {
            *quiet_at = Instant::now() + QUIET;
        }
        match &decoded {
            Ok(Decoded::CollectorPresence { collector, presence }) => {
                self.hear_collector(collector, presence, retained, reading);
                return None;
            }
            Ok(Decoded::Alert { message, .. }) => {
                if let Some(message) = message
                    && retained
                    && message.collector == self.speaker.collector
                    && reading.complete.is_some()
                {
                    reading.alerts.insert(message.fingerprint, message.as_ref().clone());
                }
                return None;
            }
            Ok(Decoded::Nothing) => return None,
            _ => {}
        }
        let bytes = (payload.len() + MESSAGE_BYTES).min(INBOX_BYTES_MAX);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        let room = Arc::clone(self.room).acquire_many_owned(bytes).await.ok()?;
        let received_at = wall_clock();
        let arrived = Arrived { topic, payload, retained, received_at, decoded, _room: room };
        let told = self.inbox.send(Told::Message(Box::new(arrived))).await;
        told.is_err().then_some(Ended::Stopped)
    }

    fn hear_collector(
        &self,
        collector: &CollectorName,
        presence: &CollectorPresence,
        retained: bool,
        reading: &mut Reading,
    ) {
        if *collector != self.speaker.collector {
            return;
        }
        if *presence == self.birth {
            if reading.complete.is_some() {
                reading.quiet_at = Some(Instant::now() + QUIET);
            }
        } else if presence.epoch != self.speaker.epoch
            && presence.state == PresenceState::Online
            && !retained
        {
            log::error!(
                "another collector of the name {collector} is connected to {} (its store is {}): \
                 give one of them another `name`",
                self.url,
                presence.epoch
            );
        }
    }

    fn check_subscription(&self, reasons: &[SubscribeReason]) -> Option<Ended> {
        let filters = self.filters();
        let refused = filters.iter().zip(reasons).find(|(_, r)| **r != SubscribeReason::Granted);
        let (filter, reason) = refused?;
        Some(Ended::Lost(format!(
            "the broker refuses the subscription to {filter} ({reason:?}): allow this collector's \
             user to read it"
        )))
    }

    fn check_publish(&self, reason: PublishReason) {
        match reason {
            PublishReason::Success | PublishReason::NoMatchingSubscribers => {}
            refused => log::error!(
                "{}: the broker refuses what this collector publishes ({refused:?}): allow its \
                 user to write below pvewatch/v1/{}/",
                self.url,
                self.speaker.site
            ),
        }
    }

    fn filters(&self) -> Vec<String> {
        let site = &self.speaker.site;
        let mut filters: Vec<String> = filter::from_nodes(site).into();
        filters.push(filter::alerts(site));
        // The last one brings the birth message back.
        filters.push(filter::collectors(site));
        filters
    }

    async fn send(&self, outgoing: &mut Outgoing, said_ready: &watch::Sender<bool>) -> Ended {
        match self.try_send(outgoing, said_ready).await {
            Ok(ended) => ended,
            // Reading learns the cause, and ends the session with it.
            Err(PublishError::Closed) => std::future::pending().await,
            Err(error) => Ended::Lost(error.to_string()),
        }
    }

    async fn try_send(
        &self,
        outgoing: &mut Outgoing,
        said_ready: &watch::Sender<bool>,
    ) -> Result<Ended, PublishError> {
        let subscriptions = self.filters().into_iter().map(Subscription::new).collect();
        self.client.subscribe(subscriptions).await?;
        self.client.publish(self.speaker.message(&self.birth)).await?;
        let mut was_ready = false;
        loop {
            outgoing.send_acks(&self.client, self.speaker).await?;
            let is_ready = *outgoing.ready.borrow_and_update() == Some(self.number);
            if is_ready != was_ready {
                was_ready = is_ready;
                let says = if is_ready { Says::Ready } else { Says::CatchingUp };
                let presence = self.speaker.presence(says, wall_clock());
                self.client.publish(self.speaker.message(&presence)).await?;
                said_ready.send_replace(is_ready);
            }
            tokio::select! {
                acks = outgoing.acks.recv() => match acks {
                    Some(acks) => outgoing.unsent.extend(acks),
                    None => return Ok(Ended::Stopped),
                },
                changed = outgoing.ready.changed() => {
                    if changed.is_err() {
                        return Ok(Ended::Stopped);
                    }
                }
            }
        }
    }
}

impl Outgoing {
    /// Sends what is unsent. An ack leaves the queue only when it has been handed over.
    pub(super) async fn send_acks(
        &mut self,
        client: &Client,
        speaker: &Speaker,
    ) -> Result<(), PublishError> {
        while let Some((node, ack)) = self.unsent.front() {
            let collector = speaker.collector.clone();
            let topic = Topic::Ack { node: node.clone(), collector }.at(&speaker.site);
            // An ack holds nothing that JSON does not.
            let payload = codec::encode(ack).unwrap_or_default();
            let message = Message::new(topic, payload).retained();
            client.publish(message.content_type("application/json")).await?;
            self.unsent.pop_front();
        }
        Ok(())
    }
}

/// Takes what comes in and does nothing with it, so that answers are not held up by it.
pub(super) async fn ignore(connection: &mut Connection) {
    while connection.next().await.is_ok() {}
}
