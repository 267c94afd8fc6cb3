//! The collector as a whole: from a configuration to everything running, and down again.
//!
//! What can fail because something is configured wrongly fails here, before anything serves:
//! rules, store, addresses, certificates. A broker elsewhere that cannot be reached is no
//! failure: it is tried for ever.

use std::net::SocketAddr;
use std::path::Path;
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
use crate::config::Config;
use crate::output::http::{self, Served};
use crate::run::{Collector, Queries, Setup};
use crate::standards::{self, Reloaded, Reloader, StandardsError};
use crate::store::{Store, StoreError};

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
    /// What is to be judged by is wrong.
    #[error(transparent)]
    Standards(#[from] StandardsError),
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
    reloader: Reloader,
    collector: Collector,
    http: JoinHandle<()>,
    stop_http: oneshot::Sender<()>,
    status: JoinHandle<()>,
    #[cfg(feature = "embedded-broker")]
    broker: Option<broker::Running>,
}

/// Checks everything that can be checked without starting anything: rules, policies, and the files that
/// a broker elsewhere needs.
///
/// # Errors
/// What is wrong.
pub fn check(config: &Config) -> Result<(), StartError> {
    standards::check(config)?;
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
    let standards = standards::read(&config)?;
    let store = open_store(&config.data).await?;
    let listener = listen(config.http.listen).await?;
    let http_addr = listener
        .local_addr()
        .map_err(|source| StartError::Http { address: config.http.listen, source })?;
    let access = open_broker(&config).await?;
    let config_of_standards = config.clone();
    let collector = Collector::start(
        Setup {
            site: config.site,
            collector: config.name,
            data: config.data,
            retention: config.retention.into(),
            standards,
            broker: access.broker,
        },
        store,
    );
    let queries = collector.queries();
    let (stop_http, stopped) = oneshot::channel::<()>();
    let reloader = Reloader::new(config_of_standards, collector.standards());
    let served = Served { queries: queries.clone(), reloader: Some(reloader.clone()) };
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
        reloader,
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

    /// Reads rules and policies anew. If something is wrong with a rule, all stays as it is.
    ///
    /// # Errors
    /// What is wrong.
    pub async fn reload(&self) -> Result<Reloaded, StandardsError> {
        self.reloader.reload().await
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
