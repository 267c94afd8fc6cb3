//! `tests/bench`: measures pvewatch and prints each figure beside its budget.
//!
//! Always exits with 0 when it could measure: a figure over its budget is said, not punished.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use pvewatch_tests::bench::figure::Report;
use pvewatch_tests::bench::middle::{Collector, Via};
use pvewatch_tests::bench::stage::{AgentFrom, Plan};
use pvewatch_tests::bench::{
    alert, backlog, backups, fleet, footprint, guests, ingest, latency, sizes,
};
use pvewatch_tests::lab::Suite;
use serde_json::Value;

/// Measures pvewatch and prints each figure beside its budget.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Arguments {
    /// What to measure; everything if not given
    names: Vec<Benchmark>,
    /// The agent's program
    #[arg(long, value_name = "FILE")]
    agent: PathBuf,
    /// The agent's package, to be installed in place of the program
    #[arg(long, value_name = "FILE")]
    package: Option<PathBuf>,
    /// The collector's program
    #[arg(long, value_name = "FILE")]
    collector: Option<PathBuf>,
    /// The broker; the embedded one is a part of the collector
    ///
    /// Ingest goes through both, backlog and fleet through Mosquitto.
    #[arg(long, value_name = "BROKER", default_value = "mosquitto")]
    broker: Broker,
    /// Nodes of the fleet
    #[arg(long, value_name = "COUNT", default_value_t = fleet::NODES_BUDGETED)]
    nodes: usize,
    /// Other files whose sizes are told
    #[arg(long, value_name = "FILE")]
    size_of: Vec<PathBuf>,
    /// The node's release of Debian
    #[arg(long, value_name = "SUITE", default_value = "bookworm")]
    suite: Release,
    /// Failures that are measured one at a time, and again at once
    #[arg(long, value_name = "COUNT", default_value_t = 200)]
    failures: usize,
    /// Idle minutes of the footprint
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Benchmark {
    Latency,
    Alert,
    Footprint,
    Sizes,
    Ingest,
    Backlog,
    Backups,
    Guests,
    Fleet,
}

impl Benchmark {
    fn needs_collector(self) -> bool {
        matches!(self, Self::Alert | Self::Ingest | Self::Backlog | Self::Fleet)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Broker {
    Mosquitto,
    Embedded,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Release {
    Bookworm,
    Trixie,
}

impl From<Release> for Suite {
    fn from(release: Release) -> Self {
        match release {
            Release::Bookworm => Self::Bookworm,
            Release::Trixie => Self::Trixie,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let names = match arguments.names.as_slice() {
        [] => Benchmark::value_variants(),
        some => some,
    };
    let embedded = arguments.broker == Broker::Embedded;
    let needs_collector = embedded || names.iter().any(|name| name.needs_collector());
    if arguments.collector.is_none() && needs_collector {
        eprintln!("bench: what is asked for needs a collector: use --collector FILE");
        return ExitCode::from(2);
    }
    let mut reports = Vec::new();
    for name in names {
        eprintln!("measuring {name:?} ...");
        for report in measure(*name, &arguments) {
            if !arguments.json {
                println!("{}\n", report.table());
            }
            reports.push(report);
        }
    }
    if arguments.json {
        println!("{}", Value::from_iter(reports.iter().map(Report::json)));
    } else if reports.iter().all(Report::is_within_budgets) {
        println!("every figure is within its budget");
    } else {
        println!("some figures are OVER their budgets");
    }
    ExitCode::SUCCESS
}

fn measure(name: Benchmark, arguments: &Arguments) -> Vec<Report> {
    let collector = arguments.collector.as_deref().unwrap_or(Path::new("pvewatch-collector"));
    let report = match name {
        Benchmark::Alert => alert::run(&plan(name, arguments), arguments.failures),
        Benchmark::Latency => latency::run(&plan(name, arguments), arguments.failures),
        Benchmark::Footprint => {
            let minutes = Duration::from_secs(arguments.minutes * 60);
            footprint::run(&plan(name, arguments), minutes)
        }
        Benchmark::Sizes => sizes::run(&arguments.agent, &arguments.size_of),
        Benchmark::Ingest => {
            return [Via::Embedded, Via::Mosquitto].map(|via| ingest::run(collector, via)).into();
        }
        Benchmark::Backlog => backlog::run(&arguments.agent, collector),
        Benchmark::Backups => backups::run(&arguments.agent),
        Benchmark::Guests => guests::run(&plan(name, arguments)),
        Benchmark::Fleet => fleet::run(collector, arguments.nodes),
    };
    vec![report]
}

/// The stage of the benchmarks that play on a real node.
fn plan(name: Benchmark, arguments: &Arguments) -> Plan {
    let agent = match &arguments.package {
        Some(package) => AgentFrom::Package(package.clone()),
        None => AgentFrom::Program(arguments.agent.clone()),
    };
    let via = match arguments.broker {
        Broker::Mosquitto => Via::Mosquitto,
        Broker::Embedded => Via::Embedded,
    };
    let needs_collector = via == Via::Embedded || name == Benchmark::Alert;
    let program = arguments.collector.clone().filter(|_| needs_collector);
    let collector = program.map(|program| Collector { program, rules: alert::RULES });
    Plan { name: "bench", suite: arguments.suite.into(), agent, via, collector }
}
