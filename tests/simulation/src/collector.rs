//! A collector: the real ingest and core, on a store that keeps what was committed and no more.
//!
//! The glue does what the collector's owner does: a batch is whatever came, it is committed as a
//! whole or not at all, and only then acked and told.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use fastrand::Rng;
use jiff::Timestamp;
use pvewatch_collector::alerts::Alert;
use pvewatch_collector::core::{Core, Input, Record};
use pvewatch_collector::fleet::{Backlog, Version};
use pvewatch_collector::ingest::{
    Applicable, Arrival, Decoded, DueAck, Ingest, Lack, Outcome, StreamNews, decode,
};
use pvewatch_collector::rules::{RuleSet, Source};
use pvewatch_collector::store::StreamRow;
use pvewatch_protocol::{
    Ack, AlertState, CollectorName, CollectorPresence, Epoch, EventData, NodeName, Position,
    PresenceState, Sequence, Site, StreamId, Topic, codec,
};
use uuid::Uuid;

use crate::broker::{Broker, Client, Delivery, Message};
use crate::node::Now;

const RULES: &str = r#"
[[rule]]
name = "UnitFailed"
scope = "unit"
when = 'active_state == "failed"'
severity = "warning"
summary = "{{ name }} failed"

[[rule]]
name = "UnitLongFailed"
scope = "unit"
when = 'active_state == "failed"'
for = "30s"
severity = "critical"
summary = "{{ name }} is failed for long"
"#;

/// Rules for all collectors, parsed once.
pub fn rules() -> RuleSet {
    RuleSet::load(&[Source { file: "simulation.toml", text: RULES }])
        .unwrap_or_else(|error| unreachable!("good rules: {error}"))
}

/// A row of the log of events: an event, or a range that was declared lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logged {
    /// The node, by its number.
    pub node: usize,
    /// The stream.
    pub stream: StreamId,
    /// The first sequence that it stands for.
    pub from: u64,
    /// Its own.
    pub sequence: u64,
}

/// What is on the collector's disk.
#[derive(Debug, Clone)]
pub struct Durable {
    epoch: Epoch,
    streams: BTreeMap<(NodeName, StreamId), StreamRow>,
    records: BTreeMap<(&'static str, String), Record>,
    /// The log of events, in the order in which they were applied.
    pub log: Vec<Logged>,
    /// Transitions of alerts, in order.
    pub transitions: Vec<String>,
    /// How far the channel has come in them.
    pub told: usize,
}

struct Memory {
    ingest: Ingest,
    core: Core,
    connection: Option<u64>,
    inbox: VecDeque<(Message, Timestamp)>,
    acks: Vec<(NodeName, Ack)>,
}

/// When a crash comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// None does.
    Never,
    /// The commit fails, or the process dies before it.
    BeforeCommit,
    /// The process dies after the commit, before anything was said.
    AfterCommit,
}

/// A collector.
pub struct Collector {
    index: usize,
    site: Site,
    /// Its name.
    pub name: CollectorName,
    /// Its disk.
    pub durable: Durable,
    memory: Option<Memory>,
    rules: RuleSet,
    backup: Option<Durable>,
    /// What the channel was told, with the number of each transition.
    pub channel: Vec<(usize, String)>,
    /// The first transition that the channel is to be told.
    pub channel_from: usize,
    /// Acks that covered more than was durable: each is a broken promise.
    pub false_acks: Vec<String>,
    /// Events that came again.
    pub duplicates: u64,
    /// Whether it was ever set back to a backup.
    pub was_restored: bool,
}

impl Collector {
    /// A collector that is switched off.
    pub fn new(index: usize, name: CollectorName, rules: RuleSet, rng: &mut Rng) -> Self {
        let durable = Durable {
            epoch: Epoch(Uuid::from_u128(rng.u128(..))),
            streams: BTreeMap::new(),
            records: BTreeMap::new(),
            log: Vec::new(),
            transitions: Vec::new(),
            told: 0,
        };
        Self {
            index,
            site: Site::default(),
            name,
            durable,
            memory: None,
            rules,
            backup: None,
            channel: Vec::new(),
            channel_from: 0,
            false_acks: Vec::new(),
            duplicates: 0,
            was_restored: false,
        }
    }

