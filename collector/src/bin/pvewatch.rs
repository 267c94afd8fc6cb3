//! `pvewatch`: the operator's command. Parse, run.

use std::process::ExitCode;

use clap::Parser;
use pvewatch_collector::cli::{Arguments, run};

fn main() -> ExitCode {
    run(Arguments::parse())
}
