//! What must hold when all is done. It reads what is on disks and what was told, and nothing of
//! what the code under test believes of itself.

use std::collections::{BTreeMap, BTreeSet};

use pvewatch_protocol::{CollectorName, StreamId};

use crate::channel::{CHANNELS, must_tell};
use crate::collector::Collector;
use crate::durable::{Durable, Logged};
use crate::node::{Node, UNITS};
use crate::over;
use crate::rest::CHANGES_AT_REST;
use crate::world::World;

/// Events that an agent may send again although nothing is wrong any more: a question whether
/// somebody is there.
const PROBES_AT_REST: u64 = 2;

/// Everything that does not hold, in words.
pub fn judge(world: &mut World) -> Vec<String> {
    let mut wrong = Vec::new();
    for node in &mut world.nodes {
        node.commit_all_of_this_start();
        node.note_held();
    }
    for collector in &world.collectors {
        let (disk, name) = (collector.disk.borrow(), &collector.name);
        wrong.extend(collector.false_acks.iter().map(|ack| format!("ack beyond disk: {ack}")));
        let too_soon = collector.seen.told_too_soon.iter();
        wrong.extend(too_soon.map(|what| format!("{name}: told too soon: {what}")));
        let wills = collector.seen.believed_wills.iter();
        wrong.extend(wills.map(|will| format!("{name}: believed the will of {will}")));
        let logs = by_stream(&disk);
        for ((node, stream), log) in &logs {
            for pair in log.windows(2).filter(|pair| pair[0].sequence >= pair[1].sequence) {
                wrong.push(format!(
                    "{name}: pve{node} {stream}: {} after {}: twice or out of order",
                    pair[1].sequence, pair[0].sequence
                ));
            }
        }
        for (index, node) in world.nodes.iter().enumerate() {
            for (stream, sequence) in &node.committed {
                let log = logs.get(&(index, *stream)).map_or(&[][..], Vec::as_slice);
                let given_up = disk.given_up.iter().filter(|row| row.stream == *stream);
                let fate = Fate::of(*sequence, log, given_up);
                match fate {
                    Fate::Applied => {}
                    Fate::Declared(reason) => {
                        world.tally.declared += 1;
                        if !is_justified(collector, node, (*stream, *sequence), reason) {
                            wrong.push(format!(
                                "{name}: pve{index} {stream} {sequence} was declared lost without \
                                 need: {reason}"
                            ));
                        }
                    }
                    // What a collector had before it was set back to a backup is given again
                    // while it is held, and agents hold it for a time only.
                    Fate::Untold if collector.was_restored && !node.holds(*stream, *sequence) => {
                        world.tally.beyond += 1;
                    }
                    Fate::Untold => {
                        let row = disk.streams.get(&(node.name.clone(), *stream));
                        let ends = log.first().map(|row| row.from).zip(log.last());
                        wrong.push(format!(
                            "{name}: pve{index} {stream} {sequence} is lost: its row says {:?}, \
                             the log has {:?}",
                            row.map(|row| row.through.0),
                            ends.map(|(first, last)| (first, last.sequence, log.len()))
                        ));
                    }
                }
            }
        }
        wrong.extend(channels(collector, &disk));
        if !world.clocks_were_set {
            wrong.extend(over::pages(collector, &disk, &world.nodes));
        }
    }
    let committed: usize = world.nodes.iter().map(|node| node.committed.len()).sum();
    world.tally.committed += committed as u64;
    wrong.extend(believed(world));
    wrong
}

/// What became of a committed event at a collector.
enum Fate<'a> {
    Applied,
    /// It, or a range with it, was declared lost, and why.
    Declared(&'a str),
    Untold,
}

impl<'a> Fate<'a> {
    fn of(
        sequence: u64,
        log: &'a [Logged],
        mut given_up: impl Iterator<Item = &'a Logged>,
    ) -> Self {
        // A log is in order, or the judge has said so already. A declaration can also stand for
        // events that came, and were applied before it.
        let at = log.partition_point(|row| row.sequence < sequence);
        if log.get(at).is_some_and(|row| row.sequence == sequence && row.reason.is_none()) {
            return Self::Applied;
        }
        let declared = log[at..].iter().find(|row| row.reason.is_some() && row.covers(sequence));
        let declared = declared.or_else(|| given_up.find(|row| row.covers(sequence)));
        declared.map_or(Self::Untold, |row| Self::Declared(row.reason.as_deref().unwrap_or("")))
    }
}

/// Whether a loss may be: a bound was met, the disk failed for a time, it was damaged there, a
/// broker refused some of this agent's events, or this collector was set back to a copy from
/// before what the agent still holds.
fn is_justified(collector: &Collector, node: &Node, place: (StreamId, u64), reason: &str) -> bool {
    if reason.contains("the broker refuses") {
        return node.was_refused;
    }
    node.met_its_bound
        || node.disk_was_ill
        || node.damaged.contains(&place)
        || collector.was_restored && !node.holds(place.0, place.1)
}

