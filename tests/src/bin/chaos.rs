//! `tests/chaos`: breaks a site while events flow, and says whether the promise was kept.
//!
//! Exits with 0 if it was, with 1 if not.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use pvewatch_tests::bench::figure::Report;
use pvewatch_tests::bench::middle::Via;
use pvewatch_tests::chaos::{self, Plan, bus, enclosure};
use pvewatch_tests::deadline::now;
use serde_json::json;

/// Breaks a site of three nodes by a seed, mends it, and counts what became of every event.
#[derive(Debug, Parser)]
#[command(name = "chaos", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    /// How long things break
    #[arg(long, default_value_t = 10.0, value_name = "M")]
    minutes: f64,
    /// What breaks when; drawn if it is not given
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Half the time through each of the two, unless one is named
    #[arg(long, value_enum)]
    broker: Option<Broker>,
    /// Events a second on each node
    #[arg(long, default_value_t = 1_000, value_name = "COUNT")]
    rate: u32,
    /// The agent's program
    #[arg(long, value_name = "FILE", required = true)]
    agent: Option<PathBuf>,
    /// The collector's program
    #[arg(long, value_name = "FILE", required = true)]
    collector: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Broker {
    Mosquitto,
    Embedded,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Plays the systemd of a node; started by a run
    #[command(hide = true)]
    Bus { folder: PathBuf, rate: u32 },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(Part::Bus { folder, rate }) = arguments.part {
        return match bus::run(&folder, rate) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("chaos: the bus in {}: {error}", folder.display());
                ExitCode::FAILURE
            }
        };
    }
    if let Err(error) = enclosure::enter() {
        eprintln!("chaos: unshare cannot be started: {error}: it needs root and util-linux");
        return ExitCode::FAILURE;
    }
    play(&arguments)
}

fn play(arguments: &Arguments) -> ExitCode {
    let (Some(agent), Some(collector)) = (&arguments.agent, &arguments.collector) else {
        unreachable!("both are required")
    };
    let halves: &[Via] = match arguments.broker {
        None => &[Via::Mosquitto, Via::Embedded],
        Some(Broker::Mosquitto) => &[Via::Mosquitto],
        Some(Broker::Embedded) => &[Via::Embedded],
    };
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let duration = Duration::from_secs_f64(arguments.minutes.max(0.0) * 60.0);
    let say = |line: &str| eprintln!("{} {line}", now());
    let mut reports = Vec::new();
    for via in halves {
        say(&format!("seed {seed}, {}", via.name()));
        let (agent, collector) = (agent.clone(), collector.clone());
        let plan = Plan { agent, collector, via: *via, rate: arguments.rate };
        let outcome = chaos::run(&plan, seed, duration / halves.len() as u32, say);
        outcome.examples().iter().for_each(|example| eprintln!("WRONG: {example}"));
        let report = outcome.report();
        if !arguments.json {
            println!("{}", report.table());
        }
        reports.push(report);
    }
    if arguments.json {
        let runs: Vec<_> = reports.iter().map(Report::json).collect();
        println!("{}", json!({"seed": seed, "runs": runs}));
    }
    ExitCode::from(u8::from(!reports.iter().all(|report| report.is_within_budgets())))
}
