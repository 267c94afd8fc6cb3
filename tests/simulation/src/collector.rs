//! A collector: its own desk, with ingest, core and standing, on a store that keeps what was
//! committed and no more. The glue brings what came to the desk, and acks to the broker.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use pvewatch_collector::core::{Core, Snapshot};
use pvewatch_collector::ingest::Ingest;
use pvewatch_collector::output::page::Manner;
use pvewatch_collector::rules::{RuleSet, Source};
use pvewatch_collector::run::{Acks, Clocks, Counters, Desk, DeskParts, Flush};
use pvewatch_collector::store::Batch;
use pvewatch_protocol::{Ack, CollectorName, CollectorPresence, PresenceState, Site, Topic, codec};

use crate::broker::{Broker, Client, Delivery, Message};
use crate::channel::{CHANNELS, Channel, Taken};
use crate::durable::{Durable, Logged, Plate, number};
use crate::missed::Missed;
use crate::node::Now;
use crate::over::Commit;
use crate::process::{Process, Seen, Told};

const RULES: &str = r#"
[[rule]]
name = "UnitFailed"
scope = "unit"
when = 'active_state == "failed"'
severity = "warning"
summary = "a unit failed"

[[rule]]
name = "UnitLongFailed"
scope = "unit"
when = 'active_state == "failed" && name < "unit-3"'
for = "30s"
severity = "critical"
summary = "a unit is failed for long"

[[rule]]
name = "BackupFailed"
scope = "backup"
when = 'outcome == "failed"'
severity = "warning"
summary = "a backup failed"
"#;

