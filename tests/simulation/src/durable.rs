//! What a collector has on its disk: what was committed, and no more.

use std::collections::BTreeMap;

use fastrand::Rng;
use pvewatch_collector::core::Record;
use pvewatch_collector::store::StreamRow;
use pvewatch_protocol::{Epoch, NodeName, StreamId};
use uuid::Uuid;

use crate::intake::Batch;

/// A row of the log of events: an event, or a range that was declared lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logged {
    /// The node, by its number.
    pub node: usize,
    /// The stream.
    pub stream: StreamId,
    /// The first sequence that it stands for.
    pub from: u64,
    /// Its own.
    pub sequence: u64,
}

/// What is on the collector's disk.
#[derive(Debug, Clone)]
pub struct Durable {
    /// Of the store.
    pub epoch: Epoch,
    /// How far each stream is applied.
    pub streams: BTreeMap<(NodeName, StreamId), StreamRow>,
    /// The core's state, by kind and key.
    pub records: BTreeMap<(&'static str, String), Record>,
    /// The log of events, in the order in which they were applied.
    pub log: Vec<Logged>,
    /// Ranges that the collector itself declared lost.
    pub given_up: Vec<Logged>,
    /// Transitions of alerts, in order.
    pub transitions: Vec<String>,
    /// How far the channel has come in them.
    pub told: usize,
}

impl Durable {
    /// An empty store.
    pub fn new(rng: &mut Rng) -> Self {
        Self {
            epoch: Epoch(Uuid::from_u128(rng.u128(..))),
            streams: BTreeMap::new(),
            records: BTreeMap::new(),
            log: Vec::new(),
            given_up: Vec::new(),
            transitions: Vec::new(),
            told: 0,
        }
    }

    /// One transaction: it is all of this, or none.
    pub(crate) fn commit(
        &mut self,
        batch: Batch,
        (streams, forgotten): (Vec<StreamRow>, Vec<(NodeName, StreamId)>),
        records: Vec<Record>,
    ) {
        for row in streams {
            self.streams.insert((row.node.clone(), row.stream), row);
        }
        for key in forgotten {
            self.streams.remove(&key);
        }
        for record in records {
            let key = (record.kind.as_str(), record.key.clone());
            match record.body {
                Some(_) => self.records.insert(key, record),
                None => self.records.remove(&key),
            };
        }
        self.log.extend(batch.log);
        self.given_up.extend(batch.given_up);
        self.transitions.extend(batch.transitions);
    }
}
