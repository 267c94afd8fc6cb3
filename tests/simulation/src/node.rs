//! A node with a disk, units that fail and recover, and an agent that comes and goes.
//!
//! The agent is the real outbox on a real spool; the glue around it does what the agent's runner
//! does: it connects, publishes what is due, hears acks, sends pictures, syncs in groups.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use pvewatch_agent::outbox::Outbox;
use pvewatch_agent::outbox::spool::{Limits, Owner, Spool, SyncJob, SyncTicket};
use pvewatch_agent::source::Fact;
use pvewatch_protocol::event::{UnitChange, UnitChanged, UnitState};
use pvewatch_protocol::{
    CollectorName, Epoch, EventData, NodeName, Position, Sequence, Site, StreamId,
};
use uuid::Uuid;

use crate::backups::{Backups, Run};
use crate::broker::Broker;
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

impl Now {
    /// The same moment by a wall clock that is off.
    pub fn by(self, offset: SignedDuration) -> Self {
        Self { wall: self.wall + offset, ..self }
    }
}

/// An agent that runs.
pub(crate) struct Agent {
    pub outbox: Outbox,
    pub sync: Option<(SyncTicket, SyncJob)>,
    pub connection: Option<(u64, Epoch)>,
    /// Whether a picture is wanted.
    pub wants_picture: bool,
    pub next_sample: Instant,
    pub next_picture: Instant,
}

/// From one picture to the next, whatever happens.
pub const PICTURE_EVERY: Duration = Duration::from_mins(15);

/// What an event told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    /// When, by the node's own clock.
    pub at: Timestamp,
    pub unit: usize,
    pub failed: bool,
}

/// What a node was at one moment, for a rollback.
pub struct Saved {
    disk: Image,
    units: [bool; UNITS],
    changed_at: [Timestamp; UNITS],
    backups: Backups,
}

/// Its agent does not run.
pub const DOWN: &str = "down";

/// Its agent has no connection: it has nothing to send, or it has.
pub const UNCONNECTED: [&str; 3] = [DOWN, "cut off, idle", "cut off, events"];

/// Everything that an agent can be, for the table of what met what.
pub const STATES: [&str; 7] =
    [DOWN, UNCONNECTED[1], UNCONNECTED[2], "disk in trouble", "backlog", "sending", "idle"];

