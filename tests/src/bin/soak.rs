//! `tests/soak`: watches an agent for hours and says whether it stays as small as promised.
//!
//! Exits with 0 if every figure is within its budget, with 1 if not.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use pvewatch_tests::bench::middle::Via;
use pvewatch_tests::bench::soak;
use pvewatch_tests::bench::stage::{AgentFrom, Plan};
use pvewatch_tests::deadline::now;
use pvewatch_tests::lab::Suite;

/// Watches an agent with 500 units under TLS and prints the slope of its memory.
#[derive(Debug, Parser)]
#[command(name = "soak")]
struct Arguments {
    /// How long
    #[arg(long, default_value_t = 0)]
    hours: u64,
    /// How long, added to the hours
    #[arg(long, default_value_t = 0)]
    minutes: u64,
    /// The agent's program
    #[arg(long, value_name = "FILE")]
    agent: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let duration = Duration::from_secs((arguments.hours * 60 + arguments.minutes) * 60);
    if duration.is_zero() {
        eprintln!("soak: no time is given: use --hours H or --minutes M");
        return ExitCode::from(2);
    }
    let plan = Plan {
        name: "soak",
        suite: Suite::Bookworm,
        agent: AgentFrom::Program(arguments.agent),
        via: Via::Mosquitto,
        collector: None,
    };
    let report = soak::run(&plan, duration, |line| eprintln!("{} {line}", now()));
    if arguments.json {
        println!("{}", report.json());
    } else {
        println!("{}", report.table());
    }
    ExitCode::from(u8::from(!report.is_within_budgets()))
}