    /// In words, how it is.
    pub fn state(&self) -> &'static str {
        match &self.memory {
            None => "down",
            Some(memory) if memory.connection.is_none() => "deaf",
            Some(memory) if memory.inbox.is_empty() => "idle",
            Some(_) => "working",
        }
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.memory.is_some()
    }

    /// Whether it is connected.
    pub fn is_connected(&self) -> bool {
        self.memory.as_ref().is_some_and(|memory| memory.connection.is_some())
    }

    /// Whether nothing waits in it.
    pub fn is_settled(&self) -> bool {
        self.memory.as_ref().is_some_and(|memory| {
            memory.connection.is_some() && memory.inbox.is_empty() && memory.acks.is_empty()
        }) && self.durable.told == self.durable.transitions.len()
    }

    /// Starts from what is on its disk.
    pub fn start(&mut self, now: Now) {
        let ingest = Ingest::restore(self.durable.streams.values().cloned().collect());
        let records = self.durable.records.values().cloned();
        let core = Core::restore(self.site.clone(), self.rules.clone(), now.wall, records);
        self.memory = Some(Memory {
            ingest,
            core,
            connection: None,
            inbox: VecDeque::new(),
            acks: Vec::new(),
        });
    }

    /// The process is gone.
    pub fn kill(&mut self, broker: &mut Broker, rng: &mut Rng) {
        if let Some(memory) = self.memory.take()
            && let Some(connection) = memory.connection
        {
            broker.disconnect(connection, rng);
        }
    }

    /// Keeps a copy of the disk.
    pub fn back_up(&mut self) {
        self.backup = Some(self.durable.clone());
    }

    /// The disk is as it was when it was copied; a copy made by the book has a new epoch. Returns
    /// whether there was one.
    pub fn restore(&mut self, broker: &mut Broker, rng: &mut Rng) -> bool {
        let Some(backup) = self.backup.take() else { return false };
        self.kill(broker, rng);
        self.durable = backup;
        if rng.bool() {
            self.durable.epoch = Epoch(Uuid::from_u128(rng.u128(..)));
        }
        // What was told after the copy is told again, under numbers that come again.
        self.channel.clear();
        self.channel_from = self.durable.told;
        self.was_restored = true;
        true
    }

    /// Connects, if the broker takes it.
    pub fn connect(&mut self, now: Now, broker: &mut Broker) -> bool {
        let will = self.presence(PresenceState::Offline, now.wall);
        let birth = self.presence(PresenceState::Online, now.wall);
        let Some(memory) = &mut self.memory else { return false };
        if memory.connection.is_some() {
            return false;
        }
        let filters = ["event/+", "sample", "checkpoint/+/+", "presence"]
            .map(|leaf| format!("pvewatch/v1/{}/node/+/{leaf}", self.site));
        let client = Client::Collector(self.index);
        let Some(connection) = broker.connect(client, will, filters.to_vec()) else {
            return false;
        };
        memory.connection = Some(connection);
        // Agents send again what they have no ack for; by now these are old.
        memory.acks.clear();
        memory.core.listen(now.wall);
        broker.publish(connection, birth);
        true
    }

    fn presence(&self, state: PresenceState, at: Timestamp) -> Message {
        let presence = CollectorPresence {
            state,
            epoch: self.durable.epoch,
            ready: state == PresenceState::Online,
            version: "simulation".to_owned(),
            at,
        };
        let topic = Topic::CollectorPresence { collector: self.name.clone() }.at(&self.site);
        let payload = codec::encode(&presence).unwrap_or_default().into();
        Message { topic, payload, retain: true }
    }

    /// Its connection is gone without its doing.
    pub fn notice_loss(&mut self, broker: &Broker) {
        if let Some(memory) = &mut self.memory
            && let Some(connection) = memory.connection
            && !broker.is_connected(connection)
        {
            memory.connection = None;
        }
    }

    /// Ends its connection.
    pub fn disconnect(&mut self, broker: &mut Broker, rng: &mut Rng) {
        if let Some(memory) = &mut self.memory
            && let Some(connection) = memory.connection.take()
        {
            broker.disconnect(connection, rng);
        }
    }

    /// Something came.
    pub fn deliver(&mut self, now: Now, delivery: Delivery) {
        if let (Some(memory), Delivery::Message(message)) = (&mut self.memory, delivery) {
            memory.inbox.push_back((message, now.wall));
        }
    }

    /// Takes a part of what came, commits it, and acks it. A crash ends the process.
    pub fn work(&mut self, now: Now, crash: Crash, broker: &mut Broker, rng: &mut Rng) {
        let Some(memory) = &mut self.memory else { return };
        let count = rng.usize(0..=memory.inbox.len());
        let mut batch = Batch::default();
        let taken: Vec<_> = memory.inbox.drain(..count).collect();
        for (message, received_at) in taken {
            memory.core_takes(now, message, received_at, &mut batch, &mut self.duplicates);
        }
        if memory.core.next_deadline().is_some_and(|due| due <= now.wall) {
            batch.tell(&mut memory.core, now, Input::Deadline);
        }
        let (streams, forgotten) = memory.ingest.take_changes();
        let records = memory.core.take_changes();
        let acks = memory.ingest.take_acks();
        if crash == Crash::BeforeCommit {
            return self.kill(broker, rng);
        }
        let durable = &mut self.durable;
        for row in streams {
            durable.streams.insert((row.node.clone(), row.stream), row);
        }
        for key in forgotten {
            durable.streams.remove(&key);
        }
        for record in records {
            let key = (record.kind.as_str(), record.key.clone());
            match record.body {
                Some(_) => durable.records.insert(key, record),
                None => durable.records.remove(&key),
            };
        }
        durable.log.extend(batch.log);
        durable.transitions.extend(batch.transitions);
        if crash == Crash::AfterCommit {
            return self.kill(broker, rng);
        }
        let collector_epoch = durable.epoch;
        for DueAck { node, position, .. } in acks {
            let Position { stream, sequence: through } = position;
            let known = durable.streams.get(&(node.clone(), stream)).map(|row| row.through);
            if known.unwrap_or_default() < through {
                self.false_acks.push(format!("{node} {stream} {through}, durable {known:?}"));
            }
            memory.acks.push((node, Ack { collector_epoch, stream, through }));
        }
        let Some(connection) = memory.connection else {
            memory.acks.clear();
            return;
        };
        for (node, ack) in memory.acks.drain(..) {
            let topic = Topic::Ack { node, collector: self.name.clone() }.at(&self.site);
            let payload: Bytes = codec::encode(&ack).unwrap_or_default().into();
            broker.publish(connection, Message { topic, payload, retain: true });
        }
    }

    /// The channel takes the next transition; its position becomes durable, or is lost.
    pub fn tell(&mut self, position_is_lost: bool) {
        if self.memory.is_none() {
            return;
        }
        let number = self.durable.told;
        if let Some(transition) = self.durable.transitions.get(number) {
            self.channel.push((number, transition.clone()));
            if !position_is_lost {
                self.durable.told += 1;
            }
        }
    }

    /// When time alone brings something next.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.memory.as_ref()?.core.next_deadline()
    }

    /// Whether it says that a unit is failed; none if it does not know the unit.
    pub fn says_failed(&mut self, node: &NodeName, unit: usize) -> Option<bool> {
        let snapshot = self.memory.as_mut()?.core.snapshot();
        let id = format!("unit-{unit}.service");
        let found = snapshot.units().find(|it| it.node == *node && *it.id == *id)?;
        Some(found.state.is_failed())
    }

    /// Whether it says that a node is there.
    pub fn says_online(&mut self, node: &NodeName) -> bool {
        let Some(memory) = &mut self.memory else { return false };
        let snapshot = memory.core.snapshot();
        let view = snapshot.nodes.iter().find(|view| view.node.name == *node);
        view.is_some_and(|view| view.node.silent.is_none())
    }

    /// The alerts that fire, as they would be told. Where clocks jumped, beginnings are left out,
    /// and with them the alerts that wait for a time.
    pub fn firing(&mut self, with_times: bool) -> Vec<String> {
        let Some(memory) = &mut self.memory else { return Vec::new() };
        let snapshot = memory.core.snapshot();
        let fires = snapshot
            .alerts
            .iter()
            .filter(|alert| alert.state() == AlertState::Firing)
            .filter(|alert| with_times || *alert.rule == *"UnitFailed");
        let said = |alert: &std::sync::Arc<Alert>| {
            let since = if with_times { alert.starts_at.to_string() } else { String::new() };
            format!("{} {} {since}", alert.fingerprint, alert.summary())
        };
        fires.map(said).collect()
    }
}

