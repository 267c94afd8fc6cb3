//! What one side has and the other has not: it is noticed at once, and said.

use jiff::SignedDuration;
use pvewatch_edge::mqtt::Received;
use pvewatch_protocol::{
    AlertMessage, AlertState, Checkpoint, CheckpointContent, Epoch, EventData, NodePresence,
    Position, PresenceState, Sample, Sequence, Site, Topic, codec,
};
use tempfile::TempDir;
use uuid::Uuid;

use crate::peer::*;

fn online() -> NodePresence {
    NodePresence {
        state: PresenceState::Online,
        epoch: Epoch(Uuid::now_v7()),
        reason: None,
        boot_id: "boot-1".to_owned(),
        cluster: None,
        at: now(),
    }
}

/// A virtual machine that was set back gives its numbers out again.
#[tokio::test(flavor = "multi_thread")]
async fn another_event_of_a_number_that_is_stored_is_refused_and_reported_as_lost() {
    let dir = TempDir::new().unwrap();
    let (mut running, mut peer) = started(config(dir.path())).await;
    let stream = stream();
    let [first, second] = [1, 2].map(|sequence| unit_event(stream, sequence, "active"));
    peer.publish(&first).await;
    peer.publish(&second).await;
    peer.wait_ack(stream, 2).await;
    let another = unit_event(stream, 2, "failed");
    for is_restarted in [false, true] {
        if is_restarted {
            running.stop().await;
            (running, peer) = started(config(dir.path())).await;
        }
        for event in [&first, &second, &another, &another] {
            peer.publish(event).await;
        }
        peer.publish(&unit_event(stream, 3 + u64::from(is_restarted), "active")).await;
        peer.wait_ack(stream, 3 + u64::from(is_restarted)).await;
        let counters = running.queries().counters();
        assert_eq!(counters.duplicates.get(), 3, "the same event is a duplicate");
        let rejects = counters.rejects_by_reason();
        assert!(rejects.contains(&("another_event", 1)), "{rejects:?}");
        let kept = running.queries().rejects().await.unwrap();
        assert_eq!(kept[0].reason, "another_event");
        let node = running.queries().snapshot().await.nodes[0].node.clone();
        let loss = node.last_loss.clone().unwrap();
        assert_eq!((loss.stream, loss.from, loss.through), (stream, Sequence(2), Sequence(2)));
        assert_eq!(node.dropped_events, 1 + u64::from(is_restarted));
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_connects_is_told_at_once_what_is_stored() {
    let dir = TempDir::new().unwrap();
    let (running, mut peer) = started(config(dir.path())).await;
    let stream = stream();
    peer.publish(&unit_event(stream, 1, "active")).await;
    peer.wait_ack(stream, 1).await;
    let birth = online();
    let topic = Topic::NodePresence { node: node() }.at(&Site::default());
    peer.publish_raw(&topic, codec::encode(&birth).unwrap()).await;
    let answer = |received: &Received| {
        ack_message(received).filter(|message| message.heard_at == Some(birth.at))
    };
    let answer = peer.wait("the answer to the birth message", answer).await;
    assert_eq!((answer.ack.stream, answer.ack.through), (stream, Sequence(1)));
    running.stop().await;
}

/// The shipped rule, without its wait.
#[tokio::test(flavor = "multi_thread")]
async fn events_that_grow_old_in_the_outbox_are_told_of_although_the_node_is_heard() {
    let dir = TempDir::new().unwrap();
    let config = config(dir.path());
    let catalogue = include_str!("../../../packaging/rules/catalogue.toml");
    let rule = catalogue.split("[[rule]]").find(|rule| rule.contains("\"EventsDelayed\""));
    let rule = rule.unwrap().replace("for = \"10m\"", "");
    let rule = rule.replace("inhibited_by = [\"HostDown\"]", "");
    std::fs::write(&config.rules.files[0], format!("[[rule]]{rule}")).unwrap();
    let (running, mut peer) = started(config).await;
    let stream = stream();
    peer.publish(&unit_event(stream, 1, "active")).await;
    peer.wait_ack(stream, 1).await;
    let frozen = include_bytes!("../../../protocol/testdata/v1/sample-with-a-backlog.json");
    let mut sample: Sample = codec::decode(frozen).unwrap();
    sample.as_of = Position { stream, sequence: Sequence(1) };
    let topic = Topic::Sample { node: node() }.at(&Site::default());
    for (oldest, expected) in [(301.0, AlertState::Firing), (0.0, AlertState::Resolved)] {
        sample.at = now();
        sample.agent.oldest_unacked_seconds = Some(oldest);
        peer.publish_raw(&topic, codec::encode(&sample).unwrap()).await;
        let is_expected =
            |received: &Received| alert(received).filter(|alert| alert.state == expected);
        let alert = peer.wait("the alert", is_expected).await;
        assert_eq!(alert.labels["alertname"], "EventsDelayed");
    }
    running.stop().await;
}

/// A collector that knows a failure from a picture alone takes over since when the other one says
/// it is so, and tells it so from then on.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_collector_saw_begin_began_then() {
    let dir = TempDir::new().unwrap();
    let (running, mut peer) = started(config(dir.path())).await;
    let stream = stream();
    let EventData::UnitChanged(failed) = unit_event(stream, 1, "failed").data else {
        panic!("no change of a unit")
    };
    let as_of = Position { stream, sequence: Sequence(1) };
    let content = CheckpointContent::Units(vec![failed.state]);
    let picture = Checkpoint { as_of, part: 1, of: 1, at: now(), content };
    let site = Site::default();
    let topic = Topic::Checkpoint { node: node(), source: "units".to_owned(), part: 1 }.at(&site);
    peer.publish_raw(&topic, codec::encode(&picture).unwrap()).await;
    let frozen = include_bytes!("../../../protocol/testdata/v1/sample-with-a-backlog.json");
    let mut sample: Sample = codec::decode(frozen).unwrap();
    sample.at = now();
    sample.as_of = Position { stream, sequence: Sequence(0) };
    let topic = Topic::Sample { node: node() }.at(&site);
    peer.publish_raw(&topic, codec::encode(&sample).unwrap()).await;
    let own = peer.wait("the alert", alert).await;
    let earlier = own.starts_at - SignedDuration::from_secs(60);
    let other =
        AlertMessage { collector: "other".parse().unwrap(), starts_at: earlier, ..own.clone() };
    let topic = Topic::Alert { fingerprint: own.fingerprint }.at(&site);
    peer.publish_raw(&topic, codec::encode(&other).unwrap()).await;
    let agreed =
        |received: &Received| alert(received).filter(|alert| alert.collector == own.collector);
    let agreed = peer.wait("the alert, dated anew", agreed).await;
    assert_eq!((agreed.starts_at, agreed.state), (earlier, AlertState::Firing));
    running.stop().await;
}
