//! A node with a disk, units that fail and recover, and an agent that comes and goes.
//!
//! The agent is the real outbox on a real spool; the glue around it does what the agent's runner
//! does: it connects, publishes what is due, hears acks, sends pictures, syncs in groups.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fastrand::Rng;
use jiff::Timestamp;
use pvewatch_agent::outbox::spool::{Limits, Owner, Spool, SyncJob, SyncTicket};
use pvewatch_agent::outbox::{AckOutcome, Outbox};
use pvewatch_agent::source::Fact;
use pvewatch_protocol::event::{UnitChange, UnitChanged, UnitState};
use pvewatch_protocol::{
    Ack, Checkpoint, CheckpointContent, CollectorName, CollectorPresence, Epoch, EventData,
    NodeName, NodePresence, Position, PresenceState, Sequence, Site, StopReason, StreamId, Topic,
    codec,
};
use uuid::Uuid;

use crate::broker::{Broker, Client, Delivery, Message};
use crate::disk::{Disk, Image};

/// Units of a node.
pub const UNITS: usize = 6;

/// The clocks, as the world has them.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// The time that only goes on.
    pub instant: Instant,
    /// The time of day.
    pub wall: Timestamp,
}

/// An agent that runs.
struct Agent {
    outbox: Outbox,
    sync: Option<(SyncTicket, SyncJob)>,
    connection: Option<(u64, Epoch)>,
    seen: BTreeMap<CollectorName, CollectorPresence>,
    /// Whether a picture is wanted.
    wants_picture: bool,
    next_sample: Instant,
    next_picture: Instant,
}

/// From one sample to the next.
const SAMPLE_EVERY: Duration = Duration::from_secs(10);

/// From one picture to the next, whatever happens.
pub const PICTURE_EVERY: Duration = Duration::from_mins(15);

/// What a node was at one moment, for a rollback.
pub struct Saved {
    disk: Image,
    units: [bool; UNITS],
    changed_at: [Timestamp; UNITS],
}

/// A node.
pub struct Node {
    index: usize,
    site: Site,
    /// Its name.
    pub name: NodeName,
    /// Its disk.
    pub disk: Disk,
    agent: Option<Agent>,
    collectors: Vec<CollectorName>,
    limits: Limits,
    /// Whether each unit is failed: the truth.
    pub units: [bool; UNITS],
    changed_at: [Timestamp; UNITS],
    /// Events that were made, by place.
    pub made: BTreeSet<(StreamId, u64)>,
    /// Events that the disk had when its power was lost, or that a running agent has.
    pub committed: BTreeSet<(StreamId, u64)>,
    saved: Option<Saved>,
    streams: u64,
}

impl Node {
    /// A node that is switched off.
    pub fn new(index: usize, collectors: &[CollectorName], limits: Limits) -> Self {
        let name = format!("pve{index}").parse();
        Self {
            index,
            site: Site::default(),
            name: name.unwrap_or_else(|error| unreachable!("a good name: {error}")),
            disk: Disk::default(),
            agent: None,
            collectors: collectors.to_vec(),
            limits,
            units: [false; UNITS],
            changed_at: [Timestamp::UNIX_EPOCH; UNITS],
            made: BTreeSet::new(),
            committed: BTreeSet::new(),
            saved: None,
            streams: 0,
        }
    }

