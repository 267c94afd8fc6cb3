//! What a collector has on its disk: what was committed, and no more. It is the simulated store
//! under the collector's own desk.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use fastrand::Rng;
use jiff::Timestamp;
use pvewatch_collector::alerts::Transition;
use pvewatch_collector::core::{Record, RecordKind, Urgency};
use pvewatch_collector::output::channel::Step;
use pvewatch_collector::run::Shelf;
use pvewatch_collector::store::{Batch, Logged as StoredEvent, NewEvent, StoreError, StreamRow};
use pvewatch_protocol::{Epoch, EventData, NodeName, Position, Sequence, StreamId, codec};
use uuid::Uuid;

use crate::world::BEGIN;

/// A row of the log of events: an event, or a range that was declared lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// The node, by its number.
    pub node: usize,
    /// The stream.
    pub stream: StreamId,
    /// The first sequence that it stands for.
    pub from: u64,
    /// Its own.
    pub sequence: u64,
    /// Why it is lost, if it is a declaration.
    pub reason: Option<String>,
    /// What it was: its kind, when it happened, and when it was recorded.
    pub was: Option<(String, Timestamp, Timestamp)>,
    /// When it came, by the collector's clock; none for what it gave up itself.
    pub received: Option<Timestamp>,
}

impl Logged {
    /// Whether it stands for a sequence.
    pub fn covers(&self, sequence: u64) -> bool {
        self.from <= sequence && sequence <= self.sequence
    }
}

/// What is on the collector's disk.
#[derive(Debug, Clone)]
pub struct Durable {
    /// Of the store.
    pub epoch: Epoch,
    /// What that was when it was new; a copy keeps it.
    pub first_epoch: Epoch,
    /// How far each stream is applied.
    pub streams: BTreeMap<(NodeName, StreamId), StreamRow>,
    /// The core's state, by kind and key.
    pub records: BTreeMap<(String, String), String>,
    /// The log of events, in the order in which they were applied.
    pub log: Vec<Logged>,
    /// Ranges that the collector itself declared lost.
    pub given_up: Vec<Logged>,
    /// Transitions of alerts, in order; the first has the number 1.
    pub transitions: Vec<Transition>,
    /// How far each channel has come in them.
    pub told: BTreeMap<String, i64>,
    /// Whether the next commit fails.
    pub fails: bool,
}

impl Durable {
    /// An empty store.
    pub fn new(rng: &mut Rng) -> Self {
        let epoch = fresh_epoch(rng);
        Self {
            epoch,
            first_epoch: epoch,
            streams: BTreeMap::new(),
            records: BTreeMap::new(),
            log: Vec::new(),
            given_up: Vec::new(),
            transitions: Vec::new(),
            told: BTreeMap::new(),
            fails: false,
        }
    }

    /// The state as the core takes it up at a start.
    pub fn records(&self) -> Vec<Record> {
        let record = |((kind, key), body): (&(String, String), &String)| {
            let (kind, key, body) = (RecordKind::parse(kind)?, key.clone(), Some(body.clone()));
            Some(Record { kind, key, body, urgency: Urgency::Now })
        };
        self.records.iter().filter_map(record).collect()
    }

    /// The steps after this one, a page of them.
    pub fn steps_after(&self, after: i64, page: usize) -> Vec<Step> {
        let rest = self.transitions.iter().zip(1..).skip(usize::try_from(after).unwrap_or(0));
        rest.take(page)
            .map(|(transition, id)| Step { id, transition: Some(transition.clone()) })
            .collect()
    }

    /// How many rows the log has, and how many transitions there are.
    pub fn sizes(&self) -> (usize, usize) {
        (self.log.len(), self.transitions.len())
    }

