//! A channel: one way out for the steps of alerts, with a durable position of its own.
//!
//! A channel reads stored transitions from its position on, a page at a time, and says how far
//! it came; the owner of the store writes that down. One that is stuck says why, and holds up no
//! other: none of them waits for another's trouble to end.
//!
//! Absent on purpose: what a channel sends, and to whom.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::alerts::Transition;
use crate::store::{Reader, StoreError};

/// Steps of alerts read at a time.
const PAGE: u32 = 100;

/// The pause after a channel refused something, or the store could not be read.
pub const RETRY_AFTER: Duration = Duration::from_secs(5);

/// How far a channel is, and what holds it up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The channel's name in the store and the metrics.
    pub name: &'static str,
    /// The last transition that it took.
    pub through: i64,
    /// Why it cannot go on, in words for people.
    pub trouble: Option<String>,
}

/// The progress of all channels: each writes its own, whoever stores or shows it reads.
pub type Progresses = watch::Sender<Vec<Progress>>;

/// A channel as it is shown: what it has yet to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelReading {
    /// Its name.
    pub name: &'static str,
    /// Steps of alerts that it has not taken yet; not all of them are worth telling there.
    pub untold: u64,
    /// Since when it has taken none although there are some, by the collector's clock.
    pub since: Option<Timestamp>,
    /// Why, if it knows.
    pub trouble: Option<String>,
}

/// A step of an alert, and its number in the store.
#[derive(Debug)]
pub struct Step {
    /// Grows by one with each transition.
    pub id: i64,
    /// The step; none if it cannot be read, which has been logged.
    pub transition: Option<Transition>,
}

/// Why a channel gets no more to tell.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The collector stops.
    #[error("the collector stops")]
    Stopping,
}

/// One channel; it outlives connections.
#[derive(Debug)]
pub struct Channel {
    /// Its place among the progresses.
    place: usize,
    progresses: Progresses,
    newest: watch::Receiver<i64>,
    reader: Reader,
}

impl Channel {
    /// A channel that begins where the store says; `newest` is the newest transition there.
    /// None if nothing is known of a channel of this name.
    pub fn new(
        name: &'static str,
        progresses: &Progresses,
        newest: watch::Receiver<i64>,
        reader: Reader,
    ) -> Option<Self> {
        let place = progresses.borrow().iter().position(|known| known.name == name)?;
        Some(Self { place, progresses: progresses.clone(), newest, reader })
    }

    /// The next steps, the oldest first; waits until there are some. Cancel safe.
    ///
    /// # Errors
    /// When the store cannot be read, or the collector stops.
    pub async fn next_steps(&mut self) -> Result<Vec<Step>, ChannelError> {
        loop {
            let after = self.through();
            let newest = self.newest.wait_for(|newest| *newest > after).await;
            newest.map_err(|_| ChannelError::Stopping)?;
            let reader = self.reader.clone();
            let read = tokio::task::spawn_blocking(move || reader.transitions_after(after, PAGE));
            let page = read.await.map_err(|_| ChannelError::Stopping)??;
            if !page.is_empty() {
                return Ok(page.into_iter().map(|row| understood(row.id, &row.body)).collect());
            }
            // What it lacks was deleted before it could be told, which retention has counted.
            let newest = *self.newest.borrow();
            self.took(newest);
        }
    }

    /// Whether it has taken all there is.
    pub fn is_up_to_date(&self) -> bool {
        self.through() >= *self.newest.borrow()
    }

    /// The last step that it took.
    pub fn through(&self) -> i64 {
        self.progresses.borrow().get(self.place).map_or(0, |progress| progress.through)
    }

    /// It took the steps up to this one.
    pub fn took(&self, id: i64) {
        self.change(|progress| std::mem::replace(&mut progress.through, id) != id);
    }

    /// It works again.
    pub fn works(&self) {
        self.change(|progress| progress.trouble.take().is_some());
    }

    /// It cannot go on; the log says it once for each cause.
    pub fn is_stuck(&self, trouble: String) {
        let is_news = |progress: &mut Progress| {
            if progress.trouble.as_ref() == Some(&trouble) {
                return false;
            }
            log::error!("channel {} waits: {trouble}; it is tried again", progress.name);
            progress.trouble = Some(trouble);
            true
        };
        self.change(is_news);
    }

    /// Waits until another channel has taken this step, or is stuck before it.
    pub async fn follow(&self, name: &str, id: i64) {
        let is_past = |all: &Vec<Progress>| {
            let other = all.iter().find(|progress| progress.name == name);
            other.is_none_or(|other| other.through >= id || other.trouble.is_some())
        };
        // This channel holds a sender, so there is always somebody to wait for.
        let _ = self.progresses.subscribe().wait_for(is_past).await;
    }

    fn change(&self, change: impl FnOnce(&mut Progress) -> bool) {
        self.progresses.send_if_modified(|all| all.get_mut(self.place).is_some_and(change));
    }
}

fn understood(id: i64, body: &str) -> Step {
    let transition = serde_json::from_str(body)
        .inspect_err(|error| log::error!("transition {id} cannot be read: {error}; skipped"));
    Step { id, transition: transition.ok() }
}
