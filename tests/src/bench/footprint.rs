//! What the agent costs its node, beside prometheus-node-exporter with its systemd collector on
//! the same node in the same run: first idle, then with units that come and go.
//!
//! The exporter is scraped every 15 seconds, as Prometheus would; between two scrapes it learns
//! nothing. Its costs to systemd and the bus are not counted here.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::figure::{Budget, Figure, Report};
use super::soak::{CPU_PERCENT_MAX, RSS_KIB_MAX, WAKE_UPS_MAX};
use super::stage::{IDLE_UNITS, Plan, Stage, main_process};
use super::usage::{Cost, Memory, Meter, memory};
use crate::deadline::{Deadline, GENEROUS, eventually};
use crate::servers::{free_port, get};

/// How often the exporter is scraped: Prometheus' usual interval.
const SCRAPE_EVERY: Duration = Duration::from_secs(15);

/// Units that change state each second while it is busy; all at the beginning of the second.
const CHANGES_PER_SECOND: usize = 50;

/// The longest busy phase.
const BUSY_MAX: Duration = Duration::from_secs(120);

/// The exporter's program where Debian's package puts it.
pub const EXPORTER: &str = "/usr/bin/prometheus-node-exporter";

/// What one process cost in one phase.
struct Spent {
    cost: Cost,
    memory: Memory,
}

/// Measures for `idle` without changes, then for as long, but two minutes at most, with them.
///
/// # Panics
/// When the stage cannot be set, or one of the processes ends.
#[track_caller]
pub fn run(plan: &Plan, idle: Duration) -> Report {
    let mut stage = Stage::set(plan);
    let port = free_port();
    let exporter = start_exporter(&stage, port);
    let url = format!("http://127.0.0.1:{port}/metrics");
    eventually("the exporter to answer", GENEROUS, || {
        get(&url).filter(|(status, page)| *status == 200 && page.contains("node_systemd_unit"))
    });
    let processes = [("agent", stage.agent_id), ("node_exporter", exporter)];
    let quiet = phase(&mut stage, &processes, &url, idle, 0).expect("both run");
    let busy_time = idle.min(BUSY_MAX);
    let busy = phase(&mut stage, &processes, &url, busy_time, CHANGES_PER_SECOND);
    let busy = busy.expect("both run");
    let mut figures = Vec::new();
    figures.extend(figures_of("idle", &processes, &quiet));
    figures.extend(figures_of(&format!("{CHANGES_PER_SECOND} changes/s"), &processes, &busy));
    let cost = busy[0].cost;
    let events = CHANGES_PER_SECOND as f64 * cost.seconds;
    figures.push(Figure::new(
        format!("{CHANGES_PER_SECOND} changes/s: agent: written to disk for an event"),
        cost.written_bytes as f64 / events,
        "B",
    ));
    let minutes = idle.as_secs_f64() / 60.0;
    let setting = format!("{minutes} min idle, {IDLE_UNITS} units, {}", stage.setting());
    let oddities = stage.listener.oddities();
    figures.push(
        Figure::new("events missing", oddities.missing as f64, "").within(Budget::Exactly(0.0)),
    );
    Report { name: "footprint", setting, figures }
}

#[track_caller]
fn start_exporter(stage: &Stage, port: u16) -> u32 {
    let program = Path::new(EXPORTER);
    assert!(program.exists(), "{EXPORTER} is missing: tests/bench installs it");
    stage.node.copy_in(program, EXPORTER);
    let unit = format!(
        "[Service]\nUser=nobody\n\
         ExecStart={EXPORTER} --collector.systemd --web.listen-address=127.0.0.1:{port}\n"
    );
    stage.node.write_file("/etc/systemd/system/bench-exporter.service", &unit);
    stage.node.shell(&format!(
        "chmod 755 {EXPORTER}; systemctl daemon-reload; systemctl start bench-exporter"
    ));
    main_process(&stage.node, "bench-exporter.service")
}

/// Lets time pass while the exporter is scraped and, if asked for, units change.
fn phase(
    stage: &mut Stage,
    processes: &[(&str, u32)],
    url: &str,
    duration: Duration,
    changes_per_second: usize,
) -> io::Result<Vec<Spent>> {
    stage.listener.wait_for_quiet(Duration::from_secs(2));
    stage.acknowledge();
    let mut meters = Vec::new();
    for (_, id) in processes {
        meters.push(Meter::start(*id)?);
    }
    let end = Deadline::after(duration);
    let mut scrape = Deadline::after(SCRAPE_EVERY);
    let mut starting = true;
    while !end.has_passed() {
        let second = Deadline::after(Duration::from_secs(1).min(end.remaining()));
        if changes_per_second > 0 {
            let verb = if starting { Stage::start_units } else { Stage::stop_units };
            verb(stage, "bench-change", 1..=changes_per_second);
            starting = !starting;
        }
        if scrape.has_passed() {
            scrape = Deadline::after(SCRAPE_EVERY);
            get(url).ok_or_else(|| io::Error::other("the exporter does not answer"))?;
        }
        while stage.listener.next(second.remaining()).is_some() {}
        stage.acknowledge();
        for meter in &mut meters {
            meter.note()?;
        }
    }
    let spent = meters
        .iter_mut()
        .zip(processes)
        .map(|(meter, (_, id))| Ok(Spent { cost: meter.cost()?, memory: memory(*id)? }));
    spent.collect()
}

fn figures_of(phase: &str, processes: &[(&str, u32)], spent: &[Spent]) -> Vec<Figure> {
    let mut figures = Vec::new();
    for ((name, _), spent) in processes.iter().zip(spent) {
        let promised = *name == "agent" && phase == "idle";
        let promise = |figure: Figure, limit: f64| {
            if promised { figure.within(Budget::AtMost(limit)) } else { figure }
        };
        let label = |what: &str| format!("{phase}: {name}: {what}");
        let Spent { cost, memory } = spent;
        let rss = Figure::new(label("RSS"), memory.rss_kib as f64, "KiB");
        let cpu = Figure::new(label("CPU of a core"), cost.cpu_percent, "%");
        let wake_ups = Figure::new(label("wake-ups"), cost.wake_ups_per_second, "/s");
        figures.extend([
            promise(rss, RSS_KIB_MAX),
            Figure::new(label("VmRSS"), memory.status_rss_kib as f64, "KiB"),
            Figure::new(label("VmHWM"), memory.peak_rss_kib as f64, "KiB"),
            promise(cpu, CPU_PERCENT_MAX),
            promise(wake_ups, WAKE_UPS_MAX),
        ]);
    }
    if let [agent, exporter] = spent {
        let ratio = agent.memory.rss_kib as f64 / exporter.memory.rss_kib as f64;
        figures.push(Figure::new(format!("{phase}: RSS, agent / node_exporter"), ratio, ""));
        let ratio = agent.cost.cpu_percent / exporter.cost.cpu_percent;
        figures.push(Figure::new(format!("{phase}: CPU, agent / node_exporter"), ratio, ""));
    }
    figures
}
