//! The collector as a whole: from a configuration to everything running, and down again.
//!
//! What can fail because something is configured wrongly fails here, before anything serves:
//! rules, store, addresses, certificates. A broker elsewhere that cannot be reached is no
//! failure: it is tried for ever.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pvewatch_edge::mqtt::{Broker, BrokerError};
use pvewatch_edge::service;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

#[cfg(feature = "embedded-broker")]
use crate::broker::{self, EmbeddedBroker};
use crate::broker::{BrokerListenSettings, BrokerStartError};
use crate::config::{Config, POLICY_DEFAULT};
use crate::fleet::Policies;
use crate::output::http;
use crate::policy;
use crate::rules::RulesError;
use crate::run::{Collector, Queries, RuleFile, Setup, load_rules};
use crate::store::{Store, StoreError};

/// The shipped catalogue, as it is installed.
const CATALOGUE: &str = include_str!("../../packaging/rules/catalogue.toml");

/// How often the line for `systemctl status` is written anew.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// How long requests that are under way, and then the broker's last messages, may take.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Why the collector does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A rule file cannot be read.
    #[error("rule file {path} cannot be read: {source}: correct [rules] files")]
    RuleFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A rule is wrong.
    #[error("{0}")]
    Rules(#[from] RulesError),
    /// The policy file is wrong, which is no reason not to start.
    #[error("{0}")]
    Policy(String),
    /// The settings of a broker elsewhere cannot be used.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The embedded broker does not start.
    #[error(transparent)]
    EmbeddedBroker(#[from] BrokerStartError),
    /// This program was built without a broker.
    #[error("this collector was built without a broker: set [broker] url")]
    NoBroker,
    /// The address for HTTP cannot be listened on.
    #[error("http: cannot listen on {address}: {source}: {}", listen_hint(source))]
    Http {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: std::io::Error,
    },
    /// A task could not be run.
    #[error("a task of the start ended: this is a fault of pvewatch, please report")]
    Task,
}

/// A collector that runs, with everything around it.
#[derive(Debug)]
pub struct Running {
    /// Where the page, the API and the metrics are.
    pub http_addr: SocketAddr,
    /// Where the embedded broker listens without TLS, if there is one.
    pub mqtt_addr: Option<SocketAddr>,
    /// Where the embedded broker listens with TLS, if it does.
    pub mqtt_tls_addr: Option<SocketAddr>,
    queries: Queries,
    collector: Collector,
    http: JoinHandle<()>,
    stop_http: oneshot::Sender<()>,
    status: JoinHandle<()>,
    #[cfg(feature = "embedded-broker")]
    broker: Option<broker::Running>,
}

/// Reads the rules of a configuration: the shipped catalogue, then its files.
///
/// # Errors
/// When a file cannot be read.
pub fn rule_files(config: &Config) -> Result<Vec<RuleFile>, StartError> {
    let catalogue = config.rules.catalogue.then(|| RuleFile {
        name: "catalogue.toml (shipped)".to_owned(),
        text: CATALOGUE.to_owned(),
    });
    let read = |path: &PathBuf| match std::fs::read_to_string(path) {
        Ok(text) => Ok(RuleFile { name: path.display().to_string(), text }),
        Err(source) => Err(StartError::RuleFile { path: path.clone(), source }),
    };
    catalogue.into_iter().map(Ok).chain(config.rules.files.iter().map(read)).collect()
}

/// Reads the policy file of a configuration. What is wrong with it is part of what it comes to: all
/// else is watched nevertheless.
fn policies(config: &Config) -> Policies {
    let named = config.policy.file.as_deref();
    let path = named.unwrap_or(Path::new(POLICY_DEFAULT));
    let file = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => policy::parse(&file, &text),
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
            Policies::default()
        }
        Err(error) => {
            let problem = format!("{file} cannot be read: {error}: correct [policy] file");
            Policies::unreadable(&file, problem)
        }
    }
}

/// Checks everything that can be checked without starting anything: rules, policies, and the files that
/// a broker elsewhere needs.
///
/// # Errors
/// What is wrong.
pub fn check(config: &Config) -> Result<(), StartError> {
    load_rules(&rule_files(config)?)?;
    if let Some(problem) = policies(config).problem {
        return Err(StartError::Policy(problem));
    }
    if config.embedded_broker().is_none() {
        Broker::prepare(&config.broker)?;
    }
    Ok(())
}

