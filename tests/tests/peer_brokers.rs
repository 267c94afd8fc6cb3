//! Two brokers, both real Mosquittos: the first one dies, or takes everything and passes nothing
//! on; agent and collector meet on the second.
//!
//! Nobody goes back to the first by itself: a broker that came back is used again when the second
//! one fails, and moving for no other reason would only make gaps.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use played::units_that_fail;
use pvewatch_tests::deadline::{GENEROUS, eventually};
use pvewatch_tests::servers::{Agent, Collector, Mosquitto, Security};
use pvewatch_tests::subscriber::Subscriber;
use rustix::process::Signal;

mod played;

const UNITS: usize = 300;

/// An agent waits for acks for half a minute; then it goes on to the next broker.
const MOVED_ON: Duration = Duration::from_secs(120);

fn urls(brokers: [&Mosquitto; 2]) -> String {
    let urls = brokers.map(|broker| format!("mqtt://127.0.0.1:{}", broker.port()));
    format!("urls = {urls:?}")
}

/// The sequences of the events that a collector has, the oldest first.
fn stored(collector: &Collector) -> Vec<u64> {
    let events = collector.events();
    events.iter().rev().map(|event| event["sequence"].as_u64().unwrap()).collect()
}

#[test]
fn a_broker_that_died_is_left_and_one_that_comes_back_is_left_alone() {
    let mut first = Mosquitto::start(Security::Open);
    let second = Mosquitto::start(Security::Open);
    let collector = Collector::on_any(&[&first.access(None), &second.access(None)]);
    let mut agent = Agent::start(&urls([&first, &second]));
    agent.says(&format!("connected to mqtt://127.0.0.1:{}", first.port()));
    eventually("the start in the store", GENEROUS, || (stored(&collector) == [1]).then_some(()));

    first.stop(Signal::KILL);
    let there = format!("connected to mqtt://127.0.0.1:{}", second.port());
    agent.says(&there);
    collector.expect_metric("pvewatch_node_up{node=\"pve1\"}", "1");
    eventually("the collector to be ready", GENEROUS, || {
        let ready = pvewatch_tests::servers::get(&collector.url("/readyz"));
        ready.is_some_and(|(status, _)| status == 200).then_some(())
    });

    first.start_again();
    let mut observer = Subscriber::connect(&second.access(None), &["pvewatch/#"]);
    for _ in 0..3 {
        observer.forget();
        observer.wait_for("a sample on the second broker", GENEROUS, |message| {
            message.topic.ends_with("/node/pve1/sample") && !message.retained
        });
    }
    assert_eq!(agent.log().matches(&there).count(), 1, "{}", agent.log());

    agent.process.signal(Signal::TERM);
    eventually("the goodbye in the store", GENEROUS, || {
        (stored(&collector) == [1, 2]).then_some(())
    });
}

#[test]
fn a_broker_that_takes_everything_and_passes_nothing_on_is_left_by_all() {
    let folder = tempfile::tempdir().unwrap();
    let mute = Mosquitto::start(Security::Mute);
    let well = Mosquitto::start(Security::Open);
    let socket = folder.path().join("bus");
    units_that_fail(&socket, (0..UNITS).map(|number| format!("u{number}.service")).collect());
    let sections = format!(
        "[units.log]\nenabled = false\n[paths]\nsystem_bus = \"unix:path={}\"\n",
        socket.display()
    );
    let agent = Agent::start_with(&urls([&mute, &well]), &sections, &[]);
    agent.says(&format!("connected to mqtt://127.0.0.1:{}", mute.port()));
    let collector = Collector::on_any(&[&mute.access(None), &well.access(None)]);
    collector.says("takes messages and passes none on");
    let mut observer = Subscriber::connect(&well.access(None), &["pvewatch/v1/home/node/#"]);

    let events = eventually("everything in the store", MOVED_ON, || {
        let events = stored(&collector);
        (events.len() > UNITS).then_some(events)
    });
    assert_eq!(events, (1..=UNITS as u64 + 1).collect::<Vec<u64>>(), "each once, in order");
    agent.says("no collector acks through it: trying another broker");
    // What was published in vain is published once more, and not again and again.
    let came = observer.messages().iter().filter(|message| message.event().is_some()).count();
    assert!(came <= events.len() + 20, "{came} messages for {} events", events.len());
    collector.expect_metric("pvewatch_node_up{node=\"pve1\"}", "1");
}
