//! The one owner of core, ingest and store: takes what came, stores it, and only then says so.
//!
//! A batch is whatever arrived during the last commit: no message waits for company. If a commit
//! fails the owner ends, and with it everything in memory that the disk does not have.
//! It never waits for an output: acks that cannot be handed on are merged and kept.

mod channels;
mod intake;
mod lookback;
mod upkeep;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use pvewatch_protocol::{Ack, AckMessage, NodeName, StreamId};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use super::counters::Counters;
use super::pace::Pace;
use super::standing::{Standing, Step};
use super::told::{Acks, Asked, ReadyOn, Told};
use crate::core::{Core, Input, Record, Snapshot, Urgency};
use crate::ingest::{Applicable, DueAck, Ingest};
use crate::store::{Batch, NewRecord, Retention, Store, StoreError};
pub(super) use channels::Channels;
use lookback::Lookback;

/// Messages in one batch at most: bounds the time of a commit, and the memory of what it holds.
pub(super) const BATCH_MESSAGES_MAX: usize = 1024;

/// Readings are written at most this often; losing them costs nothing that the next sample does
/// not bring again.
const LAZY_EVERY: Duration = Duration::from_secs(30);

/// How often a step of retention is due when there is little to delete.
const PRUNE_EVERY: Duration = Duration::from_secs(1);

/// The longest sleep until a deadline: a wall clock that jumped is noticed after it.
const SLEEP_MAX: Duration = Duration::from_secs(5);

/// What the owner is made of.
pub(super) struct Parts {
    pub core: Core,
    pub ingest: Ingest,
    pub store: Store,
    pub retention: Retention,
    pub inbox: mpsc::Receiver<Told>,
    pub questions: mpsc::Receiver<Asked>,
    pub acks: mpsc::Sender<Acks>,
    pub ready: watch::Sender<ReadyOn>,
    pub newest_transition: watch::Sender<i64>,
    /// How far each channel has come in the transitions.
    pub channels: Channels,
    /// Why nothing can be stored; cleared by a commit.
    pub store_trouble: watch::Sender<Option<String>>,
    pub revision: watch::Sender<u64>,
    pub counters: Arc<Counters>,
}

/// See the module.
pub(super) struct Owner {
    parts: Parts,
    standing: Standing,
    /// Readings that are not written yet, by kind and key.
    lazy: BTreeMap<(&'static str, String), String>,
    /// Acks that could not be handed on yet. Within a node the newest stream comes last: it is
    /// the one that the broker retains.
    unsent: BTreeMap<(NodeName, u64), AckMessage>,
    /// Samples of this batch that are answered when it is stored: their send times.
    heard: Vec<(NodeName, StreamId, Timestamp)>,
    /// Nodes whose last sample that was kept could not be answered yet.
    unanswered: HashSet<NodeName>,
    samples_kept: HashMap<NodeName, Timestamp>,
    applicable: Vec<Applicable>,
    /// What is stored of nodes whose events came again.
    lookback: Lookback,
    /// The newest connection that the link told of.
    connection: u64,
    /// When this owner began, and how the clocks have gone since.
    begun: Instant,
    pace: Pace,
    /// When a step of retention was done last.
    pruned_at: Instant,
    /// Whether the log has said that the wall clock jumped.
    doubts_clock: bool,
}

impl Owner {
    pub(super) fn new(parts: Parts) -> Self {
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
            connection: 0,
            begun: Instant::now(),
            pace: Pace::new(wall_clock(), Duration::ZERO),
            pruned_at: Instant::now(),
            doubts_clock: false,
        }
    }

    /// Works until the inbox is closed and empty.
    ///
    /// # Errors
    /// When something could not be stored; nothing of it was acked or told.
    pub(super) async fn run(mut self) -> Result<(), StoreError> {
        let mut told = Vec::with_capacity(BATCH_MESSAGES_MAX);
        let start = Instant::now() + LAZY_EVERY;
        let mut lazy_tick = interval_at(start, LAZY_EVERY);
        lazy_tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut prune_tick = interval_at(Instant::now() + PRUNE_EVERY, PRUNE_EVERY);
        prune_tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let acks = self.parts.acks.clone();
        loop {
            let sleep_time = self.time_to_deadline();
            let next = tokio::select! {
                biased;
                Some(question) = self.parts.questions.recv() => Next::Question(question),
                Ok(place) = acks.reserve(), if !self.unsent.is_empty() => Next::Acks(place),
                _ = lazy_tick.tick() => Next::Readings,
                _ = prune_tick.tick() => Next::Prune,
                () = self.parts.channels.changed() => Next::Position,
                count = self.parts.inbox.recv_many(&mut told, BATCH_MESSAGES_MAX) => match count {
                    0 => Next::End,
                    _ => Next::Batch,
                },
                () = sleep(sleep_time.unwrap_or(SLEEP_MAX)), if sleep_time.is_some() => Next::Batch,
            };
            match next {
                Next::Question(question) => self.answer(question),
                Next::Acks(place) => {
                    let acks = std::mem::take(&mut self.unsent);
                    self.parts.counters.acks.add(acks.len() as u64);
                    place.send(acks.into_iter().map(|((node, _), ack)| (node, ack)).collect());
                }
                Next::Readings => self.store_batch(Batch::default(), 0, Flush::Lazy)?,
                Next::Position => self.store_batch(Batch::default(), 0, Flush::Urgent)?,
                Next::Prune => {
                    self.look_at_clock();
                    self.prune(&mut prune_tick)?;
                }
                Next::Batch => self.take(&mut told)?,
                Next::End => return self.finish(),
            }
        }
    }

