//! `pvewatch-agent`: parse, load, log, run.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use pvewatch_agent::app::{self, Overrides};
use pvewatch_agent::backups;
use pvewatch_edge::explain;
use pvewatch_edge::mqtt::BrokerUrl;
use pvewatch_protocol::{NodeName, Site};

/// Watches this node and publishes what happened to an MQTT broker.
#[derive(Debug, Parser)]
#[command(name = "pvewatch-agent", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Configuration file [default: /etc/pvewatch/agent.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the configuration, say what is wrong with it, and exit
    #[arg(long)]
    check_config: bool,
    /// Print what would be published, and connect to nothing
    #[arg(long)]
    dry_run: bool,
    /// The broker, such as mqtt://127.0.0.1:1883; overrides the configuration
    #[arg(long, value_name = "URL", env = "PVEWATCH_MQTT")]
    mqtt: Option<BrokerUrl>,
    /// This node's name; overrides the configuration
    #[arg(long, value_name = "NAME", env = "PVEWATCH_NODE")]
    node: Option<NodeName>,
    /// The site; overrides the configuration
    #[arg(long, value_name = "NAME", env = "PVEWATCH_SITE")]
    site: Option<Site>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print what the agent understands of logs of vzdump: task logs, guests' logs, mails
    ReadBackupLog {
        /// Print a JSON array with an element for each guest, instead of a table
        #[arg(long)]
        json: bool,
        /// The logs
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

/// How long the process waits for what cannot be cancelled.
const LINGER_MAX: Duration = Duration::from_millis(500);

/// For how long a thread is kept that looks at what can hang: until the next look, so that it need
/// not be made anew each time.
const THREADS_KEPT: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    pvewatch_edge::logging::init(log::LevelFilter::Info);
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pvewatch-agent: {}", explain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    if let Some(Command::ReadBackupLog { json, files }) = arguments.command {
        println!("{}", backups::describe(&files, json)?);
        return Ok(());
    }
    let overrides = Overrides { mqtt: arguments.mqtt, node: arguments.node, site: arguments.site };
    let (settings, source) =
        app::Settings::load(arguments.config.as_deref(), overrides, !arguments.dry_run)?;
    if arguments.check_config {
        println!("{source} is valid");
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(THREADS_KEPT)
        .build()?;
    let result = runtime.block_on(async {
        if arguments.dry_run {
            app::dry_run(settings).await
        } else {
            app::run(settings, app::termination()?).await
        }
    });
    // A name service that does not answer must not hold up the end.
    runtime.shutdown_timeout(LINGER_MAX);
    result
}
