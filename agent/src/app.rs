//! Puts the agent together: configuration, sources, outbox, connection; and takes it down again.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use pvewatch_edge::mqtt::{Broker, BrokerUrl};
use pvewatch_edge::service;
use pvewatch_protocol::event::{AgentFacts, SourceStatus};
use pvewatch_protocol::{CollectorName, NodeName, Site};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::backups::watch::BackupsPaths;
use crate::config::{Config, DEFAULT_PATH, Paths};
use crate::host::identity::{HostIdentity, host_name};
use crate::host::{self, Reading};
use crate::outbox::run::{Runner, RunnerSettings};
use crate::outbox::spool::Limits;
use crate::proxmox::Api;
use crate::source::{REPORTS_MAX, Report, Reporter};
use crate::units::{self, UnitsConfig};
use crate::{backups, guests, print};

/// Most events in the outbox. Beyond what its bound in bytes lets in with events as they are: that
/// one is in the configuration, and the one to be met. An event on disk takes no memory.
const OUTBOX_EVENTS_MAX: usize = 1_000_000;

/// How long the sources may take to end when the outbox is closed.
const SOURCES_END_WITHIN: Duration = Duration::from_secs(1);

/// What the command line says, over what the file says.
#[derive(Debug, Default)]
pub struct Overrides {
    /// The broker.
    pub mqtt: Option<BrokerUrl>,
    /// This node's name.
    pub node: Option<NodeName>,
    /// The site.
    pub site: Option<Site>,
}

/// Everything that an agent needs to know, valid and complete.
#[derive(Debug)]
pub struct Settings {
    /// The installation.
    pub site: Site,
    /// This node.
    pub node: NodeName,
    /// Labels of this node.
    pub labels: BTreeMap<String, String>,
    /// Whose acks count.
    pub collectors: Vec<CollectorName>,
    /// The way to the broker; none for a dry run.
    pub broker: Option<Broker>,
    /// The time from one sample to the next.
    pub sample_interval: Duration,
    /// How much the outbox may hold.
    pub outbox: Limits,
    /// Where the outbox keeps its events; in memory alone if there is no place.
    pub spool: Option<PathBuf>,
    /// Which units are watched.
    pub units: UnitsConfig,
    /// The way to Proxmox' API, if there is a token for it.
    pub proxmox: Option<Api>,
    /// Where the agent reads from.
    pub paths: Paths,
}

impl Settings {
    /// Reads the configuration file and joins it with the command line. Also returns, in words,
    /// where the settings came from.
    ///
    /// A file that was not asked for by name need not exist.
    ///
    /// # Errors
    /// When the file is not valid, no broker is named although one is needed, or this host's
    /// name is no node name.
    pub fn load(
        path: Option<&Path>,
        overrides: Overrides,
        needs_broker: bool,
    ) -> anyhow::Result<(Self, String)> {
        let default_path = Path::new(DEFAULT_PATH);
        let path = path.or_else(|| default_path.exists().then_some(default_path));
        let (config, source) = match path {
            Some(path) => (Config::load(path)?, path.display().to_string()),
            None => (Config::default(), "the command line (no configuration file)".to_owned()),
        };
        let settings = Self::from_config(config, overrides, needs_broker)
            .with_context(|| format!("settings from {source}"))?;
        Ok((settings, source))
    }

    /// Joins a configuration with the command line.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn from_config(
        mut config: Config,
        overrides: Overrides,
        needs_broker: bool,
    ) -> anyhow::Result<Self> {
        if let Some(url) = overrides.mqtt {
            config.broker.urls = vec![url];
        }
        if needs_broker && config.broker.urls.is_empty() {
            bail!(
                "no broker is named: set [broker] url in {DEFAULT_PATH}, or give --mqtt URL, \
                 such as mqtt://127.0.0.1:1883"
            );
        }
        let broker = if config.broker.urls.is_empty() {
            None
        } else {
            Some(Broker::prepare(&config.broker)?)
        };
        let node = match overrides.node.or_else(|| config.node.clone()) {
            Some(node) => node,
            None => node_from_host()?,
        };
        Ok(Self {
            site: overrides.site.unwrap_or_else(|| config.site.clone()),
            node,
            labels: config.node_labels(),
            collectors: config.collectors.names().to_vec(),
            broker,
            sample_interval: config.sample.interval.0,
            outbox: Limits { bytes_max: config.outbox.bytes_max.0, events_max: OUTBOX_EVENTS_MAX },
            spool: config.outbox.directory.or_else(state_directory),
            units: config.units,
            proxmox: Api::prepare(&config.proxmox).map_err(anyhow::Error::msg)?,
            paths: config.paths,
        })
    }
}

fn node_from_host() -> anyhow::Result<NodeName> {
    let name = host_name().context("this host has no name: set `node` in the configuration")?;
    name.parse().with_context(|| {
        format!("the host name {name:?} cannot be a node name: set `node` in the configuration")
    })
}

/// Where the service manager lets this service keep things.
fn state_directory() -> Option<PathBuf> {
    let folders = std::env::var_os("STATE_DIRECTORY")?;
    std::env::split_paths(&folders).next().map(|folder| folder.join("spool"))
}

