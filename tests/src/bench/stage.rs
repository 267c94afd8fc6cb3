//! Where the benchmarks play: a node with the agent under its shipped unit, a broker with mutual
//! TLS on the host, perhaps the real collector, and a listener in this process.
//!
//! The node has the units that benchmarks need, loaded but idle. Everything is gone when the
//! stage is dropped.

use std::path::PathBuf;
use std::time::Duration;

use pvewatch_protocol::NodeName;

use super::listener::Listener;
use super::middle::{Collector, Middle, Via};
use crate::certificates::{Authority, Validity};
use crate::deadline::eventually;
use crate::lab::{Node, Suite};
use crate::places::checkout;
use crate::subscriber::Access;

/// Units that are there and do nothing.
pub const IDLE_UNITS: usize = 500;

/// How long an agent may take until it has sent the picture of all units, or a collector until
/// it is ready.
const START: Duration = Duration::from_secs(60);

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
    /// The broker.
    pub via: Via,
    /// The collector; this process plays it if there is none.
    pub collector: Option<Collector>,
}

/// A stage that is set.
pub struct Stage {
    /// The node.
    pub node: Node,
    /// Who hears what the agent says.
    pub listener: Listener,
    /// The broker and the collector.
    pub middle: Middle,
    /// The agent's process id as the host numbers it.
    pub agent_id: u32,
    via: Via,
}

impl Stage {
    /// Boots the node, starts the broker and the agent, and waits until the agent watches.
    ///
    /// # Panics
    /// When any of them does not start.
    #[track_caller]
    pub fn set(plan: &Plan) -> Self {
        let middle = Middle::start(plan.via, plan.collector.as_ref());
        let name: NodeName = plan.name.parse().expect("the benchmarks name their nodes well");
        let mut listener = Listener::connect(&middle.access, &name);
        if middle.has_collector() {
            listener.wait_for_collector(START);
        }
        let mut node = Node::new(plan.name, plan.suite);
        for (unit, content) in UNITS {
            node.write_file(&format!("/etc/systemd/system/{unit}"), content);
        }
        node.boot();
        node.show_journal_of("pvewatch-agent.service");
        node.shell(&format!("bash -c 'systemctl start bench-idle@{{1..{IDLE_UNITS}}}.service'"));
        install(&node, &plan.agent);
        configure(&node, &middle.authority, &middle.access);
        node.succeeds(&["systemctl", "restart", "pvewatch-agent.service"]);
        listener.wait_for_units(START);
        listener.wait_for_quiet(Duration::from_secs(2));
        let agent_id = main_process(&node, "pvewatch-agent.service");
        let mut stage = Self { node, listener, middle, agent_id, via: plan.via };
        stage.acknowledge();
        stage
    }

    /// Tells the agent that everything received so far is stored, if there is no collector that
    /// does.
    pub fn acknowledge(&mut self) {
        if !self.middle.has_collector() {
            self.listener.acknowledge();
        }
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
        format!(
            "{}, {}, mutual TLS, load average {}",
            self.node.suite().name(),
            self.via.name(),
            load_average()
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

/// How busy the machine was in the last minute.
pub fn load_average() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}

/// The main process of a service, as the host numbers it.
///
/// # Panics
/// When it does not run.
#[track_caller]
pub fn main_process(node: &Node, unit: &str) -> u32 {
    eventually(&format!("the main process of {unit}"), START, || {
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
