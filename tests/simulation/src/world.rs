//! The world of one seed: nodes, a broker, collectors, and a schedule of steps and faults.
//!
//! Everything that happens is drawn from the seed, so a seed that fails fails again. After the
//! schedule all is mended and the world is let run until nothing is left to do.

use std::time::{Duration, Instant};

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use pvewatch_agent::outbox::spool::Limits;
use pvewatch_collector::rules::RuleSet;
use pvewatch_protocol::CollectorName;

use crate::broker::{self, Broker, Client, Direction};
use crate::collector::{Collector, Crash};
use crate::disk;
use crate::node::{Node, Now, PICTURE_EVERY};
use crate::tally::Tally;

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

/// See the module.
pub struct World {
    rng: Rng,
    start: Instant,
    elapsed: Duration,
    /// How far the wall clock is off.
    wall_offset: SignedDuration,
    /// The nodes.
    pub nodes: Vec<Node>,
    broker: Broker,
    /// The collectors.
    pub collectors: Vec<Collector>,
    /// What was done, and to whom.
    pub tally: Tally,
    events: u64,
    crashes: u64,
    /// Whether clocks keep going and what agents learn is not lost: then collectors agree on
    /// every time.
    pub is_steady: bool,
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
            wall_offset: SignedDuration::ZERO,
            nodes,
            broker: Broker::new(),
            collectors,
            tally: Tally::default(),
            events: 0,
            crashes: 0,
            is_steady,
            trace: with_trace.then(Vec::new),
        }
    }

    fn now(&self) -> Now {
        let begin = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 365 * 56);
        let elapsed = SignedDuration::try_from(self.elapsed).unwrap_or_default();
        Now { instant: self.start + self.elapsed, wall: begin + elapsed + self.wall_offset }
    }

    fn say(&mut self, text: impl FnOnce() -> String) {
        let at = self.elapsed;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>9.3} s  {}", at.as_secs_f64(), text()));
        }
    }

    /// The schedule: enough events and crashes, with everything else in between.
    pub fn run_schedule(&mut self) {
        for _ in 0..STEPS_MAX {
            if self.events >= EVENTS_MIN && self.crashes >= CRASHES_MIN {
                return;
            }
            self.step();
        }
    }

    fn step(&mut self) {
        match self.rng.u16(0..1000) {
            0..120 => self.change_units(),
            120..280 => self.node_works(),
            280..400 => self.node_syncs(),
            400..720 => self.broker_works(),
            720..880 => self.collector_works(),
            880..930 => self.channel_takes(),
            930..960 => self.time_passes(),
            960..985 => self.somebody_comes_back(),
            _ => self.fault(),
        }
    }

    fn node(&mut self) -> usize {
        self.rng.usize(..self.nodes.len())
    }

    fn change_units(&mut self) {
        let (index, now) = (self.node(), self.now());
        for _ in 0..self.rng.u64(1..=6) {
            self.nodes[index].change_a_unit(now, &mut self.rng);
            self.events += u64::from(self.nodes[index].is_running());
        }
    }

    fn node_works(&mut self) {
        let (index, now) = (self.node(), self.now());
        self.nodes[index].notice_loss(&self.broker);
        let sent = self.nodes[index].work(now, &mut self.broker);
        self.tally.sent += sent as u64;
        if sent > 0 {
            self.say(|| format!("pve{index} sends {sent}"));
        }
    }

    fn node_syncs(&mut self) {
        let (index, now) = (self.node(), self.now());
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
                Some((Client::Node(index), delivery)) => self.nodes[index].deliver(now, delivery),
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
        self.collectors[index].work(now, Crash::Never, &mut self.broker, &mut self.rng);
    }

    fn channel_takes(&mut self) {
        let index = self.rng.usize(..self.collectors.len());
        let position_is_lost = self.rng.u8(0..10) == 0;
        for _ in 0..self.rng.usize(1..=10) {
            self.collectors[index].tell(position_is_lost);
        }
    }

    fn time_passes(&mut self) {
        let millis = match self.rng.u8(0..10) {
            0..7 => self.rng.u64(1..50),
            7..9 => self.rng.u64(50..2_000),
            _ => self.rng.u64(2_000..90_000),
        };
        self.elapsed += Duration::from_millis(millis);
    }

    fn somebody_comes_back(&mut self) {
        let now = self.now();
        self.broker.is_up |= self.rng.bool();
        self.broker.publish_late_will(&mut self.rng);
        let index = self.node();
        let node = &mut self.nodes[index];
        node.notice_loss(&self.broker);
        if !node.is_running() {
            node.start(now);
            self.say(|| format!("pve{index} starts"));
        } else if node.connect(now, &mut self.broker, &mut self.rng) {
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

    fn fault(&mut self) {
        let index = self.node();
        let state = self.nodes[index].state();
        let which = self.rng.u8(0..14);
        if self.is_steady && matches!(which, 1..=4 | 9 | 13) {
            return;
        }
        let name = match which {
            0 => self.agent_fault(index, Node::kill, "agent killed"),
            1 => self.agent_fault(index, Node::lose_power, "power lost"),
            2 => self.roll_back(index),
            3 => self.disk_fault(index),
            4 => self.rot(index),
            5 => {
                let (node, broker) = (&mut self.nodes[index], &mut self.broker);
                node.disconnect(broker, &mut self.rng);
                Some("agent cut off")
            }
            6..=8 => self.collector_crash(),
            9 => self.collector_restored(),
            10 => {
                let index = self.rng.usize(..self.collectors.len());
                self.collectors[index].disconnect(&mut self.broker, &mut self.rng);
                Some("collector cut off")
            }
            11 => self.broker_dies(),
            12 => self.broker_fault(),
            _ => self.clock_jumps(),
        };
        if let Some(name) = name {
            self.tally.met(name, state);
            self.say(|| format!("FAULT {name} (pve{index} is {state})"));
        }
    }

    fn agent_fault(
        &mut self,
        index: usize,
        fault: fn(&mut Node, &mut Broker, &mut Rng),
        name: &'static str,
    ) -> Option<&'static str> {
        if !self.nodes[index].is_running() {
            return None;
        }
        let (resent, dropped) = self.nodes[index].counts();
        self.tally.resent += resent;
        self.tally.dropped += dropped;
        fault(&mut self.nodes[index], &mut self.broker, &mut self.rng);
        self.crashes += 1;
        Some(name)
    }

    fn roll_back(&mut self, index: usize) -> Option<&'static str> {
        if self.rng.bool() {
            self.nodes[index].save();
            return None;
        }
        let was_there = self.nodes[index].roll_back(&mut self.broker, &mut self.rng);
        self.crashes += u64::from(was_there);
        was_there.then_some("machine rolled back")
    }

    fn disk_fault(&mut self, index: usize) -> Option<&'static str> {
        let (faults, name) = match self.rng.u8(0..4) {
            0 => (disk::Faults { writes_fail: true, ..disk::Faults::default() }, "writes fail"),
            1 => (disk::Faults { syncs_fail: true, ..disk::Faults::default() }, "syncs fail"),
            2 => (disk::Faults { full: true, ..disk::Faults::default() }, "disk full"),
            _ => (disk::Faults::default(), "disk well again"),
        };
        self.nodes[index].disk.set_faults(faults);
        Some(name)
    }

    fn rot(&mut self, index: usize) -> Option<&'static str> {
        // What was committed before is known; the damage is only seen at the next start.
        self.nodes[index].note_committed();
        self.nodes[index].disk.rot(&mut self.rng).then_some("byte damaged")
    }

    fn collector_crash(&mut self) -> Option<&'static str> {
        let index = self.rng.usize(..self.collectors.len());
        let now = self.now();
        let collector = &mut self.collectors[index];
        if !collector.is_running() {
            return None;
        }
        self.crashes += 1;
        let (crash, name) = match self.rng.u8(0..3) {
            0 => (Crash::BeforeCommit, "collector killed before commit"),
            1 => (Crash::AfterCommit, "collector killed after commit"),
            _ => {
                collector.kill(&mut self.broker, &mut self.rng);
                return Some("collector killed");
            }
        };
        collector.work(now, crash, &mut self.broker, &mut self.rng);
        Some(name)
    }

    fn collector_restored(&mut self) -> Option<&'static str> {
        let index = self.rng.usize(..self.collectors.len());
        let collector = &mut self.collectors[index];
        if self.rng.u8(0..3) > 0 {
            collector.back_up();
            return None;
        }
        collector.restore(&mut self.broker, &mut self.rng).then_some("collector restored")
    }

    fn broker_dies(&mut self) -> Option<&'static str> {
        match self.rng.u8(0..3) {
            0 => {
                self.broker.save();
                None
            }
            1 => {
                self.broker.kill();
                Some("broker killed")
            }
            _ => {
                self.broker.forget_retained();
                Some("broker forgot what was retained")
            }
        }
    }

    fn broker_fault(&mut self) -> Option<&'static str> {
        let well = broker::Faults::default();
        let (faults, name) = match self.rng.u8(0..6) {
            0 => (broker::Faults { routes_nothing: true, ..well }, "broker routes nothing"),
            1 => (broker::Faults { refuses: true, ..well }, "broker refuses"),
            2 => (broker::Faults { drops_percent: 30, ..well }, "broker drops"),
            3 => (broker::Faults { repeats_percent: 30, ..well }, "broker repeats"),
            _ => (well, "broker well again"),
        };
        self.broker.faults = faults;
        Some(name)
    }

    fn clock_jumps(&mut self) -> Option<&'static str> {
        let minutes = self.rng.i64(-60..=60);
        self.wall_offset += SignedDuration::from_mins(minutes);
        Some(if minutes < 0 { "clock set back" } else { "clock set forward" })
    }

    /// Everything is mended; then all that is left is done. Returns whether it came to an end.
    pub fn settle(&mut self) -> bool {
        self.say(|| "all is mended".to_owned());
        self.broker.is_up = true;
        self.broker.faults = broker::Faults::default();
        for node in &mut self.nodes {
            node.disk.set_faults(disk::Faults::default());
        }
        for round in 0..ROUNDS_MAX {
            self.everybody_works();
            let is_done = self.broker.under_way() == 0
                && self.nodes.iter().all(Node::is_settled)
                && self.collectors.iter().all(Collector::is_settled);
            if is_done && round > 0 {
                self.tally.settled_after(self.elapsed);
                // A broker that routed nothing can have swallowed a picture: the next one comes.
                // And what was late is judged only when nothing follows it.
                self.elapsed += PICTURE_EVERY;
                for _ in 0..8 {
                    self.everybody_works();
                    self.elapsed += Duration::from_secs(10);
                }
                return true;
            }
            self.pass_time_until_something_is_due();
        }
        false
    }

    fn everybody_works(&mut self) {
        let now = self.now();
        for node in &mut self.nodes {
            node.notice_loss(&self.broker);
            if !node.is_running() {
                node.start(now);
            }
            node.connect(now, &mut self.broker, &mut self.rng);
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
            collector.work(now, Crash::Never, &mut self.broker, &mut self.rng);
            while collector.durable.told < collector.durable.transitions.len() {
                collector.tell(false);
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
        let collectors = self.collectors.iter().filter_map(Collector::next_deadline);
        let collectors = collectors
            .map(|due| Duration::try_from(due.duration_since(now.wall)).unwrap_or(Duration::ZERO));
        let next = agents.chain(collectors).min().unwrap_or(Duration::from_secs(1));
        self.elapsed += next.clamp(Duration::from_millis(20), Duration::from_secs(60));
    }
}
