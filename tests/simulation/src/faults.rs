//! Everything that can go wrong in a world, and what it meets.
//!
//! A seed draws which of it can happen to it: with all at once nobody sees what one of them does
//! alone.

use fastrand::Rng;
use jiff::SignedDuration;

use crate::broker;
use crate::channel::CHANNELS;
use crate::collector::Crash;
use crate::disk;
use crate::world::World;

/// What can go wrong. What heals is no fault: see `World::something_heals`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// An agent is killed.
    AgentKilled,
    /// A node loses its power.
    PowerLost,
    /// A machine is set back to a snapshot of its disk.
    RolledBack,
    /// A disk takes no writes.
    WritesFail,
    /// A disk makes nothing durable.
    SyncsFail,
    /// A disk is full.
    DiskFull,
    /// A disk gives nothing back, nor says what there is.
    ReadsFail,
    /// A disk deletes nothing.
    RemovesFail,
    /// A byte that was durable goes bad.
    ByteDamaged,
    /// An agent loses its connection.
    AgentCutOff,
    /// A collector's commit fails, or it dies before it.
    KilledBeforeCommit,
    /// A collector dies between its commit and what follows from it.
    KilledAfterCommit,
    /// A collector is killed between two batches.
    CollectorKilled,
    /// A collector is set back to a copy of its store.
    CollectorRestored,
    /// A collector loses its connection.
    CollectorCutOff,
    /// The broker is killed, and forgets what did not reach its disk.
    BrokerKilled,
    /// The broker forgets everything retained.
    BrokerForgot,
    /// The broker acknowledges and routes nothing.
    RoutesNothing,
    /// The broker refuses what is published.
    Refuses,
    /// The broker refuses some of what is published.
    RefusesSome,
    /// The broker drops some of what it routes.
    Drops,
    /// The broker sends some of what it routes twice.
    Repeats,
    /// A channel of a collector takes nothing for a time.
    ChannelDead,
    /// The clock of a node is set, back or forward.
    AgentClockSet,
    /// The clock of a collector's machine is.
    CollectorClockSet,
}

impl Fault {
    /// Everything.
    pub const ALL: [Self; 25] = [
        Self::AgentKilled,
        Self::PowerLost,
        Self::RolledBack,
        Self::WritesFail,
        Self::SyncsFail,
        Self::DiskFull,
        Self::ReadsFail,
        Self::RemovesFail,
        Self::ByteDamaged,
        Self::AgentCutOff,
        Self::KilledBeforeCommit,
        Self::KilledAfterCommit,
        Self::CollectorKilled,
        Self::CollectorRestored,
        Self::CollectorCutOff,
        Self::BrokerKilled,
        Self::BrokerForgot,
        Self::RoutesNothing,
        Self::Refuses,
        Self::RefusesSome,
        Self::Drops,
        Self::Repeats,
        Self::ChannelDead,
        Self::AgentClockSet,
        Self::CollectorClockSet,
    ];

    /// Those that count as a crash.
    const CRASHES: [Self; 4] = [
        Self::AgentKilled,
        Self::KilledBeforeCommit,
        Self::KilledAfterCommit,
        Self::CollectorKilled,
    ];

