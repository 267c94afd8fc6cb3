//! The agent beside a real Mosquitto: brokers that are away, refuse, or die; two agents of one
//! name; goodbyes and the lack of them.
//!
//! No bus is needed: the source `units` then says that it is not active, and why.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::process::Command;
use std::time::Duration;

use pvewatch_protocol::{Ack, Epoch, EventData, NodePresence, PresenceState, Sequence, StopReason};
use pvewatch_tests::certificates::{Authority, Validity};
use pvewatch_tests::deadline::{GENEROUS, eventually};
use pvewatch_tests::places::program;
use pvewatch_tests::process::Process;
use pvewatch_tests::servers::{Agent, Mosquitto, Security};
use pvewatch_tests::subscriber::{Message, Subscriber};
use rustix::process::Signal;

const EVERYTHING: [&str; 1] = ["pvewatch/#"];

fn is_event(message: &Message, kind: &str) -> bool {
    message.event().is_some_and(|event| event.data.kind() == kind)
}

fn presence(message: &Message) -> Option<NodePresence> {
    message
        .topic
        .ends_with("/node/pve1/presence")
        .then(|| serde_json::from_slice(&message.payload).unwrap())
}

fn is_presence(message: &Message, state: PresenceState, reason: Option<StopReason>) -> bool {
    presence(message).is_some_and(|it| it.state == state && it.reason == reason)
}

fn url(broker: &Mosquitto) -> String {
    format!("url = \"mqtt://127.0.0.1:{}\"", broker.port())
}

#[test]
fn an_agent_is_born_speaks_and_says_goodbye() {
    let broker = Mosquitto::start(Security::Open);
    let mut observer = Subscriber::connect(&broker.access(None), &EVERYTHING);
    let mut agent = Agent::start(&url(&broker));

    let started = observer.wait_for("agent.started", GENEROUS, |m| is_event(m, "agent.started"));
    assert_eq!(started.event().unwrap().position.sequence, Sequence(1));
    assert_eq!(started.content_type.as_deref(), Some("application/cloudevents+json"));
    observer.wait_for("a birth", GENEROUS, |m| is_presence(m, PresenceState::Online, None));
    observer.wait_for("a sample", GENEROUS, |m| m.topic.ends_with("/node/pve1/sample"));
    observer.wait_for("why the units are not watched", GENEROUS, |m| {
        m.topic.ends_with("/checkpoint/agent/1") && {
            let sources = m.json()["agent"]["sources"].as_array().cloned().unwrap_or_default();
            sources.iter().any(|it| it["name"] == "units" && it["active"] == false)
        }
    });

    agent.process.signal(Signal::TERM);
    assert!(agent.process.exits_within(GENEROUS).success());
    let stopping = observer.wait_for("agent.stopping", GENEROUS, |m| is_event(m, "agent.stopping"));
    let EventData::AgentStopping(stopping) = stopping.event().unwrap().data else { unreachable!() };
    assert_eq!(stopping.reason, StopReason::Stopped);
    observer.wait_for("a goodbye", GENEROUS, |m| {
        is_presence(m, PresenceState::Offline, Some(StopReason::Stopped))
    });
}

#[test]
fn an_agent_that_is_killed_is_reported_by_its_will() {
    let broker = Mosquitto::start(Security::Open);
    let mut observer = Subscriber::connect(&broker.access(None), &EVERYTHING);
    let mut agent = Agent::start(&url(&broker));
    let birth =
        observer.wait_for("a birth", GENEROUS, |m| is_presence(m, PresenceState::Online, None));
    agent.process.signal(Signal::KILL);
    let will = observer.wait_for("a will", GENEROUS, |m| {
        is_presence(m, PresenceState::Offline, Some(StopReason::Lost))
    });
    assert_eq!(presence(&will).unwrap().epoch, presence(&birth).unwrap().epoch);
}

#[test]
fn a_broker_that_is_away_at_start_is_waited_for_and_nothing_is_lost() {
    let mut broker = Mosquitto::start(Security::Open);
    broker.stop(Signal::TERM);
    let agent = Agent::start(&url(&broker));
    agent.says("nothing listens there");
    broker.start_again();
    let mut observer = Subscriber::connect(&broker.access(None), &EVERYTHING);
    // The observer may come after the first connection: an event without an ack is sent again
    // now and then.
    observer.wait_for("agent.started", Duration::from_secs(90), |m| is_event(m, "agent.started"));
}

#[test]
fn what_was_not_acked_is_sent_again_after_the_broker_died_and_what_was_is_not() {
    let mut broker = Mosquitto::start(Security::Open);
    let mut observer = Subscriber::connect(&broker.access(None), &EVERYTHING);
    let agent = Agent::start(&url(&broker));
    observer.wait_for("agent.started", GENEROUS, |m| is_event(m, "agent.started"));

    observer.forget();
    broker.stop(Signal::KILL);
    broker.start_again();
    let again =
        observer.wait_for("agent.started again", GENEROUS, |m| is_event(m, "agent.started"));
    let position = again.event().unwrap().position;

    let epoch = Epoch(position.stream.0);
    let ack = Ack { collector_epoch: epoch, stream: position.stream, through: position.sequence };
    let topic = "pvewatch/v1/home/node/pve1/ack/main";
    observer.publish(topic, serde_json::to_vec(&ack).unwrap(), true);
    observer.wait_for("an outbox without unacked events", GENEROUS, |m| {
        m.topic.ends_with("/sample") && m.json()["agent"]["outbox_events"] == 0
    });
    observer.forget();
    broker.stop(Signal::TERM);
    broker.start_again();
    observer.wait_for("a birth", GENEROUS, |m| is_presence(m, PresenceState::Online, None));
    observer.wait_for("a sample after it", GENEROUS, |m| m.topic.ends_with("/sample"));
    assert!(!observer.messages().iter().any(|m| is_event(m, "agent.started")));
    drop(agent);
}

