//! The link to the broker: connects, and connects again for ever. One epoch a connection.
//!
//! Every connection is new in all parts; the only thing that outlives one is the outbox.
//! Absent: what is published, and what an ack means.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use jiff::Timestamp;
use pvewatch_edge::mqtt::{
    Backoff, Broker, BrokerUrl, Client, Closing, ConnectError, ConnectOptions, Connection,
    ConnectionLost, Incoming, Subscription, Will, backoff,
};
use pvewatch_protocol::topic::filter;
use pvewatch_protocol::{
    Epoch, NodeName, NodePresence, PresenceState, Site, StopReason, Topic, codec,
};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use crate::clock;

/// Who speaks on the link, as presence says it.
#[derive(Debug, Clone)]
pub struct Speaker {
    /// The installation.
    pub site: Site,
    /// The node.
    pub node: NodeName,
    /// The kernel's boot id.
    pub boot_id: String,
    /// The Proxmox cluster, if any.
    pub cluster: Option<String>,
}

impl Speaker {
    /// Where the presence goes.
    pub fn presence_topic(&self) -> String {
        Topic::NodePresence { node: self.node.clone() }.at(&self.site)
    }

    /// A presence of one connection; `reason` says why it is offline, and none that it is online.
    pub fn presence(
        &self,
        epoch: Epoch,
        reason: Option<StopReason>,
        at: Timestamp,
    ) -> NodePresence {
        NodePresence {
            state: if reason.is_some() { PresenceState::Offline } else { PresenceState::Online },
            epoch,
            reason,
            boot_id: self.boot_id.clone(),
            cluster: self.cluster.clone(),
            at,
        }
    }
}

/// What happened on the link.
#[derive(Debug)]
pub enum LinkEvent {
    /// A new connection is up, subscribed to what concerns this node.
    Connected(Epoch),
    /// An attempt failed; the next one is planned.
    Failed,
    /// The connection is gone; the next attempt is planned.
    Lost,
    /// Something came in.
    Incoming(Incoming),
}

/// A connection that lived shorter than this does not count as recovery: delays go on growing.
/// Two agents under one name would otherwise throw each other out every second.
const LIFETIME_MIN: Duration = Duration::from_secs(60);

/// Which broker is tried when one is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Another {
    /// The next of the list.
    Next,
    /// The first of the list, where collectors go back to; the next if that is the one in use.
    First,
}

type Opening = Pin<Box<dyn Future<Output = Result<Connection, ConnectError>> + Send>>;

enum State {
    Waiting {
        until: Instant,
    },
    Opening {
        epoch: Epoch,
        attempt: Opening,
    },
    Up {
        connection: Connection,
        since: Instant,
    },
    /// The connection was given up; that is still to be told.
    Leaving,
}

/// The link of one agent.
pub struct Link {
    broker: Broker,
    speaker: Speaker,
    /// The URL of the next attempt.
    turn: usize,
    delays: Backoff,
    state: State,
    /// The last failure that was logged in full, so that a broker that is away for a week does
    /// not fill the log.
    last_failure: Option<String>,
}

impl Link {
    /// A link that begins to connect when it is first asked for events.
    pub fn new(broker: Broker, speaker: Speaker) -> Self {
        let state = State::Waiting { until: Instant::from_std(clock::now()) };
        Self { broker, speaker, turn: 0, delays: backoff(), state, last_failure: None }
    }

    /// The handle to publish with, while a connection is up.
    pub fn client(&self) -> Option<Client> {
        match &self.state {
            State::Up { connection, .. } => Some(connection.client()),
            State::Waiting { .. } | State::Opening { .. } | State::Leaving => None,
        }
    }

    /// The URL that is in use or next.
    pub fn url(&self) -> &BrokerUrl {
        let urls = self.broker.urls();
        &urls[self.turn % urls.len()]
    }

