//! Where the benchmarks play: a node with the agent under its shipped unit, Mosquitto with
//! mutual TLS on the host, and a listener in this process.
//!
//! The node has the units that benchmarks need, loaded but idle. Everything is gone when the
//! stage is dropped.

use std::path::PathBuf;
use std::time::Duration;

use pvewatch_protocol::NodeName;
use tempfile::TempDir;

use super::listener::Listener;
use crate::certificates::{Authority, Validity};
use crate::deadline::eventually;
use crate::lab::{Node, Suite};
use crate::places::checkout;
use crate::servers::{Mosquitto, Security};
use crate::subscriber::Access;

/// Units that are there and do nothing.
pub const IDLE_UNITS: usize = 500;

/// How long the agent may take from its start to the picture of all units.
const AGENT_START: Duration = Duration::from_secs(60);

/// Units that the benchmarks start and stop: instances of templates, so that none needs a file
/// of its own. The limit of starts is lifted, since the same instance is started again and again.
const UNITS: [(&str, &str); 3] = [
    ("bench-idle@.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"),
    (
        "bench-change@.service",
        "[Unit]\nStartLimitIntervalSec=0\n\
         [Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n",
    ),
    ("bench-fail@.service", "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/false\n"),
];

/// How the agent gets onto the node.
#[derive(Debug, Clone)]
pub enum AgentFrom {
    /// The .deb.
    Package(PathBuf),
    /// The program, with the unit and the user that the .deb would bring.
    Program(PathBuf),
}

/// What the stage consists of.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The node's name.
    pub name: &'static str,
    /// Its release.
    pub suite: Suite,
    /// Where the agent comes from.
    pub agent: AgentFrom,
}

/// A stage that is set.
pub struct Stage {
    /// The node.
    pub node: Node,
    /// The broker.
    pub broker: Mosquitto,
    /// Who plays the collector.
    pub listener: Listener,
    /// How to reach the broker as a collector.
    pub access: Access,
    /// The agent's process id as the host numbers it.
    pub agent_id: u32,
    _directory: TempDir,
}

impl Stage {
    /// Boots the node, starts the broker and the agent, and waits until the agent watches.
    ///
    /// # Panics
    /// When any of them does not start.
    #[track_caller]
    pub fn set(plan: &Plan) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let authority = Authority::new(directory.path(), "authority");
        let server = authority.server(Validity::Valid);
        let broker = Mosquitto::start(Security::mutual_tls(&authority, server));
        let access = broker.access(Some(authority.client("collector", Validity::Valid)));
        let name: NodeName = plan.name.parse().expect("the benchmarks name their nodes well");
        let mut listener = Listener::connect(&access, &name);

        let mut node = Node::new(plan.name, plan.suite);
        for (unit, content) in UNITS {
            node.write_file(&format!("/etc/systemd/system/{unit}"), content);
        }
        node.boot();
        node.show_journal_of("pvewatch-agent.service");
        node.shell(&format!("bash -c 'systemctl start bench-idle@{{1..{IDLE_UNITS}}}.service'"));
        install(&node, &plan.agent);
        configure(&node, &authority, &broker.access(None));
        node.succeeds(&["systemctl", "restart", "pvewatch-agent.service"]);
        listener.wait_for_units(AGENT_START);
        listener.wait_for_quiet(Duration::from_secs(2));
        listener.acknowledge();
        let agent_id = main_process(&node, "pvewatch-agent.service");
        Self { node, broker, listener, access, agent_id, _directory: directory }
    }

    /// Starts instances of a template and does not wait for what becomes of them.
    ///
    /// # Panics
    /// When systemd refuses.
    #[track_caller]
    pub fn start_units(&self, template: &str, instances: std::ops::RangeInclusive<usize>) {
        self.ask_for("start", template, instances);
    }

    /// Stops instances of a template and does not wait until they have stopped.
    ///
    /// # Panics
    /// When systemd refuses.
    #[track_caller]
    pub fn stop_units(&self, template: &str, instances: std::ops::RangeInclusive<usize>) {
        self.ask_for("stop", template, instances);
    }

    /// On what the benchmarks run, and how busy the machine is beside them.
    pub fn setting(&self) -> String {
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        format!(
            "{}, Mosquitto, mutual TLS, load average {}",
            self.node.suite().name(),
            load.split(' ').next().unwrap_or_default()
        )
    }

    /// The agent's process id as the node numbers it, and how often systemd restarted it.
    pub fn agent_state(&self) -> String {
        let unit = "pvewatch-agent.service";
        self.node.succeeds(&["systemctl", "show", "-p", "MainPID,NRestarts", unit])
    }

    #[track_caller]
    fn ask_for(&self, verb: &str, template: &str, instances: std::ops::RangeInclusive<usize>) {
        let units: Vec<String> =
            instances.map(|instance| format!("{template}@{instance}.service")).collect();
        let mut command = vec!["systemctl", verb, "--no-block"];
        command.extend(units.iter().map(String::as_str));
        self.node.succeeds(&command);
    }
}

/// The main process of a service, as the host numbers it.
///
/// # Panics
/// When it does not run.
#[track_caller]
pub fn main_process(node: &Node, unit: &str) -> u32 {
    eventually(&format!("the main process of {unit}"), AGENT_START, || {
        let id = node.run(&["systemctl", "show", "-p", "MainPID", "--value", unit]).stdout;
        id.parse().ok().filter(|id| *id != 0).and_then(|id| node.host_pid(id))
    })
}

#[track_caller]
fn install(node: &Node, agent: &AgentFrom) {
    match agent {
        AgentFrom::Package(package) => node.install(package),
        AgentFrom::Program(program) => {
            let packaging = checkout().join("packaging");
            node.copy_in(program, "/usr/bin/pvewatch-agent");
            for (from, to) in [
                (
                    "systemd/pvewatch-agent.service",
                    "/usr/lib/systemd/system/pvewatch-agent.service",
                ),
                ("sysusers/pvewatch-agent.conf", "/usr/lib/sysusers.d/pvewatch-agent.conf"),
            ] {
                node.copy_in(&packaging.join(from), to);
            }
            node.shell(
                "chmod 755 /usr/bin/pvewatch-agent; systemd-sysusers; systemctl daemon-reload",
            );
        }
    }
}

/// The configuration with a certificate of the node, readable for the agent alone.
#[track_caller]
fn configure(node: &Node, authority: &Authority, access: &Access) {
    let identity = authority.client(node.name(), Validity::Valid);
    for (from, to) in [
        (authority.certificate(), "ca.pem"),
        (identity.certificate.as_path(), "node.pem"),
        (identity.key.as_path(), "node.key"),
    ] {
        node.copy_in(from, &format!("/etc/pvewatch/tls/{to}"));
    }
    let configuration = format!(
        "[broker]\nurl = \"{}\"\nca = \"/etc/pvewatch/tls/ca.pem\"\n\
         cert = \"/etc/pvewatch/tls/node.pem\"\nkey = \"/etc/pvewatch/tls/node.key\"\n",
        access.url()
    );
    node.write_file("/etc/pvewatch/agent.toml", &configuration);
    node.shell(
        "chown -R root:pvewatch-agent /etc/pvewatch/tls; chmod 750 /etc/pvewatch/tls; \
         chmod 640 /etc/pvewatch/tls/*",
    );
}