/// Starts a collector and everything around it.
///
/// # Errors
/// What cannot be used; nothing runs then.
pub async fn start(config: Config) -> Result<Running, StartError> {
    let rules = rule_files(&config)?;
    load_rules(&rules)?;
    let policies = policies(&config);
    if let Some(problem) = &policies.problem {
        log::error!("no policy is checked: {problem}");
    }
    let store = open_store(&config.data).await?;
    let listener = listen(config.http.listen).await?;
    let http_addr = listener
        .local_addr()
        .map_err(|source| StartError::Http { address: config.http.listen, source })?;
    let access = open_broker(&config).await?;
    let collector = Collector::start(
        Setup {
            site: config.site,
            collector: config.name,
            data: config.data,
            retention: config.retention.into(),
            rules,
            policies,
            broker: access.broker,
        },
        store,
    );
    let queries = collector.queries();
    let (stop_http, stopped) = oneshot::channel::<()>();
    let served = queries.clone();
    let http = tokio::spawn(async move {
        let stop = async {
            // A sender that is gone means the same.
            let _ = stopped.await;
        };
        http::serve(listener, served, stop).await;
    });
    Ok(Running {
        http_addr,
        mqtt_addr: access.plain,
        mqtt_tls_addr: access.tls,
        status: tokio::spawn(tell_service_manager(queries.clone())),
        queries,
        collector,
        http,
        stop_http,
        #[cfg(feature = "embedded-broker")]
        broker: access.running,
    })
}

impl Running {
    /// What can be asked of the collector.
    pub fn queries(&self) -> Queries {
        self.queries.clone()
    }

    /// Drains and ends everything: what came is stored and acked, goodbye is said, requests
    /// that are under way are answered.
    pub async fn stop(self) {
        service::stopping();
        self.status.abort();
        // Nobody waits any more if the server failed.
        let _ = self.stop_http.send(());
        self.collector.stop().await;
        if timeout(DRAIN_MAX, self.http).await.is_err() {
            log::warn!("http: requests that were under way took too long");
        }
        #[cfg(feature = "embedded-broker")]
        if let Some(broker) = self.broker {
            broker.stop(DRAIN_MAX).await;
        }
    }
}

/// The way to the broker, and the broker itself if it runs here.
struct Access {
    broker: Broker,
    plain: Option<SocketAddr>,
    tls: Option<SocketAddr>,
    #[cfg(feature = "embedded-broker")]
    running: Option<broker::Running>,
}

async fn open_broker(config: &Config) -> Result<Access, StartError> {
    match config.embedded_broker() {
        Some(settings) => start_broker(&settings, config).await,
        None => Ok(Access {
            broker: Broker::prepare(&config.broker)?,
            plain: None,
            tls: None,
            #[cfg(feature = "embedded-broker")]
            running: None,
        }),
    }
}

#[cfg(feature = "embedded-broker")]
async fn start_broker(
    settings: &BrokerListenSettings,
    config: &Config,
) -> Result<Access, StartError> {
    let running = EmbeddedBroker::start(settings, &config.site).await?;
    Ok(Access {
        broker: running.own_access(),
        plain: Some(running.address()),
        tls: running.tls_address(),
        running: Some(running),
    })
}

#[cfg(not(feature = "embedded-broker"))]
async fn start_broker(_: &BrokerListenSettings, _: &Config) -> Result<Access, StartError> {
    Err(StartError::NoBroker)
}

async fn open_store(data: &Path) -> Result<Store, StartError> {
    let data = data.to_owned();
    let opened = tokio::task::spawn_blocking(move || Store::open(&data)).await;
    Ok(opened.map_err(|_| StartError::Task)??)
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Http { address, source })
}

fn listen_hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "stop the program that listens there, or set [http] listen to another port \
             (0 takes a free one)"
        }
        _ => "set [http] listen to an address of this machine",
    }
}

/// Tells systemd that the collector is up, how it is doing, and that it still answers.
async fn tell_service_manager(queries: Queries) {
    service::ready();
    let every = service::watchdog_interval().unwrap_or(STATUS_EVERY).min(STATUS_EVERY);
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        // If the owner of the state hangs, so does this, and the watchdog sees it.
        let snapshot = queries.snapshot().await;
        service::alive();
        let picture = http::Readiness::of(&queries);
        service::status(&format!("{}; {} nodes", picture.words(), snapshot.nodes.len()));
    }
}
