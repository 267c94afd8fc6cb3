//! The I/O of the source `guests`: joins the bus, the tracker and what Proxmox notes.
//!
//! Never gives up: without a bus it says so in its status, and tries again. What Proxmox notes is
//! read on a thread of its own, since `/etc/pve` can hang; then the cause is what the rest tells.

mod configs;
mod notes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use jiff::Timestamp;
use pvewatch_protocol::event::{GuestKind, GuestRun, GuestState};
use pvewatch_protocol::{CheckpointContent, EventData, Vmid};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use super::cause::{Clues, Config, explain};
use super::tracker::{Output, Tracker, Turn};
use super::unit::PATTERNS;
use crate::clock::{self, instant};
use crate::source::{Closed, Fact, PictureWanted, Report, Reporter, StatusTeller, wait_or_wanted};
use crate::systemd::bus::{Bus, BusError};
use crate::systemd::{Selection, UnitGlob};
use configs::Configs;

/// The first and the longest wait for the bus to come back.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How often it is looked whether this is a node of Proxmox by now.
const LOOK_EVERY_IF_ABSENT: Duration = Duration::from_mins(1);

/// How often all units are listed although nothing was heard of them, and the picture is told.
const RENEW_EVERY: Duration = Duration::from_mins(15);

/// Where the source reads from, and what it must know of the host.
#[derive(Debug, Clone)]
pub struct GuestsPaths {
    /// D-Bus address of the system bus; the usual one if none.
    pub system_bus: Option<String>,
    /// Proxmox' cluster file system.
    pub pve: PathBuf,
    /// The logs of Proxmox' tasks.
    pub tasks: PathBuf,
}

/// Follows the guests of this node until the outbox closes.
///
/// # Errors
/// When the outbox is closed: the agent stops.
pub async fn run(
    paths: GuestsPaths,
    reporter: Reporter,
    mut picture_wanted: PictureWanted,
) -> Result<(), Closed> {
    // A host that never was a Proxmox node lacks nothing, and needs no second connection.
    while !paths.tasks.is_dir() {
        wait_or_wanted(instant() + LOOK_EVERY_IF_ABSENT, &mut picture_wanted).await?;
    }
    let mut source = Source {
        configs: Configs::new(paths.pve.clone()),
        booted_at: Timestamp::UNIX_EPOCH,
        known_at: clock::today(),
        paths,
        status: StatusTeller::new("guests", reporter.clone()),
        reporter,
        picture_wanted,
        tracker: Tracker::default(),
        spent: BTreeSet::new(),
        runs: BTreeMap::new(),
        is_complete: false,
        was_complete: false,
    };
    let pattern = |pattern: &str| UnitGlob::try_from(pattern.to_owned()).ok();
    let include = PATTERNS.into_iter().filter_map(pattern).collect();
    let selection = Arc::new(Selection { include, exclude: Vec::new() });
    let retries = ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(RETRY.0)
        .with_max_delay(RETRY.1)
        .without_max_times();
    let mut delays = retries.build();
    loop {
        let address = source.paths.system_bus.clone();
        let reason = match Bus::connect(address.as_deref(), selection.clone()).await {
            Ok(bus) => source.follow(bus).await?,
            Err(error) => error,
        };
        if source.is_complete {
            delays = retries.build();
        }
        source.is_complete = false;
        source.status.say(false, format!("guests are not watched: {reason}")).await?;
        let until = instant() + delays.next().unwrap_or(RETRY.1);
        while wait_or_wanted(until, &mut source.picture_wanted).await? {
            // What is not watched is not told: the last picture stands.
        }
    }
}

struct Source {
    paths: GuestsPaths,
    configs: Configs,
    reporter: Reporter,
    picture_wanted: PictureWanted,
    status: StatusTeller,
    tracker: Tracker,
    /// Tasks that have explained that a guest stopped, or was started. Bounded by Proxmox' list of
    /// tasks: what is not in it any more explains nothing anyway.
    spent: BTreeSet<(Vmid, bool, String)>,
    /// When the node was booted.
    booted_at: Timestamp,
    /// When anything was heard last: until then all that run were known.
    known_at: Timestamp,
    /// Guests that run, and those that were seen to stop.
    runs: BTreeMap<Vmid, GuestRun>,
    /// Whether all that run are known by this connection.
    is_complete: bool,
    /// Whether they were by any before: what turns since then is news.
    was_complete: bool,
}

