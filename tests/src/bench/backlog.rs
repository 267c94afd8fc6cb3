//! What an agent held during an outage goes to the collector when the broker is back.
//!
//! The outbox is filled by the agent's own code, as if an earlier start had met the events; the
//! real agent finds it. Broker: Mosquitto, which was stopped before the agent began. Lost and
//! applied twice are counted in the closed store.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use pvewatch_agent::outbox::Outbox;
use pvewatch_agent::outbox::spool::{Files, Limits, Owner, Spool};
use pvewatch_agent::source::Fact;
use pvewatch_protocol::{CollectorName, Position, StreamId};
use rustix::process::Signal;
use tempfile::TempDir;
use uuid::Uuid;

use super::figure::{Budget, Figure, Report};
use super::middle::Via;
use super::site::{BenchSite, SITE};
use super::stage::load_average;
use super::traffic::PaperNode;
use super::usage::{Memory, memory, processor};
use crate::deadline::{GENEROUS, look_until, moment, now};
use crate::process::Process;
use crate::subscriber::Subscriber;

/// Events in the outbox when the broker comes back.
const EVENTS: u64 = 100_000;

/// The node that holds them.
const NODE: &str = "backlog";

/// Units that they are about.
const UNITS: usize = 50;

/// Room for all of them: the default bound is told beside it.
const OUTBOX_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The default of `[outbox] bytes_max`.
const OUTBOX_BYTES_DEFAULT: f64 = 64.0 * 1024.0 * 1024.0;

/// Events between two syncs while the outbox is filled.
const SYNC_EVERY: u64 = 1_000;

/// How long the agent may take until it has opened its outbox and waits for the broker.
const SETTLE: Duration = Duration::from_secs(5);

/// How long the whole may take before it counts as failed.
const DRAIN_MAX: Duration = Duration::from_secs(180);

/// The promised rate, in events a second.
const RATE_MIN: f64 = 10_000.0;

/// The promised memory of the agent with all of it in its outbox, in MiB.
const RSS_MIB_MAX: f64 = 8.0;

/// Measures one outage.
///
/// # Panics
/// When something does not start, or the outbox cannot be filled.
#[track_caller]
pub fn run(agent: &Path, collector: &Path) -> Report {
    let mut site = BenchSite::start(collector, Via::Mosquitto);
    site.broker().stop(Signal::TERM);
    let outbox = FilledOutbox::make();
    let agent = start_agent(agent, &outbox, &site.broker_url());
    let holding = settled_memory(agent.id());
    let spent_before = processor(agent.id()).ok();

    site.broker().start_again();
    let mut presences = Subscriber::connect(&site.access(), &["pvewatch/v1/+/+/+/presence"]);
    let mut acks = site.acks();
    let drained = acks.wait_for(&[outbox.position], DRAIN_MAX);
    let connected = connected_at(&mut presences);
    let seconds = drained
        .zip(connected)
        .map(|(drained, connected)| drained.duration_since(connected).as_secs_f64());
    let draining = memory(agent.id()).ok();
    let spent = processor(agent.id()).ok();
    let duplicates = site.metric("pvewatch_duplicate_events_total");
    let setting = format!(
        "Mosquitto, no TLS, agent of {UNITS} units' events, load average {}",
        load_average()
    );
    drop(agent);
    let applied = site.stop().applied(&[outbox.position]);

    let mib = |memory: Option<Memory>, pick: fn(Memory) -> u64| {
        memory.map(|memory| pick(memory) as f64 / 1024.0)
    };
    let cpu = spent
        .zip(spent_before)
        .map(|(after, before)| (after.own_seconds - before.own_seconds) * 1e6 / EVENTS as f64);
    let bytes_per_event = outbox.bytes as f64 / EVENTS as f64;
    let figures = vec![
        Figure::new("events in the outbox", EVENTS as f64, ""),
        Figure::new("agent with them, resident", mib(holding, |it| it.rss_kib), "MiB")
            .within(Budget::AtMost(RSS_MIB_MAX)),
        Figure::new("agent, peak while it opened them", mib(holding, |it| it.peak_rss_kib), "MiB"),
        Figure::new("agent, peak at the end", mib(draining, |it| it.peak_rss_kib), "MiB"),
        Figure::new("drained within", seconds, "s"),
        Figure::new("drained, rate", seconds.map(|it| EVENTS as f64 / it), "events/s")
            .within(Budget::AtLeast(RATE_MIN)),
        Figure::new("agent, processor time an event", cpu, "us"),
        Figure::new("lost", applied.lost as f64, "").within(Budget::Exactly(0.0)),
        Figure::new("applied twice", applied.twice as f64, "").within(Budget::Exactly(0.0)),
        Figure::new("came twice", duplicates, ""),
        Figure::new("outbox, bytes an event", bytes_per_event, "B"),
        Figure::new(
            "events that the default of 64 MiB holds",
            (OUTBOX_BYTES_DEFAULT / bytes_per_event).floor(),
            "",
        ),
    ];
    Report { name: "backlog", setting, figures }
}

