//! What is told outside: nothing that was stored is lost on the way to a channel, whenever the
//! collector is killed, and nothing is told anew because it restarted.

use std::path::Path;

use pvewatch_collector::app;
use pvewatch_collector::core::{Core, Input};
use pvewatch_collector::fleet::Version;
use pvewatch_collector::rules::{RuleSet, Source};
use pvewatch_collector::store::{Batch, NewEvent, NewRecord, Store, StreamRow};
use pvewatch_edge::mqtt::Message;
use pvewatch_protocol::{AlertState, Event, Sequence, Site, StreamId, Topic, codec};
use tempfile::TempDir;

use crate::peer::*;

/// Stores events and what follows from them as the owner does, and publishes nothing: what a
/// collector leaves that is killed between the two.
fn store_and_tell_nobody(dir: &Path, stream: StreamId, events: &[Event]) -> usize {
    let mut store = Store::open(&dir.join("data")).unwrap();
    let rules = RuleSet::load(&[Source { file: "rules.toml", text: RULES }]).unwrap();
    let mut core = Core::new(Site::default(), rules, now());
    let mut batch = Batch::default();
    for event in events {
        let received_at = now();
        let sequence = event.position.sequence;
        batch.events.push(NewEvent {
            node: event.node.clone(),
            position: event.position,
            kind: event.data.kind().to_owned(),
            subject: event.data.subject().into_owned(),
            time: event.time,
            recorded: event.recorded_time,
            received: received_at,
            late: false,
            payload: codec::encode_event(event).unwrap().into(),
        });
        let version = Version { stream_ordinal: 1, sequence: sequence.0 };
        let input = Input::Event { event: event.clone(), version, received_at };
        batch.transitions.extend(core.handle(received_at, input));
    }
    let through = Sequence(events.len() as u64);
    batch.streams.push(StreamRow { node: node(), stream, ordinal: 1, through, known: through });
    batch.records.extend(core.take_all_changes().into_iter().map(|record| NewRecord {
        kind: record.kind.as_str().to_owned(),
        key: record.key,
        body: record.body,
    }));
    store.commit(&batch).unwrap();
    batch.transitions.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_the_commit_and_the_telling_it_tells_after_the_start_and_once() {
    let dir = TempDir::new().unwrap();
    let stream = stream();
    let events: Vec<Event> = [(1, "failed"), (2, "active"), (3, "failed")]
        .into_iter()
        .map(|(sequence, state)| unit_event(stream, sequence, state))
        .collect();
    assert_eq!(store_and_tell_nobody(dir.path(), stream, &events), 3);

    let running = app::start(config(dir.path())).await.unwrap();
    let mut peer = Peer::connect(&running).await;
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(peer.wait("the notices of the steps that were stored", notice).await);
    }
    let steps: Vec<_> = told.iter().map(|notice| notice.status).collect();
    assert_eq!(steps, [AlertState::Firing, AlertState::Resolved, AlertState::Firing], "in order");
    let keys: std::collections::BTreeSet<_> = told.iter().map(|notice| &notice.key).collect();
    assert_eq!(keys.len(), 3, "each step has a key of its own: {keys:?}");
    let retained = peer.wait("the alert", alert).await;
    assert_eq!(retained.state, AlertState::Firing);
    // The channel took them, and that is stored: a collector killed before would tell again.
    let queries = running.queries();
    let mut revisions = queries.revisions();
    while queries.counters().notices.get() < 3 {
        tokio::time::timeout(PATIENCE, revisions.changed()).await.unwrap().unwrap();
    }
    running.stop().await;

    // The position is durable: a start tells nothing anew.
    let (running, mut peer) = started(config(dir.path())).await;
    peer.publish(&unit_event(stream, 4, "active")).await;
    let next = peer.wait("the first notice after the start", notice).await;
    assert_eq!(next.status, AlertState::Resolved);
    assert!(told.iter().all(|before| before.key != next.key));
    running.stop().await;
}

/// What the store holds when the channel could not be reached at all survives any number of
/// starts, and comes in order when the channel is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_away_neither_blocks_nor_loses() {
    let dir = TempDir::new().unwrap();
    let stream = stream();
    let events = [unit_event(stream, 1, "failed"), unit_event(stream, 2, "active")];
    store_and_tell_nobody(dir.path(), stream, &events);
    let away = config_with(dir.path(), "[broker]\nurl = \"mqtt://127.0.0.1:1\"");
    for _ in 0..2 {
        let running = app::start(away.clone()).await.unwrap();
        // It answers although the channel does not.
        assert_eq!(running.queries().snapshot().await.alerts.len(), 1);
        running.stop().await;
    }
    let running = app::start(config(dir.path())).await.unwrap();
    let mut peer = Peer::connect(&running).await;
    for expected in [AlertState::Firing, AlertState::Resolved] {
        assert_eq!(peer.wait("a notice", notice).await.status, expected);
    }
    running.stop().await;
}

/// As another collector does that has a new store, and knows nothing of an alert.
#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_somebody_takes_back_although_it_fires_is_there_again() {
    let dir = TempDir::new().unwrap();
    let (running, mut peer) = started(config(dir.path())).await;
    let stream = stream();
    peer.publish(&unit_event(stream, 1, "failed")).await;
    let told = peer.wait("the alert", alert).await;
    let topic = Topic::Alert { fingerprint: told.fingerprint }.at(&Site::default());
    let cleared = Message::new(topic, Vec::new()).retained();
    peer.connection.client().publish(cleared).await.unwrap();
    assert_eq!(peer.wait("the alert again", alert).await, told);
    // Nobody is told twice for it: the next notice is of something else.
    peer.wait("the notice", notice).await;
    peer.publish(&unit_event(stream, 2, "active")).await;
    assert_eq!(peer.wait("the next notice", notice).await.status, AlertState::Resolved);
    running.stop().await;
}
