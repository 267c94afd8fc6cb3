//! The owner's desk: core, ingest and store, and what is done with them, without waiting.
//!
//! Promises: what was told becomes one batch, stored as a whole or not at all; acks and the news
//! of transitions can be taken from here only after that. If it is not stored, nothing on this
//! desk is true any more. Time is an argument. Absent: queues, connections, clocks. It works on
//! any [`Shelf`]: the store, or the simulated disk on which the delivery promise is tried.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use pvewatch_protocol::{Ack, AckMessage, Epoch, NodeName, StreamId};
use tokio::time::Instant;

use super::lookback::Lookback;
use crate::core::{Core, Input, Record, Urgency};
use crate::fleet::Loss;
use crate::ingest::{Applicable, DueAck, Ingest};
use crate::rules::human;
use crate::run::Standards;
use crate::run::counters::Counters;
use crate::run::pace::Pace;
use crate::run::standing::{Standing, Step};
use crate::run::told::{Acks, ReadyOn};
use crate::store::{Batch, Logged, NewRecord, Store, StoreError};

/// Where a desk's batches go.
pub trait Shelf {
    /// Which store it is: another one for each that was begun anew.
    fn epoch(&self) -> Epoch;

    /// The newest stored events of a node, at most so many.
    ///
    /// # Errors
    /// When they cannot be read.
    fn newest_of(&self, node: &NodeName, limit: u32) -> Result<Vec<Logged>, StoreError>;

    /// Stores a batch as a whole, durably. Returns the number of the newest transition.
    ///
    /// # Errors
    /// When nothing of it was stored.
    fn commit(&mut self, batch: &Batch) -> Result<i64, StoreError>;
}

impl Shelf for Store {
    fn epoch(&self) -> Epoch {
        Self::epoch(self)
    }

    fn newest_of(&self, node: &NodeName, limit: u32) -> Result<Vec<Logged>, StoreError> {
        Self::newest_of(self, node, limit)
    }

    fn commit(&mut self, batch: &Batch) -> Result<i64, StoreError> {
        Self::commit(self, batch)
    }
}

/// The clocks, as whoever calls has read them.
#[derive(Debug, Clone, Copy)]
pub struct Clocks {
    /// The time of day.
    pub wall: Timestamp,
    /// The clock that nobody can set.
    pub steady: Instant,
}

/// What a desk is made of.
pub struct DeskParts<S> {
    /// The state, restored from the shelf.
    pub core: Core,
    /// The order of streams, restored from the shelf.
    pub ingest: Ingest,
    /// Where all is stored.
    pub store: S,
    /// What is counted.
    pub counters: Arc<Counters>,
}

/// What a batch writes beside what must be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// Nothing.
    Urgent,
    /// The readings that waited for their time.
    Lazy,
    /// Every reading there is.
    All,
}

/// See the module.
pub struct Desk<S> {
    pub(super) parts: DeskParts<S>,
    pub(super) standing: Standing,
    /// Readings that are not written yet, by kind and key.
    lazy: BTreeMap<(&'static str, String), String>,
    /// Acks that were not handed on yet. Within a node the newest stream comes last: it is the
    /// one that the broker retains.
    unsent: BTreeMap<(NodeName, u64), AckMessage>,
    /// Samples of this batch that are answered when it is stored: their send times.
    pub(super) heard: Vec<(NodeName, StreamId, Timestamp)>,
    /// Nodes whose last sample that was kept could not be answered yet.
    pub(super) unanswered: HashSet<NodeName>,
    pub(super) samples_kept: HashMap<NodeName, Timestamp>,
    pub(super) applicable: Vec<Applicable>,
    /// What is stored of nodes whose events came again.
    pub(super) lookback: Lookback,
    /// What this batch gave up.
    pub(super) losses: Vec<(NodeName, Loss)>,
    /// The newest connection that was told of, and whether this collector may speak on it.
    connection: u64,
    ready: ReadyOn,
    /// When this desk began, and how the clocks have gone since.
    begun: Instant,
    pace: Pace,
}

impl<S: Shelf> Desk<S> {
    /// A desk on which nothing has happened yet.
    pub fn new(parts: DeskParts<S>, now: Clocks) -> Self {
        Self {
            parts,
            standing: Standing::default(),
            lazy: BTreeMap::new(),
            unsent: BTreeMap::new(),
            heard: Vec::new(),
            unanswered: HashSet::new(),
            samples_kept: HashMap::new(),
            applicable: Vec::new(),
            lookback: Lookback::default(),
            losses: Vec::new(),
            connection: 0,
            ready: None,
            begun: now.steady,
            pace: Pace::new(now.wall, Duration::ZERO),
        }
    }

    /// The core, to be asked.
    pub fn core(&mut self) -> &mut Core {
        &mut self.parts.core
    }

    /// Where its batches go.
    pub fn shelf(&mut self) -> &mut S {
        &mut self.parts.store
    }

    /// Notices if the clock was set: then what is under way is moved along.
    pub fn look_at_clock(&mut self, now: Clocks) {
        if let Some(by) = self.pace.look(now.wall, now.steady.duration_since(self.begun)) {
            let direction = if by.is_positive() { "ahead" } else { "back" };
            log::warn!(
                "this machine's clock was set {direction} by {}, or it slept for so long",
                human::duration(by.abs().as_secs_f64())
            );
            self.parts.core.clock_jumped(by);
            self.parts.ingest.clock_jumped(by);
        }
    }

    /// A connection is up; what the broker had retained comes next.
    pub fn connected(&mut self, connection: u64, now: Clocks) {
        self.connection = connection;
        self.standing.connected();
        self.parts.core.listen(now.wall);
    }