impl Source {
    /// Follows the guests over one connection, until it is lost.
    async fn follow(&mut self, mut bus: Bus) -> Result<BusError, Closed> {
        let mut renew_at = instant() + RENEW_EVERY;
        if let Err(reason) = bus.list(clock::now()).await {
            return Ok(reason);
        }
        self.booted_at = bus.booted_at().await;
        loop {
            let patience = bus.patience_ends().map(Instant::from_std);
            let heard = tokio::select! {
                heard = bus.next() => heard,
                changed = self.picture_wanted.changed() => {
                    changed.map_err(|_| Closed)?;
                    self.show().await?;
                    continue;
                }
                () = sleep_until(renew_at) => {
                    renew_at = instant() + RENEW_EVERY;
                    match bus.list(clock::now()).await {
                        Ok(()) => continue,
                        Err(reason) => return Ok(reason),
                    }
                }
                () = until(patience) => return Ok(BusError::SystemdHangs),
            };
            let outputs = match heard {
                Ok(heard) => self.tracker.hear(heard),
                Err(reason) => return Ok(reason),
            };
            for output in outputs {
                let asked = match output {
                    Output::Turned(turn) => {
                        self.turn(turn, &bus).await?;
                        Ok(())
                    }
                    Output::Complete => {
                        self.complete().await?;
                        Ok(())
                    }
                    Output::List => bus.list(clock::now()).await,
                    Output::LookUp(units) => bus.look_up(clock::now(), &units).await,
                };
                if let Err(reason) = asked {
                    return Ok(reason);
                }
            }
            self.known_at = clock::today();
        }
    }

    /// A guest was started or stopped. One that ran already when the agent began is no news.
    async fn turn(&mut self, turn: Turn, bus: &Bus) -> Result<(), Closed> {
        if !self.was_complete {
            match turn.state {
                GuestState::Running => {
                    self.runs.insert(turn.vmid, notes::unseen(turn.vmid, turn.kind))
                }
                _ => self.runs.remove(&turn.vmid),
            };
            return Ok(());
        }
        let learned_at = clock::today();
        let at = turn.at.unwrap_or(learned_at);
        let is_stop = turn.state == GuestState::Stopped;
        let is_host_stopping = is_stop && bus.is_host_stopping().await;
        let (folder, vmid) = (self.paths.tasks.clone(), turn.vmid);
        let read = spawn_blocking(move || notes::tasks(&folder, vmid)).await;
        let (tasks, asked_by_ha) = read.unwrap_or_default();
        let config = self.configs.look(vec![(vmid, turn.kind)]).await.pop().unwrap_or_default();
        self.spent.retain(|(_, _, upid)| tasks.iter().any(|it| it.upid.as_str() == upid));
        let alike = self.spent.iter().filter(|(of, stopped, _)| (*of, *stopped) == (vmid, is_stop));
        let spent = alike.map(|(_, _, upid)| upid.clone()).collect();
        let booted_at = self.booted_at;
        let clues = Clues { config, tasks, asked_by_ha, spent, is_host_stopping, booted_at };
        let since = if turn.is_unseen { self.known_at } else { at };
        let run = explain(&turn, (since, at), &clues, self.runs.get(&vmid));
        self.spent.extend(run.upid.clone().map(|upid| (vmid, is_stop, upid)));
        self.runs.insert(vmid, run.clone());
        let data = EventData::GuestChanged(run);
        let fact = Fact { time: at, recorded_time: learned_at, data };
        self.reporter.send(Report::Fact(fact)).await
    }

    /// All that run are known.
    async fn complete(&mut self) -> Result<(), Closed> {
        if !self.was_complete {
            let (folder, booted_at) = (self.paths.tasks.clone(), self.booted_at);
            let read = spawn_blocking(move || {
                (notes::last_stops(&folder, booted_at), notes::is_backing_up(&folder))
            });
            let (stops, is_backing_up) = read.await.unwrap_or_default();
            let running = self.tracker.running();
            // What was asked for while the agent was away is known by its task.
            let stops = stops.into_iter().filter(|(vmid, _)| !running.contains_key(vmid));
            self.runs.extend(stops);
            if is_backing_up {
                self.doubt_those_that_are_backed_up(running).await;
            }
        }
        (self.is_complete, self.was_complete) = (true, true);
        self.show().await?;
        self.status.say(true, "guests by their units".to_owned()).await
    }

    /// A backup runs while the agent begins: whom it holds may run for it alone, as one that was
    /// stopped before.
    async fn doubt_those_that_are_backed_up(&mut self, running: BTreeMap<Vmid, GuestKind>) {
        let running: Vec<_> = running.into_iter().collect();
        let configs = self.configs.look(running.clone()).await;
        for ((vmid, _), config) in running.iter().zip(configs) {
            if let Some(run) = self.runs.get_mut(vmid).filter(|_| config.is_locked_for("backup")) {
                run.awaited = true;
            }
        }
    }

    /// Tells the whole picture, if it is known.
    async fn show(&mut self) -> Result<(), Closed> {
        if !self.is_complete {
            return Ok(());
        }
        let stopped = self.runs.values().filter(|run| run.state == GuestState::Stopped);
        let stopped: Vec<_> = stopped.map(|run| (run.vmid, run.kind)).collect();
        let configs = self.configs.look(stopped.clone()).await;
        for ((vmid, _), config) in stopped.iter().zip(configs) {
            if config == Config::Absent {
                self.runs.remove(vmid);
            }
        }
        let runs = self.runs.values().cloned().collect();
        self.reporter.send(Report::Picture(CheckpointContent::GuestRuns(runs))).await
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
