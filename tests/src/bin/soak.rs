//! `tests/soak`: watches an agent for hours and says whether it stays as small as promised.
//!
//! Exits with 0 if every figure is within its budget, with 1 if not.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use pvewatch_tests::bench::middle::Via;
use pvewatch_tests::bench::soak;
use pvewatch_tests::bench::stage::{AgentFrom, Plan};
use pvewatch_tests::bench::usage::Memory;
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
    /// Where each reading is written to: hours, resident and anonymous KiB
    #[arg(long, value_name = "FILE")]
    readings: Option<PathBuf>,
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
    let mut readings = match arguments.readings.as_deref().map(File::create).transpose() {
        Ok(file) => file,
        Err(error) => {
            eprintln!("soak: the file of the readings cannot be written: {error}");
            return ExitCode::FAILURE;
        }
    };
    let say = |line: &str| eprintln!("{} {line}", now());
    let note = |hours: f64, memory: Memory| {
        let Some(file) = &mut readings else { return };
        let line = format!("{hours:.4},{},{}", memory.rss_kib, memory.anonymous_kib);
        if let Err(error) = writeln!(file, "{line}") {
            eprintln!("soak: a reading was not written: {error}");
        }
    };
    let report = soak::run(&plan, duration, say, note);
    if arguments.json {
        println!("{}", report.json());
    } else {
        println!("{}", report.table());
    }
    ExitCode::from(u8::from(!report.is_within_budgets()))
}
