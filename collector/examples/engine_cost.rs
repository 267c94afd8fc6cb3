//! Prints what events, samples and evaluations cost with fleets of different sizes.
//!
//! `cargo run --release --example engine_cost`: the cost of an event must not depend on the number
//! of nodes. The figures are of this machine at this moment; nothing is asserted.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::hint::black_box;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use pvewatch_collector::core::{Core, Input};
use pvewatch_collector::fleet::Version;
use pvewatch_collector::rules::{RuleSet, Source};
use pvewatch_protocol::event::{UnitChange, UnitChanged, UnitState};
use pvewatch_protocol::sample::{AgentHealth, Cpu, Load, Memory, Swap};
use pvewatch_protocol::{
    Epoch, Event, EventData, NodeName, Position, Sample, Sequence, Site, StreamId,
};

const CATALOGUE: &str = include_str!("../../packaging/rules/catalogue.toml");

/// Units of each node: what the curated set of a Proxmox node holds.
const UNITS: usize = 50;

/// Inputs that are measured for each size and kind.
const INPUTS: usize = 50_000;

/// Inputs that the store writes in one transaction.
const COMMIT: usize = 50;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!(
        "{:>7} {:>14} {:>14} {:>14} {:>14} {:>14}",
        "nodes", "event us", "failure us", "sample us", "snapshot ms", "records us"
    );
    for nodes in [10, 100, 1_000, 10_000] {
        let mut bench = Bench::new(nodes)?;
        let events = bench.events(|number| number % 2 == 0, "inactive");
        let failures = bench.events(|number| number % 2 == 0, "failed");
        let samples = bench.samples();
        let start = Instant::now();
        let snapshot = bench.core.snapshot();
        let snapshot_ms = start.elapsed().as_secs_f64() * 1e3;
        assert_eq!(black_box(snapshot).nodes.len(), nodes);
        let start = Instant::now();
        let records = black_box(bench.core.take_all_changes()).len().max(1);
        let records_us = start.elapsed().as_secs_f64() * 1e6 / records as f64;
        println!(
            "{nodes:>7} {events:>14.2} {failures:>14.2} {samples:>14.2} {snapshot_ms:>14.2} \
             {records_us:>14.2}"
        );
    }
    Ok(())
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

    /// Microseconds for an event of a node and unit that changes from one to the next.
    fn events(&mut self, ends: impl Fn(usize) -> bool, other: &str) -> f64 {
        let mut inputs = Vec::with_capacity(INPUTS);
        for number in 0..INPUTS {
            let state =
                if ends(number / self.nodes.len().min(INPUTS / 2)) { other } else { "active" };
            let node = number.wrapping_mul(7919) % self.nodes.len();
            inputs.push(self.event(node, number % UNITS, state));
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
        let start = Instant::now();
        for (number, input) in inputs.into_iter().enumerate() {
            black_box(self.core.handle(self.now, input));
            if number % COMMIT == 0 {
                black_box(self.core.take_changes());
            }
        }
        let us = start.elapsed().as_secs_f64() * 1e6 / INPUTS as f64;
        self.now += SignedDuration::from_secs(1);
        self.core.take_all_changes();
        us
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
            agent: AgentHealth {
                rss_bytes: 5 << 20,
                outbox_events: 0,
                outbox_bytes: 0,
                dropped_events: 0,
                resent_events: 0,
            },
        };
        Input::Sample { node: self.nodes[node].clone(), sample, received_at: self.now }
    }
}
