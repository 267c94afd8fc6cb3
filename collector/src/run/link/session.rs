//! One connection of the link, from the subscription to its end.
//!
//! The broker's retained messages come first. They are complete when this connection's own
//! birth message has come back and no retained message followed it for a moment: Mosquitto
//! sends them in order, rmqtt beside what is published meanwhile.
//!
//! A broker that passes nothing on, not even this collector's own word, is left.

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
use crate::output::mqtt::{CLEARED_MAX, MqttOutput, Retained, Voice};
use crate::run::told::{Arrived, Told};
use crate::run::{INBOX_BYTES_MAX, MESSAGE_BYTES};

/// How long after the birth message's return, and after any retained message that follows, the
/// retained messages count as complete.
const QUIET: Duration = Duration::from_millis(300);

/// When the broker has passed nothing on for so long, this collector says again how it is, and
/// that must come back. Nodes send samples more often than that, if there are any.
const HEARD_EVERY: Duration = Duration::from_secs(20);

/// How long it may take for this collector's own word to come back.
const MUTE_MAX: Duration = Duration::from_secs(20);

/// Why a session ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The collector stops, or its owner is gone.
    Stopped,
    /// The connection cannot be used any longer, and why.
    Lost(String),
    /// The broker takes messages and passes none on: another one may be better.
    Mute(String),
    /// An earlier broker of the list works again: this one.
    Home(usize),
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

/// What reading has learned, and whom it tells.
struct Reading {
    retained: Retained,
    complete: Option<oneshot::Sender<Retained>>,
    /// When they count as complete; none before the birth message came back.
    quiet_at: Option<Instant>,
    /// Counts what came in.
    heard: watch::Sender<u64>,
    /// Asks for this collector's word, when nothing came in for long.
    word_wanted: watch::Sender<u64>,
    /// Alerts that were taken back; those that find no room are looked at with the next
    /// connection.
    cleared: mpsc::Sender<Fingerprint>,
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
        let (heard, hearing) = watch::channel(0);
        let (word_wanted, wanted) = watch::channel(0);
        let (cleared, mut taken_back) = mpsc::channel(CLEARED_MAX);
        let reading = Reading {
            retained: Retained::default(),
            complete: Some(complete),
            quiet_at: None,
            heard,
            word_wanted,
            cleared,
        };
        let voice = Voice { client: self.client.clone(), heard: hearing };
        let speak = async {
            // The other half lives as long as this session.
            let Ok(retained) = retained.await else { return std::future::pending().await };
            if ready.wait_for(|ready| *ready).await.is_err() {
                return std::future::pending().await;
            }
            output.speak(&voice, &retained, &mut taken_back).await
        };
        tokio::select! {
            ended = self.read(connection, reading) => ended,
            // What ends these is the end of the connection, and reading knows why.
            ended = self.send(outgoing, &said_ready, wanted) => ended,
            ended = speak => Ended::Lost(format!("alerts cannot be published: {ended}")),
        }
    }

    async fn read(&self, connection: &mut Connection, mut reading: Reading) -> Ended {
        // Since when nothing came in, and whether this collector's own word must come next: its
        // birth message is on its way.
        let mut silent_since = Instant::now();
        let mut word_is_due = true;
        loop {
            let quiet_at = reading.quiet_at;
            let quiet = async {
                match quiet_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let patience = if word_is_due { MUTE_MAX } else { HEARD_EVERY };
            let incoming = tokio::select! {
                biased;
                incoming = connection.next() => incoming,
                () = quiet => {
                    reading.quiet_at = None;
                    if let Some(complete) = reading.complete.take() {
                        // Nobody waits for them while the collector is not ready to speak.
                        let _ = complete.send(std::mem::take(&mut reading.retained));
                        if self.inbox.send(Told::RetainedRead).await.is_err() {
                            return Ended::Stopped;
                        }
                    }
                    continue;
                }
                () = sleep_until(silent_since + patience) => {
                    if word_is_due {
                        return self.mute();
                    }
                    reading.word_wanted.send_modify(|count| *count += 1);
                    (silent_since, word_is_due) = (Instant::now(), true);
                    continue;
                }
            };
            let ended = match incoming {
                Ok(Incoming::Message(received)) => {
                    // Until the birth message is back nothing else proves that it will be.
                    let is_read = reading.complete.is_none() || reading.quiet_at.is_some();
                    let ended = self.take(received, &mut reading).await;
                    (silent_since, word_is_due) = (Instant::now(), !is_read);
                    ended
                }
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
        }
    }

    fn mute(&self) -> Ended {
        Ended::Mute(format!(
            "the broker takes messages and passes none on, not even this collector's own, for \
             {MUTE_MAX:?}: allow its user to read below pvewatch/v1/{}/",
            self.speaker.site
        ))
    }

    async fn take(&self, received: Received, reading: &mut Reading) -> Option<Ended> {
        let Received { topic, payload, retained, .. } = received;
        let decoded = decode(&self.speaker.site, &topic, &payload);
        reading.heard.send_modify(|count| *count += 1);
        if retained && let Some(quiet_at) = &mut reading.quiet_at {
            *quiet_at = Instant::now() + QUIET;
        }
        match &decoded {
            Ok(Decoded::CollectorPresence { collector, presence }) => {
                self.hear_collector(collector, presence, retained, reading);
                return None;
            }
            Ok(Decoded::Alert { fingerprint, message }) => {
                if let Some(message) = message
                    && retained
                    && reading.complete.is_some()
                {
                    reading.retained.alerts.insert(*fingerprint, message.as_ref().clone());
                }
                let is_own = |message: &AlertMessage| message.collector == self.speaker.collector;
                if message.as_deref().is_none_or(is_own) {
                    return None;
                }
            }
            Ok(Decoded::AlertCleared { fingerprint }) => {
                // Without room it is looked at with the next connection.
                let _ = reading.cleared.try_send(*fingerprint);
            }
            Ok(Decoded::Nothing) => return None,
            _ => {}
        }
        let bytes = (payload.len() + MESSAGE_BYTES).min(INBOX_BYTES_MAX);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        let room = Arc::clone(self.room).acquire_many_owned(bytes).await.ok()?;
        let received_at = wall_clock();
        let arrived = Box::new(Arrived { topic, payload, retained, received_at, decoded });
        let told = self.inbox.send(Told::Message { arrived, _room: room }).await;
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
            let online = &mut reading.retained.online;
            match presence.state {
                PresenceState::Online => online.insert(collector.clone()),
                PresenceState::Offline => online.remove(collector),
            };
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

    async fn send(
        &self,
        outgoing: &mut Outgoing,
        said_ready: &watch::Sender<bool>,
        word_wanted: watch::Receiver<u64>,
    ) -> Ended {
        match self.try_send(outgoing, said_ready, word_wanted).await {
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
        mut word_wanted: watch::Receiver<u64>,
    ) -> Result<Ended, PublishError> {
        let subscriptions = self.filters().into_iter().map(Subscription::new).collect();
        self.client.subscribe(subscriptions).await?;
        self.client.publish(self.speaker.message(&self.birth)).await?;
        let mut was_ready = false;
        let mut says_again = false;
        loop {
            outgoing.send_acks(&self.client, self.speaker).await?;
            let is_ready = *outgoing.ready.borrow_and_update() == Some(self.number);
            if is_ready != was_ready || says_again {
                (was_ready, says_again) = (is_ready, false);
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
                // Reading lives as long as this.
                Ok(()) = word_wanted.changed() => says_again = true,
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
