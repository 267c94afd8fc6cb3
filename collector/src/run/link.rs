//! The link to the broker: connects, and connects again for ever; hands on what comes in; sends
//! acks, presence and, once the collector is ready, alerts.
//!
//! When the inbox is full nothing more is read: the broker keeps what comes within its limits,
//! and what it drops the agents send again. What goes out never waits for what comes in.
//! URLs are tried in turn; with a later one in use, the earlier ones are gone back to.

mod home;
mod session;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use pvewatch_edge::mqtt::{Broker, BrokerUrl, ConnectOptions, Connection, Message, Will, backoff};
use pvewatch_protocol::{
    AckMessage, CollectorName, CollectorPresence, Epoch, NodeName, PresenceState, Site, Topic,
    codec,
};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::counters::Counters;
use super::told::{Acks, ReadyOn, Told};
use crate::output::mqtt::MqttOutput;
use home::Homecoming;
use session::{Ended, Session};

/// How long a connection must last to count as proved: one that is taken and closed at once
/// would otherwise be tried again without a pause.
const PROVED_AFTER: Duration = Duration::from_secs(30);

/// How long the last acks and the goodbye may take.
const GOODBYE_MAX: Duration = Duration::from_secs(5);

/// Who speaks on the link.
#[derive(Debug, Clone)]
pub(super) struct Speaker {
    pub site: Site,
    pub collector: CollectorName,
    /// The store behind the collector.
    pub epoch: Epoch,
}

/// The state of a collector as it says so itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    Offline,
    CatchingUp,
    Ready,
}

impl Speaker {
    fn topic(&self) -> String {
        Topic::CollectorPresence { collector: self.collector.clone() }.at(&self.site)
    }

    fn presence(&self, says: Says, at: Timestamp) -> CollectorPresence {
        CollectorPresence {
            state: match says {
                Says::Offline => PresenceState::Offline,
                Says::CatchingUp | Says::Ready => PresenceState::Online,
            },
            epoch: self.epoch,
            ready: says == Says::Ready,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at,
        }
    }

    fn message(&self, presence: &CollectorPresence) -> Message {
        // A presence holds nothing that JSON does not.
        let payload = codec::encode(presence).unwrap_or_default();
        Message::new(self.topic(), payload).retained().content_type("application/json")
    }

    fn connect_options(&self, connected_at: Timestamp) -> ConnectOptions {
        let message = self.message(&self.presence(Says::Offline, connected_at));
        let will = Will {
            topic: message.topic,
            payload: message.payload,
            retain: true,
            content_type: message.content_type,
        };
        // Two collectors of one name would take the connection from each other: that is seen.
        ConnectOptions::new(self.client_id()).will(will)
    }

    fn client_id(&self) -> String {
        format!("pvewatch-collector-{}-{}", self.site, self.collector)
    }
}

/// What a link is made of.
pub(super) struct Parts {
    pub speaker: Speaker,
    pub broker: Broker,
    pub inbox: mpsc::Sender<Told>,
    /// Bytes that the inbox has room for.
    pub room: Arc<Semaphore>,
    pub acks: mpsc::Receiver<Acks>,
    pub ready: watch::Receiver<ReadyOn>,
    pub output: MqttOutput,
    pub counters: Arc<Counters>,
    pub stop: watch::Receiver<bool>,
}

/// See the module.
pub(super) struct Link {
    speaker: Speaker,
    broker: Broker,
    /// None once the collector stops: the owner then ends.
    inbox: Option<mpsc::Sender<Told>>,
    room: Arc<Semaphore>,
    outgoing: Outgoing,
    output: MqttOutput,
    counters: Arc<Counters>,
    stop: watch::Receiver<bool>,
    /// Connections made so far.
    connections: u64,
    homecoming: Homecoming,
}

/// What is to be sent as soon as there is a connection.
struct Outgoing {
    acks: mpsc::Receiver<Acks>,
    unsent: VecDeque<(NodeName, AckMessage)>,
    ready: watch::Receiver<ReadyOn>,
}

impl Link {
    pub(super) fn new(parts: Parts) -> Self {
        let outgoing = Outgoing { acks: parts.acks, unsent: VecDeque::new(), ready: parts.ready };
        Self {
            speaker: parts.speaker,
            broker: parts.broker,
            inbox: Some(parts.inbox),
            room: parts.room,
            outgoing,
            output: parts.output,
            counters: parts.counters,
            stop: parts.stop,
            connections: 0,
            homecoming: Homecoming::default(),
        }
    }

