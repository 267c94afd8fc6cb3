//! What must hold when all is done. It reads what is on disks and what was told, and nothing of
//! what the code under test believes of itself.

use std::collections::BTreeMap;

use pvewatch_protocol::StreamId;

use crate::collector::Collector;
use crate::durable::Logged;
use crate::node::UNITS;
use crate::world::World;

/// Everything that does not hold, in words.
pub fn judge(world: &mut World) -> Vec<String> {
    let mut wrong = Vec::new();
    for node in &mut world.nodes {
        node.commit_all_of_this_start();
        node.note_held();
    }
    let (mut declared, mut beyond) = (0, 0);
    for collector in &world.collectors {
        wrong.extend(collector.false_acks.iter().map(|ack| format!("ack beyond disk: {ack}")));
        let wills = collector.seen.believed_wills.iter();
        wrong.extend(wills.map(|will| format!("{}: believed the will of {will}", collector.name)));
        let logs = by_stream(collector);
        for ((node, stream), log) in &logs {
            for pair in log.windows(2).filter(|pair| pair[0].sequence >= pair[1].sequence) {
                wrong.push(format!(
                    "{}: pve{node} {stream}: {} after {}: twice or out of order",
                    collector.name, pair[1].sequence, pair[0].sequence
                ));
            }
        }
        for (index, node) in world.nodes.iter().enumerate() {
            for (stream, sequence) in &node.committed {
                let log = logs.get(&(index, *stream)).map_or(&[][..], Vec::as_slice);
                let has =
                    log.iter().any(|row| row.from == row.sequence && row.sequence == *sequence);
                let covers = |row: &Logged| row.from <= *sequence && *sequence <= row.sequence;
                let given_up = &collector.durable.given_up;
                let told = log.iter().any(covers)
                    || given_up.iter().any(|row| row.stream == *stream && covers(row));
                declared += u64::from(!has && told);
                // What a collector had before it was set back to a backup is given again while it
                // is held, and agents hold it for a time only.
                let is_gone = collector.was_restored && !node.holds(*stream, *sequence);
                beyond += u64::from(!told && is_gone);
                if !told && !is_gone {
                    wrong.push(format!(
                        "{}: pve{index} {stream} {sequence} is lost",
                        collector.name
                    ));
                }
            }
        }
        wrong.extend(channel(collector));
    }
    world.tally.declared += declared;
    world.tally.beyond += beyond;
    let committed: usize = world.nodes.iter().map(|node| node.committed.len()).sum();
    world.tally.committed += committed as u64;
    wrong.extend(believed(world));
    wrong
}

fn by_stream(collector: &Collector) -> BTreeMap<(usize, StreamId), Vec<Logged>> {
    let mut logs: BTreeMap<_, Vec<Logged>> = BTreeMap::new();
    for row in &collector.durable.log {
        logs.entry((row.node, row.stream)).or_default().push(*row);
    }
    logs
}

/// What a collector has applied, whatever the order of streams.
fn seen(collector: &Collector) -> Vec<Logged> {
    let mut seen = collector.durable.log.clone();
    seen.sort_by_key(|row| (row.node, row.stream, row.sequence));
    seen
}

/// Every transition was told at least once, and in order.
fn channel(collector: &Collector) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut next = collector.channel_from;
    for (number, told) in &collector.channel {
        if *number > next {
            wrong.push(format!("{}: transition {next} was not told", collector.name));
        }
        if collector.durable.transitions.get(*number) != Some(told) {
            wrong.push(format!("{}: transition {number} was told otherwise", collector.name));
        }
        next = next.max(number + 1);
    }
    if next != collector.durable.transitions.len() {
        wrong.push(format!("{}: transitions from {next} on were not told", collector.name));
    }
    wrong
}

/// What collectors believe is true, and the same for all of them.
fn believed(world: &mut World) -> Vec<String> {
    let mut wrong = Vec::new();
    let nodes = &world.nodes;
    // A collector that lags behind the other can hear of an agent's next start before the rest of
    // the one before it.
    let is_dated = world.is_steady && nodes.iter().all(|node| node.streams == 1);
    let mut firing: Option<(Vec<Logged>, Vec<String>)> = None;
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
            if let Some(why) = collector.says_silent(&node.name) {
                wrong
                    .push(format!("{}: {} is said to be silent: {why}", collector.name, node.name));
            }
        }
        let seen = seen(collector);
        // Where clocks jump, or events were never committed, collectors can have heard different
        // things of the same: then only what fires is compared.
        let fires = collector.firing(world.is_steady, is_dated);
        // One can have heard what was lost with the power before the other could.
        if let Some((others, fire)) = &firing
            && *others == seen
            && *fire != fires
        {
            wrong.push(format!("the collectors disagree: {fire:?} and {fires:?}"));
        }
        world.tally.compared += u64::from(firing.is_some() && world.is_steady);
        firing.get_or_insert((seen, fires));
        world.tally.duplicates += collector.seen.duplicates;
        world.tally.transitions += collector.durable.transitions.len() as u64;
    }
    wrong
}
