//! Chaos: the real agents, collector and broker of a small site under load, while everything
//! around them breaks by a seed; then everything is mended, and a judge counts.
//!
//! Three nodes, each in a network namespace (`network`) with a disk (`disk`) and a clock
//! (`clock`) of its own, played a systemd on which units fail and recover (`bus`). What breaks
//! when is `fault`'s, whether the promise was kept the `checker`'s. Absent: a loss of power
//! of the machine itself, which the simulation has.

pub mod bus;
pub mod checker;
mod clock;
mod counters;
mod disk;
pub mod enclosure;
pub mod fault;
mod host;
mod keeper;
mod middle;
mod network;
mod recovery;
mod report;
mod world;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, Instant};

use self::counters::{Counting, Sums};
use self::fault::{Fault, Kind, Place};
use self::host::name as host_name;
use self::recovery::{Recoveries, Recovery, covers};
use crate::bench::figure::Report;
use crate::bench::middle::Via;
use crate::deadline::{Deadline, look_until, moment};
use crate::lab::{image, leftovers};

pub use self::world::Plan;
use self::world::World;

/// The time between two looks at spools and store.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The time between two looks at what is to be done.
const STEP: Duration = Duration::from_millis(20);

/// How long it may take until everything is stored once everything is mended: longer than the
/// longest wait of an agent before it sends again.
const REST_MAX: Duration = Duration::from_secs(400);

/// A recovery that is worth a line.
const LONG: Duration = Duration::from_secs(15);

/// Times that agents are started again because something was committed at the last moment.
const LAST_LOOKS_MAX: usize = 5;

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    via: Via,
    seed: u64,
    duration: Duration,
    faults: BTreeMap<Kind, usize>,
    told: u64,
    findings: checker::Findings,
    /// Events that were declared as gone on nodes whose disk was never full.
    unexplained: u64,
    sums: Sums,
    longest: Option<Recovery>,
    /// From the last fault mended until all was stored; none if it never was.
    rest: Option<Duration>,
    ended_by_themselves: u64,
    panics: u64,
}

impl Outcome {
    /// The figures, beside what was promised.
    pub fn report(&self) -> Report {
        report::of(self)
    }

    /// Examples of what does not hold.
    pub fn examples(&self) -> &[String] {
        &self.findings.examples
    }
}

/// Breaks a site for so long, mends it, and judges. `say` hears what happens.
///
/// # Panics
/// When the site cannot be set up, broken or mended.
#[track_caller]
pub fn run(plan: &Plan, seed: u64, duration: Duration, say: impl Fn(&str)) -> Outcome {
    image::tidy_up();
    let mut folder = Folder::claim(plan.via);
    // Copies, so that a later build changes nothing.
    let plan = &Plan {
        agent: folder.copy_of(&plan.agent),
        collector: folder.copy_of(&plan.collector),
        ..plan.clone()
    };
    let world = World::start(plan, &folder.path);
    let counting = Counting::begin();
    let faults = fault::schedule(seed, duration, plan.via == Via::Mosquitto);
    let mut run = Run { world, began: moment(), recoveries: Recoveries::default(), say };
    run.break_things(&faults, duration);
    run.world.fall_silent();
    let mended = run.elapsed();
    (run.say)("everything is mended");
    let rest = run.come_to_rest().map(|at| at.saturating_sub(mended));
    let sums = counting.end();
    (run.say)("judging");
    let mut world = run.world;
    let findings = world.judge();
    // Only a disk without room can cost an event here: the outbox is far from its bound, and
    // what is killed keeps its files.
    let without_room = faults.iter().filter_map(|fault| match (fault.kind, fault.place) {
        (Kind::AgentDiskFull, Place::Node(node)) => Some(host_name(node)),
        _ => None,
    });
    let unexplained = findings.unexplained(&without_room.collect());
    folder.stays = !findings.is_kept() || unexplained > 0;
    let mut kinds = BTreeMap::new();
    for fault in &faults {
        *kinds.entry(fault.kind).or_default() += 1;
    }
    Outcome {
        via: plan.via,
        seed,
        duration,
        faults: kinds,
        told: world.told().values().map(|told| told.changes.len() as u64).sum(),
        findings,
        unexplained,
        sums,
        longest: run.recoveries.longest(),
        rest,
        ended_by_themselves: world.ended_by_themselves(),
        panics: world.panics(),
    }
}