/// An outbox on disk that an earlier start of the agent left behind.
struct FilledOutbox {
    directory: TempDir,
    position: Position,
    bytes: u64,
}

impl FilledOutbox {
    #[track_caller]
    fn make() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let folder = directory.path().join("spool");
        let owner = Owner {
            site: SITE.parse().expect("a good name"),
            node: NODE.parse().expect("a good name"),
        };
        let files = Files::open(&folder).expect("a temporary directory takes a spool");
        let limits = Limits { bytes_max: OUTBOX_BYTES_MAX, events_max: usize::MAX };
        let stream = StreamId(Uuid::now_v7());
        let (spool, opened) = Spool::open(Box::new(files), owner.clone(), limits, stream, moment());
        let mut outbox = Outbox::new(owner, &[CollectorName::default()], spool, opened);
        let mut units = PaperNode::new(SITE, 0, UNITS);
        for number in 1..=EVENTS {
            let at = now();
            let fact = Fact { time: at, recorded_time: at, data: units.next_change() };
            let dropped = outbox.append(moment(), fact).expect("an event can be encoded");
            assert_eq!(dropped, 0, "the outbox has room");
            if number % SYNC_EVERY == 0 || number == EVENTS {
                sync(&mut outbox);
            }
        }
        let position = outbox.position();
        assert_eq!(outbox.trouble(), None);
        drop(outbox);
        let bytes = bytes_of(&folder);
        Self { directory, position, bytes }
    }

    fn folder(&self) -> PathBuf {
        self.directory.path().join("spool")
    }
}

#[track_caller]
fn sync(outbox: &mut Outbox) {
    let (ticket, job) = outbox.begin_sync(moment()).expect("there is something to sync");
    outbox.on_synced(moment(), &ticket, job());
}

fn bytes_of(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).expect("a spool is a folder").flatten();
    files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

#[track_caller]
fn start_agent(program: &Path, outbox: &FilledOutbox, url: &str) -> Process {
    let directory = outbox.directory.path();
    let text = format!(
        "site = \"{SITE}\"\nnode = \"{NODE}\"\n[broker]\nurl = \"{url}\"\n[outbox]\n\
         directory = {:?}\nbytes_max = {OUTBOX_BYTES_MAX}\n[paths]\n\
         system_bus = \"unix:path=/nonexistent/bus\"\n",
        outbox.folder()
    );
    let file = directory.join("agent.toml");
    fs::write(&file, text).expect("a temporary directory can be written");
    let arguments = ["--config", &file.display().to_string()];
    Process::start("pvewatch-agent", &directory.join("agent.log"), program, &arguments)
}

/// The memory of an agent that has read its outbox: the most of the readings until it settled.
fn settled_memory(id: u32) -> Option<Memory> {
    let mut highest: Option<Memory> = None;
    look_until(SETTLE, || {
        let reading = memory(id).ok()?;
        if highest.is_none_or(|before| before.rss_kib < reading.rss_kib) {
            highest = Some(reading);
        }
        None::<()>
    });
    memory(id)
        .ok()
        .map(|last| Memory { peak_rss_kib: last.peak_rss_kib, ..highest.unwrap_or(last) })
}

/// When both the node and the collector were there: before, nothing could be drained.
fn connected_at(presences: &mut Subscriber) -> Option<Timestamp> {
    let mut arrival = |part: &str| {
        let found = presences.find(GENEROUS, |message| {
            message.topic.contains(part) && message.json()["state"] == "online"
        });
        found.map(|message| message.arrived)
    };
    let node = arrival("/node/")?;
    let collector = arrival("/collector/")?;
    Some(node.max(collector))
}
