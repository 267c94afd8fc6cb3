//! Reads the files by which is judged what is known: rules and policies, at the start and anew while
//! everything runs.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};

use crate::config::{Config, POLICY_DEFAULT, RULES_DEFAULT};
use crate::fleet::Policies;
use crate::policy;
use crate::rules::{RuleSet, RulesError, Source};
use crate::run::Standards;

/// The shipped catalogue, as it is installed.
const CATALOGUE: &str = include_str!("../../packaging/rules/catalogue.toml");

/// Why rules or policies cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StandardsError {
    /// A rule file cannot be read.
    #[error("rule file {path} cannot be read: {source}: correct [rules] files or folder")]
    RuleFile {
        /// The file, or the folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A rule is wrong.
    #[error("{0}")]
    Rules(#[from] RulesError),
    /// The policy file is wrong, which is no reason not to start.
    #[error("{0}")]
    Policy(String),
    /// Reading them could not be ended.
    #[error("the files could not be read to their end: this is a fault of pvewatch, please report")]
    Task,
}

/// A rule file, read.
struct RuleFile {
    /// Its name, for messages.
    name: String,
    /// What it holds.
    text: String,
}

/// Reads rules and policies. What is wrong with a policy is told in the log, and is part of what it
/// comes to: all else is watched nevertheless.
///
/// # Errors
/// When a rule file cannot be read, or a rule is wrong.
pub fn read(config: &Config) -> Result<Standards, StandardsError> {
    read_files(config).map(|(standards, _)| standards)
}

/// The same, with the names of the files with rules, in their order.
fn read_files(config: &Config) -> Result<(Standards, Vec<String>), StandardsError> {
    let files = rule_files(config)?;
    let rules = load(&files)?;
    let policies = policies(config);
    if let Some(problem) = &policies.problem {
        log::error!("the policy file cannot be used: {problem}");
    }
    Ok((Standards { rules, policies }, files.into_iter().map(|file| file.name).collect()))
}

fn load(files: &[RuleFile]) -> Result<RuleSet, RulesError> {
    let sources: Vec<Source<'_>> =
        files.iter().map(|file| Source { file: &file.name, text: &file.text }).collect();
    RuleSet::load(&sources)
}

/// Checks rules and policies.
///
/// # Errors
/// What is wrong.
pub fn check(config: &Config) -> Result<(), StandardsError> {
    load(&rule_files(config)?)?;
    policies(config).problem.map_or(Ok(()), |problem| Err(StandardsError::Policy(problem)))
}

/// The files with the rules of a configuration: the shipped catalogue, then its folder, then its
/// files.
fn rule_files(config: &Config) -> Result<Vec<RuleFile>, StandardsError> {
    let catalogue = config.rules.catalogue.then(|| RuleFile {
        name: "catalogue.toml (shipped)".to_owned(),
        text: CATALOGUE.to_owned(),
    });
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| StandardsError::RuleFile { path, source }
    };
    let folder = &config.rules.folder;
    let in_folder = match rule_files_in(folder) {
        Err(error)
            if error.kind() == ErrorKind::NotFound && *folder == Path::new(RULES_DEFAULT) =>
        {
            Vec::new()
        }
        listed => listed.map_err(unreadable(folder))?,
    };
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).map_err(unreadable(path))?;
        Ok(RuleFile { name: path.display().to_string(), text })
    };
    let files = in_folder.iter().chain(&config.rules.files).map(read);
    catalogue.into_iter().map(Ok).chain(files).collect()
}

fn rule_files_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn policies(config: &Config) -> Policies {
    let named = config.policy.file.as_deref();
    let path = named.unwrap_or(Path::new(POLICY_DEFAULT));
    let file = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => policy::parse(&file, &text),
        Err(error) if named.is_none() && error.kind() == ErrorKind::NotFound => Policies::default(),
        Err(error) => {
            let problem = format!("{file} cannot be read: {error}: correct [policy] file");
            Policies::unreadable(&file, problem)
        }
    }
}

/// Reads rules and policies anew; clones do the same.
#[derive(Debug, Clone)]
pub struct Reloader {
    config: Arc<Config>,
    standards: watch::Sender<Standards>,
    /// One reload at a time: more wait.
    turn: Arc<Mutex<()>>,
}

/// What was read, and is in force as soon as the collector hears its nodes, which it mostly does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The files with rules, in their order.
    pub rule_files: Vec<String>,
    /// Policies that are checked.
    pub policies: usize,
    /// What is wrong with the policy file; then those are checked that were before.
    pub policy_problem: Option<String>,
}

impl Reloader {
    /// Reads what this configuration names, for a collector that judges by `standards`.
    pub fn new(config: Config, standards: watch::Sender<Standards>) -> Self {
        Self { config: Arc::new(config), standards, turn: Arc::default() }
    }

    /// Reads everything anew, and lets the collector judge by it. If something is wrong with a rule,
    /// all stays as it is; if with the policies, those do.
    ///
    /// # Errors
    /// What is wrong; the log has it as well.
    pub async fn reload(&self) -> Result<Reloaded, StandardsError> {
        let _turn = self.turn.lock().await;
        let config = Arc::clone(&self.config);
        let read = tokio::task::spawn_blocking(move || read_files(&config)).await;
        let (mut standards, rule_files) =
            read.map_err(|_| StandardsError::Task).flatten().inspect_err(|error| {
                log::error!("rules and policies stay as they are: {error}");
            })?;
        let policy_problem = standards.policies.problem.clone();
        let running = self.standards.borrow().policies.clone();
        if policy_problem.is_some() && running.problem.is_none() {
            standards.policies = running;
        }
        let reloaded =
            Reloaded { rule_files, policies: standards.policies.policies.len(), policy_problem };
        log::info!("rules and policies are read anew: {}", reloaded.rule_files.join(", "));
        self.standards.send_replace(standards);
        Ok(reloaded)
    }
}
