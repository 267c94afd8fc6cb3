//! The collector as a service: reads its configuration, runs until it is told to stop.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use pvewatch_collector::config::{Config, DEFAULT_PATH};
use pvewatch_collector::{app, store};
use tokio::signal::unix::{SignalKind, signal};

/// Keeps the state of Proxmox VE nodes, evaluates rules and raises alerts.
#[derive(Debug, Parser)]
#[command(name = "pvewatch-collector", version)]
struct Arguments {
    /// The configuration file; if not set, /etc/pvewatch/collector.toml, or the defaults if
    /// there is none.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Check the configuration, the rules and the files that they name, and start nothing.
    #[arg(long)]
    check_config: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a copy of the store to a file that is not there yet; the collector may run
    Backup {
        /// The file to write
        file: PathBuf,
    },
    /// Put a backup in the place of the store; the collector must not run
    Restore {
        /// A file that `backup` wrote
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    pvewatch_edge::logging::init(log::LevelFilter::Info);
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pvewatch-collector: {}", pvewatch_edge::explain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let default = Path::new(DEFAULT_PATH);
    let config = match &arguments.config {
        Some(path) => Config::load(path)?,
        None if default.exists() => Config::load(default)?,
        None => Config::default(),
    };
    if arguments.check_config {
        app::check(&config)?;
        println!("{}: ok", arguments.config.as_deref().unwrap_or(default).display());
        return Ok(());
    }
    match &arguments.command {
        Some(Command::Backup { file }) => {
            store::backup(&config.data, file)?;
            println!("{}: the store of {}", file.display(), config.data.display());
            return Ok(());
        }
        Some(Command::Restore { file }) => {
            let before = store::restore(&config.data, file)?;
            println!("{} is the store of {} now", file.display(), config.data.display());
            if let Some(before) = before {
                println!("{}: the store that was there", before.display());
            }
            return Ok(());
        }
        None => {}
    }
    let runtime = tokio::runtime::Runtime::new().context("the runtime cannot be started")?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be watched")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals cannot be watched")?;
    let mut hangup = signal(SignalKind::hangup()).context("signals cannot be watched")?;
    let running = app::start(config).await?;
    log::info!("page, API and metrics: http://{}/", running.http_addr);
    if let Some(address) = running.mqtt_addr {
        log::info!("embedded broker: mqtt://{address}");
    }
    if let Some(address) = running.mqtt_tls_addr {
        log::info!("embedded broker: mqtts://{address}");
    }
    loop {
        tokio::select! {
            _ = terminate.recv() => log::info!("told to stop"),
            _ = interrupt.recv() => log::info!("interrupted"),
            _ = hangup.recv() => {
                // What is wrong is in the log already.
                let _ = running.reload().await;
                continue;
            }
        }
        break;
    }
    running.stop().await;
    Ok(())
}
