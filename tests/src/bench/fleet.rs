//! What many nodes cost one collector, and whether an event costs more when there are many.
//!
//! Two collectors run beside each other, one with few nodes and one with many, each on its own
//! Mosquitto. Events come at the same pace, to each in turn, so that a machine that is busy
//! disturbs both; they are spread over all nodes of the collector.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use pvewatch_protocol::Position;

use super::figure::{Budget, Figure, Report};
use super::middle::Via;
use super::sender::Sender;
use super::site::BenchSite;
use super::stage::load_average;
use super::statistics::Distribution;
use super::traffic::PaperNode;
use super::usage::{memory, processor};
use crate::deadline::moment;
use crate::servers::get;

/// Nodes to which the many are compared.
const FEW: usize = 10;

/// Nodes for which the budgets hold.
pub const NODES_BUDGETED: usize = 1_000;

/// Units of each node.
const UNITS: usize = 50;

/// Events of a round, and their pace: slow enough that most are committed alone, since what a
/// commit of many saves depends on the pace and not on the nodes.
const EVENTS_PER_ROUND: usize = 2_000;
const EVENT_EVERY: Duration = Duration::from_millis(3);

/// Rounds for each collector; the median counts.
const ROUNDS: usize = 5;

/// Scrapes of `/metrics`.
const SCRAPES: usize = 20;

/// How long anything may take before it counts as failed.
const STEP_MAX: Duration = Duration::from_secs(180);

/// The promised memory, in MiB.
const RSS_MIB_MAX: f64 = 256.0;

/// The promised time of a scrape, in milliseconds.
const SCRAPE_MS_MAX: f64 = 100.0;

/// The promised cost of an event, as a multiple of its cost with few nodes.
const COST_RATIO_MAX: f64 = 1.2;

/// Measures a collector with `many` nodes beside one with a few.
///
/// # Panics
/// When a collector or broker does not start.
#[track_caller]
pub fn run(program: &Path, many: usize) -> Report {
    let mut few_nodes = Fleet::start(program, FEW);
    let mut many_nodes = Fleet::start(program, many);
    let (mut few_cost, mut many_cost) = (Vec::new(), Vec::new());
    let commits_before = many_nodes.commits();
    for _ in 0..ROUNDS {
        few_cost.extend(few_nodes.round());
        many_cost.extend(many_nodes.round());
    }
    let commits = many_nodes.commits().zip(commits_before).map(|(after, before)| after - before);
    let events_per_commit = commits.map(|commits| (ROUNDS * EVENTS_PER_ROUND) as f64 / commits);
    let cost = |of: Vec<f64>| Distribution::new(of).quantile(0.5);
    let (few_cost, many_cost) = (cost(few_cost), cost(many_cost));
    let ratio = few_cost.zip(many_cost).map(|(few, many)| many / few);
    let sample_costs = (few_nodes.samples(), many_nodes.samples());
    let (scrapes, scrape_bytes) = scrapes(&many_nodes.site);
    let memory = memory(many_nodes.site.process_id()).ok();
    let mib = |kib: u64| kib as f64 / 1024.0;
    let setting = format!(
        "Mosquitto, no TLS, {many} nodes of {UNITS} units, {ROUNDS} rounds of {EVENTS_PER_ROUND} \
         events, one every {} ms, load average {}",
        EVENT_EVERY.as_millis(),
        load_average()
    );
    let figures = vec![
        Figure::new("resident", memory.map(|it| mib(it.rss_kib)), "MiB"),
        Figure::new("resident, peak", memory.map(|it| mib(it.peak_rss_kib)), "MiB"),
        Figure::new("a scrape, p50", scrapes.quantile(0.5), "ms"),
        Figure::new("a scrape, max", scrapes.max(), "ms"),
        Figure::new("a scrape, size", scrape_bytes / 1e6, "MB"),
        Figure::new(format!("processor time an event, {FEW} nodes"), few_cost, "us"),
        Figure::new(format!("processor time an event, {many} nodes"), many_cost, "us"),
        Figure::new("the second as a multiple of the first", ratio, ""),
        Figure::new(format!("events a commit, {many} nodes"), events_per_commit, ""),
        Figure::new(format!("processor time a sample, {FEW} nodes"), sample_costs.0, "us"),
        Figure::new(format!("processor time a sample, {many} nodes"), sample_costs.1, "us"),
    ];
    Report { name: "fleet", setting, figures: with_budgets(figures, many) }
}

