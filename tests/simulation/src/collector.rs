//! A collector: the real ingest and core, on a store that keeps what was committed and no more.
//!
//! The glue does what the collector's owner does: a batch is whatever came, it is committed as a
//! whole or not at all, and only then acked and told.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use pvewatch_collector::core::{Core, Input};
use pvewatch_collector::ingest::{DueAck, Ingest};
use pvewatch_collector::rules::{RuleSet, Source};
use pvewatch_protocol::{
    Ack, AlertState, CollectorName, CollectorPresence, Epoch, NodeName, Position, PresenceState,
    Site, Topic, codec,
};
use uuid::Uuid;

use crate::broker::{Broker, Client, Delivery, Message};
use crate::durable::Durable;
use crate::intake::{Batch, Seen};
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

pub(crate) struct Memory {
    pub ingest: Ingest,
    pub core: Core,
    /// The newest connection of each node that was heard of.
    pub online: BTreeMap<NodeName, Epoch>,
    connection: Option<u64>,
    inbox: VecDeque<(Message, Timestamp)>,
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
    /// What came.
    pub seen: Seen,
    /// Whether it was ever set back to a backup.
    pub was_restored: bool,
}

impl Collector {
    /// A collector that is switched off.
    pub fn new(index: usize, name: CollectorName, rules: RuleSet, rng: &mut Rng) -> Self {
        let durable = Durable::new(rng);
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
            seen: Seen::default(),
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
        self.memory
            .as_ref()
            .is_some_and(|memory| memory.connection.is_some() && memory.inbox.is_empty())
            && self.durable.told == self.durable.transitions.len()
    }

    /// Starts from what is on its disk.
    pub fn start(&mut self, now: Now) {
        let ingest = Ingest::restore(self.durable.streams.values().cloned().collect());
        let records = self.durable.records.values().cloned();
        let core = Core::restore(self.site.clone(), self.rules.clone(), now.wall, records);
        let (online, inbox) = (BTreeMap::new(), VecDeque::new());
        self.memory = Some(Memory { ingest, core, online, connection: None, inbox });
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
        let will = self.presence(PresenceState::Offline, false, now.wall);
        let birth = self.presence(PresenceState::Online, false, now.wall);
        let ready = self.presence(PresenceState::Online, true, now.wall);
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
        memory.core.listen(now.wall);
        broker.publish(connection, birth);
        broker.publish(connection, ready);
        true
    }

    fn presence(&self, state: PresenceState, ready: bool, at: Timestamp) -> Message {
        let presence = CollectorPresence {
            state,
            epoch: self.durable.epoch,
            ready,
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

    /// The wall clock was set, which a collector notices by the clock that only goes on.
    pub fn clock_jumped(&mut self, by: SignedDuration) {
        if let Some(memory) = &mut self.memory {
            memory.core.clock_jumped(by);
            memory.ingest.clock_jumped(by);
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
            memory.core_takes(now, message, received_at, &mut batch, &mut self.seen);
        }
        memory.show_what_waited(now, &mut batch);
        if memory.core.next_deadline().is_some_and(|due| due <= now.wall) {
            batch.tell(&mut memory.core, now, Input::Deadline);
        }
        let streams = memory.ingest.take_changes();
        let records = memory.core.take_changes();
        let acks = memory.ingest.take_acks();
        if crash == Crash::BeforeCommit {
            return self.kill(broker, rng);
        }
        self.durable.commit(batch, streams, records);
        if crash == Crash::AfterCommit {
            return self.kill(broker, rng);
        }
        self.say(acks, broker);
    }

    /// Sends acks, if somebody is there to take them. None may cover more than is on the disk.
    fn say(&mut self, acks: Vec<DueAck>, broker: &mut Broker) {
        let connection = self.memory.as_ref().and_then(|memory| memory.connection);
        for DueAck { node, position, .. } in acks {
            let Position { stream, sequence: through } = position;
            let known = self.durable.streams.get(&(node.clone(), stream)).map(|row| row.through);
            if known.unwrap_or_default() < through {
                self.false_acks.push(format!("{node} {stream} {through}, durable {known:?}"));
            }
            let ack = Ack { collector_epoch: self.durable.epoch, stream, through };
            let topic = Topic::Ack { node, collector: self.name.clone() }.at(&self.site);
            let payload: Bytes = codec::encode(&ack).unwrap_or_default().into();
            if let Some(connection) = connection {
                broker.publish(connection, Message { topic, payload, retain: true });
            }
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
        let memory = self.memory.as_ref()?;
        [memory.core.next_deadline(), memory.ingest.next_deadline()].into_iter().flatten().min()
    }

    /// Whether it says that a unit is failed; none if it does not know the unit.
    pub fn says_failed(&mut self, node: &NodeName, unit: usize) -> Option<(bool, String)> {
        let snapshot = self.memory.as_mut()?.core.snapshot();
        let id = format!("unit-{unit}.service");
        let found = snapshot.units().find(|it| it.node == *node && *it.id == *id)?;
        Some((
            found.state.is_failed(),
            format!("by {:?}, {}", found.position, found.state.active_state),
        ))
    }

    /// Why it says that a node is silent, if it does.
    pub fn says_silent(&mut self, node: &NodeName) -> Option<String> {
        let snapshot = self.memory.as_mut()?.core.snapshot();
        let node = &snapshot.nodes.iter().find(|view| view.node.name == *node)?.node;
        let since = node.silent?;
        Some(format!("since {since:?}, {:?}, heard {:?}", node.presence, node.last_seen))
    }

    /// The alerts that fire; with when they began, if that is asked. Where clocks jump, alerts
    /// that wait for a time are left out.
    pub fn firing(&mut self, is_steady: bool, is_dated: bool) -> Vec<String> {
        let Some(memory) = &mut self.memory else { return Vec::new() };
        let snapshot = memory.core.snapshot();
        let alerts = snapshot.alerts.iter();
        let alerts = alerts.filter(|alert| alert.state() == AlertState::Firing);
        alerts
            .filter(|alert| is_steady || *alert.rule == *"UnitFailed")
            .map(|alert| {
                let since = is_dated.then_some(alert.starts_at);
                format!("{} {} since {since:?}", alert.fingerprint, alert.summary())
            })
            .collect()
    }
}
