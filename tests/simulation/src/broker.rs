//! A broker with all the habits that brokers have: it forgets sessions and retained messages,
//! drops for slow subscribers, repeats, publishes wills early or late, refuses, and acknowledges
//! without routing. Order is kept within a connection, never across connections.

use std::cell::OnceCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use bytes::Bytes;
use fastrand::Rng;
use pvewatch_collector::ingest::{Decoded, Rejection, decode};
use pvewatch_edge::mqtt::{PublishReason, PublishRefusal};
use pvewatch_protocol::Site;

/// A client: who it is, not which connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Client {
    /// The agent of a node.
    Node(usize),
    /// A collector.
    Collector(usize),
}

/// A message on its way.
#[derive(Debug, Clone)]
pub struct Message {
    /// Where to.
    pub topic: String,
    /// What.
    pub payload: Bytes,
    /// Whether it is to be retained, or was.
    pub retain: bool,
    /// What a collector makes of it; the same for all of them, so it is found out once.
    understood: Rc<OnceCell<Result<Decoded, Rejection>>>,
}

impl Message {
    /// A message that no collector has looked at.
    pub fn new(topic: String, payload: impl Into<Bytes>, retain: bool) -> Self {
        Self { topic, payload: payload.into(), retain, understood: Rc::default() }
    }

    /// What a collector makes of it.
    pub fn understood(&self) -> Result<Decoded, Rejection> {
        let decode = || decode(&Site::default(), &self.topic, &self.payload);
        self.understood.get_or_init(decode).clone()
    }
}

/// Something for a client.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// A message that it subscribes to.
    Message(Message),
    /// The broker took, or refused, one of its own that was not a sample.
    PubAck {
        /// Whether it was an event.
        is_event: bool,
        /// Whether it took it, and if not, why.
        reason: PublishReason,
    },
    /// Everything retained that it subscribes to was sent.
    RetainedRead,
}

/// Every reason for which a broker can refuse what is published.
pub const REFUSALS: [PublishReason; 7] = [
    PublishReason::NotAuthorized,
    PublishReason::QuotaExceeded,
    PublishReason::Refused(PublishRefusal::Unspecified),
    PublishReason::Refused(PublishRefusal::ImplementationSpecific),
    PublishReason::Refused(PublishRefusal::TopicNameInvalid),
    PublishReason::Refused(PublishRefusal::PacketIdentifierInUse),
    PublishReason::Refused(PublishRefusal::PayloadFormatInvalid),
];

/// What is wrong with the broker now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// It acknowledges and routes nothing.
    pub routes_nothing: bool,
    /// Of a hundred messages that are published, so many are refused.
    pub refuses_percent: u8,
    /// With this reason.
    pub refusal: Option<PublishReason>,
    /// Of a hundred deliveries, so many are dropped.
    pub drops_percent: u8,
    /// Of a hundred deliveries, so many come twice.
    pub repeats_percent: u8,
}

#[derive(Debug)]
struct Connection {
    client: Client,
    filters: Vec<String>,
    will: Option<Message>,
    up: VecDeque<Message>,
    down: VecDeque<Delivery>,
}

/// Everything that a broker can be, for the table of what met what.
pub const STATES: [&str; 6] = ["well", "down", "mute", "refusing", "dropping", "repeating"];

/// The broker.
#[derive(Debug, Default)]
pub struct Broker {
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    retained: BTreeMap<String, Message>,
    /// Retained messages as they last reached the broker's disk.
    saved: BTreeMap<String, Message>,
    late_wills: Vec<Message>,
    /// What is wrong now.
    pub faults: Faults,
    /// Whether it takes connections.
    pub is_up: bool,
}

impl Broker {
    /// A broker that runs and has seen nobody.
    pub fn new() -> Self {
        Self { is_up: true, ..Self::default() }
    }

