//! One life of the collector after the other: from an open store to its end or failure.
//!
//! A life owns everything in memory. When the store fails the life is dropped as a whole, and
//! the next begins from what is on disk: memory is never ahead of it.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use pvewatch_edge::mqtt::backoff;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

use super::counters::Counters;
use super::link::{self, Link, Speaker};
use super::owner::desk::DeskParts;
use super::owner::{Channels, Owner, Ways};
use super::queries::Queries;
use super::told::Asked;
use super::{ACK_BATCHES_MAX, INBOX_BYTES_MAX, INBOX_MAX, QUESTIONS_MAX, Setup, Standards};
use crate::core::{Core, Record, RecordKind, Urgency};
use crate::ingest::Ingest;
use crate::output::channel::{ChannelReading, Progress};
use crate::output::mqtt::{self, MqttOutput};
use crate::store::{RecordRow, Store, StoreError};

/// How long a link whose owner is gone may take to say goodbye.
const LINK_END_MAX: Duration = Duration::from_secs(12);

/// How long a life must last for the next failure to count as a new one.
const PROVED_AFTER: Duration = Duration::from_secs(5 * 60);

/// The channels that tell what becomes of alerts.
const CHANNELS: [&str; 2] = [mqtt::ALERTS, mqtt::NOTICES];

/// Begins a life after the other until it is told to stop.
pub(super) struct Keeper {
    pub setup: Setup,
    /// By what is judged now.
    pub standards: watch::Receiver<Standards>,
    pub counters: Arc<Counters>,
    /// Where questions go: to the owner of the present life, if there is one.
    pub asks: watch::Sender<Option<mpsc::Sender<Asked>>>,
    pub revision: watch::Sender<u64>,
    /// What the channels have yet to take, for all who show it.
    pub channels: watch::Sender<Vec<ChannelReading>>,
    /// Why nothing can be stored, while that is so.
    pub store_trouble: watch::Sender<Option<String>>,
    pub queries: Queries,
    pub stop: watch::Receiver<bool>,
}

/// Why a life ended.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the thread of the collector's core ended: this is a fault of pvewatch, please report")]
    Panicked,
    #[error("the thread of the collector's core cannot be started: {0}")]
    Thread(std::io::Error),
    #[error(
        "the store has no positions of the channels: this is a fault of pvewatch, please report"
    )]
    Channels,
}