/// A run that is under way.
struct Run<S: Fn(&str)> {
    world: World,
    began: Instant,
    recoveries: Recoveries,
    say: S,
}

impl<S: Fn(&str)> Run<S> {
    fn elapsed(&self) -> Duration {
        moment().saturating_duration_since(self.began)
    }

    /// Lets every fault happen and end in its time.
    #[track_caller]
    fn break_things(&mut self, faults: &[Fault], duration: Duration) {
        let mut coming = faults.iter().peekable();
        let mut going: Vec<&Fault> = Vec::new();
        let mut look = Deadline::after(LOOK_EVERY);
        while self.elapsed() < duration || !going.is_empty() {
            let now = self.elapsed();
            while let Some(fault) = coming.next_if(|fault| fault.at <= now) {
                let (at, lasts) = (now.as_secs_f64(), (fault.until - fault.at).as_secs_f64());
                let (kind, place) = (fault.kind.name(), fault.place);
                (self.say)(&format!("{at:6.1} s: {kind}, {place:?}, for {lasts:.1} s"));
                self.world.strike(fault);
                going.push(fault);
            }
            for fault in going.extract_if(.., |fault| fault.until <= now) {
                self.world.mend(fault);
                let committed = self.world.committed();
                self.recoveries.mended(self.elapsed(), fault.kind, committed);
            }
            self.world.look_after(&self.say);
            if look.has_passed() {
                look = Deadline::after(LOOK_EVERY);
                self.is_all_stored();
            }
            std::thread::sleep(STEP);
        }
    }

    /// Waits until everything is stored, and ends the agents. Gives when that was.
    #[track_caller]
    fn come_to_rest(&mut self) -> Option<Duration> {
        for _ in 0..LAST_LOOKS_MAX {
            let at_rest = look_until(REST_MAX, || {
                self.world.look_after(&self.say);
                self.is_all_stored().then(|| self.elapsed())
            });
            self.world.kill_agents();
            if at_rest.is_none() || self.is_all_stored() {
                return at_rest;
            }
            (self.say)("something was committed at the last moment: the agents start again");
            self.world.start_agents();
        }
        self.world.kill_agents();
        None
    }

    /// Looks at the spools and the store.
    fn is_all_stored(&mut self) -> bool {
        let committed = self.world.committed();
        let Some(stored) = self.world.stored() else { return false };
        let now = self.elapsed();
        for recovery in self.recoveries.stored(now, &stored) {
            if recovery.took >= LONG {
                let (at, took) = (now.as_secs_f64(), recovery.took.as_secs_f64());
                let kind = recovery.kind.name();
                (self.say)(&format!("{at:6.1} s: recovered from {kind} after {took:.1} s"));
            }
        }
        covers(&stored, &committed)
    }
}

/// The folder of a run; it stays if something is wrong. What stays, also by a kill, is removed by
/// the next run that needs the lab.
struct Folder {
    path: PathBuf,
    stays: bool,
}

impl Folder {
    #[track_caller]
    fn claim(via: Via) -> Self {
        let id = format!("chaos-{}-{}", process::id(), via.name().replace(' ', "-"));
        Self { path: leftovers::claim(&image::lab_folder(), &id), stays: false }
    }

    #[track_caller]
    fn copy_of(&self, program: &Path) -> PathBuf {
        let copy = self.path.join(program.file_name().unwrap_or_default());
        fs::copy(program, &copy)
            .unwrap_or_else(|error| panic!("{}: {error}: build it", program.display()));
        copy
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.stays || std::thread::panicking() {
            eprintln!("chaos: logs, spools and store stay in {}", self.path.display());
        } else {
            // What cannot be removed is found by the next run.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
