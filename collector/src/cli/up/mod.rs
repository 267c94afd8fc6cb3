//! `pvewatch up`: broker, collector and agent in one process, for trying it out on one machine.
//!
//! Promises: everything listens on loopback unless told otherwise; it works without root and
//! without systemd; what it started, and what does not work here and why, is said in plain
//! words. The agent's password exists in memory alone. Absent: configuration files.

mod agent;
mod place;
mod words;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use pvewatch_edge::mqtt::Secret;
use pvewatch_protocol::{CollectorName, NodeName, Site};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::{self, Running, StartError};
use crate::broker::{BrokerListenSettings, BrokerStartError, Role, UserSettings};
use crate::config::{Config, HTTP_LISTEN_DEFAULT, HttpConfig};
use crate::store::StoreError;
use agent::AgentThread;

/// Where the broker listens unless told otherwise.
const MQTT_LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1883);

/// How long the collector may take to hear what the broker holds before the agent is started.
const READY_MAX: Duration = Duration::from_secs(3);

/// How often that is looked at.
const READY_LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long the agent may take to say what it can watch here.
const FIRST_WORD_MAX: Duration = Duration::from_secs(5);

/// What `pvewatch up` can be told.
#[derive(Debug, Args)]
pub struct UpArguments {
    /// Where to offer the page, the API and the metrics; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value_t = HTTP_LISTEN_DEFAULT)]
    http: SocketAddr,
    /// Where the broker listens; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value_t = MQTT_LISTEN_DEFAULT)]
    mqtt: SocketAddr,
    /// Where to keep the data [default: /var/lib/pvewatch as root, else
    /// ~/.local/share/pvewatch]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// This node's name [default: the host name]
    #[arg(long, value_name = "NAME", env = "PVEWATCH_NODE")]
    node: Option<NodeName>,
}

/// Why not everything could be started, or kept running.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    /// There is no home to keep data in.
    #[error("there is no home folder to keep data in: say where with --data DIR")]
    NoHome,
    /// The place for the data cannot be used.
    #[error("{0}: say where with --data DIR")]
    Data(StoreError),
    /// The address for the page cannot be used.
    #[error("cannot listen on {address} for the page: {cause}: {hint} --http ADDR")]
    Http {
        /// The address.
        address: SocketAddr,
        /// The cause.
        cause: std::io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// The address for the broker cannot be used.
    #[error("cannot listen on {address} for the broker: {cause}: {hint} --mqtt ADDR")]
    Mqtt {
        /// The address.
        address: SocketAddr,
        /// The cause.
        cause: std::io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// Anything else that keeps the collector from starting.
    #[error(transparent)]
    Start(StartError),
    /// The agent cannot be started.
    #[error("the agent cannot be started: {0}")]
    Agent(String),
    /// The agent ended by itself.
    #[error("the agent ended: {0}")]
    AgentEnded(String),
    /// The system does not give what every program needs.
    #[error("{what}: {source}")]
    System {
        /// What was wanted.
        what: &'static str,
        /// The cause.
        source: std::io::Error,
    },
    /// Asked to stop a second time.
    #[error("stopped before everything was stored, as asked; agents send it again")]
    Hurried,
}

/// Starts everything and runs until it is told to stop.
///
/// # Errors
/// What cannot be started, or ended by itself.
pub fn run(arguments: UpArguments) -> Result<(), UpError> {
    pvewatch_edge::logging::init(log::LevelFilter::Warn);
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|source| UpError::System { what: "the runtime cannot be started", source })?;
    let result = runtime.block_on(serve(arguments));
    // After a second Ctrl-C nothing is waited for.
    runtime.shutdown_background();
    result
}

