//! The one owner of core, ingest and store: takes what came, stores it, and only then says so.
//!
//! A batch is whatever arrived during the last commit: no message waits for company. If a commit
//! fails the owner ends, and with it everything in memory that the disk does not have.
//! It never waits for an output: acks that cannot be handed on are merged and kept.

mod channels;
pub(super) mod desk;
mod intake;
mod lookback;
mod upkeep;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use super::Standards;
use super::counters::Counters;
use super::told::{Acks, Asked, ReadyOn, Told};
use crate::core::Snapshot;
use crate::store::{Batch, Retention, Store, StoreError};
pub(super) use channels::Channels;
use desk::{Clocks, Desk, DeskParts, Flush};

/// Messages in one batch at most: bounds the time of a commit, and the memory of what it holds.
pub(super) const BATCH_MESSAGES_MAX: usize = 1024;

/// Readings are written at most this often; losing them costs nothing that the next sample does
/// not bring again.
const LAZY_EVERY: Duration = Duration::from_secs(30);

/// How often a step of retention is due when there is little to delete.
const PRUNE_EVERY: Duration = Duration::from_secs(1);

/// The longest sleep until a deadline: a wall clock that jumped is noticed after it.
const SLEEP_MAX: Duration = Duration::from_secs(5);

/// Where things come from, and where they go.
pub(super) struct Ways {
    pub retention: Retention,
    /// By what is judged; what the core begins with was seen.
    pub standards: watch::Receiver<Standards>,
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
    desk: Desk<Store>,
    ways: Ways,
    /// When a step of retention was done last.
    pruned_at: Instant,
    /// Whether the log has said that the wall clock jumped.
    doubts_clock: bool,
}

impl Owner {
    pub(super) fn new(desk: DeskParts<Store>, ways: Ways) -> Self {
        Self {
            desk: Desk::new(desk, clocks()),
            ways,
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
        let acks = self.ways.acks.clone();
        loop {
            let sleep_time = self.time_to_deadline();
            let next = tokio::select! {
                biased;
                Some(question) = self.ways.questions.recv() => Next::Question(question),
                Ok(place) = acks.reserve(), if self.desk.has_acks() => Next::Acks(place),
                _ = lazy_tick.tick() => Next::Readings,
                _ = prune_tick.tick() => Next::Prune,
                () = self.ways.channels.changed() => Next::Position,
                Ok(()) = self.ways.standards.changed(), if self.desk.is_listening() => {
                    Next::Standards
                }
                count = self.ways.inbox.recv_many(&mut told, BATCH_MESSAGES_MAX) => match count {
                    0 => Next::End,
                    _ => Next::Batch,
                },
                () = sleep(sleep_time.unwrap_or(SLEEP_MAX)), if sleep_time.is_some() => Next::Batch,
            };
            match next {
                Next::Question(question) => self.answer(question),
                Next::Acks(place) => {
                    let acks = self.desk.take_acks();
                    self.ways.counters.acks.add(acks.len() as u64);
                    place.send(acks);
                }
                Next::Readings => self.store_batch(Batch::default(), 0, Flush::Lazy)?,
                Next::Standards => self.judge_anew()?,
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
                Told::Message { arrived, .. } => {
                    self.desk.take_message(*arrived, now.wall, &mut batch);
                }
                Told::Connected { connection } => self.desk.connected(connection, now),
                Told::RetainedRead => self.desk.retained_read(clocks()),
                Told::Disconnected => self.desk.disconnected(),
            }
        }
        self.desk.close_batch(now, &mut batch);
        self.store_batch(batch, messages, Flush::Urgent)?;
        let ready = self.desk.judge_standing(Instant::now());
        self.set_ready(ready);
        Ok(())
    }

    /// Judges everything by other rules and policies.
    fn judge_anew(&mut self) -> Result<(), StoreError> {
        let standards = self.ways.standards.borrow_and_update().clone();
        let now = self.look_at_clock();
        let mut batch = Batch::default();
        self.desk.judge_by(standards, now, &mut batch);
        self.store_batch(batch, 0, Flush::Urgent)
    }

    /// Stores a batch with what changed on the desk; then, and only then, says so.
    fn store_batch(
        &mut self,
        batch: Batch,
        messages: usize,
        flush: Flush,
    ) -> Result<(), StoreError> {
        let mut batch = self.desk.gather(batch, flush);
        batch.outputs = self.ways.channels.take_positions();
        self.ways.counters.queued.set(self.ways.inbox.len());
        let begun = Instant::now();
        let newest_transition = self.desk.store(&batch)?;
        if let Some(newest_transition) = newest_transition {
            self.ways.store_trouble.send_if_modified(|trouble| trouble.take().is_some());
            self.ways.counters.observe_commit(begun.elapsed(), messages);
            if !batch.transitions.is_empty() {
                self.ways.newest_transition.send_replace(newest_transition);
            }
        }
        if newest_transition.is_some() || messages > 0 {
            self.ways.revision.send_modify(|revision| *revision += 1);
        }
        let now = wall_clock();
        let newest = *self.ways.newest_transition.borrow();
        self.ways.channels.show(newest, &batch.outputs, now);
        self.count(&batch, now);
        Ok(())
    }

    /// Counts, and says of losses, what is stored now.
    fn count(&mut self, stored: &Batch, now: Timestamp) {
        let counters = &self.ways.counters;
        for event in &stored.events {
            counters.count_event(&event.kind);
            counters.observe_ack_lag(now.duration_since(event.recorded).as_secs_f64());
        }
        for (node, loss) in self.desk.take_losses() {
            counters.events_abandoned.add(loss.events());
            log::error!(
                "{node}: events {} to {} of stream {} are lost: {}",
                loss.from.0,
                loss.through.0,
                loss.stream,
                loss.reason
            );
        }
    }

    fn set_ready(&self, ready: ReadyOn) {
        self.ways.counters.ready.set(ready.is_some());
        self.ways.ready.send_if_modified(|before| std::mem::replace(before, ready) != ready);
    }

    fn answer(&mut self, question: Asked) {
        match question {
            Asked::Snapshot(answer) => {
                let snapshot: Arc<Snapshot> = self.desk.core().snapshot();
                // Whoever asked may have gone away meanwhile.
                let _ = answer.send(snapshot);
            }
        }
    }

    fn time_to_deadline(&self) -> Option<Duration> {
        self.desk.time_to_deadline(clocks()).map(|wait| wait.min(SLEEP_MAX))
    }

    /// The inbox is closed: stores the last readings and hands on the last acks.
    fn finish(mut self) -> Result<(), StoreError> {
        self.store_batch(Batch::default(), 0, Flush::All)?;
        self.set_ready(None);
        if self.desk.has_acks() {
            // When there is no room the agents send again, and are told that it was known.
            let _ = self.ways.acks.try_send(self.desk.take_acks());
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
    /// There are other rules or policies.
    Standards,
    /// A channel came further, or is stuck.
    Position,
    /// Messages came, or a time has come.
    Batch,
    /// Nothing comes any more.
    End,
}

fn clocks() -> Clocks {
    Clocks { wall: wall_clock(), steady: Instant::now() }
}

#[expect(clippy::disallowed_methods, reason = "here the time comes into the core")]
fn wall_clock() -> Timestamp {
    Timestamp::now()
}