    /// The streams that are stored in part, while a later one of the node is stored to its end.
    fn gaps(&self) -> impl Iterator<Item = &StreamRow> {
        let is_whole = |row: &&StreamRow| row.through == row.known;
        self.streams.values().filter(move |row| !is_whole(row)).filter(move |older| {
            let mut whole = self.streams.values().filter(is_whole);
            whole.any(|row| row.node == older.node && row.ordinal > older.ordinal)
        })
    }

    /// Whether it has gaps: bad to go back to, for the newest streams tell that nothing is missing.
    pub fn has_gaps(&self) -> bool {
        self.gaps().next().is_some()
    }

    /// Whether what is a gap here was filled since.
    pub fn has_gaps_that_were_filled(&self, since: &Self) -> bool {
        self.gaps().any(|gap| {
            let row = since.streams.get(&(gap.node.clone(), gap.stream));
            row.is_some_and(|row| row.through >= gap.known)
        })
    }

    /// The newest transition.
    pub fn newest_transition(&self) -> i64 {
        i64::try_from(self.transitions.len()).unwrap_or(i64::MAX)
    }
}

/// A store that was made at some time.
pub fn fresh_epoch(rng: &mut Rng) -> Epoch {
    let millis = BEGIN.as_millis().unsigned_abs();
    Epoch(Uuid::from_u128(millis << 80 | 0x7 << 76 | 0x2 << 62 | u128::from(rng.u32(..))))
}

/// The disk as the running collector has it.
#[derive(Debug, Clone)]
pub struct Plate(pub Rc<RefCell<Durable>>);

impl Shelf for Plate {
    fn epoch(&self) -> Epoch {
        self.0.borrow().epoch
    }

    fn newest_of(&self, node: &NodeName, limit: u32) -> Result<Vec<StoredEvent>, StoreError> {
        let (disk, node) = (self.0.borrow(), number(node));
        let newest = disk.log.iter().rev().filter(|row| row.node == node);
        let event = |row: &Logged| {
            let (kind, time, recorded) = row.was.clone()?;
            let position = Position { stream: row.stream, sequence: Sequence(row.sequence) };
            Some(StoredEvent { position, kind, time, recorded })
        };
        Ok(newest.take(limit as usize).filter_map(event).collect())
    }

    /// One transaction: it is all of this, or none.
    fn commit(&mut self, batch: &Batch) -> Result<i64, StoreError> {
        let mut disk = self.0.borrow_mut();
        if std::mem::take(&mut disk.fails) {
            let path = PathBuf::from("the simulated disk");
            return Err(StoreError::NotWritable { path, cause: "it fails".to_owned() });
        }
        for row in &batch.streams {
            disk.streams.insert((row.node.clone(), row.stream), row.clone());
        }
        for key in &batch.forgotten {
            disk.streams.remove(key);
        }
        for record in &batch.records {
            let key = (record.kind.clone(), record.key.clone());
            match &record.body {
                Some(body) => disk.records.insert(key, body.clone()),
                None => disk.records.remove(&key),
            };
        }
        disk.told.extend(batch.outputs.iter().cloned());
        disk.log.extend(batch.events.iter().map(logged));
        disk.transitions.extend(batch.transitions.iter().cloned());
        Ok(disk.newest_transition())
    }
}

fn logged(event: &NewEvent) -> Logged {
    let sequence = event.position.sequence.0;
    let lost = match event.kind.as_str() {
        "outbox.dropped" => codec::decode_event(&event.payload).ok(),
        _ => None,
    };
    let (from, reason) = match lost.map(|event| event.data) {
        Some(EventData::OutboxDropped(lost)) => (lost.from.0, Some(lost.reason)),
        _ => (sequence, None),
    };
    let was = Some((event.kind.clone(), event.time, event.recorded));
    let stream = event.position.stream;
    let (node, received) = (number(&event.node), Some(event.received));
    Logged { node, stream, from, sequence, reason, was, received }
}

/// The number in a node's name.
pub fn number(node: &NodeName) -> usize {
    node.as_str().trim_start_matches("pve").parse().unwrap_or(usize::MAX)
}
