//! Everything that can go wrong in a world, and what it meets.

use fastrand::Rng;
use jiff::SignedDuration;

use crate::broker::{self, Broker};
use crate::collector::Crash;
use crate::disk;
use crate::node::Node;
use crate::world::World;

impl World {
    pub(crate) fn fault(&mut self) {
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
        let by = SignedDuration::from_mins(minutes);
        self.wall_offset += by;
        self.collectors.iter_mut().for_each(|collector| collector.clock_jumped(by));
        Some(if minutes < 0 { "clock set back" } else { "clock set forward" })
    }
}
