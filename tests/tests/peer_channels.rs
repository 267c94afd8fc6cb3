//! The channels through which alerts are told, on real Mosquittos that refuse, or pass nothing on.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use played::units_that_fail;
use pvewatch_tests::deadline::{GENEROUS, eventually};
use pvewatch_tests::servers::{Agent, Collector, MUTE, Mosquitto, Security, get_json};
use pvewatch_tests::subscriber::{Message, Subscriber};
use rustix::process::Signal;
use serde_json::Value;

mod played;

/// A node counts as silent after 30 s, and a broker as mute after 40 s.
const SILENT_AND_MUTE: Duration = Duration::from_secs(180);

/// A broker is gone back to when it has worked for less than a minute.
const WORKS_AGAIN: Duration = Duration::from_secs(180);

const ALL: &str = "topic readwrite #\n";

fn is_of(alert_or_notice: &str) -> impl Fn(&Message) -> bool {
    move |message| message.topic.starts_with(&format!("pvewatch/v1/home/{alert_or_notice}"))
}

/// The channel as `/api/v1/status` shows it.
fn channel(collector: &Collector, name: &str) -> Value {
    let status = get_json(&collector.url("/api/v1/status")).unwrap_or_default();
    let channels = status["channels"].as_array().cloned().unwrap_or_default();
    channels.into_iter().find(|channel| channel["name"] == name).unwrap_or_default()
}

#[test]
fn notices_that_the_broker_refuses_hold_up_no_alert_and_are_told_when_it_lets_them() {
    let folder = tempfile::tempdir().unwrap();
    let denied = format!("topic deny pvewatch/v1/home/notice\n{ALL}");
    let mut broker = Mosquitto::start(Security::Rules(denied));
    let collector = Collector::on(&broker.access(None));
    let socket = folder.path().join("bus");
    units_that_fail(&socket, vec!["first.service".to_owned(), "second.service".to_owned()]);
    let sections = format!("[paths]\nsystem_bus = \"unix:path={}\"\n", socket.display());
    let url = format!("url = \"{}\"", broker.access(None).url());
    let _agent = Agent::start_with(&url, &sections, &[]);

    let mut observer = Subscriber::connect(&broker.access(None), &["pvewatch/v1/home/#"]);
    for unit in ["first.service", "second.service"] {
        observer.wait_for("the alert", GENEROUS, |message| {
            is_of("alert")(message) && message.json()["labels"]["unit"] == unit
        });
    }
    collector.says("channel mqtt-notices waits: the broker refuses pvewatch/v1/home/notice");
    collector.expect_metric("pvewatch_channel_untold_transitions{channel=\"mqtt-notices\"}", "2");
    collector.expect_metric("pvewatch_channel_untold_transitions{channel=\"mqtt-alerts\"}", "0");
    let trouble = channel(&collector, "mqtt-notices")["trouble"].clone();
    assert!(trouble.as_str().unwrap().contains("NotAuthorized"), "{trouble}");

    broker.allow(ALL);
    for unit in ["first.service", "second.service"] {
        observer.wait_for("the notice", GENEROUS, |message| {
            is_of("notice")(message) && message.json()["title"].to_string().contains(unit)
        });
    }
    collector.expect_metric("pvewatch_channel_untold_transitions{channel=\"mqtt-notices\"}", "0");
    assert!(channel(&collector, "mqtt-notices")["trouble"].is_null());
    assert_eq!(observer.messages().iter().filter(|message| is_of("notice")(message)).count(), 2);
}

#[test]
fn a_broker_that_becomes_mute_is_left_and_what_it_swallowed_is_told_on_the_next() {
    let mut first = Mosquitto::start(Security::Rules(ALL.to_owned()));
    let second = Mosquitto::start(Security::Open);
    let collector = Collector::on_any(&[&first.access(None), &second.access(None)]);
    let agent = Agent::start(&format!("url = \"{}\"", first.access(None).url()));
    agent.says("connected to");
    collector.expect_metric("pvewatch_node_up{node=\"pve1\"}", "1");

    // From now on the first takes what it is given and passes nothing on: the collector hears the
    // node no more, and its word of that is swallowed too.
    first.allow(MUTE);
    let mut observer = Subscriber::connect(&second.access(None), &["pvewatch/v1/home/#"]);
    let notice = observer.wait_for("the notice on the second", SILENT_AND_MUTE, is_of("notice"));
    assert_eq!(notice.json()["title"], "Critical: pve1 is down");
    assert!(observer.messages().iter().any(is_of("alert")), "its alert is there too");
    collector.says("takes messages and passes none on");
}

#[test]
fn a_collector_goes_back_to_the_first_broker_when_that_works_again() {
    let mut first = Mosquitto::start(Security::Open);
    let second = Mosquitto::start(Security::Open);
    let collector = Collector::on_any(&[&first.access(None), &second.access(None)]);
    let is_on = |broker: &Mosquitto| {
        let mut observer = Subscriber::connect(&broker.access(None), &["pvewatch/v1/home/#"]);
        let presence = observer.wait_for("its presence", GENEROUS, is_of("collector/main"));
        presence.json()["state"] == "online"
    };
    assert!(is_on(&first));

    first.stop(Signal::KILL);
    eventually("the collector on the second", GENEROUS, || is_on(&second).then_some(()));

    first.start_again();
    eventually("the collector to go back", WORKS_AGAIN, || {
        collector.log().contains("works again: going back to it").then_some(())
    });
    eventually("the collector on the first", GENEROUS, || is_on(&first).then_some(()));
    assert!(!is_on(&second), "it said goodbye there");
}