    /// In words, how the agent is, for the table of what met what.
    pub fn state(&self) -> &'static str {
        match &self.agent {
            None => "agent down",
            Some(agent) if agent.outbox.trouble().is_some() => "disk in trouble",
            Some(agent) if agent.connection.is_none() && agent.outbox.unacked_events() > 0 => {
                "offline with events"
            }
            Some(agent) if agent.connection.is_none() => "offline",
            Some(agent) if agent.outbox.unacked_events() > 16 => "backlog",
            Some(agent) if agent.outbox.unacked_events() > 0 => "sending",
            Some(_) => "idle",
        }
    }

    /// Whether the agent runs.
    pub fn is_running(&self) -> bool {
        self.agent.is_some()
    }

    /// Whether the agent is connected.
    pub fn is_connected(&self) -> bool {
        self.agent.as_ref().is_some_and(|agent| agent.connection.is_some())
    }

    /// What keeps the agent from being done, in words.
    pub fn unfinished(&self) -> String {
        let Some(agent) = &self.agent else { return format!("{}: not running", self.name) };
        format!(
            "{}: {} events not acked, trouble {:?}, connected {}",
            self.name,
            agent.outbox.unacked_events(),
            agent.outbox.trouble(),
            agent.connection.is_some()
        )
    }

    /// Whether there is nothing left to do for the agent.
    pub fn is_settled(&self) -> bool {
        self.agent.as_ref().is_some_and(|agent| {
            agent.connection.is_some()
                && agent.outbox.unacked_events() == 0
                && agent.outbox.trouble().is_none()
        })
    }

    /// Events sent again, and dropped, by this agent start.
    pub fn counts(&self) -> (u64, u64) {
        let outbox = self.agent.as_ref().map(|agent| &agent.outbox);
        outbox.map_or((0, 0), |outbox| (outbox.resent_events(), outbox.dropped_events()))
    }

    /// Starts the agent: a new stream, behind what the disk holds.
    pub fn start(&mut self, now: Now) {
        self.streams += 1;
        let owner = Owner { site: self.site.clone(), node: self.name.clone() };
        let stream = self.stream_id(now);
        let disk = Box::new(self.disk.clone());
        let (spool, opened) = Spool::open(disk, owner.clone(), self.limits, stream, now.instant);
        let outbox = Outbox::new(owner, &self.collectors, spool, opened);
        let seen = BTreeMap::new();
        self.agent = Some(Agent {
            outbox,
            sync: None,
            connection: None,
            seen,
            wants_picture: false,
            next_sample: now.instant,
            next_picture: now.instant + PICTURE_EVERY,
        });
        self.make(now, 0, UnitChange::Started);
    }

    /// An id like a UUIDv7, but from the world's own clock and count.
    fn stream_id(&self, now: Now) -> StreamId {
        let millis = u128::from(now.wall.as_millisecond().unsigned_abs());
        let count = u128::from(self.streams) << 8 | self.index as u128;
        StreamId(Uuid::from_u128(millis << 80 | 0x7 << 76 | 0x2 << 62 | count))
    }

    /// The agent is killed; the disk keeps what was written.
    pub fn kill(&mut self, broker: &mut Broker, rng: &mut Rng) {
        if let Some(agent) = self.agent.take()
            && let Some((connection, _)) = agent.connection
        {
            broker.disconnect(connection, rng);
        }
        self.note_committed();
    }

    /// The power is lost.
    pub fn lose_power(&mut self, broker: &mut Broker, rng: &mut Rng) {
        self.kill(broker, rng);
        self.disk.lose_power(rng);
    }

    /// Keeps a snapshot of the machine's disk.
    pub fn save(&mut self) {
        if self.is_running() {
            self.note_committed();
            let (units, changed_at) = (self.units, self.changed_at);
            self.saved = Some(Saved { disk: self.disk.image(), units, changed_at });
        }
    }

    /// The machine is set back to its snapshot: what came after never happened to it. Returns
    /// whether there was one.
    pub fn roll_back(&mut self, broker: &mut Broker, rng: &mut Rng) -> bool {
        let Some(saved) = self.saved.take() else { return false };
        self.kill(broker, rng);
        self.disk.restore(&saved.disk);
        self.disk.lose_power(rng);
        self.units = saved.units;
        self.changed_at = saved.changed_at;
        // What the snapshot does not have is no longer this node's to deliver.
        self.committed.clear();
        self.note_committed();
        true
    }

    /// What the disk would have after a loss of power is committed from now on.
    pub fn note_committed(&mut self) {
        let (committed, made) = (&mut self.committed, &self.made);
        self.disk.durable_ids(|id| {
            let mut parts = id.split('/').skip(1);
            let stream = parts.next().and_then(|stream| stream.parse().ok());
            let sequence = parts.next().and_then(|sequence| sequence.parse().ok());
            if let (Some(stream), Some(sequence)) = (stream, sequence)
                && made.contains(&(StreamId(stream), sequence))
            {
                committed.insert((StreamId(stream), sequence));
            }
        });
    }

    /// Everything that the running agent took in is to be delivered.
    pub fn commit_all_of_this_start(&mut self) {
        if let Some(agent) = &self.agent {
            let Position { stream, sequence } = agent.outbox.position();
            let of_stream = self.made.range((stream, 0)..=(stream, sequence.0));
            self.committed.extend(of_stream);
        }
    }

    /// A unit fails or recovers, and the agent learns of it if it runs.
    pub fn change_a_unit(&mut self, now: Now, rng: &mut Rng) {
        let unit = rng.usize(..UNITS);
        self.units[unit] = !self.units[unit];
        self.changed_at[unit] = now.wall;
        let change = if self.units[unit] { UnitChange::Failed } else { UnitChange::Recovered };
        self.make(now, unit, change);
    }

    fn make(&mut self, now: Now, unit: usize, change: UnitChange) {
        let state = self.unit_state(unit);
        let Some(agent) = &mut self.agent else { return };
        let data = EventData::UnitChanged(Box::new(UnitChanged { change, state }));
        let fact = Fact { time: now.wall, recorded_time: now.wall, data };
        let dropped = agent.outbox.append(now.instant, fact).unwrap_or_default();
        agent.wants_picture |= dropped > 0;
        self.made.insert(place(&agent.outbox));
    }

    fn unit_state(&self, unit: usize) -> UnitState {
        let failed = self.units[unit];
        let word = |is: &str, is_not: &str| if failed { is } else { is_not }.to_owned();
        UnitState {
            unit: format!("unit-{unit}.service"),
            load_state: "loaded".to_owned(),
            active_state: word("failed", "active"),
            sub_state: word("failed", "running"),
            result: Some(word("exit-code", "success")),
            exit: None,
            restarts: 0,
            will_restart: false,
            invocation_id: None,
            changed_at: Some(self.changed_at[unit]),
            crash_loop: None,
        }
    }

    /// Connects, if the broker takes it.
    pub fn connect(&mut self, now: Now, broker: &mut Broker, rng: &mut Rng) -> bool {
        let epoch = Epoch(Uuid::from_u128(
            u128::from(now.wall.as_millisecond().unsigned_abs()) << 80
                | 0x7 << 76
                | 0x2 << 62
                | u128::from(rng.u32(..)),
        ));
        let will = self.presence(epoch, Some(StopReason::Lost), now.wall);
        let topics = |leaf: &str| format!("pvewatch/v1/{}/{leaf}", self.site);
        let filters =
            vec![topics(&format!("node/{}/ack/+", self.name)), topics("collector/+/presence")];
        let Some(agent) = &mut self.agent else { return false };
        if agent.connection.is_some() {
            return false;
        }
        let Some(connection) = broker.connect(Client::Node(self.index), will, filters) else {
            return false;
        };
        agent.connection = Some((connection, epoch));
        agent.seen.clear();
        agent.outbox.on_connected(now.instant);
        let birth = self.presence(epoch, None, now.wall);
        broker.publish(connection, birth);
        self.send_picture(now, broker);
        true
    }

    fn presence(&self, epoch: Epoch, reason: Option<StopReason>, at: Timestamp) -> Message {
        let presence = NodePresence {
            state: if reason.is_some() { PresenceState::Offline } else { PresenceState::Online },
            epoch,
            reason,
            boot_id: "boot".to_owned(),
            cluster: None,
            at,
        };
        let topic = Topic::NodePresence { node: self.name.clone() }.at(&self.site);
        let payload = codec::encode(&presence).unwrap_or_default().into();
        Message { topic, payload, retain: true }
    }

    fn send_picture(&mut self, now: Now, broker: &mut Broker) {
        let units = (0..UNITS).map(|unit| self.unit_state(unit)).collect();
        let Some(agent) = &self.agent else { return };
        let Some((connection, _)) = agent.connection else { return };
        let checkpoint = Checkpoint {
            as_of: agent.outbox.position(),
            part: 1,
            of: 1,
            at: now.wall,
            content: CheckpointContent::Units(units),
        };
        let (node, source) = (self.name.clone(), "units".to_owned());
        let topic = Topic::Checkpoint { node, source, part: 1 }.at(&self.site);
        let payload = codec::encode(&checkpoint).unwrap_or_default().into();
        broker.publish(connection, Message { topic, payload, retain: true });
    }

    fn send_sample(&mut self, now: Now, broker: &mut Broker) {
        let Some(agent) = &mut self.agent else { return };
        let Some((connection, epoch)) = agent.connection else { return };
        if agent.next_sample > now.instant {
            return;
        }
        agent.next_sample = now.instant + SAMPLE_EVERY;
        let sample = serde_json::json!({
            "at": now.wall, "epoch": epoch, "as_of": agent.outbox.position(),
            "interval_seconds": 10.0, "uptime_seconds": 100.0,
            "load": { "one": 0.0, "five": 0.0, "fifteen": 0.0 },
            "cpu": { "count": 2 },
            "memory": { "total_bytes": 1, "available_bytes": 1 },
            "swap": { "total_bytes": 0, "free_bytes": 0 },
            "agent": {
                "rss_bytes": 1, "outbox_events": agent.outbox.unacked_events(),
                "outbox_bytes": 0, "dropped_events": 0, "resent_events": 0,
            },
        });
        let topic = Topic::Sample { node: self.name.clone() }.at(&self.site);
        let payload = codec::encode(&sample).unwrap_or_default().into();
        broker.publish(connection, Message { topic, payload, retain: false });
    }

    /// Its connection is gone without its doing.
    pub fn notice_loss(&mut self, broker: &Broker) {
        if let Some(agent) = &mut self.agent
            && let Some((connection, _)) = agent.connection
            && !broker.is_connected(connection)
        {
            agent.connection = None;
        }
    }

    /// Ends its connection.
    pub fn disconnect(&mut self, broker: &mut Broker, rng: &mut Rng) {
        if let Some(agent) = &mut self.agent
            && let Some((connection, _)) = agent.connection.take()
        {
            broker.disconnect(connection, rng);
        }
    }

    /// Publishes what is due, and does what time brings. Returns how many events went out.
    pub fn work(&mut self, now: Now, broker: &mut Broker) -> usize {
        let Some(agent) = &mut self.agent else { return 0 };
        if agent.outbox.next_deadline().is_some_and(|due| due <= now.instant) {
            agent.wants_picture |= agent.outbox.on_deadline(now.instant);
        }
        if agent.next_picture <= now.instant {
            agent.next_picture = now.instant + PICTURE_EVERY;
            agent.wants_picture = true;
        }
        let mut sent = 0;
        let Some((connection, _)) = agent.connection else { return 0 };
        while let Some(outgoing) = agent.outbox.next_to_publish(now.instant, now.wall) {
            let (node, kind) = (self.name.clone(), outgoing.kind);
            let topic = Topic::Event { node, kind }.at(&self.site);
            broker.publish(connection, Message { topic, payload: outgoing.payload, retain: false });
            sent += 1;
        }
        if std::mem::take(&mut agent.wants_picture) {
            self.send_picture(now, broker);
        }
        self.send_sample(now, broker);
        sent
    }

    /// Begins to make durable what is not, or ends that.
    pub fn sync(&mut self, now: Now) {
        let Some(agent) = &mut self.agent else { return };
        match agent.sync.take() {
            Some((ticket, job)) => agent.outbox.on_synced(now.instant, &ticket, job()),
            None => agent.sync = agent.outbox.begin_sync(now.instant),
        }
    }

    /// When the agent wants to be called, if ever.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.agent.as_ref()?.outbox.next_deadline()
    }

    /// Something came.
    pub fn deliver(&mut self, now: Now, delivery: Delivery) {
        let Some(agent) = &mut self.agent else { return };
        match delivery {
            Delivery::PubAck { is_event: true } => agent.outbox.on_puback(),
            Delivery::PubAck { is_event: false } | Delivery::RetainedRead => {}
            Delivery::Message(message) => match Topic::parse(&message.topic) {
                Ok((_, Topic::Ack { collector, .. })) => {
                    if let Ok(ack) = codec::decode::<Ack>(&message.payload) {
                        self.on_ack(now, &collector, ack, message.retain);
                    }
                }
                Ok((_, Topic::CollectorPresence { collector })) => {
                    if let Ok(presence) = codec::decode(&message.payload) {
                        self.on_collector(now, collector, presence, message.retain);
                    }
                }
                _ => {}
            },
        }
    }

    fn on_ack(&mut self, now: Now, collector: &CollectorName, ack: Ack, retained: bool) {
        let Some(agent) = &mut self.agent else { return };
        match agent.outbox.on_ack(now.instant, now.wall, collector, ack, retained) {
            AckOutcome::NewEpoch => agent.wants_picture = true,
            AckOutcome::BeyondSent => {
                self.streams += 1;
                let before = agent.outbox.position();
                let stream = self.stream_id(now);
                if let Some(agent) = &mut self.agent {
                    agent.outbox.begin_stream(now.instant, stream);
                    let last = agent.outbox.position().sequence;
                    // What was carried over goes by its new name; the old one is nobody's.
                    self.made.extend((1..=last.0).map(|number| (stream, number)));
                    self.made.retain(|(of, number)| *of != before.stream || *number == 0);
                    self.committed.retain(|(of, _)| *of != before.stream);
                    agent.wants_picture = true;
                }
            }
            _ => {}
        }
    }

    fn on_collector(
        &mut self,
        now: Now,
        name: CollectorName,
        presence: CollectorPresence,
        retained: bool,
    ) {
        let Some(agent) = &mut self.agent else { return };
        let is_online = presence.state == PresenceState::Online;
        agent.outbox.on_collector_presence(&name, is_online);
        let before = agent.seen.insert(name.clone(), presence.clone());
        let was_there = before.is_some_and(|before| {
            before.state == PresenceState::Online
                && before.epoch == presence.epoch
                && (presence.ready || !before.ready)
        });
        if is_online && !was_there && !retained {
            agent.outbox.on_collector_online(now.instant, &name);
        }
    }
}

fn place(outbox: &Outbox) -> (StreamId, u64) {
    let Position { stream, sequence: Sequence(sequence) } = outbox.position();
    (stream, sequence)
}
