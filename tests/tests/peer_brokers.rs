//! Two brokers, both real Mosquittos: the first one dies, or takes everything and passes nothing
//! on; agent and collector meet on the second. When the first is well again the collector goes back
//! to it, and the agent follows.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use played::units_that_fail;
use pvewatch_tests::deadline::{GENEROUS, eventually};
use pvewatch_tests::servers::{Agent, Collector, Mosquitto, Security};
use pvewatch_tests::subscriber::Subscriber;
use rustix::process::Signal;

mod played;

const UNITS: usize = 300;

/// A collector tries an earlier broker for less than a minute before it goes back to it; an agent
/// stays alone for 20 s at a broker before it goes on.
const MOVED_ON: Duration = Duration::from_secs(180);

fn urls(brokers: [&Mosquitto; 2]) -> String {
    let urls = brokers.map(|broker| format!("mqtt://127.0.0.1:{}", broker.port()));
    format!("urls = {urls:?}")
}

/// The sequences of the events that a collector has, the oldest first.
fn stored(collector: &Collector) -> Vec<u64> {
    let events = collector.events();
    events.iter().rev().map(|event| event["sequence"].as_u64().unwrap()).collect()
}

/// Waits until the agent has connected to a broker so many times.
fn expect_connections(agent: &Agent, broker: &Mosquitto, times: usize) {
    let line = format!("connected to mqtt://127.0.0.1:{}\n", broker.port());
    eventually(&format!("{times} times {line:?} in the agent's log"), MOVED_ON, || {
        (agent.log().matches(&line).count() == times).then_some(())
    });
}

#[test]
fn a_broker_that_died_is_left_and_all_meet_there_again_when_it_is_back() {
    let mut first = Mosquitto::start(Security::Open);
    let second = Mosquitto::start(Security::Open);
    let collector = Collector::on_any(&[&first.access(None), &second.access(None)]);
    let mut agent = Agent::start(&urls([&first, &second]));
    expect_connections(&agent, &first, 1);
    eventually("the start in the store", GENEROUS, || (stored(&collector) == [1]).then_some(()));

    first.stop(Signal::KILL);
    expect_connections(&agent, &second, 1);
    let mut observer = Subscriber::connect(&second.access(None), &["pvewatch/#"]);
    observer.wait_for("the agent's picture on the second broker", GENEROUS, |message| {
        message.topic.contains("/node/pve1/checkpoint/")
    });
    collector.expect_metric("pvewatch_node_up{node=\"pve1\"}", "1");
    eventually("the collector to be ready", GENEROUS, || {
        let ready = pvewatch_tests::servers::get(&collector.url("/readyz"));
        ready.is_some_and(|(status, _)| status == 200).then_some(())
    });

    first.start_again();
    eventually("the collector to go back", MOVED_ON, || {
        collector.log().contains("works again: going back to it").then_some(())
    });
    expect_connections(&agent, &first, 2);
    agent.says("every collector has left it: trying another broker");
    expect_connections(&agent, &second, 1);
    collector.expect_metric("pvewatch_node_up{node=\"pve1\"}", "1");

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
    agent.says("no collector is there: trying another broker");
    // What was published in vain is published once more, and not again and again.
    let came = observer.messages().iter().filter(|message| message.event().is_some()).count();
    assert!(came <= events.len() + 20, "{came} messages for {} events", events.len());
    collector.expect_metric("pvewatch_node_up{node=\"pve1\"}", "1");
}
