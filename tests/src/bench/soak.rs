//! The soak: an agent with 500 units and a failure now and then, watched for hours.
//!
//! Flat means that the least-squares slope of the resident memory is not above its budget by
//! more than two standard errors. The first minutes, in which the agent warms up, are left out
//! of the slope but not of the maximum.

use std::time::Duration;

use super::figure::{Budget, Figure, Report};
use super::stage::{IDLE_UNITS, Plan, Stage};
use super::statistics::{Distribution, Line, line};
use super::usage::{Cost, Memory, Meter, memory};
use crate::deadline::Deadline;

/// The time from one reading of the memory to the next.
const READ_EVERY: Duration = Duration::from_secs(10);

/// A unit fails once in this many readings.
const FAILURE_EVERY_READINGS: usize = 3;

/// Instances of the failing unit that take turns.
const FAILING_INSTANCES: usize = 20;

/// The time from one line of progress to the next.
const PROGRESS_EVERY: Duration = Duration::from_secs(600);

/// The time in which the agent may grow before the slope is looked at: it lists all units every
/// ten minutes, which takes more memory than it has needed before. At most a quarter of the soak.
const WARM_UP_MAX: Duration = Duration::from_secs(25 * 60);

/// How long the last failure may take to arrive.
const LAST_ARRIVAL: Duration = Duration::from_secs(30);

/// The promised size in memory.
pub const RSS_KIB_MAX: f64 = 8.0 * 1024.0;

/// The promised processor time, in percent of one core.
pub const CPU_PERCENT_MAX: f64 = 0.1;

/// The promised wake-ups a second.
pub const WAKE_UPS_MAX: f64 = 2.0;

/// What still counts as flat: a quarter of a mebibyte in eight hours.
const SLOPE_KIB_PER_HOUR_MAX: f64 = 32.0;

/// What was counted from the start of the soak.
struct Counts {
    readings: Vec<(f64, Memory)>,
    injected: usize,
    received: usize,
}

/// Soaks an agent for `duration`; `say` gets a line of progress every ten minutes, `note` every
/// reading with the hours since the start.
///
/// # Panics
/// When the stage cannot be set, or the agent ends.
#[track_caller]
pub fn run(
    plan: &Plan,
    duration: Duration,
    mut say: impl FnMut(&str),
    mut note: impl FnMut(f64, Memory),
) -> Report {
    let mut stage = Stage::set(plan);
    let state_at_start = stage.agent_state();
    let mut meter = Meter::start(stage.agent_id).expect("the agent runs");
    let end = Deadline::after(duration);
    let elapsed = |end: &Deadline| duration.saturating_sub(end.remaining());
    let mut counts = Counts { readings: Vec::new(), injected: 0, received: 0 };
    let mut said = Duration::ZERO;
    say(&format!("soak of {duration:?} begins: agent {}", stage.agent_id));
    while !end.has_passed() {
        let next_reading = Deadline::after(READ_EVERY.min(end.remaining()));
        if counts.readings.len().is_multiple_of(FAILURE_EVERY_READINGS) {
            let instance = counts.injected % FAILING_INSTANCES + 1;
            stage.start_units("bench-fail", instance..=instance);
            counts.injected += 1;
        }
        count_failures(&mut stage, &mut counts, next_reading);
        let cost = meter.cost().expect("the agent runs");
        let reading = memory(stage.agent_id).expect("the agent runs");
        let hours = elapsed(&end).as_secs_f64() / 3600.0;
        counts.readings.push((hours, reading));
        note(hours, reading);
        if elapsed(&end) >= said + PROGRESS_EVERY {
            said += PROGRESS_EVERY;
            say(&progress(elapsed(&end), reading, cost, &counts, duration));
        }
    }
    let last = Deadline::after(LAST_ARRIVAL);
    while counts.received < counts.injected && !last.has_passed() {
        count_failures(&mut stage, &mut counts, Deadline::after(Duration::from_secs(1)));
    }
    assert_eq!(stage.agent_state(), state_at_start, "the agent was restarted");
    report(plan, duration, &stage, &mut meter, &counts)
}

