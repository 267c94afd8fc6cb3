//! Events are stored before they are acked, alerts are told, a restart forgets nothing.

use std::net::SocketAddr;

use pvewatch_collector::app::{self, Running};
use pvewatch_collector::broker::{self, BrokerListenSettings, EmbeddedBroker};
use pvewatch_collector::config::Config;
use pvewatch_collector::store::{EventFilter, backup, restore};
use pvewatch_edge::mqtt::{Message, Received};
use pvewatch_protocol::{
    AlertMessage, AlertState, Event, Position, PresenceState, Sample, Sequence, Site, Topic, codec,
};
use tempfile::TempDir;

use crate::peer::*;

async fn stored(running: &Running) -> Vec<u64> {
    let filter = EventFilter { limit: 1000, ..EventFilter::default() };
    let events = running.queries().events(filter).await.unwrap();
    events.into_iter().rev().map(|event| event.sequence.0).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_unit_is_stored_acked_told_and_still_known_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let (running, mut peer) = started(config(dir.path())).await;
    let stream = stream();
    let failed = unit_event(stream, 1, "failed");
    peer.publish(&failed).await;
    let ack = peer.wait_ack(stream, 1).await;
    assert_eq!(stored(&running).await, [1], "what is acked is stored");
    let firing = peer.wait("the alert", alert).await;
    assert_eq!((firing.state, firing.labels["node"].as_str()), (AlertState::Firing, "alert"));
    let told = peer.wait("the notice", notice).await;
    assert_eq!(told.title, "Critical: ssh.service failed on alert");
    running.stop().await;

    let running = app::start(config(dir.path())).await.unwrap();
    let mut peer = Peer::connect(&running).await;
    // The embedded broker has forgotten everything; the collector has not.
    let again = peer.wait("the alert, retained again", alert).await;
    assert_eq!((again.fingerprint, again.starts_at), (firing.fingerprint, firing.starts_at));
    // The agent sends again what it is not sure of, and goes on.
    peer.publish(&failed).await;
    peer.publish(&unit_event(stream, 2, "active")).await;
    let second = peer.wait_ack(stream, 2).await;
    assert_eq!(second.collector_epoch, ack.collector_epoch);
    let resolved = peer.wait("the end of the alert", |received| {
        alert(received).filter(|alert| alert.state == AlertState::Resolved)
    });
    assert_eq!(resolved.await.fingerprint, firing.fingerprint);
    assert_eq!(stored(&running).await, [1, 2], "applied once");
    let steps = running.queries().steps_of(firing.fingerprint).await.unwrap();
    let steps: Vec<_> = steps.iter().map(|step| (step.to, step.why.as_str())).collect();
    let (fired, over) = (Some(AlertState::Firing), Some(AlertState::Resolved));
    assert_eq!(steps, [(over, "condition_ended"), (fired, "condition_lasted")]);
    assert_eq!(running.queries().counters().duplicates.get(), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_asked_for_and_a_new_store_asks_for_everything() {
    let dir = TempDir::new().unwrap();
    let (running, mut peer) = started(config(dir.path())).await;
    let stream = stream();
    peer.publish(&unit_event(stream, 3, "failed")).await;
    peer.wait_ack(stream, 0).await;
    peer.publish(&unit_event(stream, 1, "active")).await;
    peer.wait_ack(stream, 1).await;
    peer.publish(&unit_event(stream, 2, "active")).await;
    peer.wait_ack(stream, 3).await;
    assert_eq!(stored(&running).await, [1, 2, 3]);
    assert_eq!(running.queries().counters().gaps.get(), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_messages_are_counted_and_kept_for_a_look() {
    let dir = TempDir::new().unwrap();
    let (running, mut peer) = started(config(dir.path())).await;
    let stream = stream();
    let event = unit_event(stream, 1, "active");
    let good = codec::encode_event(&event).unwrap();
    let future = Event { time: "2999-01-01T00:00:00Z".parse().unwrap(), ..event.clone() };
    for (topic, payload) in [
        ("pvewatch/v1/home/node/alert/event/unit.changed", b"not json".to_vec()),
        ("pvewatch/v1/home/node/other/event/unit.changed", good.clone()),
        ("pvewatch/v1/home/node/alert/event/unit.removed", good.clone()),
        ("pvewatch/v1/home/node/alert/sample", b"{}".to_vec()),
        ("pvewatch/v1/home/node/alert/presence", vec![0xff; 1000]),
        // Not bad: its time is not believed, but it is a fact all the same.
        ("pvewatch/v1/home/node/alert/event/unit.changed", codec::encode_event(&future).unwrap()),
    ] {
        peer.publish_raw(topic, payload).await;
    }
    peer.wait_ack(stream, 1).await;
    let counters = running.queries().counters();
    let rejects: Vec<_> =
        counters.rejects_by_reason().into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(
        rejects,
        [("not_json", 2), ("wrong_shape", 1), ("wrong_node", 1), ("wrong_kind", 1)]
    );
    let kept = running.queries().rejects().await.unwrap();
    assert_eq!(kept.len(), 5);
    assert!(kept.iter().all(|reject| !reject.detail.is_empty() && reject.payload.len() <= 512));
    assert_eq!(running.queries().snapshot().await.counters.fleet.future_times, 1);
    running.stop().await;
}

/// A broker that outlives collectors; port 0 takes a free one.
async fn start_broker(listen: SocketAddr) -> broker::Running {
    let settings = BrokerListenSettings { listen, anonymous: true, ..Default::default() };
    EmbeddedBroker::start(&settings, &Site::default()).await.unwrap()
}

fn elsewhere(broker: &broker::Running) -> String {
    format!("[broker]\nurl = \"mqtt://{}\"", broker.address())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_retains_of_a_store_that_is_gone_is_cleared() {
    let dir = TempDir::new().unwrap();
    let broker = start_broker("127.0.0.1:0".parse().unwrap()).await;
    let running = app::start(config_with(dir.path(), &elsewhere(&broker))).await.unwrap();
    let mut peer = Peer::connect_to(broker.address()).await;
    peer.wait_ready().await;
    let stream = stream();
    peer.publish(&unit_event(stream, 1, "failed")).await;
    let firing = peer.wait("the alert", alert).await;
    let other = AlertMessage {
        fingerprint: "0123456789abcdef".parse().unwrap(),
        collector: "other".parse().unwrap(),
        ..firing.clone()
    };
    let topic = Topic::Alert { fingerprint: other.fingerprint }.at(&Site::default());
    let message = Message::new(topic, codec::encode(&other).unwrap()).retained();
    peer.connection.client().publish(message).await.unwrap();
    running.stop().await;
    let gone = |received: &Received| {
        presence(received).filter(|presence| presence.state == PresenceState::Offline)
    };
    let gone = peer.wait("the collector goes", gone).await;
    assert!(!gone.ready);

    let new = TempDir::new().unwrap();
    let running = app::start(config_with(new.path(), &elsewhere(&broker))).await.unwrap();
    let cleared = |received: &Received| {
        let (_, topic) = Topic::parse(&received.topic).ok()?;
        match topic {
            Topic::Alert { fingerprint } if received.payload.is_empty() => Some(fingerprint),
            _ => None,
        }
    };
    assert_eq!(peer.wait("the alert is cleared", cleared).await, firing.fingerprint);
    // The agent is asked for everything, under the new store's epoch, once it speaks again.
    peer.publish(&unit_event(stream, 2, "failed")).await;
    let asked = peer.wait_ack(stream, 0).await;
    assert_ne!(asked.collector_epoch, gone.epoch);
    peer.publish(&unit_event(stream, 1, "failed")).await;
    peer.wait_ack(stream, 2).await;
    let own =
        |received: &Received| alert(received).filter(|alert| alert.collector != other.collector);
    assert_eq!(peer.wait("the alert", own).await.fingerprint, firing.fingerprint);
    // The other collector's alert was left alone.
    let mut late = Peer::connect_to(broker.address()).await;
    let others = |received: &Received| alert(received).filter(|alert| *alert == other);
    late.wait("the other collector's alert", others).await;
    running.stop().await;
    broker.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_comes_late_and_restarts_loses_no_alert() {
    let dir = TempDir::new().unwrap();
    // A free port that is known before the broker is there.
    let first = start_broker("127.0.0.1:0".parse().unwrap()).await;
    let address = first.address();
    let config = config_with(dir.path(), &elsewhere(&first));
    first.stop(PATIENCE).await;
    let running = app::start(config).await.unwrap();
    assert!(!running.queries().counters().connected.get());
    let second = start_broker(address).await;
    let mut peer = Peer::connect_to(address).await;
    peer.wait_ready().await;
    let stream = stream();
    peer.publish(&unit_event(stream, 1, "failed")).await;
    peer.wait_ack(stream, 1).await;
    let firing = peer.wait("the alert", alert).await;
    second.stop(PATIENCE).await;
    let third = start_broker(address).await;
    let mut peer = Peer::connect_to(address).await;
    let again = peer.wait("the alert, retained again", alert).await;
    assert_eq!(again, firing);
    peer.publish(&unit_event(stream, 2, "active")).await;
    peer.wait_ack(stream, 2).await;
    running.stop().await;
    third.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_store_fails_nothing_is_acked_until_it_works_again() {
    let dir = TempDir::new().unwrap();
    let (running, mut peer) = started(config(dir.path())).await;
    let stream = stream();
    peer.publish(&unit_event(stream, 1, "active")).await;
    peer.wait_ack(stream, 1).await;
    // Something else holds the database for longer than the collector waits.
    let intruder = rusqlite::Connection::open(dir.path().join("data/collector.db")).unwrap();
    intruder.execute_batch("BEGIN IMMEDIATE").unwrap();
    peer.publish(&unit_event(stream, 2, "failed")).await;
    let offline = |received: &Received| {
        assert!(ack(received).is_none(), "acked without having been stored");
        presence(received).filter(|presence| presence.state == PresenceState::Offline)
    };
    peer.wait("the collector goes", offline).await;
    intruder.execute_batch("ROLLBACK").unwrap();
    peer.wait_ready().await;
    assert_eq!(stored(&running).await, [1]);
    // The agent has no ack, so it sends again.
    peer.publish(&unit_event(stream, 2, "failed")).await;
    peer.wait_ack(stream, 2).await;
    assert_eq!(stored(&running).await, [1, 2]);
    assert_eq!(running.queries().counters().commit_failures.get(), 1);
    running.stop().await;
}

/// A heartbeat is answered once it is stored, and only if nothing of the agent is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_is_answered_from_the_store() {
    let dir = TempDir::new().unwrap();
    let (running, mut peer) = started(config(dir.path())).await;
    let stream = stream();
    let frozen = include_bytes!("../../../protocol/testdata/v1/sample-with-a-backlog.json");
    let mut sample: Sample = codec::decode(frozen).unwrap();
    sample.as_of = Position { stream, sequence: Sequence(1) };
    let topic = Topic::Sample { node: node() }.at(&Site::default());
    // The first is stored without an answer, since an event is missing.
    sample.at = now();
    peer.publish_raw(&topic, codec::encode(&sample).unwrap()).await;
    peer.publish(&unit_event(stream, 1, "active")).await;
    peer.wait_ack(stream, 1).await;
    sample.at = now();
    peer.publish_raw(&topic, codec::encode(&sample).unwrap()).await;
    let answer = |received: &Received| {
        ack_message(received).filter(|message| message.heard_at.is_some()).map(|message| {
            let (_, topic) = Topic::parse(&received.topic).unwrap();
            (topic.node().cloned(), message)
        })
    };
    let (of, answered) = peer.wait("the answer", answer).await;
    assert_eq!((of, answered.heard_at), (Some(node()), Some(sample.at)));
    assert_eq!((answered.ack.stream, answered.ack.through), (stream, Sequence(1)));
    let snapshot = running.queries().snapshot().await;
    assert!(snapshot.nodes.iter().all(|view| view.node.backlog.events == 0));
    running.stop().await;
}

/// A restored store lacks what came after its backup: its acks fall back, under an epoch of its
/// own, and what the agents send again is applied once.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_collector_is_given_again_what_came_after_its_backup() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let copy = dir.path().join("backup.db");
    let stream = stream();
    let events: Vec<Event> = [(1, "failed"), (2, "active"), (3, "failed"), (4, "active")]
        .into_iter()
        .map(|(sequence, state)| unit_event(stream, sequence, state))
        .collect();

    let (running, mut peer) = started(config(dir.path())).await;
    peer.publish(&events[0]).await;
    let first = peer.wait_ack(stream, 1).await;
    let firing = peer.wait("the alert", alert).await;
    backup(&data, &copy).unwrap();
    for event in &events[1..3] {
        peer.publish(event).await;
    }
    assert_eq!(peer.wait_ack(stream, 3).await.collector_epoch, first.collector_epoch);
    running.stop().await;

    assert!(restore(&data, &copy).unwrap().is_some());
    let running = app::start(config(dir.path())).await.unwrap();
    let mut peer = Peer::connect(&running).await;
    let again = peer.wait("the alert as of the backup", alert).await;
    assert_eq!((again.state, again.starts_at), (AlertState::Firing, firing.starts_at));
    peer.wait_ready().await;
    // The agent goes on, and hears that the store lacks what was acked before.
    peer.publish(&events[3]).await;
    let fallen = peer.wait_ack(stream, 1).await;
    assert_ne!(fallen.collector_epoch, first.collector_epoch, "another store speaks");
    for event in &events[1..] {
        peer.publish(event).await;
    }
    peer.wait_ack(stream, 4).await;
    assert_eq!(stored(&running).await, [1, 2, 3, 4], "each once, in order");
    let mut steps = Vec::new();
    while steps.last() != Some(&AlertState::Resolved) || steps.len() < 3 {
        let told = peer.wait("the notice", notice).await;
        // The backup may be older than the output's position: a notice told again has its key.
        let key = format!("{}/{}/firing", firing.fingerprint, firing.starts_at);
        if told.key != key {
            steps.push(told.status);
        }
    }
    assert_eq!(steps, [AlertState::Resolved, AlertState::Firing, AlertState::Resolved]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_named_and_nothing_is_left_running() {
    let dir = TempDir::new().unwrap();
    let running = app::start(config(dir.path())).await.unwrap();
    let other = TempDir::new().unwrap();
    let check = async |config: Config, part: &str| {
        let error = app::start(config).await.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    let mut taken = config(other.path());
    taken.http.listen = running.http_addr;
    check(taken, &running.http_addr.to_string()).await;
    let mut taken = config(other.path());
    taken.embedded_broker.as_mut().unwrap().listen = running.mqtt_addr.unwrap();
    check(taken, &running.mqtt_addr.unwrap().to_string()).await;
    let mut same_data = config(other.path());
    same_data.data = dir.path().join("data");
    check(same_data, "in use by another collector").await;
    let mut no_rules = config(other.path());
    no_rules.rules.files = vec![other.path().join("missing.toml")];
    check(no_rules, "missing.toml").await;
    running.stop().await;
    app::start(config(other.path())).await.unwrap().stop().await;
}