    /// Waits for the next thing that happens. Cancel safe.
    pub async fn next(&mut self) -> LinkEvent {
        loop {
            match &mut self.state {
                State::Waiting { until } => {
                    sleep_until(*until).await;
                    self.begin_attempt();
                }
                State::Opening { epoch, attempt } => {
                    let result = attempt.as_mut().await;
                    let epoch = *epoch;
                    return match result {
                        Ok(connection) => self.connected(epoch, connection),
                        Err(error) => self.failed(&error),
                    };
                }
                State::Leaving => {
                    self.wait();
                    return LinkEvent::Lost;
                }
                State::Up { connection, since } => {
                    let since = *since;
                    return match connection.next().await {
                        Ok(incoming) => LinkEvent::Incoming(incoming),
                        Err(lost) => self.lost(&lost, since),
                    };
                }
            }
        }
    }

    /// Ends the connection, if there is one, after what was published has gone out.
    pub async fn close(self, limit: Duration) {
        if let State::Up { connection, .. } = self.state {
            let closing = connection.close(limit).await;
            if closing != Closing::Graceful {
                log::warn!("{}: no goodbye: {closing:?}", self.broker.urls()[0]);
            }
        }
    }

    /// How many brokers there are to choose from.
    pub fn brokers(&self) -> usize {
        self.broker.urls().len()
    }

    /// Ends this connection if there is another broker to try, which is tried next.
    pub fn prefer_another(&mut self, which: Another, why: &str) {
        let State::Up { since, .. } = self.state else { return };
        let count = self.brokers();
        let place = self.turn % count;
        let next = match which {
            Another::First if place != 0 => 0,
            Another::First | Another::Next => (place + 1) % count,
        };
        if next != place {
            log::warn!("{}: {why}: trying another broker", self.url());
            self.note_lifetime(since);
            self.turn = next;
            self.state = State::Leaving;
        }
    }

    fn begin_attempt(&mut self) {
        let epoch = Epoch(Uuid::now_v7());
        let will = self.speaker.presence(epoch, Some(StopReason::Lost), clock::today());
        let payload = codec::encode(&will).unwrap_or_default();
        let client_id = format!("pvewatch-agent-{}-{}", self.speaker.site, self.speaker.node);
        let options = ConnectOptions::new(client_id).will(Will {
            topic: self.speaker.presence_topic(),
            payload: payload.into(),
            retain: true,
            content_type: Some("application/json".to_owned()),
        });
        let acks = Subscription::new(filter::acks_for(&self.speaker.site, &self.speaker.node));
        let collectors = Subscription::new(filter::collectors(&self.speaker.site));
        // What the broker kept of this node's presence tells whether another agent has its name.
        let presence = Subscription::new(self.speaker.presence_topic()).no_local();
        let (broker, url) = (self.broker.clone(), self.url().clone());
        let attempt = Box::pin(async move {
            let connection = Connection::open(&broker, &url, &options).await?;
            // A broker that refuses these says so in its answer; events are sent all the same.
            let _ = connection.client().subscribe(vec![acks, collectors, presence]).await;
            Ok(connection)
        });
        self.state = State::Opening { epoch, attempt };
    }

    fn connected(&mut self, epoch: Epoch, connection: Connection) -> LinkEvent {
        log::info!("connected to {}", self.url());
        self.last_failure = None;
        self.state = State::Up { connection, since: Instant::from_std(clock::now()) };
        LinkEvent::Connected(epoch)
    }

    fn failed(&mut self, error: &ConnectError) -> LinkEvent {
        let text = error.to_string();
        if self.last_failure.as_ref() == Some(&text) {
            log::debug!("{text}");
        } else {
            log::warn!("{text}; events are kept, and it is tried again until it works");
            self.last_failure = Some(text);
        }
        self.turn = self.turn.wrapping_add(1);
        self.wait();
        LinkEvent::Failed
    }

    fn lost(&mut self, lost: &ConnectionLost, since: Instant) -> LinkEvent {
        self.note_lifetime(since);
        log::warn!("{}: {lost}; connecting again", self.url());
        self.wait();
        LinkEvent::Lost
    }

    /// A connection that lived long has proved itself: the next delay is a short one.
    fn note_lifetime(&mut self, since: Instant) {
        if Instant::from_std(clock::now()).duration_since(since) >= LIFETIME_MIN {
            self.delays = backoff();
        }
    }

    fn wait(&mut self) {
        let delay = self.delays.next_delay();
        self.state = State::Waiting { until: Instant::from_std(clock::now()) + delay };
    }
}
