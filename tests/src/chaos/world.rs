//! The whole site of a run, and what each kind of fault does to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::checker::store::Store;
use super::checker::told::Told;
use super::checker::{Findings, Judge};
use super::fault::{Fault, Kind, NODES, Place};
use super::host::{Host, HostPlan};
use super::keeper::Keeper;
use super::middle::{Collector, broker_url, mosquitto};
use super::network::{Network, Trouble};
use super::recovery::Positions;
use crate::bench::middle::Via;
use crate::certificates::Authority;
use crate::deadline::{GENEROUS, eventually};
use crate::servers::get;

/// How far a clock jumps, in seconds.
const JUMP: i64 = 3_600;

/// What the site is made of.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The agent's program.
    pub agent: PathBuf,
    /// The collector's program.
    pub collector: PathBuf,
    /// The broker.
    pub via: Via,
    /// Changes of units a second, on each node.
    pub rate: u32,
}

/// A site that runs.
#[derive(Debug)]
pub struct World {
    mosquitto: Option<Keeper>,
    collector: Collector,
    hosts: Vec<Host>,
    /// The last to go: the others run in it.
    network: Network,
}

impl World {
    /// Starts everything below this folder, and waits until the collector is ready.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn start(plan: &Plan, folder: &Path) -> Self {
        let network = Network::make();
        let authority = Authority::new(&folder.join("tls"), "authority");
        let mut mosquitto = (plan.via == Via::Mosquitto).then(|| mosquitto(folder, &authority));
        let mut collector = Collector::new(folder, &plan.collector, plan.via, &authority);
        let broker = broker_url(plan.via);
        let (agent, broker, rate) = (plan.agent.as_path(), broker.as_str(), plan.rate);
        let host_plan = HostPlan { folder, agent, broker, authority: &authority, rate };
        let mut hosts: Vec<Host> = (0..NODES).map(|number| Host::new(number, &host_plan)).collect();
        mosquitto.iter_mut().for_each(Keeper::start);
        collector.keeper.start();
        eventually("the collector to be ready", GENEROUS, || {
            get(&Collector::url("/readyz")).filter(|(status, _)| *status == 200)
        });
        hosts.iter_mut().for_each(Host::boot);
        Self { mosquitto, collector, hosts, network }
    }

    /// Lets a fault happen.
    ///
    /// # Panics
    /// When it cannot be made to happen.
    #[track_caller]
    pub fn strike(&mut self, fault: &Fault) {
        match (fault.kind, fault.place) {
            (Kind::KillAgent, Place::Node(node)) => self.hosts[node].agent.kill(),
            (Kind::Reboot, Place::Node(node)) => self.hosts[node].cut_power(),
            (Kind::KillCollector, _) => self.collector.keeper.kill(),
            (Kind::KillMosquitto, _) => self.mosquitto.iter_mut().for_each(Keeper::kill),
            (Kind::Loss, place) => {
                self.network.set_trouble(place, Some(Trouble::Loss(fault.percent)));
            }
            (Kind::HalfOpen, place) => {
                let trouble = if fault.percent < 35 { Trouble::Mute } else { Trouble::Deaf };
                self.network.set_trouble(place, Some(trouble));
            }
            (Kind::Cut, place) => self.network.set_up(place, false),
            (Kind::AgentDiskFull, Place::Node(node)) => self.hosts[node].disk.fill(),
            (Kind::CollectorDiskFull, _) => self.collector.disk.fill(),
            (Kind::ClockForward, place) => self.set_clock(place, JUMP),
            (Kind::ClockBack, place) => self.set_clock(place, -JUMP),
            (Kind::KillAgent | Kind::Reboot | Kind::AgentDiskFull, place) => {
                unreachable!("{place:?} has no agent")
            }
        }
    }

    /// Mends a fault.
    ///
    /// # Panics
    /// When it cannot be mended.
    #[track_caller]
    pub fn mend(&mut self, fault: &Fault) {
        match (fault.kind, fault.place) {
            (Kind::KillAgent, Place::Node(node)) => self.hosts[node].agent.start(),
            (Kind::Reboot, Place::Node(node)) => self.hosts[node].boot(),
            (Kind::KillCollector, _) => self.collector.keeper.start(),
            (Kind::KillMosquitto, _) => self.mosquitto.iter_mut().for_each(Keeper::start),
            (Kind::Loss | Kind::HalfOpen, place) => self.network.set_trouble(place, None),
            (Kind::Cut, place) => self.network.set_up(place, true),
            (Kind::AgentDiskFull, Place::Node(node)) => self.hosts[node].disk.free(),
            (Kind::CollectorDiskFull, _) => self.collector.disk.free(),
            (Kind::ClockForward | Kind::ClockBack, place) => self.set_clock(place, 0),
            (Kind::KillAgent | Kind::Reboot | Kind::AgentDiskFull, place) => {
                unreachable!("{place:?} has no agent")
            }
        }
    }

    /// Starts again what ended by itself, and says what just has.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn look_after(&mut self, say: impl Fn(&str)) {
        self.keepers().filter_map(Keeper::look_after).for_each(|text| say(&text));
        self.hosts.iter_mut().filter_map(Host::look_after).for_each(|text| say(&text));
    }

    /// From now on nothing changes on any node.
    ///
    /// # Panics
    /// When a node cannot be told.
    #[track_caller]
    pub fn fall_silent(&self) {
        self.hosts.iter().for_each(Host::fall_silent);
    }

    /// Reads what is new in the spools, and says how far each stream goes.
    pub fn committed(&mut self) -> Positions {
        self.hosts.iter_mut().for_each(Host::read_spool);
        self.hosts.iter().flat_map(Host::positions).collect()
    }

    /// How far each stream is stored; none while the collector is off.
    ///
    /// A reader that stayed would keep a part of the store's log alive over a kill.
    pub fn stored(&self) -> Option<Positions> {
        let is_on = self.collector.keeper.is_on();
        is_on.then(|| Store::open(&self.collector.data()).ok()?.positions().ok())?
    }

    /// Kills all agents.
    ///
    /// # Panics
    /// When one does not end.
    #[track_caller]
    pub fn kill_agents(&mut self) {
        self.hosts.iter_mut().for_each(|host| host.agent.kill());
    }

    /// Starts all agents again.
    ///
    /// # Panics
    /// When one cannot be started.
    #[track_caller]
    pub fn start_agents(&mut self) {
        self.hosts.iter_mut().for_each(|host| host.agent.start());
    }

    /// Changes that systemd told on all nodes.
    pub fn told(&self) -> BTreeMap<String, Told> {
        // A bus to which nobody ever came has no file.
        let told = |host: &Host| (host.name.clone(), Told::read(&host.told()).unwrap_or_default());
        self.hosts.iter().map(told).collect()
    }

    /// How often programs ended without being asked to.
    pub fn ended_by_themselves(&mut self) -> u64 {
        let hosts: u64 = self.hosts.iter().map(|host| host.agent.ended_by_itself()).sum();
        hosts + self.keepers().map(|keeper| keeper.ended_by_itself()).sum::<u64>()
    }

    /// Panics in the logs.
    pub fn panics(&mut self) -> u64 {
        let hosts: u64 = self.hosts.iter().map(|host| host.agent.says("panicked at")).sum();
        hosts + self.keepers().map(|keeper| keeper.says("panicked at")).sum::<u64>()
    }

    /// Ends the collector in peace, and judges what it stored.
    ///
    /// # Panics
    /// When it does not end, or its store cannot be read.
    #[track_caller]
    pub fn judge(&mut self) -> Findings {
        self.collector.keeper.stop(Signal::TERM);
        let mut judge = Judge::new(self.told());
        let store = Store::open(&self.collector.data()).expect("a closed store can be read");
        store.each(|row| judge.take(&row)).expect("a closed store can be read");
        let hosts = self.hosts.iter_mut();
        let committed =
            hosts.map(|host| (host.name.clone(), std::mem::take(&mut host.committed))).collect();
        judge.judge(&committed)
    }

    fn keepers(&mut self) -> impl Iterator<Item = &mut Keeper> {
        self.mosquitto.iter_mut().chain([&mut self.collector.keeper])
    }

    #[track_caller]
    fn set_clock(&self, place: Place, seconds: i64) {
        match place {
            Place::Node(node) => self.hosts[node].clock.set(seconds),
            Place::Collector => self.collector.clock.set(seconds),
            Place::Broker => {}
        }
    }
}
