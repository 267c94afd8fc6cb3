//! The delivery promise, tried: *an event that was committed to an agent's spool is applied to
//! the collector's state exactly once, in the order of its stream, whatever is killed in between;
//! if it ever cannot be, the loss itself is reported.*
//!
//! Real: the agent's outbox and spool, the collector's desk (ingest, core, standing, and what
//! follows from a commit) and the pages of its channels. Simulated: the disks, the broker, what is
//! behind the channels, the clocks, and the glue that joins them. One thread, one seed, no
//! sleeping.

mod agent;
mod backups;
pub mod broker;
pub mod channel;
pub mod collector;
mod copies;
pub mod disk;
pub mod durable;
pub mod faults;
pub mod judge;
mod missed;
pub mod node;
mod over;
mod process;
mod rest;
mod says;
pub mod tally;
pub mod world;

use std::time::Instant;

use pvewatch_collector::rules::RuleSet;
use tally::Tally;
use world::World;

/// What became of a seed.
#[derive(Debug)]
pub struct Verdict {
    /// What was done.
    pub tally: Tally,
    /// What does not hold, in words; nothing if the promise was kept.
    pub wrong: Vec<String>,
    /// What happened, line by line, if it was asked for.
    pub trace: Vec<String>,
}

/// Runs the world of a seed until nothing is left to do, and judges it. Clocks begin at `start`;
/// all collectors have the same rules.
pub fn try_seed(seed: u64, rules: &RuleSet, start: Instant, with_trace: bool) -> Verdict {
    let mut world = World::new(seed, rules, start, with_trace);
    let mut wrong = Vec::new();
    if !world.run_schedule() {
        wrong.push("its schedule never ends".to_owned());
    }
    if !world.settle() {
        wrong.push("it never comes to rest".to_owned());
        wrong.extend(world.nodes.iter().map(node::Node::unfinished));
        wrong.extend(world.collectors.iter().map(collector::Collector::unfinished));
    }
    wrong.extend(judge::judge(&mut world));
    Verdict { wrong, trace: world.trace.take().unwrap_or_default(), tally: world.tally }
}
