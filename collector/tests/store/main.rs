//! The store with real files: kept over a crash, bounded, copied while it is written, and plain
//! words for whatever is wrong with it.

#![expect(clippy::unwrap_used, reason = "what fails in a helper fails the test")]

mod copies;
mod kept;
mod killed;
mod upkeep;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use pvewatch_collector::alerts::{Alert, News, Phase, Transition, Why};
use pvewatch_collector::fleet::{EntityKey, EntityKind};
use pvewatch_collector::store::{Batch, EventFilter, NewEvent, Store};
use pvewatch_protocol::{AlertState, Fingerprint, NodeName, Position, Sequence, Site, StreamId};
use uuid::Uuid;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn node(name: &str) -> NodeName {
    name.parse().unwrap()
}

fn stream() -> StreamId {
    StreamId(Uuid::from_u128(1))
}

fn event(name: &str, sequence: u64, second: i64) -> NewEvent {
    NewEvent {
        node: node(name),
        position: Position { stream: stream(), sequence: Sequence(sequence) },
        kind: if sequence.is_multiple_of(2) { "unit.changed" } else { "unit.log" }.into(),
        subject: "ssh.service".into(),
        time: at(second),
        recorded: at(second),
        received: at(second),
        late: false,
        payload: vec![b'x'; 400].into(),
    }
}

/// A step in the life of some alert.
fn transition(second: i64) -> Transition {
    let fingerprint = Fingerprint::of([]);
    let id: Arc<str> = "ssh.service".into();
    let entity =
        EntityKey { site: Site::default(), node: node("pve1"), kind: EntityKind::Unit, id };
    let alert = Alert {
        fingerprint,
        rule: "UnitFailed".into(),
        entity,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        phase: Phase::Firing { fired_at: at(second), ending: None },
        detail: Vec::new(),
        starts_at: at(second),
        judged_since: at(second),
        unseen_since: None,
        value: None,
        as_of: None,
        stale: false,
        inhibited_by: None,
        told: true,
        changed_at: at(second),
    };
    Transition {
        fingerprint,
        from: None,
        to: Some(AlertState::Firing),
        at: at(second),
        why: Why::ConditionLasted,
        news: News::Tell,
        alert: Arc::new(alert),
    }
}

fn events(count: u64) -> Batch {
    Batch { events: (1..=count).map(|n| event("pve1", n, n as i64)).collect(), ..Batch::default() }
}

fn count(store: &Store, filter: EventFilter) -> usize {
    store.reader().events(&EventFilter { limit: 10_000_000, ..filter }).unwrap().len()
}
