//! The collector as a service: reads its configuration, runs until it is told to stop.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use pvewatch_collector::app;
use pvewatch_collector::config::{Config, DEFAULT_PATH};
use tokio::signal::unix::{SignalKind, signal};

/// Keeps the state of Proxmox VE nodes, evaluates rules and raises alerts.
#[derive(Debug, Parser)]
#[command(name = "pvewatch-collector", version)]
struct Arguments {
    /// The configuration file; if not set, /etc/pvewatch/collector.toml, or the defaults if
    /// there is none.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the configuration, the rules and the files that they name, and start nothing.
    #[arg(long)]
    check_config: bool,
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
    let runtime = tokio::runtime::Runtime::new().context("the runtime cannot be started")?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be watched")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals cannot be watched")?;
    let running = app::start(config).await?;
    log::info!("page, API and metrics: http://{}/", running.http_addr);
    if let Some(address) = running.mqtt_addr {
        log::info!("embedded broker: mqtt://{address}");
    }
    if let Some(address) = running.mqtt_tls_addr {
        log::info!("embedded broker: mqtts://{address}");
    }
    tokio::select! {
        _ = terminate.recv() => log::info!("told to stop"),
        _ = interrupt.recv() => log::info!("interrupted"),
    }
    running.stop().await;
    Ok(())
}