impl Keeper {
    pub(super) async fn run(self, store: Store) {
        let mut delays = backoff();
        let mut store = Some(store);
        loop {
            let begun = Instant::now();
            let ended = match store.take() {
                Some(store) => self.live(store).await,
                None => match self.reopen().await {
                    Ok(store) => self.live(store).await,
                    Err(error) => Err(error),
                },
            };
            self.asks.send_replace(None);
            self.counters.ready.set(false);
            let Err(failure) = ended else { return };
            self.counters.commit_failures.add(1);
            if begun.elapsed() >= PROVED_AFTER {
                delays.reset();
            }
            let delay = delays.next_delay();
            log::error!(
                "{failure}; nothing of it was acknowledged; starting again from the store in \
                 {delay:.0?}"
            );
            self.store_trouble.send_replace(Some(failure.to_string()));
            let mut stop = self.stop.clone();
            tokio::select! {
                () = sleep(delay) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn reopen(&self) -> Result<Store, Failure> {
        let data = self.setup.data.clone();
        let opened = tokio::task::spawn_blocking(move || Store::open(&data)).await;
        Ok(opened.map_err(|_| Failure::Panicked)??)
    }

    async fn live(&self, mut store: Store) -> Result<(), Failure> {
        let (inbox, incoming) = mpsc::channel(INBOX_MAX);
        let (acks_in, acks) = mpsc::channel(ACK_BATCHES_MAX);
        let (asks, questions) = mpsc::channel(QUESTIONS_MAX);
        let (ready_in, ready) = watch::channel(None);
        log::info!("store {}: epoch {}", store.path().display(), store.epoch());
        let positions = store.outputs(&CHANNELS)?;
        let progress = |(name, through)| Progress { name, through, trouble: None };
        let progresses =
            watch::Sender::new(CHANNELS.into_iter().zip(positions).map(progress).collect());
        let channels = Channels::new(progresses.subscribe(), self.channels.clone());
        let (newest_in, newest) = watch::channel(store.newest_transition()?);
        let speaker = Speaker {
            site: self.setup.site.clone(),
            collector: self.setup.collector.clone(),
            epoch: store.epoch(),
        };
        let output = MqttOutput::new(mqtt::Parts {
            site: self.setup.site.clone(),
            collector: self.setup.collector.clone(),
            reader: store.reader(),
            queries: self.queries.clone(),
            counters: Arc::clone(&self.counters),
            newest,
            progresses,
        });
        let output = output.ok_or(Failure::Channels)?;
        let mut standards = self.standards.clone();
        let now = standards.borrow_and_update().clone();
        let desk = DeskParts {
            core: self.restore(&store, now)?,
            ingest: Ingest::restore(store.streams()?),
            store,
            counters: Arc::clone(&self.counters),
        };
        let ways = Ways {
            retention: self.setup.retention.clone(),
            standards,
            inbox: incoming,
            questions,
            acks: acks_in,
            ready: ready_in,
            newest_transition: newest_in,
            channels,
            store_trouble: self.store_trouble.clone(),
            revision: self.revision.clone(),
            counters: Arc::clone(&self.counters),
        };
        let (stop_link, link_stopped) = watch::channel(false);
        let link = Link::new(link::Parts {
            speaker,
            broker: self.setup.broker.clone(),
            inbox,
            room: Arc::new(Semaphore::new(INBOX_BYTES_MAX)),
            acks,
            ready,
            output,
            counters: Arc::clone(&self.counters),
            stop: link_stopped,
        });
        let mut owner = spawn_owner(desk, ways)?;
        self.asks.send_replace(Some(asks));
        let mut link = tokio::spawn(link.run());
        let mut stop = self.stop.clone();
        let ended = tokio::select! {
            ended = &mut owner => Some(ended),
            // The link ends by itself only if the owner does.
            _ = stop.wait_for(|stop| *stop) => None,
        };
        stop_link.send_replace(true);
        let ended = match ended {
            Some(ended) => ended,
            None => owner.await,
        };
        if timeout(LINK_END_MAX, &mut link).await.is_err() {
            link.abort();
        }
        ended.map_err(|_| Failure::Panicked)?.map_err(Failure::Store)
    }

    fn restore(&self, store: &Store, standards: Standards) -> Result<Core, Failure> {
        let records = store.records()?.into_iter().filter_map(as_record);
        let mut core =
            Core::restore(self.setup.site.clone(), standards.rules, wall_clock(), records);
        core.begin_with(store.first_epoch()?);
        core.follow_policies(standards.policies);
        Ok(core)
    }
}

/// Runs the owner on a thread of its own: commits block, and nothing else may wait for them.
fn spawn_owner(
    desk: DeskParts<Store>,
    ways: Ways,
) -> Result<oneshot::Receiver<Result<(), StoreError>>, Failure> {
    let (ended_in, ended) = oneshot::channel();
    let runtime = Handle::current();
    thread::Builder::new()
        .name("pvewatch-core".to_owned())
        .spawn(move || {
            let result = runtime.block_on(Owner::new(desk, ways).run());
            // Whoever started it waits; if not, nobody is left to tell.
            let _ = ended_in.send(result);
        })
        .map_err(Failure::Thread)?;
    Ok(ended)
}

fn as_record(row: RecordRow) -> Option<Record> {
    let kind = RecordKind::parse(&row.kind);
    let Some(kind) = kind else {
        log::warn!("record {} {} of the store cannot be read; left out", row.kind, row.key);
        return None;
    };
    Some(Record { kind, key: row.key, body: Some(row.body), urgency: Urgency::Now })
}

#[expect(clippy::disallowed_methods, reason = "a life begins at a time")]
fn wall_clock() -> Timestamp {
    Timestamp::now()
}
