//! A subscriber that takes events in order and, where there is no real collector, plays it.
//!
//! Without acks the agent would keep every event and send it again. It stores nothing. What
//! comes twice is counted and left out, what is missing in the sequence is counted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use pvewatch_protocol::event::{UnitChange, UnitChanged};
use pvewatch_protocol::{
    Ack, AlertMessage, AlertState, CollectorName, CollectorPresence, Epoch, Event, EventData,
    NodeName, NodePresence, PresenceState, Sequence, Site, StreamId, Topic, codec, topic,
};
use uuid::Uuid;

use crate::deadline::Deadline;
use crate::subscriber::{Access, Message, Subscriber};

/// An event and the moment at which this process had it.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The event.
    pub event: Event,
    /// When it arrived, by the clock that the node uses too.
    pub arrived: Timestamp,
}

impl Arrival {
    /// The change of a unit, if it is one.
    pub fn unit_changed(&self) -> Option<&UnitChanged> {
        match &self.event.data {
            EventData::UnitChanged(changed) => Some(changed),
            _ => None,
        }
    }

    /// The change of a unit that failed for good, if it is one.
    pub fn failure(&self) -> Option<&UnitChanged> {
        self.unit_changed().filter(|changed| changed.change == UnitChange::Failed)
    }

    /// From what happened until it was here, in milliseconds.
    pub fn delay_ms(&self) -> f64 {
        milliseconds(self.event.time, self.arrived)
    }

    /// From what happened until the agent knew it, in milliseconds.
    pub fn learning_ms(&self) -> f64 {
        milliseconds(self.event.time, self.event.recorded_time)
    }
}

/// The time from one moment to another, in milliseconds.
pub fn milliseconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64() * 1000.0
}

/// What was odd in what arrived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Oddities {
    /// Events that came again.
    pub repeated: u64,
    /// Sequences that were skipped.
    pub missing: u64,
    /// Payloads that are no events.
    pub unreadable: u64,
}

/// An alert about a unit that fires.
#[derive(Debug, Clone)]
pub struct FiringAlert {
    /// The unit.
    pub unit: String,
    /// When the alert arrived.
    pub arrived: Timestamp,
}

/// How much of a stream came, and how much of that was acked.
#[derive(Debug, Clone, Copy, Default)]
struct Received {
    newest: Sequence,
    acked: Sequence,
}

/// The subscriber.
pub struct Listener {
    subscriber: Subscriber,
    site: Site,
    node: NodeName,
    epoch: Epoch,
    waiting: VecDeque<Arrival>,
    alerts: Vec<FiringAlert>,
    collector_is_ready: bool,
    /// What came of each stream: an agent begins one at each start.
    streams: BTreeMap<StreamId, Received>,
    connections: BTreeSet<Epoch>,
    units_pictures: u64,
    oddities: Oddities,
}

impl Listener {
    /// Connects and subscribes to everything that nodes and collectors send.
    ///
    /// # Panics
    /// When the broker refuses, or cannot be reached.
    #[track_caller]
    pub fn connect(access: &Access, node: &NodeName) -> Self {
        let site = Site::default();
        let mut filters = topic::filter::from_nodes(&site).to_vec();
        filters.extend([topic::filter::alerts(&site), topic::filter::collectors(&site)]);
        let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
        Self {
            subscriber: Subscriber::connect(access, &filters),
            site,
            node: node.clone(),
            epoch: Epoch(Uuid::now_v7()),
            waiting: VecDeque::new(),
            alerts: Vec::new(),
            collector_is_ready: false,
            streams: BTreeMap::new(),
            connections: BTreeSet::new(),
            units_pictures: 0,
            oddities: Oddities::default(),
        }
    }

    /// The next event, in order; none if none comes within that time.
    pub fn next(&mut self, within: Duration) -> Option<Arrival> {
        let deadline = Deadline::after(within);
        while self.waiting.is_empty() {
            for message in self.subscriber.take_within(deadline.remaining()) {
                self.on_message(&message);
            }
            if deadline.has_passed() {
                break;
            }
        }
        self.waiting.pop_front()
    }

    /// The next event that `wanted` accepts; earlier ones are dropped.
    pub fn find(&mut self, within: Duration, wanted: impl Fn(&Arrival) -> bool) -> Option<Arrival> {
        let deadline = Deadline::after(within);
        loop {
            let arrival = self.next(deadline.remaining())?;
            if wanted(&arrival) {
                return Some(arrival);
            }
        }
    }