/// A node.
pub struct Node {
    pub(crate) index: usize,
    pub(crate) site: Site,
    /// Its name.
    pub name: NodeName,
    /// Its disk.
    pub disk: Disk,
    pub(crate) agent: Option<Agent>,
    collectors: Vec<CollectorName>,
    limits: Limits,
    /// Whether each unit is failed: the truth.
    pub units: [bool; UNITS],
    changed_at: [Timestamp; UNITS],
    /// What is true of its guest's backups.
    pub(crate) backups: Backups,
    /// The runs that were told, but for those that went on in another stream.
    pub(crate) backups_told: BTreeMap<(StreamId, u64), Run>,
    /// Events that were made, by place.
    pub made: BTreeSet<(StreamId, u64)>,
    /// What they told, but for those that went on in another stream.
    pub(crate) changes: BTreeMap<(StreamId, u64), Change>,
    /// Events that the disk had when its power was lost, or that a running agent has.
    pub committed: BTreeSet<(StreamId, u64)>,
    held: BTreeSet<(StreamId, u64)>,
    saved: Option<Saved>,
    pub(crate) streams: u64,
    pub(crate) connects: u128,
    /// How far its own wall clock is off.
    pub wall_offset: SignedDuration,
    /// Whether a bound ever made it let events go.
    pub met_its_bound: bool,
    /// Whether its disk ever failed or was full.
    pub disk_was_ill: bool,
    /// Whether a broker ever refused one of its events.
    pub was_refused: bool,
    /// Events in parts of the disk that were damaged: they may be declared lost.
    pub damaged: BTreeSet<(StreamId, u64)>,
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
            backups: Backups::default(),
            backups_told: BTreeMap::new(),
            made: BTreeSet::new(),
            changes: BTreeMap::new(),
            committed: BTreeSet::new(),
            held: BTreeSet::new(),
            saved: None,
            streams: 0,
            connects: 0,
            wall_offset: SignedDuration::ZERO,
            met_its_bound: false,
            disk_was_ill: false,
            was_refused: false,
            damaged: BTreeSet::new(),
        }
    }

    /// In words, how the agent is, for the table of what met what.
    pub fn state(&self) -> &'static str {
        match &self.agent {
            None => DOWN,
            Some(agent) if agent.outbox.trouble().is_some() => "disk in trouble",
            Some(agent) if agent.connection.is_none() && agent.outbox.unacked_events() > 0 => {
                UNCONNECTED[2]
            }
            Some(agent) if agent.connection.is_none() => UNCONNECTED[1],
            Some(agent) if agent.outbox.unacked_events() > 16 => "backlog",
            Some(agent) if agent.outbox.unacked_events() > 0 => "sending",
            Some(_) => "idle",
        }
    }

    /// Whether the agent runs.
    pub fn is_running(&self) -> bool {
        self.agent.is_some()
    }

    /// The agent sends a picture as soon as it can.
    pub fn want_picture(&mut self) {
        if let Some(agent) = &mut self.agent {
            agent.wants_picture = true;
        }
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
        self.agent = Some(Agent {
            outbox,
            sync: None,
            connection: None,
            wants_picture: false,
            next_sample: now.instant,
            next_picture: now.instant + PICTURE_EVERY,
        });
        self.make(now, 0, UnitChange::Started);
    }

    /// An id like a UUIDv7, but from the world's own clock and count.
    pub(crate) fn stream_id(&self, now: Now) -> StreamId {
        let millis = u128::from(now.wall.as_millisecond().unsigned_abs());
        let count = u128::from(self.streams) << 8 | self.index as u128;
        StreamId(Uuid::from_u128(millis << 80 | 0x7 << 76 | 0x2 << 62 | count))
    }

    /// The agent is killed; the disk keeps what was written.
    pub fn kill(&mut self, broker: &mut Broker, rng: &mut Rng) {
        self.note_kept();
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
            let backups = self.backups.clone();
            self.saved = Some(Saved { disk: self.disk.image(), units, changed_at, backups });
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
        // What came after was done by another machine, so to speak: its runs are not repeated.
        self.backups.go_back(saved.backups);
        // What the snapshot does not have is no longer this node's to deliver.
        self.committed.clear();
        self.note_committed();
        true
    }

    /// What the agent counts as kept is committed, whatever the disk makes of it.
    fn note_kept(&mut self) {
        let Some(agent) = &self.agent else { return };
        let Position { stream, sequence } = agent.outbox.position();
        let is_kept = |place: &&(StreamId, u64)| {
            agent.outbox.is_kept(Position { stream, sequence: Sequence(place.1) })
        };
        let of_stream = self.made.range((stream, 0)..=(stream, sequence.0));
        self.committed.extend(of_stream.filter(is_kept));
    }

    /// What the disk would have after a loss of power is committed from now on.
    pub fn note_committed(&mut self) {
        let (committed, made) = (&mut self.committed, &self.made);
        self.disk.durable_ids(|id| {
            committed.extend(place_in(id).filter(|place| made.contains(place)));
        });
    }

    /// A byte of the disk goes bad, and with it what is in the same segment. Returns whether
    /// there was one.
    pub fn rot(&mut self, rng: &mut Rng) -> bool {
        // What was committed before is known; the damage is only seen at the next start.
        self.note_committed();
        let damaged = &mut self.damaged;
        // A disk that did not take the mark cannot tell damage at the end from a cut.
        let anywhere = !self.disk_was_ill;
        self.disk.rot(anywhere, rng, |id| damaged.extend(place_in(id)))
    }

    /// Whether the disk has an event.
    pub fn holds(&self, stream: StreamId, sequence: u64) -> bool {
        self.held.contains(&(stream, sequence))
    }

    /// Notes what the disk has now.
    pub fn note_held(&mut self) {
        let held = &mut self.held;
        held.clear();
        self.disk.durable_ids(|id| held.extend(place_in(id)));
    }

    /// Everything that the running agent took in is to be delivered.
    pub fn commit_all_of_this_start(&mut self) {
        if let Some(agent) = &self.agent {
            let Position { stream, sequence } = agent.outbox.position();
            let of_stream = self.made.range((stream, 0)..=(stream, sequence.0));
            self.committed.extend(of_stream);
        }
    }

    /// A unit fails or recovers, or something becomes of a backup; the agent learns of it if it
    /// runs.
    pub fn change_something(&mut self, now: Now, rng: &mut Rng) {
        match rng.usize(..=UNITS) {
            UNITS => self.change_a_backup(now, rng),
            unit => self.change_unit(now, unit),
        }
    }

    /// A unit fails or recovers.
    pub fn change_unit(&mut self, now: Now, unit: usize) {
        self.units[unit] = !self.units[unit];
        self.changed_at[unit] = now.wall;
        let change = if self.units[unit] { UnitChange::Failed } else { UnitChange::Recovered };
        self.make(now, unit, change);
    }

    fn make(&mut self, now: Now, unit: usize, change: UnitChange) {
        let state = self.unit_state(unit);
        let data = EventData::UnitChanged(Box::new(UnitChanged { change, state }));
        let Some(place) = self.tell(now, data) else { return };
        let failed = self.units[unit];
        self.changes.insert(place, Change { at: now.wall, unit, failed });
    }

    /// The agent takes in what happened, if it runs. Gives the place of the event.
    pub(crate) fn tell(&mut self, now: Now, data: EventData) -> Option<(StreamId, u64)> {
        let agent = self.agent.as_mut()?;
        let fact = Fact { time: now.wall, recorded_time: now.wall, data };
        let dropped = agent.outbox.append(now.instant, fact).unwrap_or_default();
        agent.wants_picture |= dropped > 0;
        self.met_its_bound |= dropped > 0;
        let Position { stream, sequence: Sequence(sequence) } = agent.outbox.position();
        self.made.insert((stream, sequence));
        Some((stream, sequence))
    }

    pub(crate) fn unit_state(&self, unit: usize) -> UnitState {
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
}

/// The place that an event's id names.
fn place_in(id: &str) -> Option<(StreamId, u64)> {
    let mut parts = id.split('/').skip(1);
    let stream = parts.next()?.parse().ok()?;
    let sequence = parts.next()?.parse().ok()?;
    Some((StreamId(stream), sequence))
}
