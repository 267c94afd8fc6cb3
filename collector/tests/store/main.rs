//! The store with real files: kept over a crash, bounded, copied while it is written, and plain
//! words for whatever is wrong with it.

#![expect(clippy::unwrap_used, reason = "what fails in a helper fails the test")]

mod copies;
mod kept;
mod killed;
mod upkeep;

use jiff::Timestamp;
use pvewatch_collector::store::{Batch, EventFilter, NewEvent, Store};
use pvewatch_protocol::{NodeName, Position, Sequence, StreamId};
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

fn events(count: u64) -> Batch {
    Batch { events: (1..=count).map(|n| event("pve1", n, n as i64)).collect(), ..Batch::default() }
}

fn count(store: &Store, filter: EventFilter) -> usize {
    store.reader().events(&EventFilter { limit: 10_000_000, ..filter }).unwrap().len()
}