    /// In words, how it is, for the table of what met what.
    pub fn state(&self) -> &'static str {
        match self.faults {
            _ if !self.is_up => "down",
            Faults { routes_nothing: true, .. } => "mute",
            Faults { refuses_percent: 1.., .. } => "refusing",
            Faults { drops_percent: 1.., .. } => "dropping",
            Faults { repeats_percent: 1.., .. } => "repeating",
            Faults { .. } => "well",
        }
    }

    /// A new connection with its will and its subscriptions; none while the broker is down.
    pub fn connect(&mut self, client: Client, will: Message, filters: Vec<String>) -> Option<u64> {
        if !self.is_up {
            return None;
        }
        let id = self.next_connection;
        self.next_connection += 1;
        let retained = self
            .retained
            .values()
            .filter(|message| filters.iter().any(|filter| matches(filter, &message.topic)));
        let mut down: VecDeque<Delivery> = retained.cloned().map(Delivery::Message).collect();
        down.push_back(Delivery::RetainedRead);
        let up = VecDeque::new();
        self.connections.insert(id, Connection { client, filters, will: Some(will), up, down });
        Some(id)
    }

    /// Whether the connection is there.
    pub fn is_connected(&self, connection: u64) -> bool {
        self.connections.contains_key(&connection)
    }

    /// Ends a connection; its will is published at once or later.
    pub fn disconnect(&mut self, connection: u64, rng: &mut Rng) {
        let Some(ended) = self.connections.remove(&connection) else { return };
        let Some(will) = ended.will else { return };
        if rng.bool() {
            self.route(will, rng);
        } else {
            self.late_wills.push(will);
        }
    }

    /// A client takes its will back, as with a proper goodbye.
    pub fn forget_will(&mut self, connection: u64) {
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.will = None;
        }
    }

    /// Publishes a will that was late.
    pub fn publish_late_will(&mut self, rng: &mut Rng) -> bool {
        if self.late_wills.is_empty() {
            return false;
        }
        let will = self.late_wills.swap_remove(rng.usize(..self.late_wills.len()));
        self.route(will, rng);
        true
    }

    /// What is retained reaches the broker's disk.
    pub fn save(&mut self) {
        self.saved.clone_from(&self.retained);
    }

    /// The broker is killed: sessions and queues are gone, what is retained is as it was saved.
    pub fn kill(&mut self) {
        self.is_up = false;
        let ended = std::mem::take(&mut self.connections);
        self.late_wills.extend(ended.into_values().filter_map(|connection| connection.will));
        self.retained.clone_from(&self.saved);
    }

    /// It forgets everything retained.
    pub fn forget_retained(&mut self) {
        self.retained.clear();
        self.saved.clear();
    }

    /// A client publishes. Returns whether it has a connection.
    pub fn publish(&mut self, connection: u64, message: Message) -> bool {
        match self.connections.get_mut(&connection) {
            Some(connection) => {
                connection.up.push_back(message);
                true
            }
            None => false,
        }
    }

    /// Messages that are on their way.
    pub fn under_way(&self) -> usize {
        self.connections.values().map(|it| it.up.len() + it.down.len()).sum::<usize>()
            + self.late_wills.len()
    }

    /// Connections with something to do, in either direction.
    pub fn busy(&self) -> Vec<(u64, Direction)> {
        let mut busy = Vec::new();
        for (id, connection) in &self.connections {
            if !connection.up.is_empty() {
                busy.push((*id, Direction::Up));
            }
            if !connection.down.is_empty() {
                busy.push((*id, Direction::Down));
            }
        }
        busy
    }

    /// Takes the next message of a connection in.
    pub fn take_up(&mut self, id: u64, rng: &mut Rng) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(message) = connection.up.pop_front() else { return };
        let is_event = message.topic.contains("/event/");
        let Faults { refuses_percent, refusal, routes_nothing, .. } = self.faults;
        let refusal = refusal.filter(|_| rng.u8(0..100) < refuses_percent);
        let reason = refusal.unwrap_or(PublishReason::Success);
        connection.down.push_back(Delivery::PubAck { is_event, reason });
        if refusal.is_none() && !routes_nothing {
            self.route(message, rng);
        }
    }

    /// The next delivery to a client.
    pub fn take_down(&mut self, id: u64) -> Option<(Client, Delivery)> {
        let connection = self.connections.get_mut(&id)?;
        let delivery = connection.down.pop_front()?;
        Some((connection.client, delivery))
    }

    fn route(&mut self, message: Message, rng: &mut Rng) {
        if message.retain {
            self.retained.insert(message.topic.clone(), message.clone());
        }
        let live = Message { retain: false, ..message };
        for connection in self.connections.values_mut() {
            if !connection.filters.iter().any(|filter| matches(filter, &live.topic)) {
                continue;
            }
            if rng.u8(0..100) < self.faults.drops_percent {
                continue;
            }
            connection.down.push_back(Delivery::Message(live.clone()));
            if rng.u8(0..100) < self.faults.repeats_percent {
                connection.down.push_back(Delivery::Message(live.clone()));
            }
        }
    }
}

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To the broker.
    Up,
    /// From the broker.
    Down,
}

/// MQTT's rule for filters with `+` and a `#` at the end.
fn matches(filter: &str, topic: &str) -> bool {
    let (mut filter, mut topic) = (filter.as_bytes(), topic.as_bytes());
    loop {
        match (filter.first(), topic.first()) {
            (None, None) => return true,
            (Some(b'#'), Some(_)) => return true,
            (Some(b'+'), Some(_)) => {
                filter = &filter[1..];
                topic = &topic[memchr::memchr(b'/', topic).unwrap_or(topic.len())..];
            }
            (Some(one), Some(other)) if one == other => {
                (filter, topic) = (&filter[1..], &topic[1..])
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_in_mqtt() {
        for (filter, topic, expected) in [
            ("a/b", "a/b", true),
            ("a/b", "a/bc", false),
            ("a/bc", "a/b", false),
            ("a/+/c", "a/b/c", true),
            ("a/+/c", "a/b/d", false),
            ("a/+", "a/b/c", false),
            ("a/+/+", "a/b/c", true),
            ("a/#", "a/b/c", true),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }
}
