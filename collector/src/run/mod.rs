//! The collector at work: one owner of core and store, one link to the broker, and what joins
//! them. Started by [`Collector::start`], ended by [`Collector::stop`].
//!
//! ```text
//! broker -> link -(inbox, bounded)-> owner: ingest -> core -> store -> acks, transitions -> link
//! ```
//! If the store fails, both are dropped and made anew from the store, for as long as it takes;
//! meanwhile the collector is not ready, and acks nothing. Absent: configuration, HTTP.

mod counters;
mod life;
mod link;
mod owner;
mod pace;
mod queries;
mod standing;
mod told;

use std::path::PathBuf;
use std::sync::Arc;

use pvewatch_edge::mqtt::Broker;
use pvewatch_protocol::{CollectorName, Site};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use counters::{
    BATCH_BOUNDS, Count, Counters, Flag, Histogram, HistogramReading, KINDS, Level, SECONDS_BOUNDS,
};
pub use owner::desk::{Clocks, Desk, DeskParts, Flush, Shelf};
pub use queries::{EVENTS_PER_ANSWER_MAX, Queries, QueryError, STEPS_PER_ANSWER_MAX};
pub use told::{Acks, Arrived, ReadyOn};

use crate::fleet::Policies;
use crate::rules::RuleSet;
use crate::store::{Retention, Store};

/// Messages between the link and the owner. When it is full the link reads no more.
const INBOX_MAX: usize = 2048;

/// Bytes of messages between the link and the owner; the same policy.
const INBOX_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What a message weighs in the inbox beside its payload, in bytes.
const MESSAGE_BYTES: usize = 1024;

/// Batches of acks between the owner and the link. When it is full the owner merges them.
const ACK_BATCHES_MAX: usize = 16;

/// Questions that may wait for the owner; whoever asks waits.
const QUESTIONS_MAX: usize = 64;

/// By what is judged what is known. Can be replaced while the collector works.
#[derive(Debug, Clone, Default)]
pub struct Standards {
    /// The rules.
    pub rules: RuleSet,
    /// What should be true of guests.
    pub policies: Policies,
}

/// What a collector works with.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The site that it looks after.
    pub site: Site,
    /// Its name.
    pub collector: CollectorName,
    /// Where the store is.
    pub data: PathBuf,
    /// How much is kept.
    pub retention: Retention,
    /// By what is judged, to begin with.
    pub standards: Standards,
    /// Where the broker is, and how to be let in. Its URLs are tried in turn.
    pub broker: Broker,
}

/// A collector at work.
#[derive(Debug)]
pub struct Collector {
    queries: Queries,
    standards: watch::Sender<Standards>,
    stop: watch::Sender<bool>,
    done: JoinHandle<()>,
}

impl Collector {
    /// Starts a collector with an open store. It connects, and connects again, by itself.
    pub fn start(setup: Setup, store: Store) -> Self {
        let counters = Arc::new(Counters::default());
        let (life, asks) = watch::channel(None);
        let (revision, revisions) = watch::channel(0);
        let (channels, channels_shown) = watch::channel(Vec::new());
        let (store_trouble, trouble_shown) = watch::channel(None);
        let queries = Queries::new(queries::Parts {
            collector: setup.collector.clone(),
            counters: Arc::clone(&counters),
            reader: store.reader(),
            asks,
            revisions,
            channels: channels_shown,
            store_trouble: trouble_shown,
        });
        let (stop, stopped) = watch::channel(false);
        let (standards, standards_out) = watch::channel(setup.standards.clone());
        let keeper = life::Keeper {
            setup,
            standards: standards_out,
            counters,
            asks: life,
            revision,
            channels,
            store_trouble,
            queries: queries.clone(),
            stop: stopped,
        };
        let done = tokio::spawn(keeper.run(store));
        Self { queries, standards, stop, done }
    }

    /// What can be asked of it.
    pub fn queries(&self) -> Queries {
        self.queries.clone()
    }

    /// By what is judged: others that are put there are in force as soon as the nodes are heard.
    pub fn standards(&self) -> watch::Sender<Standards> {
        self.standards.clone()
    }

    /// Drains: stores what came, acks it, says goodbye to the broker, closes the store.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.done.await {
            log::error!("the collector ended badly: {error}");
        }
    }
}
