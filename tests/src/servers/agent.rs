//! The agent of this workspace as a child process, for tests that need no node.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::deadline::{GENEROUS, eventually};
use crate::places::program;
use crate::process::Process;

/// For a node whose units nobody can tell of.
const NO_BUS: &str = "[paths]\nsystem_bus = \"unix:path=/nonexistent/bus\"\n";

/// A running agent of the node `pve1`, and where its log lies.
#[derive(Debug)]
pub struct Agent {
    /// Its process.
    pub process: Process,
    directory: TempDir,
}

impl Agent {
    /// Starts one with this `[broker]` section, and without a bus.
    #[track_caller]
    pub fn start(broker: &str) -> Self {
        Self::start_with(broker, NO_BUS, &[])
    }

    /// Starts one with this `[broker]` section, these other sections, and this environment.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn start_with(broker: &str, sections: &str, environment: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let config = directory.path().join("agent.toml");
        let text =
            format!("node = \"pve1\"\n[broker]\n{broker}\n[sample]\ninterval = \"1s\"\n{sections}");
        fs::write(&config, text).expect("a temporary directory can be written");
        let mut command = Command::new(program("pvewatch-agent"));
        command.arg("--config").arg(&config).envs(environment.iter().copied());
        let log = directory.path().join("agent.log");
        Self { process: Process::start_command("agent", &log, &command), directory }
    }

    /// As [`Agent::start`], with this environment.
    #[track_caller]
    pub fn start_in(broker: &str, environment: &[(&str, &str)]) -> Self {
        Self::start_with(broker, NO_BUS, environment)
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("agent.log")).unwrap_or_default()
    }

    /// Waits until it has logged that.
    ///
    /// # Panics
    /// When it does not within the usual time.
    #[track_caller]
    pub fn says(&self, text: &str) {
        eventually(&format!("the agent to say {text:?}"), GENEROUS, || {
            self.log().contains(text).then_some(())
        });
    }
}