    /// All that was retained has been told.
    pub fn retained_read(&mut self, now: Clocks) {
        self.standing.retained_read(now.steady);
    }

    /// The connection is gone.
    pub fn disconnected(&mut self) {
        self.standing.disconnected();
    }

    /// After the messages of a batch: what waited for them, and what time alone brings.
    pub fn close_batch(&mut self, now: Clocks, batch: &mut Batch) {
        self.show_what_waited(now.wall, batch);
        let is_due = self.parts.core.next_deadline().is_some_and(|due| due <= now.wall);
        if is_due && self.standing.is_listening() {
            self.tell_core(now.wall, Input::Deadline, batch);
        }
    }

    /// Whether the nodes are heard, so that what is known can be judged.
    pub fn is_listening(&self) -> bool {
        self.standing.is_listening()
    }

    /// Judges everything by other rules and policies.
    pub fn judge_by(&mut self, standards: Standards, now: Clocks, batch: &mut Batch) {
        self.parts.core.follow_policies(standards.policies);
        batch.transitions.extend(self.parts.core.replace_rules(now.wall, standards.rules));
    }

    /// Adds to a batch what changed in core and ingest.
    pub fn gather(&mut self, mut batch: Batch, flush: Flush) -> Batch {
        let changes = match flush {
            Flush::Urgent | Flush::Lazy => self.parts.core.take_changes(),
            Flush::All => self.parts.core.take_all_changes(),
        };
        for record in changes {
            self.sort_record(record, &mut batch);
        }
        if flush != Flush::Urgent {
            let lazy = std::mem::take(&mut self.lazy);
            batch.records.extend(lazy.into_iter().map(|((kind, key), body)| NewRecord {
                kind: kind.to_owned(),
                key,
                body: Some(body),
            }));
        }
        (batch.streams, batch.forgotten) = self.parts.ingest.take_changes();
        self.parts.counters.waiting.set(self.parts.ingest.waiting());
        batch
    }

    /// Stores what was gathered; then, and only then, there is something to say. Returns the
    /// number of the newest transition, if there was anything to store.
    ///
    /// # Errors
    /// When it could not be stored; then this desk is to be dropped.
    pub fn store(&mut self, batch: &Batch) -> Result<Option<i64>, StoreError> {
        let newest = match batch.is_empty() {
            true => None,
            false => Some(self.parts.store.commit(batch)?),
        };
        self.collect_acks();
        Ok(newest)
    }

    fn sort_record(&mut self, record: Record, batch: &mut Batch) {
        let kind = record.kind.as_str();
        match (record.urgency, record.body) {
            (Urgency::Lazy, Some(body)) => {
                self.lazy.insert((kind, record.key), body);
            }
            (_, body) => {
                // What is written now is newer than a reading that still waits.
                self.lazy.remove(&(kind, record.key.clone()));
                batch.records.push(NewRecord { kind: kind.to_owned(), key: record.key, body });
            }
        }
    }

    fn collect_acks(&mut self) {
        let collector_epoch = self.parts.store.epoch();
        for DueAck { node, ordinal, position } in self.parts.ingest.take_acks() {
            let (stream, through) = (position.stream, position.sequence);
            let ack = Ack { collector_epoch, stream, through };
            self.unsent.insert((node, ordinal), AckMessage { ack, heard_at: None });
        }
        for (node, stream, heard_at) in self.heard.drain(..) {
            let Some((ordinal, through)) = self.parts.ingest.standing(&node, stream) else {
                continue;
            };
            let ack = Ack { collector_epoch, stream, through };
            // An ack that waits is newer than the sample, or a request: the next sample is soon.
            self.unsent
                .entry((node, ordinal))
                .or_insert(AckMessage { ack, heard_at: Some(heard_at) });
        }
        if !self.standing.is_connected() {
            // Agents send again what they have no ack for; by then these would be old.
            self.unsent.clear();
        }
    }

    /// Ranges of events that were given up since this was last asked.
    pub fn take_losses(&mut self) -> Vec<(NodeName, Loss)> {
        std::mem::take(&mut self.losses)
    }

    /// Whether there are acks to hand on.
    pub fn has_acks(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// The acks to hand on, in the order in which they are to be sent.
    pub fn take_acks(&mut self) -> Acks {
        let unsent = std::mem::take(&mut self.unsent);
        unsent.into_iter().map(|((node, _), ack)| (node, ack)).collect()
    }

    /// Judges whether this collector has caught up, and may speak.
    pub fn judge_standing(&mut self, now: Instant) -> ReadyOn {
        let ingest = &self.parts.ingest;
        let is_reached = |node: &NodeName, stream, sequence| {
            ingest.through(node, stream).is_some_and(|through| through >= sequence)
        };
        match self.standing.judge(now, is_reached) {
            Step::None => {}
            Step::BecameReady => self.ready = Some(self.connection),
            Step::NoLongerReady => self.ready = None,
        }
        self.ready
    }

    /// The time to the next thing that time alone brings: a deadline of the core, or the end of
    /// the wait for what agents send again.
    pub fn time_to_deadline(&self, now: Clocks) -> Option<Duration> {
        let core = self.parts.core.next_deadline().filter(|_| self.standing.is_listening());
        let pictures = self.parts.ingest.next_deadline();
        let by_wall_clock = core.into_iter().chain(pictures).min().map(|due| {
            let wait = due.duration_since(now.wall);
            Duration::try_from(wait).unwrap_or(Duration::ZERO)
        });
        let standing =
            self.standing.deadline().map(|due| due.saturating_duration_since(now.steady));
        by_wall_clock.into_iter().chain(standing).min()
    }
}
