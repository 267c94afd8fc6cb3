//! The operator's command `pvewatch`: `up`, `status`, `alerts`, `nodes`, `guests`, `storages`,
//! `backups`, `drift`, `rules`.
//!
//! Promises: exit code 0 on success, 1 after an error or when `nodes`, `storages`, `backups` or
//! `drift` show something that is bad, 2 for a wrong command line; an error names the thing, the
//! cause and what to do; what comes from a node cannot control the terminal.

mod alert;
mod alerts;
mod backups;
mod client;
mod drift;
mod guests;
mod node;
mod nodes;
mod paint;
mod rules;
mod status;
mod storages;
mod table;
mod up;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use pvewatch_protocol::NodeName;

use crate::output::http::api::NodeAnswer;
pub use alert::render as render_alert;
pub use alerts::render as render_alerts;
pub use backups::render as render_backups;
pub use client::{Api, ApiUrl, ClientError};
pub use drift::render as render_drift;
pub use guests::render as render_guests;
pub use node::render as render_node;
pub use nodes::render as render_nodes;
pub use paint::Paint;
pub use rules::{Scope, render as render_rules, render_fields};
pub use status::{Status, render as render_status};
pub use storages::render as render_storages;
pub use up::{UpArguments, UpError};

/// See what failed on Proxmox VE nodes.
#[derive(Debug, Parser)]
#[command(name = "pvewatch", version, disable_help_subcommand = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start everything on this machine: broker, collector and agent
    Up(UpArguments),
    /// Show the nodes and whether all is well
    Status(ViewArguments),
    /// Show the alerts, firing ones first
    Alerts(AlertsArguments),
    /// Show every node, how it fares and what is wrong with it; exits with 1 if something is
    Nodes(NodesArguments),
    /// Show every guest and whether it runs, those that should first
    Guests(ViewArguments),
    /// Show every storage and how full it is; exits with 1 if one is full or cannot be used
    Storages(ViewArguments),
    /// Show the last backup of every guest; exits with 1 if one did not succeed
    Backups(ViewArguments),
    /// Show what is not as the policies want it; exits with 1 if anything is, or was not checked
    Drift(ViewArguments),
    /// Show the rules, what they can read, and read them anew
    #[command(subcommand)]
    Rules(RulesCommand),
}

#[derive(Debug, Subcommand)]
enum RulesCommand {
    /// Show every rule with all that it says, and its alerts
    List(ViewArguments),
    /// Show the fields that rules can read
    Fields {
        /// Those of this scope only, such as node or guest
        scope: Option<Scope>,
    },
    /// Let the collector read its rules and policies anew; if a rule is wrong, all stays as it is
    Reload(ViewArguments),
}

#[derive(Debug, Args)]
struct ViewArguments {
    /// Print JSON, as the API gives it
    #[arg(long)]
    json: bool,
    /// Where the collector is
    #[arg(long, value_name = "URL", env = "PVEWATCH_URL", default_value = client::URL_DEFAULT)]
    url: ApiUrl,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
struct AlertsArguments {
    #[command(subcommand)]
    command: Option<AlertsCommand>,
    #[command(flatten)]
    view: ViewArguments,
    /// Show those that ended lately too
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Subcommand)]
enum AlertsCommand {
    /// Explain one alert: its rule, how it came to be so, and why people are told or not
    Show {
        /// Its id, or the first digits of that
        id: String,
        #[command(flatten)]
        view: ViewArguments,
    },
}