    /// Takes in what was told, stores what follows from it, and says so.
    fn take(&mut self, told: &mut Vec<Told>) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        let messages = told.len();
        let now = self.look_at_clock();
        for told in told.drain(..) {
            match told {
                Told::Message(arrived) => self.take_message(*arrived, now, &mut batch),
                Told::Connected { connection } => {
                    self.connection = connection;
                    self.standing.connected();
                    self.parts.core.listen(now);
                }
                Told::RetainedRead => self.standing.retained_read(Instant::now()),
                Told::Disconnected => self.standing.disconnected(),
            }
        }
        self.show_what_waited(now, &mut batch);
        let is_due = self.parts.core.next_deadline().is_some_and(|due| due <= now);
        if is_due && self.standing.is_listening() {
            self.tell_core(now, Input::Deadline, &mut batch);
        }
        self.store_batch(batch, messages, Flush::Urgent)?;
        self.judge_standing();
        Ok(())
    }

    /// Stores a batch with what changed in core and ingest; then, and only then, says so.
    fn store_batch(
        &mut self,
        mut batch: Batch,
        messages: usize,
        flush: Flush,
    ) -> Result<(), StoreError> {
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
        batch.outputs = self.parts.channels.take_positions();
        self.parts.counters.waiting.set(self.parts.ingest.waiting());
        self.parts.counters.queued.set(self.parts.inbox.len());
        if !batch.is_empty() {
            let begun = Instant::now();
            let newest_transition = self.parts.store.commit(&batch)?;
            self.parts.store_trouble.send_if_modified(|trouble| trouble.take().is_some());
            self.parts.counters.observe_commit(begun.elapsed(), messages);
            if !batch.transitions.is_empty() {
                self.parts.newest_transition.send_replace(newest_transition);
            }
            self.parts.revision.send_modify(|revision| *revision += 1);
        } else if messages > 0 {
            self.parts.revision.send_modify(|revision| *revision += 1);
        }
        let newest = *self.parts.newest_transition.borrow();
        self.parts.channels.show(newest, &batch.outputs, wall_clock());
        self.collect_acks(&batch);
        Ok(())
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

    fn collect_acks(&mut self, stored: &Batch) {
        let now = wall_clock();
        for event in &stored.events {
            self.parts.counters.count_event(&event.kind);
            let lag = now.duration_since(event.recorded).as_secs_f64();
            self.parts.counters.observe_ack_lag(lag);
        }
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

    fn judge_standing(&mut self) {
        let ingest = &self.parts.ingest;
        let is_reached = |node: &NodeName, stream, sequence| {
            ingest.through(node, stream).is_some_and(|through| through >= sequence)
        };
        match self.standing.judge(Instant::now(), is_reached) {
            Step::None => {}
            Step::BecameReady => self.set_ready(true),
            Step::NoLongerReady => self.set_ready(false),
        }
    }

    fn set_ready(&self, ready: bool) {
        self.parts.counters.ready.set(ready);
        let ready = ready.then_some(self.connection);
        self.parts.ready.send_if_modified(|before| std::mem::replace(before, ready) != ready);
    }

    fn answer(&mut self, question: Asked) {
        match question {
            Asked::Snapshot(answer) => {
                let snapshot: Arc<Snapshot> = self.parts.core.snapshot();
                // Whoever asked may have gone away meanwhile.
                let _ = answer.send(snapshot);
            }
        }
    }

    /// The time to the next thing that time alone brings: a deadline of the core, or the end of
    /// the wait for what agents send again.
    fn time_to_deadline(&self) -> Option<Duration> {
        let core = self.parts.core.next_deadline().filter(|_| self.standing.is_listening());
        let pictures = self.parts.ingest.next_deadline();
        let by_wall_clock = core.into_iter().chain(pictures).min().map(|due| {
            let wait = due.duration_since(wall_clock());
            Duration::try_from(wait).unwrap_or(Duration::ZERO)
        });
        let standing =
            self.standing.deadline().map(|due| due.saturating_duration_since(Instant::now()));
        let wait = by_wall_clock.into_iter().chain(standing).min();
        wait.map(|wait| wait.min(SLEEP_MAX))
    }

    /// The inbox is closed: stores the last readings and hands on the last acks.
    fn finish(mut self) -> Result<(), StoreError> {
        self.store_batch(Batch::default(), 0, Flush::All)?;
        self.set_ready(false);
        if !self.unsent.is_empty() {
            let acks = self.unsent.into_iter().map(|((node, _), ack)| (node, ack)).collect();
            // When there is no room the agents send again, and are told that it was known.
            let _ = self.parts.acks.try_send(acks);
        }
        Ok(())
    }
}

/// What comes next, the most urgent first.
enum Next<'a> {
    /// Somebody waits for an answer.
    Question(Asked),
    /// There is room for acks.
    Acks(mpsc::Permit<'a, Acks>),
    /// Readings waited long enough.
    Readings,
    /// Something may be too old.
    Prune,
    /// A channel came further, or is stuck.
    Position,
    /// Messages came, or a time has come.
    Batch,
    /// Nothing comes any more.
    End,
}

/// What a batch writes beside what must be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flush {
    /// Nothing.
    Urgent,
    /// The readings that waited for their time.
    Lazy,
    /// Every reading there is.
    All,
}

#[expect(clippy::disallowed_methods, reason = "here the time comes into the core")]
fn wall_clock() -> Timestamp {
    Timestamp::now()
}
