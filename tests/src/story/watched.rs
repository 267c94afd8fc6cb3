//! A node with the agent from its package, under the unit that the package ships.

use std::ops::{Deref, DerefMut};

use crate::deadline::{GENEROUS, eventually};
use crate::lab::{Node, Suite};
use crate::places;
use crate::subscriber::Access;

/// The agent's unit.
const AGENT: &str = "pvewatch-agent.service";

/// What the packages' scripts ask whether they may start services.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// A node with an agent. It is a [`Node`] and can do all that one can.
pub struct WatchedNode {
    node: Node,
}

impl WatchedNode {
    /// Boots a node and installs the agent, which reads its configuration when it starts.
    #[track_caller]
    pub fn boot(name: &str, suite: Suite, broker: &Access) -> Self {
        let mut node = Node::booted(name, suite);
        node.show_journal_of(AGENT);
        // Not before it is configured: it would try the broker of the default configuration.
        node.write_program(POLICY, "#!/bin/sh\nexit 101\n");
        node.install(&places::package("pvewatch-agent"));
        node.succeeds(&["rm", POLICY]);
        let this = Self { node };
        this.configure(broker, "");
        this
    }

    /// Writes a configuration and restarts the agent with it. `more` is added at the end.
    #[track_caller]
    pub fn configure(&self, broker: &Access, more: &str) {
        self.configure_for("", broker, more);
    }

    /// As [`WatchedNode::configure`], with `top` before the first section.
    #[track_caller]
    pub fn configure_for(&self, top: &str, broker: &Access, more: &str) {
        let url = broker.url();
        let mut text = format!("environment = \"lab\"\n{top}\n[broker]\nurl = \"{url}\"\n");
        if let Some((user, password)) = &broker.user {
            self.node.write_file("/etc/pvewatch/password", password);
            text += &format!("username = \"{user}\"\npassword_file = \"/etc/pvewatch/password\"\n");
        }
        if let Some(tls) = &broker.tls {
            self.node.copy_in(&tls.authority, "/etc/pvewatch/tls/ca.crt");
            text += "ca = \"/etc/pvewatch/tls/ca.crt\"\n";
            if let Some(identity) = &tls.identity {
                self.node.copy_in(&identity.certificate, "/etc/pvewatch/tls/node.crt");
                self.node.copy_in(&identity.key, "/etc/pvewatch/tls/node.key");
                text +=
                    "cert = \"/etc/pvewatch/tls/node.crt\"\nkey = \"/etc/pvewatch/tls/node.key\"\n";
            }
        }
        text += &format!("[sample]\ninterval = \"1s\"\n{more}");
        self.node.write_file("/etc/pvewatch/agent.toml", &text);
        self.restart_agent();
    }

    /// Writes a service and lets systemd read it. `lines` are those of `[Service]`.
    #[track_caller]
    pub fn has_service(&self, unit: &str, lines: &str) {
        self.node.write_file(
            &format!("/etc/systemd/system/{unit}"),
            &format!("[Unit]\nDescription=Part of a story\n[Service]\n{lines}\n"),
        );
        self.node.succeeds(&["systemctl", "daemon-reload"]);
    }

    /// Starts a unit, and waits until systemd says that it has.
    #[track_caller]
    pub fn starts(&self, unit: &str) {
        self.node.succeeds(&["systemctl", "start", unit]);
    }

    /// Stops a unit.
    #[track_caller]
    pub fn stops(&self, unit: &str) {
        self.node.succeeds(&["systemctl", "stop", unit]);
    }

    /// Kills a unit's processes; systemd learns of it a moment later.
    #[track_caller]
    pub fn kills(&self, unit: &str) {
        self.node.succeeds(&["systemctl", "kill", "--signal=KILL", unit]);
    }

    /// Kills a unit's processes, and waits until systemd says that it has failed.
    #[track_caller]
    pub fn fails(&self, unit: &str) {
        self.kills(unit);
        eventually(&format!("systemd to see {unit} fail"), GENEROUS, || {
            let state = self.node.run(&["systemctl", "is-failed", unit]);
            state.succeeded().then_some(())
        });
    }

    /// Restarts the agent as an administrator does.
    #[track_caller]
    pub fn restart_agent(&self) {
        self.node.succeeds(&["systemctl", "restart", AGENT]);
    }

    /// Stops the agent as an administrator does.
    #[track_caller]
    pub fn stop_agent(&self) {
        self.stops(AGENT);
    }

    /// Starts the agent again.
    #[track_caller]
    pub fn start_agent(&self) {
        self.starts(AGENT);
    }

    /// Kills the agent as the kernel does when memory runs out.
    #[track_caller]
    pub fn kill_agent(&self) {
        self.kills(AGENT);
    }
}

impl Deref for WatchedNode {
    type Target = Node;
    fn deref(&self) -> &Node {
        &self.node
    }
}

impl DerefMut for WatchedNode {
    fn deref_mut(&mut self) -> &mut Node {
        &mut self.node
    }
}
