//! Prints what events, samples and evaluations cost with fleets of different sizes.
//!
//! `cargo run --release --example engine_cost`: the cost of an event must not depend on the number
//! of nodes. Time is that of the thread on a processor (`/proc/thread-self/schedstat`), so other
//! work on the machine disturbs it less. Nothing is asserted.

use std::hint::black_box;

use jiff::{SignedDuration, Timestamp};
use pvewatch_collector::core::{Core, Input};
use pvewatch_collector::fleet::{Backlog, Entity, Version};
use pvewatch_collector::rules::{RuleSet, Source, Subject};
use pvewatch_protocol::event::{UnitChange, UnitChanged, UnitState};
use pvewatch_protocol::sample::{AgentHealth, Cpu, Load, Memory, Swap};
use pvewatch_protocol::{
    Epoch, Event, EventData, NodeName, Position, Sample, Sequence, Site, StreamId,
};

const CATALOGUE: &str = include_str!("../../packaging/rules/catalogue.toml");

/// Units of each node: what the curated set of a Proxmox node holds.
const UNITS: usize = 50;

/// Inputs that are measured for each size and kind.
const INPUTS: usize = 20_000;

/// Inputs that the store writes in one transaction.
const COMMIT: usize = 50;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!(
        "{:>7} {:>12} {:>12} {:>12} {:>12} {:>14} {:>18} {:>18}",
        "nodes",
        "10 nodes us",
        "event us",
        "failure us",
        "sample us",
        "evaluation us",
        "first snapshot ms",
        "next snapshot ms"
    );
    for nodes in [10, 100, 1_000, 10_000] {
        let mut bench = Bench::new(nodes)?;
        let hot = bench.events("inactive", nodes.min(10));
        let events = bench.events("inactive", nodes);
        let failures = bench.events("failed", nodes);
        let samples = bench.samples();
        let first = micros(|| drop(black_box(bench.core.snapshot()))) / 1e3;
        let input = bench.sample(0);
        bench.core.handle(bench.now, input);
        let again = micros(|| drop(black_box(bench.core.snapshot()))) / 1e3;
        let evaluation = bench.evaluation();
        println!(
            "{nodes:>7} {hot:>12.2} {events:>12.2} {failures:>12.2} {samples:>12.2} {evaluation:>14.2} \
             {first:>18.2} {again:>18.2}"
        );
    }
    Ok(())
}

/// What a piece of work takes of the processor, in microseconds.
fn micros(work: impl FnOnce()) -> f64 {
    let start = on_processor();
    work();
    (on_processor() - start) as f64 / 1e3
}

/// Nanoseconds that this thread has run.
fn on_processor() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
}

struct Bench {
    core: Core,
    nodes: Vec<NodeName>,
    now: Timestamp,
    sequence: u64,
}

impl Bench {
    fn new(count: usize) -> Result<Self, Box<dyn std::error::Error>> {
        let rules = RuleSet::load(&[Source { file: "catalogue.toml", text: CATALOGUE }])?;
        let now = Timestamp::from_second(1_795_230_000)?;
        let nodes: Result<Vec<NodeName>, _> =
            (0..count).map(|number| format!("node-{number:05}").parse()).collect();
        let core = Core::new(Site::default(), rules, now);
        let mut bench = Self { core, nodes: nodes?, now, sequence: 0 };
        for node in 0..count {
            bench.core.handle(now, bench.sample(node));
            for unit in 0..UNITS {
                let event = bench.event(node, unit, "active");
                bench.core.handle(now, event);
            }
        }
        bench.core.take_all_changes();
        Ok(bench)
    }

    /// Microseconds for an event, when units change to and fro on this many of the nodes. With few
    /// of many nodes the caches are as warm as in a small fleet: what remains is the algorithm.
    fn events(&mut self, other: &str, active: usize) -> f64 {
        let stride = self.nodes.len() / active;
        let mut inputs = Vec::with_capacity(INPUTS);
        for number in 0..INPUTS {
            let round = number / (active * UNITS).min(INPUTS / 2);
            let state = if round.is_multiple_of(2) { other } else { "active" };
            let node = number.wrapping_mul(7919) % active * stride;
            inputs.push(self.event(node, number / active % UNITS, state));
        }
        self.measure(inputs)
    }

