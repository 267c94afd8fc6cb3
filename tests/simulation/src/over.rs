//! What was over before it was heard is history: nobody is told that a unit failed which had
//! recovered long before a collector heard of either.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use pvewatch_collector::alerts::{News, Transition};
use pvewatch_protocol::{AlertState, NodeName};

use crate::collector::Collector;
use crate::durable::{Durable, Logged, number};
use crate::node::{Change, Node};

/// What was stored at once, by the places in the log and among the transitions.
#[derive(Debug, Clone)]
pub(crate) struct Commit {
    pub at: Instant,
    pub log: Range<usize>,
    pub transitions: Range<usize>,
    /// The nodes whose clocks were known before. The first sample of all can be held up.
    pub clocks_known: BTreeSet<NodeName>,
}

/// How old what is heard has to be, to be late by whatever clock.
const LATE: SignedDuration = SignedDuration::from_secs(60);

/// For how long nothing of a node came before: one whose events are always late is not to be
/// without alerts.
const SILENCE: Duration = Duration::from_secs(120);

/// The pages for what was over, in words.
pub(crate) fn pages(collector: &Collector, disk: &Durable, nodes: &[Node]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut heard_at: Vec<Option<Instant>> = vec![None; nodes.len()];
    for Commit { at, log, transitions, clocks_known } in &collector.commits {
        let log = &disk.log[log.clone()];
        for page in disk.transitions[transitions.clone()].iter().filter(|step| is_page(step)) {
            let node = number(&page.alert.entity.node);
            let was_silent = heard_at[node].is_none_or(|heard| heard + SILENCE < *at);
            if was_silent
                && clocks_known.contains(&page.alert.entity.node)
                && was_over(page, log, &nodes[node])
            {
                wrong.push(format!(
                    "{}: told that {} of pve{node} failed at {}, which was over when it was heard",
                    collector.name, page.alert.entity.id, page.alert.starts_at
                ));
            }
        }
        log.iter().for_each(|row| heard_at[row.node] = Some(*at));
    }
    wrong
}

fn is_page(step: &Transition) -> bool {
    step.to == Some(AlertState::Firing)
        && step.news == News::Tell
        && &*step.alert.rule == "UnitFailed"
}

/// Whether what a page tells of was over long before it came, and its end came with it.
fn was_over(page: &Transition, log: &[Logged], node: &Node) -> bool {
    let is_of_unit =
        |change: &Change| format!("unit-{}.service", change.unit) == *page.alert.entity.id;
    let begins = |change: &Change| change.failed && change.at == page.alert.starts_at;
    // Of several at the same time nobody knows which one is told.
    if node.changes.values().filter(|it| is_of_unit(it) && begins(it)).count() != 1 {
        return false;
    }
    let mut changes = log
        .iter()
        .filter(|row| row.node == node.index && row.reason.is_none())
        .filter_map(|row| Some((row.received?, node.changes.get(&(row.stream, row.sequence))?)))
        .filter(|(_, change)| is_of_unit(change))
        .skip_while(|(_, change)| !begins(change));
    let (failed, end) = (changes.next(), changes.next());
    failed.zip(end).is_some_and(|((received, _), (_, end))| {
        !end.failed && received.duration_since(end.at) > LATE
    })
}
