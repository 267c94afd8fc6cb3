//! A node that behaves as a Proxmox VE node does, as far as its tasks are concerned.
//!
//! The program that plays them (`proxmox.pl`) is written from Proxmox' own, in its language, and
//! shares nothing with the agent's reader.

use super::Node;

/// Where the program is in a node.
const PROGRAM: &str = "/usr/local/sbin/proxmox.pl";

impl Node {
    /// Becomes a Proxmox VE node, on which nothing has run yet.
    ///
    /// # Panics
    /// When the program cannot be written.
    #[track_caller]
    pub fn plays_proxmox(&self) {
        self.write_program(PROGRAM, include_str!("proxmox.pl"));
        self.shell("install --directory --owner=www-data --group=www-data /var/log/pve/tasks");
    }

    /// Runs a task to its end, and gives its name.
    ///
    /// # Panics
    /// When the program fails.
    #[track_caller]
    pub fn runs_task(&self, arguments: &[&str]) -> String {
        let command: Vec<&str> = [PROGRAM].into_iter().chain(arguments.iter().copied()).collect();
        self.succeeds(&command)
    }

    /// Begins a task and returns while it runs.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[track_caller]
    pub fn begins_task(&self, arguments: &[&str]) {
        let unit = ["systemd-run", "--quiet", "--collect", PROGRAM];
        let command: Vec<&str> = unit.into_iter().chain(arguments.iter().copied()).collect();
        self.succeeds(&command);
    }
}
