//! Chaos: the real agents, collector and broker of a small site under load, while everything
//! around them breaks by a seed; then everything is mended, and a judge counts.
//!
//! Three nodes, each in a network namespace ([`network`]) with a disk ([`disk`]) and a clock
//! ([`clock`]) of its own, played a systemd on which units fail and recover ([`bus`]). What breaks
//! when is [`fault`]'s, whether the promise was kept the [`checker`]'s. Absent: a loss of power
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
use std::process;
use std::time::{Duration, Instant};

use self::counters::{Counting, Sums};
use self::fault::{Fault, Kind};
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
    let folder = Folder::claim(plan.via);
    let mut world = World::start(plan, &folder.0);
    let counting = Counting::begin();
    let faults = fault::schedule(seed, duration, plan.via == Via::Mosquitto);
    let mut recoveries = Recoveries::default();
    let clock = Stopwatch(moment());
    break_things(&mut world, &faults, duration, &clock, &mut recoveries, &say);
    world.fall_silent();
    let mended = clock.elapsed();
    say("everything is mended");
    let came_to_rest = come_to_rest(&mut world, &clock, &mut recoveries, &say);
    let rest = came_to_rest.map(|at| at.saturating_sub(mended));
    let sums = counting.end();
    say("judging");
    let findings = world.judge();
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
        sums,
        longest: recoveries.longest(),
        rest,
        ended_by_themselves: world.ended_by_themselves(),
        panics: world.panics(),
    }
}

#[track_caller]
fn break_things(
    world: &mut World,
    faults: &[Fault],
    duration: Duration,
    clock: &Stopwatch,
    recoveries: &mut Recoveries,
    say: impl Fn(&str),
) {
    let mut coming = faults.iter().peekable();
    let mut going: Vec<&Fault> = Vec::new();
    let mut look = Deadline::after(LOOK_EVERY);
    while clock.elapsed() < duration || !going.is_empty() {
        let now = clock.elapsed();
        while let Some(fault) = coming.next_if(|fault| fault.at <= now) {
            let lasts = (fault.until - fault.at).as_secs_f64();
            let (kind, place) = (fault.kind.name(), fault.place);
            say(&format!("{:6.1} s: {kind}, {place:?}, for {lasts:.1} s", now.as_secs_f64()));
            world.strike(fault);
            going.push(fault);
        }
        for fault in going.extract_if(.., |fault| fault.until <= now) {
            world.mend(fault);
            recoveries.mended(clock.elapsed(), fault.kind, world.committed());
        }
        world.look_after();
        if look.has_passed() {
            look = Deadline::after(LOOK_EVERY);
            world.committed();
            if let Some(stored) = world.stored() {
                recoveries.stored(clock.elapsed(), &stored);
            }
        }
        std::thread::sleep(STEP);
    }
}

/// Waits until everything is stored, and ends the agents. Gives when that was.
#[track_caller]
fn come_to_rest(
    world: &mut World,
    clock: &Stopwatch,
    recoveries: &mut Recoveries,
    say: impl Fn(&str),
) -> Option<Duration> {
    let mut at_rest = None;
    for _ in 0..LAST_LOOKS_MAX {
        at_rest = look_until(REST_MAX, || {
            world.look_after();
            let committed = world.committed();
            let stored = world.stored()?;
            recoveries.stored(clock.elapsed(), &stored);
            covers(&stored, &committed).then(|| clock.elapsed())
        });
        world.kill_agents();
        let committed = world.committed();
        let is_complete = world.stored().is_some_and(|stored| covers(&stored, &committed));
        if at_rest.is_none() || is_complete {
            break;
        }
        say("something was committed at the last moment: the agents start again");
        at_rest = None;
        world.start_agents();
    }
    at_rest
}

struct Stopwatch(Instant);

impl Stopwatch {
    fn elapsed(&self) -> Duration {
        moment().saturating_duration_since(self.0)
    }
}

/// The folder of a run. What a killed one left is removed by the next that needs the lab.
struct Folder(std::path::PathBuf);

impl Folder {
    #[track_caller]
    fn claim(via: Via) -> Self {
        let id = format!("chaos-{}-{}", process::id(), via.name().replace(' ', "-"));
        Self(leftovers::claim(&image::lab_folder(), &id))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("chaos: the logs stay in {} until the next run", self.0.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}