    /// For the table and the trace.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AgentKilled => "agent killed",
            Self::PowerLost => "power lost",
            Self::RolledBack => "machine rolled back",
            Self::WritesFail => "writes fail",
            Self::SyncsFail => "syncs fail",
            Self::DiskFull => "disk full",
            Self::ReadsFail => "reads fail",
            Self::RemovesFail => "removes fail",
            Self::ByteDamaged => "byte damaged",
            Self::AgentCutOff => "agent cut off",
            Self::KilledBeforeCommit => "collector killed before commit",
            Self::KilledAfterCommit => "collector killed after commit",
            Self::CollectorKilled => "collector killed",
            Self::CollectorRestored => "collector restored",
            Self::CollectorCutOff => "collector cut off",
            Self::BrokerKilled => "broker killed",
            Self::BrokerForgot => "broker forgot what was retained",
            Self::RoutesNothing => "broker routes nothing",
            Self::Refuses => "broker refuses",
            Self::RefusesSome => "broker refuses some",
            Self::Drops => "broker drops",
            Self::Repeats => "broker repeats",
            Self::ChannelDead => "channel dead",
            Self::AgentClockSet => "agent's clock set",
            Self::CollectorClockSet => "collector's clock set",
        }
    }

    /// What does harm only together, and is seldom drawn so.
    const TOGETHER: [Self; 3] = [Self::AgentKilled, Self::CollectorRestored, Self::Drops];

    /// Whether two collectors can have heard different things of the same because of it, so that
    /// what they say of times may differ.
    fn is_unsteady(self) -> bool {
        matches!(
            self,
            Self::PowerLost
                | Self::RolledBack
                | Self::WritesFail
                | Self::SyncsFail
                | Self::DiskFull
                | Self::ReadsFail
                | Self::RemovesFail
                | Self::RefusesSome
                | Self::ByteDamaged
                | Self::CollectorRestored
                | Self::AgentClockSet
                | Self::CollectorClockSet
        )
    }

    /// What can happen in a world: everything, a few things, or one; and always some crash.
    pub fn draw(rng: &mut Rng, is_steady: bool) -> Vec<Self> {
        let all = Self::ALL.iter().copied();
        let mut possible: Vec<Self> =
            all.filter(|fault| !is_steady || !fault.is_unsteady()).collect();
        if !is_steady && rng.u8(0..16) == 0 {
            return Self::TOGETHER.to_vec();
        }
        rng.shuffle(&mut possible);
        let count = match rng.u8(0..4) {
            0 | 1 => possible.len(),
            2 => rng.usize(2..=6),
            _ => 1,
        };
        possible.truncate(count);
        if !possible.iter().any(|fault| Self::CRASHES.contains(fault)) {
            possible.push(Self::CRASHES[rng.usize(..Self::CRASHES.len())]);
        }
        possible.sort_unstable();
        possible
    }
}

impl World {
    pub(crate) fn fault(&mut self) {
        let (node, collector) = (self.node(), self.rng.usize(..self.collectors.len()));
        let met =
            [self.nodes[node].state(), self.collectors[collector].state(), self.broker.state()];
        let fault = self.faults[self.rng.usize(..self.faults.len())];
        if self.happens(fault, node, collector) {
            for (whom, state) in ["agent", "collector", "broker"].into_iter().zip(met) {
                self.tally.met(fault, whom, state);
            }
            self.say(|| {
                let [node_state, collector_state, broker_state] = met;
                format!(
                    "FAULT {} (pve{node} {node_state}, collector {collector} \
                     {collector_state}, broker {broker_state})",
                    fault.as_str()
                )
            });
        }
    }

