//! A node of the site: the agent and the bus that it listens to, in a namespace of their own,
//! with a disk and a clock.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use uuid::Uuid;

use super::bus::BusFolder;
use super::checker::spool::{Committed, Stream};
use super::clock::Clock;
use super::disk::Disk;
use super::fault::Place;
use super::keeper::Keeper;
use super::network::command_in;
use crate::certificates::{Authority, Validity};

/// The most that the agent's configuration allows: what is acked stays, to be compared.
const OUTBOX_BYTES_MAX: u64 = 1 << 30;

/// More than that, for everything else that lies there.
const DISK_BYTES: u64 = 3 << 29;

/// How nodes are set up.
#[derive(Debug)]
pub struct HostPlan<'a> {
    /// The run's folder.
    pub folder: &'a Path,
    /// The agent's program.
    pub agent: &'a Path,
    /// The broker's address.
    pub broker: &'a str,
    /// Who signs certificates.
    pub authority: &'a Authority,
    /// Changes of units a second.
    pub rate: u32,
}

/// A node.
#[derive(Debug)]
pub struct Host {
    /// Its name in the site.
    pub name: String,
    /// The file system of its spool.
    pub disk: Disk,
    /// Its clock.
    pub clock: Clock,
    /// The agent.
    pub agent: Keeper,
    /// What was seen in its spool.
    pub committed: Committed,
    bus: Keeper,
    bus_folder: BusFolder,
    boot_id: PathBuf,
}

/// What a node is called in its site.
pub fn name(number: usize) -> String {
    format!("pve{}", number + 1)
}

impl Host {
    /// Sets up the node of that number; nothing runs yet.
    ///
    /// # Panics
    /// When its files cannot be made.
    #[track_caller]
    pub fn new(number: usize, plan: &HostPlan<'_>) -> Self {
        let name = name(number);
        let place = Place::Node(number);
        let folder = plan.folder.join(&name);
        fs::create_dir(&folder).expect("the run's folder can be written");
        let disk = Disk::make(&folder.join("disk"), DISK_BYTES);
        let clock = Clock::right(&folder.join("clock"));
        let bus_folder = BusFolder(folder.clone());
        let boot_id = folder.join("boot_id");

        let mut command = command_in(place);
        // This very program, also if another was built in its place meanwhile.
        command.arg(format!("/proc/{}/exe", process::id()));
        command.arg("bus").arg(&folder).arg(plan.rate.to_string());
        let bus = Keeper::new("bus", &folder, command);

        let identity = plan.authority.client(&name, Validity::Valid);
        let text = format!(
            "node = {name:?}\n[broker]\nurl = {:?}\nca = {:?}\ncert = {:?}\nkey = {:?}\n\
             [sample]\ninterval = \"1s\"\n\
             [outbox]\nbytes_max = {OUTBOX_BYTES_MAX}\ndirectory = {:?}\n\
             [units.log]\nenabled = false\n\
             [paths]\nsystem_bus = \"unix:path={}\"\nboot_id = {boot_id:?}\npve = \"/nonexistent\"\n",
            plan.broker,
            plan.authority.certificate(),
            identity.certificate,
            identity.key,
            disk.folder().join("spool"),
            bus_folder.socket().display(),
        );
        let configuration = folder.join("agent.toml");
        fs::write(&configuration, text).expect("the run's folder can be written");
        let mut command = command_in(place);
        command.arg(plan.agent).arg("--config").arg(&configuration);
        clock.give_to(&mut command);
        let agent = Keeper::new("agent", &folder, command);
        let committed = Committed::default();
        Self { name, disk, clock, agent, committed, bus, bus_folder, boot_id }
    }

    /// Starts everything, as another boot.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn boot(&mut self) {
        fs::write(&self.boot_id, Uuid::now_v7().to_string()).expect("the folder can be written");
        self.bus.start();
        self.agent.start();
    }

    /// Ends everything at once.
    ///
    /// # Panics
    /// When something does not end.
    #[track_caller]
    pub fn cut_power(&mut self) {
        self.agent.kill();
        self.bus.kill();
    }

    /// Starts again what ended by itself, and says what just has.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn look_after(&mut self) -> Option<String> {
        let said = [self.bus.look_after(), self.agent.look_after()].into_iter().flatten().next();
        said.map(|text| format!("{}: {text}", self.name))
    }

    /// From now on nothing changes on this node.
    ///
    /// # Panics
    /// When that cannot be written down.
    #[track_caller]
    pub fn fall_silent(&self) {
        fs::write(self.bus_folder.silence(), "").expect("the folder can be written");
    }

    /// The file of what systemd told.
    pub fn told(&self) -> PathBuf {
        self.bus_folder.told()
    }

    /// Reads what is new in the spool.
    pub fn read_spool(&mut self) {
        // Before the first start there is none.
        let _ = self.committed.read_folder(&self.disk.folder().join("spool"));
    }

    /// The last event of each of its streams.
    pub fn positions(&self) -> BTreeMap<(String, Stream), u64> {
        let positions = self.committed.positions().into_iter();
        positions.map(|(stream, last)| ((self.name.clone(), stream), last)).collect()
    }
}
