//! The world of one seed: nodes, a broker, collectors, and a schedule of steps and faults.
//!
//! Everything that happens is drawn from the seed, so a seed that fails fails again. After the
//! schedule all is mended and the world is let run until nothing is left to do.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use pvewatch_agent::outbox::spool::Limits;
use pvewatch_collector::rules::RuleSet;
use pvewatch_protocol::CollectorName;

use crate::broker::{self, Broker, Client, Direction};
use crate::channel::CHANNELS;
use crate::collector::{Collector, Crash};
use crate::disk;
use crate::faults::Fault;
use crate::node::{Node, Now};
use crate::tally::Tally;

/// When the world begins, since 1970.
pub const BEGIN: SignedDuration = SignedDuration::from_hours(24 * 365 * 56);

/// Events that a schedule makes at least.
const EVENTS_MIN: u64 = 200;

/// Crashes that a schedule has at least.
const CRASHES_MIN: u64 = 5;

/// Limits that no schedule meets.
const LIMITS: Limits = Limits { bytes_max: 1024 * 1024, events_max: 100_000 };

/// Steps of a schedule at most; one that long is a fault of the simulation.
const STEPS_MAX: u64 = 60_000;

/// Rounds after everything was mended, each with all that is under way.
const ROUNDS_MAX: u32 = 3_000;

/// What a channel does in a round in which everybody works.
const STEPS_A_ROUND: u32 = 24;

/// See the module.
pub struct World {
    pub(crate) rng: Rng,
    start: Instant,
    pub(crate) elapsed: Duration,
    /// The nodes.
    pub nodes: Vec<Node>,
    pub(crate) broker: Broker,
    /// The collectors.
    pub collectors: Vec<Collector>,
    /// What was done, and to whom.
    pub tally: Tally,
    /// What can go wrong in it.
    pub faults: Vec<Fault>,
    events: u64,
    pub(crate) crashes: u64,
    /// Whether clocks keep going and what agents learn is not lost: then collectors agree on
    /// every time.
    pub is_steady: bool,
    /// For each collector the last transition before all saw all.
    pub compared_from: Vec<usize>,
    /// For each node when that was, by its own clock.
    pub compared_since: Vec<Timestamp>,
    /// What each collector said of what fires before that, where all heard the same of all.
    pub said_before: Vec<BTreeSet<String>>,
    /// Events that were sent since then.
    pub sent_at_rest: u64,
    /// Whether any clock was set.
    pub clocks_were_set: bool,
    /// What happened, line by line, if it is to be told.
    pub trace: Option<Vec<String>>,
}

impl World {
    /// A world from a seed; nothing runs yet.
    pub fn new(seed: u64, rules: &RuleSet, start: Instant, with_trace: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let names: Vec<CollectorName> = ["main", "second"][..rng.usize(1..=2)]
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect();
        let is_steady = rng.u8(0..4) == 0;
        let faults = Fault::draw(&mut rng, is_steady);
        let limits = match rng.u8(0..4) {
            _ if is_steady => LIMITS,
            // Small enough that the bound is met.
            0 => Limits { bytes_max: 64 * 1024, events_max: 100_000 },
            1 => Limits { bytes_max: 1024 * 1024, events_max: 40 },
            _ => LIMITS,
        };
        let nodes = (0..rng.usize(1..=2)).map(|index| Node::new(index, &names, limits)).collect();
        let collectors = names
            .into_iter()
            .enumerate()
            .map(|(index, name)| Collector::new(index, name, rules.clone(), &mut rng))
            .collect();
        Self {
            rng,
            start,
            elapsed: Duration::ZERO,
            nodes,
            broker: Broker::new(),
            collectors,
            tally: Tally::default(),
            faults,
            events: 0,
            crashes: 0,
            is_steady,
            compared_from: Vec::new(),
            compared_since: Vec::new(),
            said_before: Vec::new(),
            sent_at_rest: 0,
            clocks_were_set: false,
            trace: with_trace.then(Vec::new),
        }
    }