    /// Microseconds for a sample.
    fn samples(&mut self) -> f64 {
        let place = |number: usize| number.wrapping_mul(7919) % self.nodes.len();
        let inputs = (0..INPUTS).map(|number| self.sample(place(number))).collect();
        self.measure(inputs)
    }

    fn measure(&mut self, inputs: Vec<Input>) -> f64 {
        let us = micros(|| {
            for (number, input) in inputs.into_iter().enumerate() {
                black_box(self.core.handle(self.now, input));
                if number % COMMIT == 0 {
                    black_box(self.core.take_changes());
                }
            }
        });
        self.now += SignedDuration::from_secs(1);
        self.core.take_all_changes();
        us / INPUTS as f64
    }

    /// Microseconds for evaluating one rule on one node, on average over the catalogue's.
    fn evaluation(&mut self) -> f64 {
        let Some(node) = self.core.snapshot().nodes.first().cloned() else { return 0.0 };
        let rules = self.core.rules();
        let entity = node.units.first().map_or(Entity::Node, |unit| Entity::Unit(unit));
        let subject = Subject { node: &node.node, entity };
        let us = micros(|| {
            for _ in 0..INPUTS {
                for rule in rules.rules() {
                    black_box(rule.when.evaluate(black_box(&subject), self.now));
                }
            }
        });
        us / (INPUTS * rules.rules().len()) as f64
    }

    fn position(&self) -> Position {
        Position { stream: StreamId(uuid::Uuid::nil()), sequence: Sequence(self.sequence) }
    }

    fn event(&mut self, node: usize, unit: usize, state: &str) -> Input {
        self.sequence += 1;
        let state = UnitState {
            unit: format!("unit-{unit:02}.service"),
            load_state: "loaded".to_owned(),
            active_state: state.to_owned(),
            sub_state: "running".to_owned(),
            result: Some("success".to_owned()),
            exit: None,
            restarts: 0,
            will_restart: false,
            invocation_id: Some("0123456789abcdef0123456789abcdef".to_owned()),
            changed_at: Some(self.now),
            crash_loop: None,
        };
        let change = UnitChange::Started;
        let event = Event {
            site: Site::default(),
            node: self.nodes[node].clone(),
            position: self.position(),
            time: self.now,
            recorded_time: self.now,
            data: EventData::UnitChanged(Box::new(UnitChanged { change, state })),
            extensions: serde_json::Map::new(),
        };
        let version = Version { stream_ordinal: 1, sequence: self.sequence };
        Input::Event { event, version, received_at: self.now }
    }

    fn sample(&self, node: usize) -> Input {
        let sample = Sample {
            at: self.now,
            epoch: Epoch(uuid::Uuid::nil()),
            as_of: self.position(),
            interval_seconds: 10.0,
            uptime_seconds: 1000.0,
            load: Load { one: 0.5, five: 0.5, fifteen: 0.5 },
            cpu: Cpu { count: 4, busy_ratio: Some(0.1) },
            memory: Memory { total_bytes: 8 << 30, available_bytes: 4 << 30 },
            swap: Swap { total_bytes: 0, free_bytes: 0 },
            pressure: None,
            filesystems: Vec::new(),
            pools: Vec::new(),
            interfaces: Vec::new(),
            temperatures: Vec::new(),
            clock: None,
            certificate: None,
            cluster: None,
            oom_kills: None,
            reboot_required: None,
            guests: None,
            agent: AgentHealth {
                rss_bytes: 5 << 20,
                outbox_events: 0,
                outbox_bytes: 0,
                dropped_events: 0,
                resent_events: 0,
                ..AgentHealth::default()
            },
        };
        Input::Sample {
            node: self.nodes[node].clone(),
            sample: Box::new(sample),
            backlog: Backlog::default(),
            received_at: self.now,
        }
    }
}