    /// Works until it is told to stop, or the owner is gone; then says goodbye.
    pub(super) async fn run(mut self) {
        let mut delays = backoff();
        // A broker was prepared, so it has a URL.
        let urls = self.broker.urls().to_vec();
        let mut place = 0;
        loop {
            let Some(url) = urls.get(place) else { return };
            let mut stop = self.stop.clone();
            let opened = tokio::select! {
                opened = self.open(url) => opened,
                _ = stop.wait_for(|stop| *stop) => None,
            };
            let next = (place + 1) % urls.len();
            place = match opened {
                None => next,
                Some(connection) => {
                    let since = Instant::now();
                    let ended = self.serve(connection, url, place).await;
                    let has_proved = since.elapsed() >= PROVED_AFTER;
                    if has_proved {
                        delays.reset();
                    }
                    match ended {
                        Ended::Stopped => return,
                        Ended::Home(earlier) => {
                            log::info!("{} works again: going back to it", urls[earlier]);
                            place = earlier;
                            continue;
                        }
                        Ended::Mute(cause) => {
                            log::error!("{url}: {cause}");
                            next
                        }
                        Ended::Lost(cause) => {
                            log::warn!("{url}: {cause}; connecting again");
                            // If it worked here, the next attempt goes to the same broker.
                            if has_proved { place } else { next }
                        }
                    }
                }
            };
            let delay = delays.next_delay();
            tokio::select! {
                () = sleep(delay) => {}
                _ = stop.wait_for(|stop| *stop) => {
                    self.inbox = None;
                    return;
                }
            }
        }
    }

    async fn open(&self, url: &BrokerUrl) -> Option<Connection> {
        let options = self.speaker.connect_options(wall_clock());
        match Connection::open(&self.broker, url, &options).await {
            Ok(connection) => {
                log::info!("{url}: connected");
                Some(connection)
            }
            Err(error) => {
                log::warn!("{error}");
                None
            }
        }
    }

    async fn serve(&mut self, mut connection: Connection, url: &BrokerUrl, place: usize) -> Ended {
        self.counters.connects.add(1);
        self.counters.connected.set(true);
        let ended = self.session(&mut connection, url, place).await;
        self.counters.connected.set(false);
        match ended {
            // The owner sees the end of its inbox, stores what it has, and sends its last acks.
            Ended::Stopped => self.inbox = None,
            Ended::Home(_) | Ended::Mute(_) | Ended::Lost(_) => {
                if let Some(inbox) = &self.inbox {
                    // An owner that is gone needs not be told.
                    let _ = inbox.send(Told::Disconnected).await;
                }
            }
        }
        if let Ended::Stopped | Ended::Home(_) = ended {
            let goodbye = self.say_goodbye(&mut connection);
            if timeout(GOODBYE_MAX, goodbye).await.is_err() {
                log::warn!("{url}: the goodbye took too long: the last will speaks instead");
            }
            connection.close(GOODBYE_MAX).await;
        }
        ended
    }

    async fn session(
        &mut self,
        connection: &mut Connection,
        url: &BrokerUrl,
        place: usize,
    ) -> Ended {
        let Some(inbox) = self.inbox.clone() else { return Ended::Stopped };
        self.connections += 1;
        let connection_number = self.connections;
        let told = Told::Connected { connection: connection_number };
        if inbox.send(told).await.is_err() {
            return Ended::Stopped;
        }
        let session = Session {
            speaker: &self.speaker,
            url,
            number: connection_number,
            client: connection.client(),
            inbox,
            room: &self.room,
            birth: self.speaker.presence(Says::CatchingUp, wall_clock()),
        };
        let stop = &mut self.stop;
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => Ended::Stopped,
            ended = session.run(connection, &mut self.outgoing, &mut self.output) => ended,
            earlier = self.homecoming.wait(&self.broker, &self.speaker, place) => {
                Ended::Home(earlier)
            }
        }
    }

    /// Sends the owner's last acks and the word that this collector goes.
    async fn say_goodbye(&mut self, connection: &mut Connection) {
        let client = connection.client();
        let offline = self.speaker.presence(Says::Offline, wall_clock());
        let offline = self.speaker.message(&offline);
        // The owner's last acks, if it ends: what comes later goes to the next connection.
        let owner_ends = self.inbox.is_none();
        let last_words = async {
            while owner_ends && let Some(acks) = self.outgoing.acks.recv().await {
                self.outgoing.unsent.extend(acks);
            }
            self.outgoing.send_acks(&client, &self.speaker).await?;
            client.deliver(offline).await
        };
        tokio::select! {
            said = last_words => {
                if let Err(error) = said {
                    log::warn!("goodbye was not said: {error}");
                }
            }
            () = session::ignore(connection) => {}
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "messages get the time at which they came")]
fn wall_clock() -> Timestamp {
    Timestamp::now()
}