    pub(crate) fn now(&self) -> Now {
        let begin = Timestamp::UNIX_EPOCH + BEGIN;
        let elapsed = SignedDuration::try_from(self.elapsed).unwrap_or_default();
        Now { instant: self.start + self.elapsed, wall: begin + elapsed }
    }

    /// The time as a node has it.
    fn now_of(&self, node: usize) -> Now {
        self.now().by(self.nodes[node].wall_offset)
    }

    pub(crate) fn say(&mut self, text: impl FnOnce() -> String) {
        let at = self.elapsed;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>9.3} s  {}", at.as_secs_f64(), text()));
        }
    }

    /// The schedule: enough events and crashes, with everything else in between. Returns whether
    /// it came to its end.
    pub fn run_schedule(&mut self) -> bool {
        let names: Vec<&str> = self.faults.iter().map(|fault| fault.as_str()).collect();
        self.say(|| format!("what can go wrong: {}", names.join(", ")));
        for _ in 0..STEPS_MAX {
            if self.events >= EVENTS_MIN && self.crashes >= CRASHES_MIN {
                return true;
            }
            self.step();
        }
        false
    }

    fn step(&mut self) {
        match self.rng.u16(0..1000) {
            0..120 if self.events < EVENTS_MIN => self.change_units(),
            0..30 => self.change_units(),
            30..60 => self.fault(),
            60..120 => {}
            120..280 => self.node_works(),
            280..400 => self.node_syncs(),
            400..720 => self.broker_works(),
            720..880 => self.collector_works(),
            880..925 => self.channel_takes(),
            925..955 => self.time_passes(),
            955..978 => self.somebody_comes_back(),
            _ => self.fault(),
        }
    }

    pub(crate) fn node(&mut self) -> usize {
        self.rng.usize(..self.nodes.len())
    }

    fn change_units(&mut self) {
        let index = self.node();
        let now = self.now_of(index);
        // What changes while nobody looks is in pictures alone, and not everybody sees them all.
        if self.is_steady && !self.nodes[index].is_running() {
            return;
        }
        for _ in 0..self.rng.u64(1..=6) {
            self.nodes[index].change_something(now, &mut self.rng);
            self.events += u64::from(self.nodes[index].is_running());
        }
    }

    fn node_works(&mut self) {
        let index = self.node();
        let now = self.now_of(index);
        self.nodes[index].notice_loss(&self.broker);
        let sent = self.nodes[index].work(now, &mut self.broker);
        self.tally.sent += sent as u64;
        if sent > 0 {
            self.say(|| format!("pve{index} sends {sent}"));
        }
    }

    fn node_syncs(&mut self) {
        let index = self.node();
        let now = self.now_of(index);
        self.nodes[index].sync(now);
    }

    fn broker_works(&mut self) {
        for _ in 0..self.rng.usize(1..=8) {
            let busy = self.broker.busy();
            if busy.is_empty() {
                return;
            }
            let (connection, direction) = busy[self.rng.usize(..busy.len())];
            self.pass_on(connection, direction);
        }
    }

    fn pass_on(&mut self, connection: u64, direction: Direction) {
        let now = self.now();
        match direction {
            Direction::Up => self.broker.take_up(connection, &mut self.rng),
            Direction::Down => match self.broker.take_down(connection) {
                Some((Client::Node(index), delivery)) => {
                    let now = self.now_of(index);
                    self.nodes[index].deliver(now, delivery);
                }
                Some((Client::Collector(index), delivery)) => {
                    self.collectors[index].deliver(now, delivery);
                }
                None => {}
            },
        }
    }

    fn collector_works(&mut self) {
        let index = self.rng.usize(..self.collectors.len());
        let now = self.now();
        self.collectors[index].notice_loss(&self.broker);
        let collector = &mut self.collectors[index];
        collector.work(now, Crash::Never, &mut self.broker, &mut self.rng);
        if self.faults.contains(&Fault::CollectorRestored)
            && collector.disk.borrow().has_gaps()
            && self.rng.bool()
        {
            collector.back_up(&mut self.rng);
        }
    }

    fn channel_takes(&mut self) {
        let index = self.rng.usize(..self.collectors.len());
        let channel = self.rng.usize(..CHANNELS.len());
        let now = self.now();
        for _ in 0..self.rng.usize(1..=20) {
            self.collectors[index].speak(now, channel, &mut self.rng);
        }
    }

    fn time_passes(&mut self) {
        let millis = match self.rng.u8(0..10) {
            0..7 => self.rng.u64(1..50),
            7..9 => self.rng.u64(50..2_000),
            // A picture waits for events for some minutes; then collectors may date differently.
            _ if !self.is_steady && self.rng.u8(0..8) == 0 => self.rng.u64(90_000..2 * 3_600_000),
            _ => self.rng.u64(2_000..90_000),
        };
        self.elapsed += Duration::from_millis(millis);
    }

    fn somebody_comes_back(&mut self) {
        let now = self.now();
        self.broker.is_up |= self.rng.bool();
        self.something_heals();
        self.broker.publish_late_will(&mut self.rng);
        let index = self.node();
        let node_now = self.now_of(index);
        let node = &mut self.nodes[index];
        node.notice_loss(&self.broker);
        if !node.is_running() {
            node.start(node_now);
            self.say(|| format!("pve{index} starts"));
        } else if node.connect(node_now, &mut self.broker) {
            self.say(|| format!("pve{index} connects"));
        }
        let index = self.rng.usize(..self.collectors.len());
        let collector = &mut self.collectors[index];
        collector.notice_loss(&self.broker);
        if !collector.is_running() {
            collector.start(now);
            self.say(|| format!("collector {index} starts"));
        } else if collector.connect(now, &mut self.broker) {
            self.say(|| format!("collector {index} connects"));
        }
    }

    /// Everything is mended; then all that is left is done. Returns whether it came to an end.
    pub fn settle(&mut self) -> bool {
        self.say(|| "all is mended".to_owned());
        self.broker.is_up = true;
        self.broker.faults = broker::Faults::default();
        for node in &mut self.nodes {
            node.disk.set_faults(disk::Faults::default());
        }
        self.channels_live();
        for round in 0..ROUNDS_MAX {
            self.everybody_works();
            let is_done = self.broker.under_way() == 0
                && self.nodes.iter().all(Node::is_settled)
                && self.collectors.iter().all(Collector::is_settled);
            if is_done && round > 0 {
                self.tally.settled_after(self.elapsed);
                self.let_all_see_all();
                return true;
            }
            self.pass_time_until_something_is_due();
        }
        false
    }

    pub(crate) fn everybody_works(&mut self) {
        let now = self.now();
        for node in &mut self.nodes {
            let now = now.by(node.wall_offset);
            node.notice_loss(&self.broker);
            if !node.is_running() {
                node.start(now);
            }
            node.connect(now, &mut self.broker);
            node.sync(now);
            node.sync(now);
            self.tally.sent += node.work(now, &mut self.broker) as u64;
        }
        while self.broker.publish_late_will(&mut self.rng) {}
        for collector in &mut self.collectors {
            collector.notice_loss(&self.broker);
            if !collector.is_running() {
                collector.start(now);
            }
            collector.connect(now, &mut self.broker);
        }
        loop {
            let busy = self.broker.busy();
            if busy.is_empty() {
                break;
            }
            for (connection, direction) in busy {
                self.pass_on(connection, direction);
            }
        }
        for collector in &mut self.collectors {
            collector.work_on_all(now, &mut self.broker, &mut self.rng);
            for channel in 0..CHANNELS.len() {
                for _ in 0..STEPS_A_ROUND {
                    collector.speak(now, channel, &mut self.rng);
                }
            }
        }
    }

    fn pass_time_until_something_is_due(&mut self) {
        if !self.broker.busy().is_empty() || self.rng.bool() {
            self.elapsed += Duration::from_millis(20);
            return;
        }
        let now = self.now();
        let agents = self.nodes.iter().filter_map(Node::next_deadline);
        let agents = agents.map(|due| due.saturating_duration_since(now.instant));
        let collectors = self.collectors.iter().filter_map(|it| it.time_to_deadline(now));
        let next = agents.chain(collectors).min().unwrap_or(Duration::from_secs(1));
        self.elapsed += next.clamp(Duration::from_millis(20), Duration::from_secs(60));
    }
}