#[derive(Debug, Args)]
struct NodesArguments {
    #[command(flatten)]
    view: ViewArguments,
    /// Show this node alone, and all that it reads of itself
    node: Option<NodeName>,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Up(#[from] UpError),
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
    #[error("the answer cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Does what the command line says; what went wrong is told on standard error.
pub fn run(arguments: Arguments) -> ExitCode {
    let result = match arguments.command {
        Command::Up(arguments) => {
            up::run(arguments).map(|()| ExitCode::SUCCESS).map_err(CommandError::from)
        }
        Command::Status(view) => show_status(&view),
        Command::Alerts(arguments) => show_alerts(&arguments),
        Command::Nodes(arguments) => show_nodes(&arguments),
        Command::Guests(view) => show_guests(&view),
        Command::Storages(view) => show_storages(&view),
        Command::Backups(view) => show_backups(&view),
        Command::Drift(view) => show_drift(&view),
        Command::Rules(RulesCommand::List(view)) => show_rules(&view),
        Command::Rules(RulesCommand::Fields { scope }) => {
            print(&render_fields(scope, Paint::of_stdout(), table::width_of_stdout()))
        }
        Command::Rules(RulesCommand::Reload(view)) => reload_rules(&view),
    };
    match result {
        Ok(code) => code,
        // Whoever read the output has seen enough, such as `head`.
        Err(CommandError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("pvewatch: {error}");
            ExitCode::FAILURE
        }
    }
}

fn show_status(view: &ViewArguments) -> Result<ExitCode, CommandError> {
    show(view, &Status::fetch(&Api::new(&view.url))?, render_status)
}

fn show_alerts(arguments: &AlertsArguments) -> Result<ExitCode, CommandError> {
    if let Some(AlertsCommand::Show { id, view }) = &arguments.command {
        return show(view, &Api::new(&view.url).alert(id)?, render_alert);
    }
    let api = Api::new(&arguments.view.url);
    let status = api.status()?;
    let mut answer = api.alerts()?;
    if !arguments.all {
        answer.alerts.retain(|alert| alert.ends_at.is_none());
        answer.total = answer.alerts.len();
    }
    if arguments.view.json {
        return print_json(&answer);
    }
    print(&render_alerts(&answer, &status, Paint::of_stdout(), table::width_of_stdout()))
}

fn show_nodes(arguments: &NodesArguments) -> Result<ExitCode, CommandError> {
    let api = Api::new(&arguments.view.url);
    let answer = match &arguments.node {
        Some(name) => api.node(name)?,
        None => api.nodes()?,
    };
    let (paint, width) = (Paint::of_stdout(), table::width_of_stdout());
    match (arguments.view.json, &arguments.node) {
        (true, _) => print_json(&answer)?,
        (false, Some(_)) => print(&render_node(&answer, paint, width))?,
        (false, None) => print(&render_nodes(&answer, paint, width))?,
    };
    let is_wrong = answer.nodes.iter().any(NodeAnswer::is_wrong);
    Ok(if is_wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn show_guests(view: &ViewArguments) -> Result<ExitCode, CommandError> {
    show(view, &Api::new(&view.url).guests()?, render_guests)
}

fn show_storages(view: &ViewArguments) -> Result<ExitCode, CommandError> {
    let answer = Api::new(&view.url).storages()?;
    show(view, &answer, render_storages)?;
    Ok(code_of(answer.is_anything_wrong()))
}

fn show_backups(view: &ViewArguments) -> Result<ExitCode, CommandError> {
    let answer = Api::new(&view.url).backups()?;
    show(view, &answer, render_backups)?;
    Ok(code_of(answer.is_anything_wrong()))
}

fn show_drift(view: &ViewArguments) -> Result<ExitCode, CommandError> {
    let answer = Api::new(&view.url).drift()?;
    show(view, &answer, render_drift)?;
    Ok(code_of(answer.is_anything_wrong()))
}

fn show_rules(view: &ViewArguments) -> Result<ExitCode, CommandError> {
    show(view, &Api::new(&view.url).rules()?, render_rules)
}

fn reload_rules(view: &ViewArguments) -> Result<ExitCode, CommandError> {
    let reloaded = Api::new(&view.url).reload_rules()?;
    show(view, &reloaded, |reloaded, _, _| rules::render_reloaded(reloaded))?;
    Ok(code_of(reloaded.policy_problem.is_some()))
}

/// Prints an answer as JSON, or for people.
fn show<T: serde::Serialize>(
    view: &ViewArguments,
    answer: &T,
    render: fn(&T, Paint, Option<usize>) -> String,
) -> Result<ExitCode, CommandError> {
    match view.json {
        true => print_json(answer),
        false => print(&render(answer, Paint::of_stdout(), table::width_of_stdout())),
    }
}

fn code_of(is_wrong: bool) -> ExitCode {
    if is_wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn print_json(answer: &impl serde::Serialize) -> Result<ExitCode, CommandError> {
    let mut text = serde_json::to_string_pretty(answer)?;
    text.push('\n');
    print(&text)
}

fn print(text: &str) -> Result<ExitCode, CommandError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(ExitCode::SUCCESS)
}