fn by_stream(disk: &Durable) -> BTreeMap<(usize, StreamId), Vec<Logged>> {
    let mut logs: BTreeMap<_, Vec<Logged>> = BTreeMap::new();
    for row in &disk.log {
        logs.entry((row.node, row.stream)).or_default().push(row.clone());
    }
    logs
}

/// Every channel was told every step that is its business, and in order; it may have been told
/// again from any step on.
fn channels(collector: &Collector, disk: &Durable) -> Vec<String> {
    let mut wrong = Vec::new();
    for ((name, manner), taken) in CHANNELS.iter().zip(&collector.taken) {
        let due: BTreeMap<i64, i64> = {
            let steps = (1..).zip(&disk.transitions);
            let due =
                steps.filter(|(id, step)| *id > taken.begins_after && must_tell(*manner, step));
            due.map(|(id, _)| id).zip(0..).collect()
        };
        let mut next = 0;
        for id in &taken.steps {
            match due.get(id) {
                Some(place) if *place > next => {
                    wrong.push(format!(
                        "{}: {name}: told {id} before what it follows",
                        collector.name
                    ));
                }
                Some(place) => next = next.max(place + 1),
                None => wrong.push(format!("{}: {name}: {id} is not to be told", collector.name)),
            }
        }
        let untold = due.iter().find(|(_, place)| **place >= next);
        if let Some((id, _)) = untold {
            wrong.push(format!(
                "{}: {name}: transitions from {id} on were not told",
                collector.name
            ));
        }
    }
    wrong
}

/// What collectors believe is true, and the same for all of them.
fn believed(world: &mut World) -> Vec<String> {
    let mut wrong = Vec::new();
    let nodes = &world.nodes;
    for collector in &mut world.collectors {
        for node in nodes {
            for unit in 0..UNITS {
                let says = collector.says_failed(&node.name, unit);
                if says.as_ref().map(|(failed, _)| *failed) != Some(node.units[unit]) {
                    wrong.push(format!(
                        "{}: unit {unit} of {} is failed: {says:?}, in truth {}",
                        collector.name, node.name, node.units[unit]
                    ));
                }
            }
            if !world.clocks_were_set
                && let Some(snapshot) = collector.snapshot()
            {
                let disk = collector.disk.borrow();
                let misbelieved = node.misbelieved(&snapshot, &disk);
                wrong.extend(misbelieved.iter().map(|what| format!("{}: {what}", collector.name)));
            }
            if let Some(why) = collector.says_silent(&node.name) {
                wrong
                    .push(format!("{}: {} is said to be silent: {why}", collector.name, node.name));
            }
        }
        world.tally.duplicates += collector.duplicates();
        let corrections = collector.corrections();
        world.tally.corrections += corrections;
        let has_lost = {
            let disk = collector.disk.borrow();
            !disk.given_up.is_empty() || disk.log.iter().any(|row| row.reason.is_some())
        };
        if corrections > 0 && !has_lost && !collector.was_restored {
            wrong.push(format!(
                "{}: pictures found {corrections} units or guests otherwise than events had told",
                collector.name
            ));
        }
        world.tally.transitions += collector.disk.borrow().transitions.len() as u64;
    }
    let since: BTreeMap<_, _> =
        nodes.iter().map(|node| node.name.clone()).zip(world.compared_since.clone()).collect();
    let from = world.compared_from.clone();
    let said: Vec<(CollectorName, BTreeSet<String>)> = world
        .collectors
        .iter_mut()
        .zip(from)
        .map(|(collector, from)| (collector.name.clone(), collector.says(&since, from)))
        .collect();
    // A collector that lags behind the other can hear of an agent's next start before the rest of
    // the one before it.
    if let [ones, others] = &world.said_before[..]
        && nodes.iter().all(|node| node.streams == 1)
    {
        world.tally.dated += 1;
        if ones != others {
            wrong.push(format!("the collectors disagree: {ones:?} and {others:?}"));
        }
    }
    // Each unit, and a backup.
    let made = CHANGES_AT_REST * (nodes.len() * (UNITS + 1)) as u64;
    if world.sent_at_rest > made + PROBES_AT_REST * nodes.len() as u64 {
        wrong.push(format!("at rest {made} events were made, {} sent", world.sent_at_rest));
    }
    // A clock that was set makes the past look older or newer to one than to the other.
    let all_clocks_went = !world.clocks_were_set;
    world.tally.pairs += u64::from(said.len() == 2);
    if let [(one, ones), (other, others)] = &said[..]
        && all_clocks_went
    {
        world.tally.pairs_compared += 1;
        world.tally.compared += ones.len() as u64;
        for line in ones.difference(others) {
            wrong.push(format!("{one} says what {other} does not: {line}"));
        }
        for line in others.difference(ones) {
            wrong.push(format!("{other} says what {one} does not: {line}"));
        }
    }
    wrong
}