/// The budgets hold for so many nodes and no more.
fn with_budgets(figures: Vec<Figure>, many: usize) -> Vec<Figure> {
    let budget_of = |what: &str| match what {
        "resident" => Some(Budget::AtMost(RSS_MIB_MAX)),
        "a scrape, p50" => Some(Budget::AtMost(SCRAPE_MS_MAX)),
        "the second as a multiple of the first" => Some(Budget::AtMost(COST_RATIO_MAX)),
        _ => None,
    };
    let with_budget = |figure: Figure| match budget_of(&figure.what) {
        Some(budget) if many <= NODES_BUDGETED => figure.within(budget),
        _ => figure,
    };
    figures.into_iter().map(with_budget).collect()
}

/// A collector with its nodes, which all speak over one connection.
struct Fleet {
    site: BenchSite,
    nodes: Vec<PaperNode>,
    sender: Sender,
}

impl Fleet {
    /// Starts a collector and introduces all nodes to it.
    #[track_caller]
    fn start(program: &Path, count: usize) -> Self {
        let site = BenchSite::start(program, Via::Mosquitto);
        let sender = Sender::connect(site.port(), "bench-fleet");
        let nodes = (0..count).map(|number| PaperNode::new(super::site::SITE, number, UNITS));
        let mut this = Self { site, nodes: nodes.collect(), sender };
        let mut acks = this.site.acks();
        for node in &mut this.nodes {
            this.sender.publish(node.restart());
            for message in node.introduction() {
                this.sender.publish(message);
            }
            this.sender.publish(node.sample());
        }
        this.sender.finish();
        let introduced = acks.wait_for(&this.positions(), STEP_MAX);
        assert!(introduced.is_some(), "{count} nodes were not taken in within {STEP_MAX:?}");
        this
    }

    fn positions(&self) -> Vec<Position> {
        self.nodes.iter().map(PaperNode::position).collect()
    }

    /// Sends events at their pace, the nodes in turn; the processor time of each in microseconds,
    /// if all were acked.
    fn round(&mut self) -> Option<f64> {
        let mut acks = self.site.acks();
        let before = self.processor_seconds()?;
        let begun = moment();
        let count = self.nodes.len();
        for number in 0..EVENTS_PER_ROUND {
            let due = begun + EVENT_EVERY * number as u32;
            sleep(due.saturating_duration_since(moment()));
            self.sender.publish(self.nodes[number % count].change());
            self.sender.flush();
        }
        self.sender.finish();
        acks.wait_for(&self.positions(), STEP_MAX)?;
        Some((self.processor_seconds()? - before) * 1e6 / EVENTS_PER_ROUND as f64)
    }

    /// Sends samples as fast as they go; the processor time of each in microseconds.
    fn samples(&mut self) -> Option<f64> {
        let mut acks = self.site.acks();
        let before = self.processor_seconds()?;
        for number in 0..EVENTS_PER_ROUND {
            let node = number % self.nodes.len();
            self.sender.publish(self.nodes[node].sample());
        }
        // What comes behind the samples is acked when they were taken.
        self.sender.publish(self.nodes[0].change());
        self.sender.finish();
        acks.wait_for(&[self.nodes[0].position()], STEP_MAX)?;
        Some((self.processor_seconds()? - before) * 1e6 / EVENTS_PER_ROUND as f64)
    }

    fn commits(&self) -> Option<f64> {
        self.site.metric("pvewatch_store_commit_duration_seconds_count")
    }

    fn processor_seconds(&self) -> Option<f64> {
        processor(self.site.process_id()).ok().map(|spent| spent.own_seconds)
    }
}

/// How long scrapes took, in milliseconds, and how large one is, in bytes.
fn scrapes(site: &BenchSite) -> (Distribution, f64) {
    let mut bytes = 0;
    let times = (0..SCRAPES).filter_map(|_| {
        let begun = moment();
        let (status, text) = get(&site.url("/metrics"))?;
        bytes = text.len();
        (status == 200).then(|| begun.elapsed().as_secs_f64() * 1e3)
    });
    let times = Distribution::new(times.collect());
    (times, bytes as f64)
}