async fn serve(arguments: UpArguments) -> Result<(), UpError> {
    let mut signals = Signals::watch()?;
    let data = place::choose(arguments.data)?;
    let agent = agent::settings(arguments.node, &data)?;
    let password = Secret::random();
    let config = config(&arguments.mqtt, arguments.http, data.clone(), &agent.node, &password);
    let running = app::start(config).await.map_err(explain)?;
    let Some(mqtt) = running.mqtt_addr else { return Err(UpError::Start(StartError::NoBroker)) };
    let node = agent.node.clone();
    // What the agent says first is then heard at once; it is never waited for longer.
    let _ = tokio::time::timeout(READY_MAX, ready(&running)).await;
    let mut agent = AgentThread::start(agent, reachable(mqtt), password)?;
    let began = words::Began { http: running.http_addr, mqtt, data: &data, node: &node };
    say(&began.text());
    let ended = tokio::select! {
        () = signals.next() => None,
        why = agent.ended() => Some(why),
        () = report(&running, &node) => None,
    };
    let ended = match ended {
        Some(why) => Some(why),
        None if signals.came => None,
        None => tokio::select! {
            () = signals.next() => None,
            why = agent.ended() => Some(why),
        },
    };
    if ended.is_none() {
        say("\nStopping: what came is stored ...\n");
    }
    tokio::select! {
        () = drain(agent, running) => {}
        () = signals.next() => return Err(UpError::Hurried),
    }
    match ended {
        Some(why) => Err(UpError::AgentEnded(why)),
        None => Ok(()),
    }
}

/// Waits until the collector hears its broker.
async fn ready(running: &Running) {
    let counters = running.queries().counters();
    let mut tick = tokio::time::interval(READY_LOOK_EVERY);
    while !counters.ready.get() {
        tick.tick().await;
    }
}

/// The agent first: its goodbye is the last thing that is stored.
async fn drain(agent: AgentThread, running: Running) {
    agent.stop().await;
    running.stop().await;
}

/// Says which sources are active, once the agent has told.
async fn report(running: &Running, node: &NodeName) {
    let queries = running.queries();
    let mut revisions = queries.revisions();
    let told = tokio::time::timeout(FIRST_WORD_MAX, async {
        loop {
            let snapshot = queries.snapshot().await;
            let view = snapshot.nodes.iter().find(|view| view.node.name == *node);
            if let Some(view) = view.filter(|view| words::has_said_all(&view.node)) {
                return words::sources(&view.node);
            }
            if revisions.changed().await.is_err() {
                return words::sources_unknown();
            }
        }
    });
    match told.await {
        Ok(text) => say(&text),
        Err(_) => {
            let snapshot = queries.snapshot().await;
            let view = snapshot.nodes.iter().find(|view| view.node.name == *node);
            let text = view.map(|view| words::sources(&view.node));
            say(&text.unwrap_or_else(words::sources_unknown));
        }
    }
}

fn config(
    mqtt: &SocketAddr,
    http: SocketAddr,
    data: PathBuf,
    node: &NodeName,
    password: &Secret,
) -> Config {
    let agent = UserSettings {
        name: node.to_string(),
        role: Role::Node,
        password_file: None,
        password: Some(password.clone()),
    };
    Config {
        site: Site::default(),
        name: CollectorName::default(),
        data,
        embedded_broker: Some(BrokerListenSettings {
            listen: *mqtt,
            // Programs of this machine may listen without a password; others may not at all.
            anonymous: mqtt.ip().is_loopback(),
            users: vec![agent],
            ..BrokerListenSettings::default()
        }),
        http: HttpConfig { listen: http },
        ..Config::default()
    }
}

/// Where this process reaches what listens on `address`.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The same failure in the words of this command's options.
fn explain(error: StartError) -> UpError {
    let hint = |cause: &std::io::Error| match cause.kind() {
        std::io::ErrorKind::AddrInUse => {
            "stop the program that listens there, or choose another port (0 takes a free one) with"
        }
        _ => "choose an address of this machine with",
    };
    match error {
        StartError::Store(error) => UpError::Data(error),
        StartError::Http { address, source } => {
            UpError::Http { address, hint: hint(&source), cause: source }
        }
        StartError::EmbeddedBroker(BrokerStartError::AddressTaken { address }) => {
            let cause = std::io::Error::from(std::io::ErrorKind::AddrInUse);
            UpError::Mqtt { address, hint: hint(&cause), cause }
        }
        StartError::EmbeddedBroker(BrokerStartError::Bind { address, source }) => {
            UpError::Mqtt { address, hint: hint(&source), cause: source }
        }
        error => UpError::Start(error),
    }
}

/// Writes to standard output; if nobody reads it, everything runs on all the same.
fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Ctrl-C and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    came: bool,
}

impl Signals {
    fn watch() -> Result<Self, UpError> {
        let watch = |kind| {
            signal(kind)
                .map_err(|source| UpError::System { what: "signals cannot be watched", source })
        };
        Ok(Self {
            interrupt: watch(SignalKind::interrupt())?,
            terminate: watch(SignalKind::terminate())?,
            came: false,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        self.came = true;
    }
}