    /// Drops events until none has come for `quiet`.
    pub fn wait_for_quiet(&mut self, quiet: Duration) {
        while self.next(quiet).is_some() {}
    }

    /// Tells the agent that everything received so far is stored.
    pub fn acknowledge(&mut self) {
        let topic = Topic::Ack { node: self.node.clone(), collector: CollectorName::default() };
        for (stream, received) in &mut self.streams {
            if received.acked == received.newest {
                continue;
            }
            let (collector_epoch, through) = (self.epoch, received.newest);
            let ack = Ack { collector_epoch, stream: *stream, through };
            let payload = codec::encode(&ack).expect("an ack is JSON");
            self.subscriber.publish(&topic.at(&self.site), payload, true);
            received.acked = through;
        }
    }

    /// The alerts that have begun to fire and were not taken yet.
    pub fn take_alerts(&mut self) -> Vec<FiringAlert> {
        std::mem::take(&mut self.alerts)
    }

    /// Waits until a collector says that it has caught up.
    ///
    /// # Panics
    /// When none does within that time.
    #[track_caller]
    pub fn wait_for_collector(&mut self, within: Duration) {
        self.wait_until("a collector that is ready", within, |this| this.collector_is_ready);
    }

    /// Waits until the agent is connected and has sent the picture of all units.
    ///
    /// # Panics
    /// When it does not within that time.
    #[track_caller]
    pub fn wait_for_units(&mut self, within: Duration) {
        self.wait_until("the picture of all units", within, |this| this.units_pictures > 0);
    }

    /// How often the agent has connected.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// What was odd so far.
    pub fn oddities(&self) -> Oddities {
        self.oddities
    }

    #[track_caller]
    fn wait_until(&mut self, what: &str, within: Duration, is_there: impl Fn(&Self) -> bool) {
        let deadline = Deadline::after(within);
        while !is_there(self) {
            assert!(!deadline.has_passed(), "waited {within:?} for {what}");
            for message in self.subscriber.take_within(deadline.remaining()) {
                self.on_message(&message);
            }
        }
    }

    fn on_message(&mut self, message: &Message) {
        match Topic::parse(&message.topic) {
            Ok((_, Topic::Event { node, .. })) if node == self.node => self.on_event(message),
            Ok((_, Topic::NodePresence { node })) if node == self.node => {
                let presence: Option<NodePresence> = codec::decode(&message.payload).ok();
                let online = presence.filter(|it| it.state == PresenceState::Online);
                self.connections.extend(online.map(|presence| presence.epoch));
            }
            Ok((_, Topic::Checkpoint { source, .. })) if source == "units" => {
                self.units_pictures += 1;
            }
            Ok((_, Topic::Alert { .. })) => self.on_alert(message),
            Ok((_, Topic::CollectorPresence { .. })) => {
                let presence: Option<CollectorPresence> = codec::decode(&message.payload).ok();
                self.collector_is_ready =
                    presence.is_some_and(|it| it.ready && it.state == PresenceState::Online);
            }
            _ => {}
        }
    }

    fn on_alert(&mut self, message: &Message) {
        // A retained alert that has ended has no payload.
        let Ok(alert) = codec::decode::<AlertMessage>(&message.payload) else { return };
        if alert.state == AlertState::Firing
            && let Some(unit) = alert.labels.get("unit")
        {
            self.alerts.push(FiringAlert { unit: unit.clone(), arrived: message.arrived });
        }
    }

    fn on_event(&mut self, message: &Message) {
        let Ok(event) = codec::decode_event(&message.payload) else {
            self.oddities.unreadable += 1;
            return;
        };
        let position = event.position;
        let known = self.streams.get(&position.stream);
        let expected = known.map(|received| received.newest.next());
        if expected.is_some_and(|expected| position.sequence < expected) {
            self.oddities.repeated += 1;
            return;
        }
        if let Some(expected) = expected {
            self.oddities.missing += position.sequence.0 - expected.0;
        }
        self.streams.entry(position.stream).or_default().newest = position.sequence;
        self.waiting.push_back(Arrival { event, arrived: message.arrived });
    }
}
