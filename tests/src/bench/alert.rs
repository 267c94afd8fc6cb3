//! From systemd's own timestamp of a failure until this process has the alert: through agent,
//! broker, the real collector with its durable store, and the broker again.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::figure::{Budget, Figure, Report};
use super::listener::{FiringAlert, milliseconds};
use super::stage::{Plan, Stage};
use super::statistics::Distribution;
use crate::deadline::{Deadline, GENEROUS};

/// The one rule: it fires at once.
pub const RULES: &str = r#"
[[rule]]
name = "BenchFailed"
scope = "unit"
when = 'active_state == "failed" && glob(name, "bench-fail@*")'
for = "0s"
severity = "warning"
summary = "{{ name }} failed"
"#;

/// How long nothing may have come before the next failure is made.
const PAUSE: Duration = Duration::from_millis(200);

/// How long one alert may take before it counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(5);

/// When a failure happened, and when its event and its alert were here.
#[derive(Debug, Clone, Copy)]
struct Way {
    happened: Timestamp,
    event: Timestamp,
    alert: Timestamp,
}

/// Measures `count` failures one by one, and as many at once.
///
/// # Panics
/// When the stage cannot be set.
#[track_caller]
pub fn run(plan: &Plan, count: usize) -> Report {
    let mut stage = Stage::set(plan);
    let mut single = Vec::new();
    for instance in 1..=count {
        single.extend(ways(&mut stage, instance..=instance, LOST_AFTER));
        stage.listener.wait_for_quiet(PAUSE);
    }
    let together = ways(&mut stage, count + 1..=2 * count, GENEROUS);
    let mut figures = figures_of("one at a time", count, &single);
    figures.extend(figures_of("all at once", count, &together));
    Report { name: "alert", setting: stage.setting(), figures }
}

/// Makes instances fail and follows each to its alert, as far as they come in time.
fn ways(
    stage: &mut Stage,
    instances: std::ops::RangeInclusive<usize>,
    within: Duration,
) -> Vec<Way> {
    let expected = instances.clone().count();
    let of_these = |unit: &str| {
        let instance = unit.strip_prefix("bench-fail@")?.strip_suffix(".service")?;
        instance.parse().ok().filter(|instance| instances.contains(instance)).map(|_| ())
    };
    stage.start_units("bench-fail", instances.clone());
    let deadline = Deadline::after(within);
    let mut events = BTreeMap::new();
    let mut alerts = BTreeMap::new();
    while (events.len() < expected || alerts.len() < expected) && !deadline.has_passed() {
        // Events and alerts come over one connection; an alert is behind its event.
        if let Some(arrival) = stage.listener.next(Duration::from_millis(20))
            && let Some(failure) = arrival.failure()
            && of_these(&failure.state.unit).is_some()
        {
            let moments = (arrival.event.time, arrival.arrived);
            events.entry(failure.state.unit.clone()).or_insert(moments);
        }
        for FiringAlert { unit, arrived } in stage.listener.take_alerts() {
            if of_these(&unit).is_some() {
                alerts.entry(unit).or_insert(arrived);
            }
        }
    }
    let complete = events.into_iter().filter_map(|(unit, (happened, event))| {
        Some(Way { happened, event, alert: *alerts.get(&unit)? })
    });
    complete.collect()
}

fn figures_of(how: &str, count: usize, ways: &[Way]) -> Vec<Figure> {
    let times = |from: fn(&Way) -> Timestamp, to: fn(&Way) -> Timestamp| {
        Distribution::new(ways.iter().map(|way| milliseconds(from(way), to(way))).collect())
    };
    let whole = times(|way| way.happened, |way| way.alert);
    let collector = times(|way| way.event, |way| way.alert);
    let p99 = Figure::new(format!("{how}: failure to alert: p99"), whole.quantile(0.99), "ms");
    let p99 = if how == "one at a time" { p99.within(Budget::AtMost(50.0)) } else { p99 };
    vec![
        Figure::new(format!("{how}: injected"), count as f64, ""),
        Figure::new(format!("{how}: alerts"), ways.len() as f64, "")
            .within(Budget::Exactly(count as f64)),
        Figure::new(format!("{how}: failure to alert: p50"), whole.quantile(0.5), "ms"),
        p99,
        Figure::new(format!("{how}: failure to alert: max"), whole.max(), "ms"),
        Figure::new(format!("{how}: event to alert: p50"), collector.quantile(0.5), "ms"),
        Figure::new(format!("{how}: event to alert: p99"), collector.quantile(0.99), "ms"),
    ]
}
