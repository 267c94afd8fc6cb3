//! From systemd's own timestamp of a failure until this process has it, through the broker.
//!
//! First one failure at a time, each after the one before has gone quiet; then all at once. All
//! clocks are the kernel's one. A message of this process's own that takes the same broker tells
//! what of the time is not the agent's, in the same run.

use std::collections::BTreeMap;
use std::time::Duration;

use super::figure::{Budget, Figure, Report};
use super::listener::{Arrival, Listener, milliseconds};
use super::stage::{Plan, Stage};
use super::statistics::Distribution;
use crate::deadline::{Deadline, GENEROUS, now};
use crate::subscriber::{Access, Subscriber};

/// How long nothing may have come before the next failure is made.
const PAUSE: Duration = Duration::from_millis(200);

/// How long one failure may take before it counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(5);

/// The topic of the broker's own time.
const HOP_TOPIC: &str = "bench/hop";

/// Measures `count` failures one by one, and as many at once.
///
/// # Panics
/// When the stage cannot be set.
#[track_caller]
pub fn run(plan: &Plan, count: usize) -> Report {
    let mut stage = Stage::set(plan);
    let mut figures = one_at_a_time(&mut stage, count);
    figures.extend(all_at_once(&mut stage, count));
    Report { name: "latency", setting: stage.setting(), figures }
}

fn one_at_a_time(stage: &mut Stage, count: usize) -> Vec<Figure> {
    let mut hops = Hops::new(&stage.middle.access);
    let mut arrivals = Vec::new();
    for instance in 1..=count {
        let unit = format!("bench-fail@{instance}.service");
        stage.start_units("bench-fail", instance..=instance);
        arrivals.extend(stage.listener.find(LOST_AFTER, |arrival| is_failure_of(arrival, &unit)));
        stage.listener.wait_for_quiet(PAUSE);
        stage.acknowledge();
        hops.measure();
    }
    let delays = Distribution::new(arrivals.iter().map(Arrival::delay_ms).collect());
    let learning = Distribution::new(arrivals.iter().map(Arrival::learning_ms).collect());
    let hops = Distribution::new(hops.milliseconds);
    vec![
        Figure::new("one at a time: injected", count as f64, ""),
        Figure::new("one at a time: received", arrivals.len() as f64, "")
            .within(Budget::Exactly(count as f64)),
        Figure::new("one at a time: p50", delays.quantile(0.5), "ms").within(Budget::AtMost(3.0)),
        Figure::new("one at a time: p90", delays.quantile(0.9), "ms"),
        Figure::new("one at a time: p99", delays.quantile(0.99), "ms").within(Budget::AtMost(15.0)),
        Figure::new("one at a time: max", delays.max(), "ms"),
        Figure::new("  until the agent knows it: p50", learning.quantile(0.5), "ms"),
        Figure::new("  until the agent knows it: p99", learning.quantile(0.99), "ms"),
        Figure::new("  the broker alone: p50", hops.quantile(0.5), "ms"),
        Figure::new("  the broker alone: p99", hops.quantile(0.99), "ms"),
    ]
}

fn all_at_once(stage: &mut Stage, count: usize) -> Vec<Figure> {
    let instances = count + 1..=2 * count;
    let expected: Vec<String> =
        instances.clone().map(|instance| format!("bench-fail@{instance}.service")).collect();
    stage.start_units("bench-fail", instances);
    let found = failures_of(&mut stage.listener, &expected);
    stage.acknowledge();
    let delays = Distribution::new(found.values().map(Arrival::delay_ms).collect());
    let first = found.values().map(|arrival| arrival.event.time).min();
    let last = found.values().map(|arrival| arrival.arrived).max();
    let whole = first.zip(last).map(|(first, last)| milliseconds(first, last));
    let oddities = stage.listener.oddities();
    vec![
        Figure::new("all at once: injected", count as f64, ""),
        Figure::new("all at once: received", found.len() as f64, "")
            .within(Budget::Exactly(count as f64)),
        Figure::new("all at once: p50", delays.quantile(0.5), "ms"),
        Figure::new("all at once: p99", delays.quantile(0.99), "ms"),
        Figure::new("all at once: max", delays.max(), "ms"),
        Figure::new("all at once: from the first failure to the last arrival", whole, "ms"),
        Figure::new("events missing", oddities.missing as f64, "").within(Budget::Exactly(0.0)),
        Figure::new("events repeated", oddities.repeated as f64, ""),
    ]
}

/// The first failure of each of the units, as far as they come in time.
fn failures_of(listener: &mut Listener, expected: &[String]) -> BTreeMap<String, Arrival> {
    let deadline = Deadline::after(GENEROUS);
    let mut found = BTreeMap::new();
    while found.len() < expected.len() {
        let Some(arrival) = listener.find(deadline.remaining(), |it| it.failure().is_some()) else {
            break;
        };
        let unit = arrival.event.data.subject().into_owned();
        if expected.contains(&unit) {
            found.entry(unit).or_insert(arrival);
        }
    }
    found
}

fn is_failure_of(arrival: &Arrival, unit: &str) -> bool {
    arrival.failure().is_some_and(|changed| changed.state.unit == unit)
}

/// What a message takes from this process to the broker and back.
struct Hops {
    subscriber: Subscriber,
    milliseconds: Vec<f64>,
}

impl Hops {
    #[track_caller]
    fn new(access: &Access) -> Self {
        Self { subscriber: Subscriber::connect(access, &[HOP_TOPIC]), milliseconds: Vec::new() }
    }

    fn measure(&mut self) {
        let sent = now();
        self.subscriber.publish(HOP_TOPIC, vec![b'x'; 600], false);
        let arrived = self.subscriber.take_within(GENEROUS);
        self.milliseconds.extend(arrived.iter().map(|message| milliseconds(sent, message.arrived)));
    }
}