#[derive(Default)]
struct Batch {
    log: Vec<Logged>,
    transitions: Vec<String>,
}

impl Batch {
    fn tell(&mut self, core: &mut Core, now: Now, input: Input) {
        for transition in core.handle(now.wall, input) {
            self.transitions.push(format!(
                "{} {:?} -> {:?} at {}",
                transition.fingerprint, transition.from, transition.to, transition.at
            ));
        }
    }
}

impl Memory {
    fn core_takes(
        &mut self,
        now: Now,
        message: Message,
        received_at: Timestamp,
        batch: &mut Batch,
        duplicates: &mut u64,
    ) {
        let site = Site::default();
        let Ok(decoded) = decode(&site, &message.topic, &message.payload) else { return };
        match decoded {
            Decoded::Event { event, .. } => {
                let payload = message.payload;
                let arrival = Arrival { event, payload, received_at };
                let mut applicable = Vec::new();
                let outcome = self.ingest.event(arrival, &mut applicable);
                *duplicates += u64::from(outcome == Outcome::Duplicate);
                self.apply(now, applicable, batch);
            }
            Decoded::Checkpoint { node, checkpoint } => {
                let as_of = checkpoint.as_of;
                let ordinal = self.ingest.checkpoint(&node, as_of, message.retain, received_at);
                let Some(stream_ordinal) = ordinal else { return };
                let version = Version { stream_ordinal, sequence: as_of.sequence.0 };
                let checkpoint = *checkpoint;
                batch.tell(
                    &mut self.core,
                    now,
                    Input::Checkpoint { node, checkpoint, version, received_at },
                );
            }
            Decoded::Sample { node, sample } => {
                let mut applicable = Vec::new();
                let as_of = sample.as_of;
                let Lack { events, since } =
                    self.ingest.sample(&node, as_of, received_at, &mut applicable);
                self.apply(now, applicable, batch);
                let (sample, backlog) = (*sample, Backlog { events, since });
                batch.tell(
                    &mut self.core,
                    now,
                    Input::Sample { node, sample, backlog, received_at },
                );
            }
            Decoded::NodePresence { node, presence } => {
                batch.tell(
                    &mut self.core,
                    now,
                    Input::NodePresence { node, presence, received_at },
                );
            }
            _ => {}
        }
    }

    fn apply(&mut self, now: Now, applicable: Vec<Applicable>, batch: &mut Batch) {
        for Applicable { arrival, ordinal } in applicable {
            let Arrival { event, received_at, .. } = arrival;
            let Position { stream, sequence: Sequence(sequence) } = event.position;
            let from = match &event.data {
                EventData::OutboxDropped(dropped) => dropped.from.0,
                _ => sequence,
            };
            batch.log.push(Logged { node: number(&event.node), stream, from, sequence });
            let version = Version { stream_ordinal: ordinal, sequence };
            let event = *event;
            batch.tell(&mut self.core, now, Input::Event { event, version, received_at });
        }
        for news in self.ingest.take_news() {
            if let StreamNews::Lost { node, stream, from, through } = news {
                let row = Logged { node: number(&node), stream, from: from.0, sequence: through.0 };
                batch.log.push(row);
            }
        }
    }
}

fn number(node: &NodeName) -> usize {
    node.as_str().trim_start_matches("pve").parse().unwrap_or(usize::MAX)
}