fn count_failures(stage: &mut Stage, counts: &mut Counts, until: Deadline) {
    while let Some(arrival) = stage.listener.next(until.remaining()) {
        counts.received += usize::from(arrival.failure().is_some());
    }
    stage.acknowledge();
}

fn progress(
    elapsed: Duration,
    reading: Memory,
    cost: Cost,
    counts: &Counts,
    duration: Duration,
) -> String {
    let slope = slope_of(counts, duration)
        .map(|line| format!("{:.1} +- {:.1} KiB/h", line.slope, line.standard_error));
    format!(
        "{:3} min: rss {} KiB (peak {}, anonymous {}), slope {}, cpu {:.3} %, {:.2} wake-ups/s, \
         failures {} of {}",
        elapsed.as_secs() / 60,
        reading.rss_kib,
        reading.peak_rss_kib,
        reading.anonymous_kib,
        slope.unwrap_or_else(|| "not yet known".to_owned()),
        cost.cpu_percent,
        cost.wake_ups_per_second,
        counts.received,
        counts.injected,
    )
}

/// The slope in KiB an hour, without the warm-up.
fn slope_of(counts: &Counts, duration: Duration) -> Option<Line> {
    let warm_up = WARM_UP_MAX.min(duration / 4).as_secs_f64() / 3600.0;
    let after = counts.readings.iter().filter(|(hours, _)| *hours >= warm_up);
    let points: Vec<_> = after.map(|(hours, memory)| (*hours, memory.rss_kib as f64)).collect();
    line(&points)
}

fn report(
    plan: &Plan,
    duration: Duration,
    stage: &Stage,
    meter: &mut Meter,
    counts: &Counts,
) -> Report {
    let cost = meter.cost().expect("the agent runs");
    let slope = slope_of(counts, duration);
    let sizes = counts.readings.iter().map(|(_, memory)| memory.rss_kib as f64).collect();
    let rss = Distribution::new(sizes);
    let last = counts.readings.last().map(|(_, memory)| memory);
    let oddities = stage.listener.oddities();
    let reconnects = stage.listener.connections().saturating_sub(1);
    let figures = vec![
        Figure::new("RSS slope", slope.map(|line| line.slope), "KiB/h"),
        Figure::new("its standard error", slope.map(|line| line.standard_error), "KiB/h"),
        Figure::new(
            "RSS slope less two standard errors",
            slope.map(|line| line.slope - 2.0 * line.standard_error),
            "KiB/h",
        )
        .within(Budget::AtMost(SLOPE_KIB_PER_HOUR_MAX)),
        Figure::new("RSS, smallest", rss.min(), "KiB"),
        Figure::new("RSS, largest", rss.max(), "KiB").within(Budget::AtMost(RSS_KIB_MAX)),
        Figure::new("VmHWM", last.map(|memory| memory.peak_rss_kib as f64), "KiB"),
        Figure::new("VmRSS at the end", last.map(|it| it.status_rss_kib as f64), "KiB"),
        Figure::new("anonymous at the end", last.map(|it| it.anonymous_kib as f64), "KiB"),
        Figure::new("CPU of a core", cost.cpu_percent, "%").within(Budget::AtMost(CPU_PERCENT_MAX)),
        Figure::new("CPU of its journalctl", cost.children_cpu_percent, "%"),
        Figure::new("wake-ups", cost.wake_ups_per_second, "/s")
            .within(Budget::AtMost(WAKE_UPS_MAX)),
        Figure::new("reconnects", reconnects as f64, ""),
        Figure::new("failures injected", counts.injected as f64, ""),
        Figure::new("failures received", counts.received as f64, "")
            .within(Budget::Exactly(counts.injected as f64)),
        Figure::new("events missing", oddities.missing as f64, "").within(Budget::Exactly(0.0)),
        Figure::new("events repeated", oddities.repeated as f64, ""),
    ];
    let setting = format!(
        "{} min, {}, {IDLE_UNITS} units, {}, mutual TLS",
        duration.as_secs() / 60,
        plan.suite.name(),
        plan.via.name()
    );
    Report { name: "soak", setting, figures }
}