#[test]
fn a_collector_with_a_new_store_is_given_what_is_held() {
    let broker = Mosquitto::start(Security::Open);
    let mut observer = Subscriber::connect(&broker.access(None), &EVERYTHING);
    let agent = Agent::start(&url(&broker));
    let started = observer.wait_for("agent.started", GENEROUS, |m| is_event(m, "agent.started"));
    let position = started.event().unwrap().position;
    let topic = "pvewatch/v1/home/node/pve1/ack/main";
    let ack = |epoch: u128, through: u64| {
        let collector_epoch = Epoch(uuid::Uuid::from_u128(epoch));
        let through = Sequence(through);
        serde_json::to_vec(&Ack { collector_epoch, stream: position.stream, through }).unwrap()
    };
    observer.publish(topic, ack(1, 1), true);
    observer.wait_for("an outbox without unacked events", GENEROUS, |m| {
        m.topic.ends_with("/sample") && m.json()["agent"]["outbox_events"] == 0
    });
    observer.forget();
    observer.publish(topic, ack(2, 0), true);
    observer.wait_for("agent.started again", GENEROUS, |m| is_event(m, "agent.started"));
    drop(agent);
}

#[test]
fn a_wrong_password_is_named_and_tried_again_without_showing_it() {
    let (user, password) = ("pve1".to_owned(), "right".to_owned());
    let broker = Mosquitto::start(Security::Password { user, password });
    let section = format!("{}\nusername = \"pve1\"", url(&broker));
    let mut agent = Agent::start_in(&section, &[("PVEWATCH_MQTT_PASSWORD", "wrong-secret")]);
    agent.says("user \"pve1\": not authorised: check [broker] username and password_file");
    assert!(!agent.log().contains("wrong-secret"));
    assert!(agent.process.exited().is_none(), "it must go on trying");
}

#[test]
fn a_certificate_that_has_expired_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "ca");
    let expired = authority.server(Validity::Expired);
    let broker = Mosquitto::start(Security::mutual_tls(&authority, expired));
    let section = format!(
        "url = \"mqtts://127.0.0.1:{}\"\nca = \"{}\"",
        broker.port(),
        authority.certificate().display()
    );
    let agent = Agent::start(&section);
    agent.says("certificate has expired");
}

#[test]
fn two_agents_of_one_name_say_so() {
    let broker = Mosquitto::start(Security::Open);
    let mut observer = Subscriber::connect(&broker.access(None), &EVERYTHING);
    let first = Agent::start(&url(&broker));
    observer.wait_for("a birth", GENEROUS, |m| is_presence(m, PresenceState::Online, None));
    let second = Agent::start(&url(&broker));
    first.says("another agent goes by the name pve1");
    second.says("another agent goes by the name pve1");
}

#[test]
fn a_dry_run_prints_what_it_would_publish_and_connects_to_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("dry-run.log");
    let arguments = ["--dry-run", "--node", "pve1", "--mqtt", "mqtt://127.0.0.1:1"];
    let mut agent = Process::start("agent", &log, &program("pvewatch-agent"), &arguments);
    let text = eventually("an event and a sample", GENEROUS, || {
        let text = fs::read_to_string(&log).ok()?;
        let has = |topic: &str| text.contains(&format!("pvewatch/v1/home/node/pve1/{topic} {{"));
        (has("event/agent.started") && has("sample")).then_some(text)
    });
    assert!(!text.contains("nothing listens there"), "{text}");
    agent.signal(Signal::INT);
    assert!(agent.exits_within(GENEROUS).success());
}

#[test]
fn exit_codes_tell_a_wrong_command_line_from_a_wrong_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("agent.toml");
    let missing = directory.path().join("missing.toml");
    fs::write(&config, "node = \"alert\"\n[broker]\nurl = \"mqtt://127.0.0.1\"\nport = 1\n")
        .unwrap();
    let config = config.to_str().unwrap();
    for (arguments, code, text) in [
        (vec!["--nonsense"], 2, "--nonsense"),
        (vec!["--mqtt", "http://pve1"], 2, "mqtt://HOST"),
        (vec!["--config", config], 1, "unknown field `port`"),
        (vec!["--config", missing.to_str().unwrap()], 1, "missing.toml"),
        (vec!["--version"], 0, env!("CARGO_PKG_VERSION")),
    ] {
        let output = Command::new(program("pvewatch-agent")).args(&arguments).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(text), "{arguments:?}: {said}");
    }
}
