//! How fast the real collector stores events, beside a subscriber that throws them away.
//!
//! Rounds of the two alternate in one run, with the same messages through the same broker; the
//! bare subscriber's are of another site, of which the collector hears nothing. A round ends when
//! everything has come, or when everything is stored and acked. What is stored is counted in the
//! closed store afterwards.

use std::path::Path;
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use pvewatch_protocol::Position;

use super::bare::Bare;
use super::figure::{Budget, Figure, Report};
use super::middle::Via;
use super::sender::{Sender, WINDOW};
use super::site::{BenchSite, SITE};
use super::stage::load_average;
use super::statistics::Distribution;
use super::traffic::PaperNode;
use crate::deadline::now;

/// Nodes that send at once, each on a connection of its own.
const NODES: usize = 20;

/// Units of each node.
const UNITS: usize = 50;

/// Events of a node in a round: all together stay below what a broker keeps for a subscriber
/// that is slower than it.
const EVENTS_PER_NODE: usize = 3_000;

/// Rounds of each kind; the median counts.
const ROUNDS: usize = 3;

/// The site of the rounds without a collector.
const BARE_SITE: &str = "bare";

/// How long a round may take before it counts as failed.
const ROUND_MAX: Duration = Duration::from_secs(120);

/// The promised share of the bare subscriber's rate.
const RATIO_MIN: f64 = 0.5;

/// Measures through one broker.
///
/// # Panics
/// When the collector or the broker does not start.
#[track_caller]
pub fn run(program: &Path, via: Via) -> Report {
    let site = BenchSite::start(program, via);
    let mut nodes = paper_nodes(SITE);
    let mut positions = Vec::new();
    let mut written = Vec::new();
    let (mut bare, mut collector) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.extend(bare_round(&site));
        let before = site.written_bytes();
        collector.extend(collector_round(&site, &mut nodes));
        positions.extend(nodes.iter().map(PaperNode::position));
        let bytes = site.written_bytes().zip(before).map(|(after, before)| after - before);
        written.extend(bytes.map(|bytes| bytes / events_per_round()));
    }
    let commits = site.metric("pvewatch_store_commit_duration_seconds_count");
    let commit_seconds = site.metric("pvewatch_store_commit_duration_seconds_sum");
    let duplicates = site.metric("pvewatch_duplicate_events_total");
    let setting = setting(via);
    let store = site.stop();
    let applied = store.applied(&positions);
    let sent = events_per_round() * ROUNDS as f64;
    let (bare, collector) = (Distribution::new(bare), Distribution::new(collector));
    let median = |rates: &Distribution| rates.quantile(0.5);
    let ratio = median(&bare).zip(median(&collector)).map(|(bare, collector)| collector / bare);
    let figures = vec![
        Figure::new("bare subscriber, median", median(&bare), "events/s"),
        Figure::new("collector, stored and acked, median", median(&collector), "events/s"),
        Figure::new("collector, slowest round", collector.min(), "events/s"),
        Figure::new("collector, as a share of the bare subscriber", ratio, "")
            .within(Budget::AtLeast(RATIO_MIN)),
        Figure::new("events sent to the collector", sent, ""),
        Figure::new("of them in its store", applied.events as f64, "")
            .within(Budget::Exactly(sent)),
        Figure::new("stored twice", applied.twice as f64, "").within(Budget::Exactly(0.0)),
        Figure::new("came twice", duplicates, ""),
        Figure::new("events a commit", commits.map(|commits| sent / commits), ""),
        Figure::new(
            "a commit, mean",
            commit_seconds.zip(commits).map(|(seconds, commits)| seconds * 1e3 / commits),
            "ms",
        ),
        Figure::new("store, bytes an event", store.bytes() as f64 / sent, "B"),
        Figure::new(
            "written to disk, bytes an event, median",
            Distribution::new(written).quantile(0.5),
            "B",
        ),
    ];
    Report { name: "ingest", setting, figures }
}

fn setting(via: Via) -> String {
    format!(
        "{}, no TLS, {NODES} nodes, {ROUNDS} rounds of {} events, at most {WINDOW} unconfirmed a \
         node, load average {}",
        via.name(),
        events_per_round(),
        load_average()
    )
}

fn events_per_round() -> f64 {
    (NODES * EVENTS_PER_NODE) as f64
}

fn paper_nodes(site: &str) -> Vec<PaperNode> {
    (0..NODES).map(|number| PaperNode::new(site, number, UNITS)).collect()
}

/// One round without a collector: events a second, if all came.
fn bare_round(site: &BenchSite) -> Option<f64> {
    let filter = format!("pvewatch/v1/{BARE_SITE}/node/+/event/+");
    let bare = Bare::subscribe(site.port(), &filter, NODES * EVENTS_PER_NODE);
    let begun = send_round(site.port(), &mut paper_nodes(BARE_SITE));
    rate(begun, bare.done_within(ROUND_MAX))
}

/// One round of the collector: events a second, if all were acked.
fn collector_round(site: &BenchSite, nodes: &mut [PaperNode]) -> Option<f64> {
    let mut acks = site.acks();
    let begun = send_round(site.port(), nodes);
    let positions: Vec<Position> = nodes.iter().map(PaperNode::position).collect();
    rate(begun, acks.wait_for(&positions, ROUND_MAX))
}

fn rate(begun: Timestamp, done: Option<Timestamp>) -> Option<f64> {
    Some(events_per_round() / done?.duration_since(begun).as_secs_f64())
}

/// Every node sends a stream of its own; gives the time at which they began. What is sent is
/// made before, so that the making does not count.
fn send_round(port: u16, nodes: &mut [PaperNode]) -> Timestamp {
    let ready: Vec<_> = nodes
        .iter_mut()
        .enumerate()
        .map(|(number, node)| {
            let mut messages = vec![node.restart()];
            messages.extend((1..EVENTS_PER_NODE).map(|_| node.change()));
            (Sender::connect(port, &format!("bench-node-{number}")), messages)
        })
        .collect();
    let begun = now();
    let senders: Vec<_> = ready
        .into_iter()
        .map(|(mut sender, messages)| {
            thread::spawn(move || {
                messages.into_iter().for_each(|message| sender.publish(message));
                sender.finish();
            })
        })
        .collect();
    for sender in senders {
        sender.join().expect("the broker takes everything");
    }
    begun
}
