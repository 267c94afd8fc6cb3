//! What can be asked of a collector from outside: the page, the API, the metrics, the outputs.
//!
//! Answers show only what is stored. While the collector rebuilds itself, the last state it
//! showed is shown again.

use std::sync::Arc;

use pvewatch_protocol::{CollectorName, Fingerprint};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::counters::Counters;
use super::told::Asked;
use crate::alerts::Transition;
use crate::core::Snapshot;
use crate::output::channel::ChannelReading;
use crate::store::{EventFilter, EventRow, Reader, RejectRow, StoreError};

/// Reads of the store at a time; more wait.
const READS_MAX: usize = 4;

/// Events in one answer at most, whatever is asked for.
pub const EVENTS_PER_ANSWER_MAX: u32 = 1000;

/// Steps of an alert in one answer at most.
pub const STEPS_PER_ANSWER_MAX: u32 = 100;

/// Asks a collector; clones ask the same one.
#[derive(Debug, Clone)]
pub struct Queries {
    collector: CollectorName,
    counters: Arc<Counters>,
    reader: Reader,
    reads: Arc<Semaphore>,
    asks: watch::Receiver<Option<mpsc::Sender<Asked>>>,
    revisions: watch::Receiver<u64>,
    channels: watch::Receiver<Vec<ChannelReading>>,
    store_trouble: watch::Receiver<Option<String>>,
    last: Arc<watch::Sender<Option<Arc<Snapshot>>>>,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The collector stops.
    #[error("the collector is stopping")]
    Stopping,
}

pub(super) struct Parts {
    pub collector: CollectorName,
    pub counters: Arc<Counters>,
    pub reader: Reader,
    pub asks: watch::Receiver<Option<mpsc::Sender<Asked>>>,
    pub revisions: watch::Receiver<u64>,
    pub channels: watch::Receiver<Vec<ChannelReading>>,
    pub store_trouble: watch::Receiver<Option<String>>,
}

impl Queries {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            collector: parts.collector,
            counters: parts.counters,
            reader: parts.reader,
            reads: Arc::new(Semaphore::new(READS_MAX)),
            asks: parts.asks,
            revisions: parts.revisions,
            channels: parts.channels,
            store_trouble: parts.store_trouble,
            last: Arc::new(watch::Sender::new(None)),
        }
    }

    /// The collector's name.
    pub fn collector(&self) -> &CollectorName {
        &self.collector
    }

    /// What the collector counts of its own work.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Changes with every stored batch: when something new can be shown.
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.revisions.clone()
    }

    /// What the channels have yet to take of what becomes of alerts.
    pub fn channels(&self) -> Vec<ChannelReading> {
        self.channels.borrow().clone()
    }

    /// Why nothing can be stored, in words; none if it can.
    pub fn store_trouble(&self) -> Option<String> {
        self.store_trouble.borrow().clone()
    }

    /// Everything that is known now. Waits for the batch that is being stored.
    ///
    /// While the collector rebuilds itself: what was known last. It waits only if nothing was
    /// ever asked before, until the rebuild is done.
    pub async fn snapshot(&self) -> Arc<Snapshot> {
        loop {
            let asks = self.asks.borrow().clone();
            if let Some(asks) = asks {
                let (answer, answered) = oneshot::channel();
                if asks.send(Asked::Snapshot(answer)).await.is_ok()
                    && let Ok(snapshot) = answered.await
                {
                    self.last.send_replace(Some(Arc::clone(&snapshot)));
                    return snapshot;
                }
            }
            let last = self.last.borrow().clone();
            if let Some(last) = last {
                return last;
            }
            // The owner ended before it answered: the next one tells when it is there.
            let mut asks = self.asks.clone();
            if asks.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Events of the log, the newest first; at most [`EVENTS_PER_ANSWER_MAX`].
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn events(&self, filter: EventFilter) -> Result<Vec<EventRow>, QueryError> {
        let limit = filter.limit.min(EVENTS_PER_ANSWER_MAX);
        self.read(move |reader| reader.events(&EventFilter { limit, ..filter })).await
    }

    /// The steps of an alert that are kept, the newest first; at most [`STEPS_PER_ANSWER_MAX`].
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn steps_of(&self, fingerprint: Fingerprint) -> Result<Vec<Transition>, QueryError> {
        let rows = self
            .read(move |reader| reader.transitions_of(fingerprint, STEPS_PER_ANSWER_MAX))
            .await?;
        // One of a version that is not known is left out.
        Ok(rows.iter().filter_map(|row| serde_json::from_str(&row.body).ok()).collect())
    }

    /// The last messages that were not accepted, the newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn rejects(&self) -> Result<Vec<RejectRow>, QueryError> {
        self.read(Reader::rejects).await
    }

    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, QueryError> {
        let place = Arc::clone(&self.reads).acquire_owned().await;
        let place = place.map_err(|_| QueryError::Stopping)?;
        let reader = self.reader.clone();
        let read = tokio::task::spawn_blocking(move || {
            let _place = place;
            query(&reader)
        });
        Ok(read.await.map_err(|_| QueryError::Stopping)??)
    }
}