/// Rules for all collectors.
pub fn rules() -> RuleSet {
    RuleSet::load(&[Source { file: "simulation.toml", text: RULES }])
        .unwrap_or_else(|error| unreachable!("good rules: {error}"))
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

/// It does not run.
pub const DOWN: &str = "down";

/// It runs and has no connection.
pub const DEAF: &str = "deaf";

/// Everything that a collector can be, for the table of what met what.
pub const STATES: [&str; 5] = [DOWN, DEAF, "catching up", "idle", "working"];

/// A collector.
pub struct Collector {
    index: usize,
    site: Site,
    /// Its name.
    pub name: CollectorName,
    /// Its disk.
    pub disk: Rc<RefCell<Durable>>,
    process: Option<Process>,
    rules: RuleSet,
    pub(crate) backup: Option<Durable>,
    /// How far its own wall clock is off.
    pub wall_offset: SignedDuration,
    /// What each channel took.
    pub taken: Vec<Taken>,
    /// Acks that covered more than was durable: each is a broken promise.
    pub false_acks: Vec<String>,
    /// What came.
    pub seen: Seen,
    /// What it stored, in order.
    pub(crate) commits: Vec<Commit>,
    /// Whether it was ever set back to a backup.
    pub was_restored: bool,
}

impl Collector {
    /// A collector that is switched off.
    pub fn new(index: usize, name: CollectorName, rules: RuleSet, rng: &mut Rng) -> Self {
        Self {
            index,
            site: Site::default(),
            name,
            disk: Rc::new(RefCell::new(Durable::new(rng))),
            process: None,
            rules,
            backup: None,
            wall_offset: SignedDuration::ZERO,
            taken: CHANNELS.iter().map(|_| Taken::default()).collect(),
            false_acks: Vec::new(),
            seen: Seen::default(),
            commits: Vec::new(),
            was_restored: false,
        }
    }

    /// In words, how it is, for the table of what met what.
    pub fn state(&self) -> &'static str {
        match &self.process {
            None => DOWN,
            Some(process) if process.connection.is_none() => DEAF,
            Some(process) if process.ready.is_none() => "catching up",
            Some(process) if process.inbox.is_empty() => "idle",
            Some(_) => "working",
        }
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Whether nothing waits in it.
    pub fn is_settled(&self) -> bool {
        let disk = self.disk.borrow();
        self.process.as_ref().is_some_and(|process| {
            process.ready.is_some()
                && process.inbox.is_empty()
                && process.channels.iter().all(|channel| channel.is_settled(&disk))
        })
    }

    /// What keeps it from being done, in words.
    pub fn unfinished(&self) -> String {
        let Some(process) = &self.process else { return format!("{}: not running", self.name) };
        format!(
            "{}: {}, {} messages wait, ready {:?}",
            self.name,
            self.state(),
            process.inbox.len(),
            process.ready
        )
    }

    fn clocks(&self, now: Now) -> Clocks {
        Clocks { wall: now.wall + self.wall_offset, steady: now.instant.into() }
    }

    /// Starts from what is on its disk.
    pub fn start(&mut self, now: Now) {
        let now = self.clocks(now);
        let disk = self.disk.borrow();
        let (site, rules) = (self.site.clone(), self.rules.clone());
        let mut core = Core::restore(site, rules, now.wall, disk.records());
        core.begin_with(disk.first_epoch);
        let counters = Arc::new(Counters::default());
        let parts = DeskParts {
            core,
            ingest: Ingest::restore(disk.streams.values().cloned().collect()),
            store: Plate(Rc::clone(&self.disk)),
            counters: Arc::clone(&counters),
        };
        let told = |(name, _): &(&str, Manner)| disk.told.get(*name).copied().unwrap_or(0);
        self.process = Some(Process {
            desk: Desk::new(parts, now),
            counters,
            online: BTreeMap::new(),
            connection: None,
            connections: 0,
            ready: None,
            clocks_known: BTreeSet::new(),
            missed: Missed::default(),
            channels: CHANNELS.iter().map(|channel| Channel::new(told(channel))).collect(),
            inbox: VecDeque::new(),
        });
    }

    /// The process is gone.
    pub fn kill(&mut self, broker: &mut Broker, rng: &mut Rng) {
        self.disk.borrow_mut().fails = false;
        let Some(mut process) = self.process.take() else { return };
        self.seen.duplicates += process.counters.duplicates.get();
        self.seen.corrections += process.corrections();
        if let Some((connection, _)) = process.connection {
            broker.disconnect(connection, rng);
        }
    }

    /// Connects, if the broker takes it.
    pub fn connect(&mut self, now: Now, broker: &mut Broker) -> bool {
        if self.process.as_ref().is_none_or(|process| process.connection.is_some()) {
            return false;
        }
        let wall = self.clocks(now).wall;
        let will = self.presence(PresenceState::Offline, false, wall);
        let birth = self.presence(PresenceState::Online, false, wall);
        let Some(process) = &mut self.process else { return false };
        let filters = ["event/+", "sample", "checkpoint/+/+", "presence"]
            .map(|leaf| format!("pvewatch/v1/{}/node/+/{leaf}", self.site));
        let client = Client::Collector(self.index);
        let Some(connection) = broker.connect(client, will, filters.to_vec()) else {
            return false;
        };
        process.connections += 1;
        process.connection = Some((connection, process.connections));
        process.inbox.push_back(Told::Connected(process.connections));
        broker.publish(connection, birth);
        true
    }

    fn presence(&self, state: PresenceState, ready: bool, at: Timestamp) -> Message {
        let presence = CollectorPresence {
            state,
            epoch: self.disk.borrow().epoch,
            ready,
            version: "simulation".to_owned(),
            at,
        };
        let topic = Topic::CollectorPresence { collector: self.name.clone() }.at(&self.site);
        let payload = codec::encode(&presence).unwrap_or_default();
        Message::new(topic, payload, true)
    }

    /// Its connection is gone without its doing.
    pub fn notice_loss(&mut self, broker: &Broker) {
        if let Some(process) = &mut self.process
            && let Some((connection, _)) = process.connection
            && !broker.is_connected(connection)
        {
            process.hang_up();
        }
    }

    /// Ends its connection. Returns whether it had one.
    pub fn disconnect(&mut self, broker: &mut Broker, rng: &mut Rng) -> bool {
        let Some(process) = &mut self.process else { return false };
        let Some((connection, _)) = process.connection else { return false };
        process.hang_up();
        broker.disconnect(connection, rng);
        true
    }

    /// Something came.
    pub fn deliver(&mut self, now: Now, delivery: Delivery) {
        let wall = self.clocks(now).wall;
        let Some(process) = &mut self.process else { return };
        match delivery {
            Delivery::Message(message) => process.inbox.push_back(Told::Message(message, wall)),
            Delivery::RetainedRead => process.inbox.push_back(Told::RetainedRead),
            Delivery::PubAck { .. } => {}
        }
    }

    /// Takes a part of what came, commits it, and acks it. A crash ends the process.
    pub fn work(&mut self, now: Now, crash: Crash, broker: &mut Broker, rng: &mut Rng) {
        let Some(process) = &self.process else { return };
        let count = rng.usize(0..=process.inbox.len());
        self.work_on(count, now, crash, broker, rng);
    }

    /// Takes all that came.
    pub fn work_on_all(&mut self, now: Now, broker: &mut Broker, rng: &mut Rng) {
        self.work_on(usize::MAX, now, Crash::Never, broker, rng);
    }

    fn work_on(
        &mut self,
        count: usize,
        now: Now,
        crash: Crash,
        broker: &mut Broker,
        rng: &mut Rng,
    ) {
        let clocks = self.clocks(now);
        let Some(process) = &mut self.process else { return };
        let clocks_known = process.clocks_known.clone();
        let mut batch = Batch::default();
        process.desk.look_at_clock(clocks);
        for _ in 0..count {
            let Some(told) = process.inbox.pop_front() else { break };
            process.take(told, clocks, &mut batch, &mut self.seen);
        }
        process.desk.close_batch(clocks, &mut batch);
        let flush = if rng.u8(0..8) == 0 { Flush::Lazy } else { Flush::Urgent };
        let mut batch = process.desk.gather(batch, flush);
        for ((name, _), channel) in CHANNELS.iter().zip(&mut process.channels) {
            let moved = channel.moved().map(|through| ((*name).to_owned(), through));
            batch.outputs.extend(moved);
        }
        self.disk.borrow_mut().fails = crash == Crash::BeforeCommit;
        let before = self.disk.borrow().sizes();
        if process.desk.store(&batch).is_err() {
            return self.kill(broker, rng);
        }
        let after = self.disk.borrow().sizes();
        if before != after {
            let (log, transitions) = (before.0..after.0, before.1..after.1);
            self.commits.push(Commit { at: now.instant, log, transitions, clocks_known });
        }
        let lost = process.desk.take_losses().into_iter().map(|(node, loss)| Logged {
            node: number(&node),
            stream: loss.stream,
            from: loss.from.0,
            sequence: loss.through.0,
            reason: Some(loss.reason),
            was: None,
            received: None,
        });
        self.disk.borrow_mut().given_up.extend(lost);
        // A commit that was to fail and did not is one of nothing.
        self.disk.borrow_mut().fails = false;
        if crash == Crash::AfterCommit {
            return self.kill(broker, rng);
        }
        let acks = process.desk.take_acks();
        let ready = process.desk.judge_standing(clocks.steady);
        let became_ready = ready.filter(|_| process.ready != ready);
        process.ready = ready;
        let connection = process.connection;
        if let Some((connection, number)) = connection
            && became_ready == Some(number)
        {
            let presence = self.presence(PresenceState::Online, true, clocks.wall);
            broker.publish(connection, presence);
        }
        self.say(acks, connection.map(|(connection, _)| connection), broker);
    }

    /// Sends acks, if somebody is there to take them. None may cover more than is on the disk.
    fn say(&mut self, acks: Acks, connection: Option<u64>, broker: &mut Broker) {
        let disk = self.disk.borrow();
        for (node, message) in acks {
            let Ack { stream, through, .. } = message.ack;
            let known = disk.streams.get(&(node.clone(), stream)).map(|row| row.through);
            if known.unwrap_or_default() < through {
                self.false_acks.push(format!("{node} {stream} {through}, durable {known:?}"));
            }
            let topic = Topic::Ack { node, collector: self.name.clone() }.at(&self.site);
            let payload: Bytes = codec::encode(&message).unwrap_or_default().into();
            if let Some(connection) = connection {
                broker.publish(connection, Message::new(topic, payload, true));
            }
        }
    }

    /// A channel does the next thing that it has to do, if the collector may speak.
    pub fn speak(&mut self, now: Now, channel: usize, rng: &mut Rng) {
        let Some(process) = &mut self.process else { return };
        let may_speak = process.connection.is_some_and(|(_, number)| process.ready == Some(number));
        if may_speak {
            let (name, manner) = CHANNELS[channel];
            let (disk, taken) = (self.disk.borrow(), &mut self.taken[channel]);
            let taken_before = taken.steps.len();
            process.channels[channel].speak(manner, &disk, taken, rng);
            if let Some(step) = taken.steps.get(taken_before)
                && let Some(why) = process.missed.forbids_to_speak(&disk, now.instant)
            {
                self.seen.told_too_soon.push(format!("{name}: {step}, although {why}"));
            }
        }
    }

    /// The time until time alone brings something.
    pub fn time_to_deadline(&self, now: Now) -> Option<Duration> {
        self.process.as_ref()?.desk.time_to_deadline(self.clocks(now))
    }

    /// Events that came again, to this process and to those before it.
    pub fn duplicates(&self) -> u64 {
        let now = self.process.as_ref().map_or(0, |process| process.counters.duplicates.get());
        self.seen.duplicates + now
    }

    /// Units and guests that pictures found otherwise than events had told this process and those
    /// before it.
    pub fn corrections(&mut self) -> u64 {
        self.seen.corrections + self.process.as_mut().map_or(0, Process::corrections)
    }

    pub(crate) fn snapshot(&mut self) -> Option<Arc<Snapshot>> {
        Some(self.process.as_mut()?.desk.core().snapshot())
    }
}