    /// Returns whether it met anything.
    fn happens(&mut self, fault: Fault, node: usize, collector: usize) -> bool {
        match fault {
            Fault::AgentKilled | Fault::PowerLost => self.agent_dies(fault, node),
            Fault::RolledBack => self.roll_back(node),
            Fault::WritesFail
            | Fault::SyncsFail
            | Fault::DiskFull
            | Fault::ReadsFail
            | Fault::RemovesFail => {
                let disk = &self.nodes[node].disk;
                let mut faults = disk::Faults::default();
                match fault {
                    Fault::WritesFail => faults.writes_fail = true,
                    Fault::SyncsFail => faults.syncs_fail = true,
                    Fault::ReadsFail => faults.reads_fail = true,
                    Fault::RemovesFail => faults.removes_fail = true,
                    _ => faults.full = true,
                }
                disk.set_faults(faults);
                self.nodes[node].disk_was_ill = true;
                true
            }
            Fault::ByteDamaged => self.nodes[node].rot(&mut self.rng),
            Fault::AgentCutOff => self.nodes[node].disconnect(&mut self.broker, &mut self.rng),
            Fault::KilledBeforeCommit | Fault::KilledAfterCommit | Fault::CollectorKilled => {
                self.collector_dies(fault, collector)
            }
            Fault::CollectorRestored => {
                let collector = &mut self.collectors[collector];
                if self.rng.u8(0..3) > 0 {
                    collector.back_up(&mut self.rng);
                    return false;
                }
                collector.restore(&mut self.broker, &mut self.rng)
            }
            Fault::CollectorCutOff => {
                self.collectors[collector].disconnect(&mut self.broker, &mut self.rng)
            }
            Fault::BrokerKilled => {
                if self.rng.bool() {
                    self.broker.save();
                    return false;
                }
                self.broker.kill();
                true
            }
            Fault::BrokerForgot => {
                self.broker.forget_retained();
                true
            }
            Fault::RoutesNothing
            | Fault::Refuses
            | Fault::RefusesSome
            | Fault::Drops
            | Fault::Repeats => {
                let mut faults = broker::Faults::default();
                match fault {
                    Fault::RoutesNothing => faults.routes_nothing = true,
                    Fault::Refuses => faults.refuses_percent = 100,
                    Fault::RefusesSome => faults.refuses_percent = 30,
                    Fault::Drops => faults.drops_percent = 30,
                    _ => faults.repeats_percent = 30,
                }
                faults.refusal = self.rng.choice(broker::REFUSALS);
                self.broker.faults = faults;
                true
            }
            Fault::ChannelDead => {
                let channel = self.rng.usize(..CHANNELS.len());
                let is_dead = &mut self.collectors[collector].taken[channel].is_dead;
                !std::mem::replace(is_dead, true)
            }
            Fault::AgentClockSet => {
                self.clocks_were_set = true;
                self.nodes[node].wall_offset += jump(&mut self.rng);
                true
            }
            Fault::CollectorClockSet => {
                self.clocks_were_set = true;
                self.collectors[collector].wall_offset += jump(&mut self.rng);
                true
            }
        }
    }

    fn agent_dies(&mut self, fault: Fault, index: usize) -> bool {
        let node = &mut self.nodes[index];
        if !node.is_running() {
            return false;
        }
        let (resent, dropped) = node.counts();
        self.tally.resent += resent;
        self.tally.dropped += dropped;
        match fault {
            Fault::PowerLost => node.lose_power(&mut self.broker, &mut self.rng),
            _ => node.kill(&mut self.broker, &mut self.rng),
        }
        self.crashes += 1;
        true
    }

    fn roll_back(&mut self, index: usize) -> bool {
        if self.rng.bool() {
            self.nodes[index].save();
            return false;
        }
        let was_there = self.nodes[index].roll_back(&mut self.broker, &mut self.rng);
        self.crashes += u64::from(was_there);
        was_there
    }

    fn collector_dies(&mut self, fault: Fault, index: usize) -> bool {
        let now = self.now();
        let collector = &mut self.collectors[index];
        if !collector.is_running() {
            return false;
        }
        self.crashes += 1;
        let crash = match fault {
            Fault::KilledBeforeCommit => Crash::BeforeCommit,
            Fault::KilledAfterCommit => Crash::AfterCommit,
            _ => {
                collector.kill(&mut self.broker, &mut self.rng);
                return true;
            }
        };
        collector.work(now, crash, &mut self.broker, &mut self.rng);
        true
    }

    /// All channels take again what they are told.
    pub(crate) fn channels_live(&mut self) {
        let taken = self.collectors.iter_mut().flat_map(|collector| &mut collector.taken);
        taken.for_each(|taken| taken.is_dead = false);
    }

    /// A disk or the broker is well again, by itself or because somebody saw to it.
    pub(crate) fn something_heals(&mut self) {
        let (node, which) = (self.node(), self.rng.u8(0..12));
        match which {
            0 => self.nodes[node].disk.set_faults(disk::Faults::default()),
            1..=3 => self.broker.faults = broker::Faults::default(),
            4..=6 => self.channels_live(),
            _ => {}
        }
    }
}

fn jump(rng: &mut Rng) -> SignedDuration {
    SignedDuration::from_mins(rng.i64(-60..=60))
}