/// Runs the agent until `stop` is ready, then says goodbye and returns.
///
/// # Errors
/// When no broker is named. A broker that cannot be reached is no error: the agent tries for ever.
pub async fn run(settings: Settings, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let Some(broker) = settings.broker.clone() else {
        bail!("no broker is named");
    };
    let identity = HostIdentity::read(&settings.paths);
    let facts = agent_facts(&identity, settings.labels.clone(), settings.sample_interval);
    let backups = backups_paths(&settings.paths, settings.spool.clone(), &identity);
    let (mut sources, inputs) = start_sources(&settings, backups);
    log::info!(
        "watching node {} of site {}, publishing to {}",
        settings.node,
        settings.site,
        broker.urls().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    );
    let runner = Runner::new(
        RunnerSettings {
            site: settings.site,
            node: settings.node,
            collectors: settings.collectors,
            limits: settings.outbox,
            spool: settings.spool,
            broker,
        },
        facts,
        inputs,
    );
    service::ready();
    let bus = settings.paths.units();
    let stop_reason = async {
        stop.await;
        service::stopping();
        units::stop_reason(&bus).await
    };
    runner.run(stop_reason).await;
    // The outbox is closed, which ends them; some note first what is kept now.
    let ended = async { while sources.join_next().await.is_some() {} };
    let _ = timeout(SOURCES_END_WITHIN, ended).await;
    Ok(())
}

/// Prints what would be published, a line each, until interrupted. Connects to no broker.
///
/// # Errors
/// When signals cannot be received.
pub async fn dry_run(settings: Settings) -> anyhow::Result<()> {
    let identity = HostIdentity::read(&settings.paths);
    let facts = agent_facts(&identity, settings.labels.clone(), settings.sample_interval);
    let backups = backups_paths(&settings.paths, None, &identity);
    let (sources, inputs) = start_sources(&settings, backups);
    let stop = termination()?;
    print::run(settings.site, settings.node, settings.outbox, facts, inputs, stop).await;
    drop(sources);
    Ok(())
}

/// Ready when the process is asked to end (SIGTERM, SIGINT).
///
/// # Errors
/// When signals cannot be received.
pub fn termination() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// What the sources send, and how they are asked for more.
#[derive(Debug)]
pub struct Inputs {
    /// Facts, pictures and statuses, in order.
    pub reports: mpsc::Receiver<Report>,
    /// The newest reading of the host.
    pub readings: watch::Receiver<Option<Reading>>,
    /// Raised to ask every source for a new picture.
    pub picture_wanted: watch::Sender<u64>,
    /// The time from one reading to the next.
    pub sample_interval: Duration,
}

fn start_sources(settings: &Settings, backups_paths: BackupsPaths) -> (JoinSet<()>, Inputs) {
    let (paths, sample_interval) = (&settings.paths, settings.sample_interval);
    let (reports_in, reports) = mpsc::channel(REPORTS_MAX);
    let (readings_in, readings) = watch::channel(None);
    let (picture_wanted, picture_wanted_out) = watch::channel(0);
    let mut sources = JoinSet::new();
    let (units_config, unit_paths) = (settings.units.clone(), paths.units());
    let (plan_paths, storage_paths) = (paths.plan(), paths.storages());
    let guests_paths = paths.guests();
    let (host_paths, api) = (paths.host(), settings.proxmox.clone());
    let reporter = Reporter::new(reports_in);
    // The outbox closes only when the agent stops, and then its sources may end too.
    let (own_reporter, wanted) = (reporter.clone(), picture_wanted_out.clone());
    sources.spawn(async move {
        let _ = backups::watch::run(backups_paths, own_reporter, wanted).await;
    });
    let (own_reporter, wanted) = (reporter.clone(), picture_wanted_out.clone());
    sources.spawn(async move {
        let _ = backups::plan::watch::run(plan_paths, own_reporter, wanted).await;
    });
    let (own_reporter, wanted) = (reporter.clone(), picture_wanted_out.clone());
    sources.spawn(async move {
        let _ = backups::storages::watch::run(storage_paths, api, own_reporter, wanted).await;
    });
    let (own_reporter, wanted) = (reporter.clone(), picture_wanted_out.clone());
    sources.spawn(async move {
        let _ = guests::watch::run(guests_paths, own_reporter, wanted).await;
    });
    sources.spawn(async move {
        let _ = units::run(units_config, unit_paths, reporter, picture_wanted_out).await;
    });
    sources.spawn(host::watch::run(sample_interval, host_paths, readings_in));
    (sources, Inputs { reports, readings, picture_wanted, sample_interval })
}

/// What was told is noted beside the events that it was told with: it is of no use without them.
fn backups_paths(paths: &Paths, state: Option<PathBuf>, identity: &HostIdentity) -> BackupsPaths {
    BackupsPaths {
        tasks: paths.tasks.clone(),
        guests: paths.guest_logs.clone(),
        jobs: paths.job_states.clone(),
        state,
        booted_at: identity.booted_at,
    }
}

fn agent_facts(
    identity: &HostIdentity,
    labels: BTreeMap<String, String>,
    sample_interval: Duration,
) -> AgentFacts {
    AgentFacts {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        boot_id: identity.boot_id.clone(),
        booted_at: identity.booted_at,
        machine_id: identity.machine_id.clone(),
        product_uuid: identity.product_uuid.clone(),
        macs: identity.macs.clone(),
        cluster: identity.cluster.clone(),
        labels,
        sources: vec![SourceStatus {
            name: "load".to_owned(),
            active: true,
            detail: format!("read every {} s", sample_interval.as_secs()),
        }],
        sample_interval_seconds: sample_interval.as_secs_f64(),
    }
}
