//! What a source of the agent says: facts in order, pictures of the whole, and how it is doing.
//!
//! A source holds one [`Reporter`] and knows nothing of the outbox, MQTT or other sources.
//! Order is kept: a picture includes exactly the facts that were reported before it.

use jiff::Timestamp;
use pvewatch_protocol::event::SourceStatus;
use pvewatch_protocol::{CheckpointContent, EventData};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

/// Reports that may wait between the sources and the outbox.
///
/// When it is full a source waits: its own queue behind it has its own bound and policy.
pub const REPORTS_MAX: usize = 1024;

/// A fact that happened once.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    /// When it happened.
    pub time: Timestamp,
    /// When the agent learned it.
    pub recorded_time: Timestamp,
    /// What happened.
    pub data: EventData,
}

/// Anything a source says.
#[derive(Debug)]
pub enum Report {
    /// Something happened.
    Fact(Fact),
    /// The complete picture, as of the facts reported before it.
    Picture(CheckpointContent),
    /// The source began or ceased to watch.
    Status(SourceStatus),
    /// Wants an answer as soon as the facts reported before it outlive the agent: a source that
    /// notes what it has told must not do so before.
    AreKept(oneshot::Sender<()>),
}

/// A source's way out.
#[derive(Debug, Clone)]
pub struct Reporter {
    reports: mpsc::Sender<Report>,
}

/// The outbox is gone: the agent is stopping, and the source should too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the outbox is closed")]
pub struct Closed;

impl Reporter {
    /// Wraps the sending half of the agent's report queue.
    pub fn new(reports: mpsc::Sender<Report>) -> Self {
        Self { reports }
    }

    /// Hands over a report; waits while the queue is full.
    ///
    /// # Errors
    /// When the agent is stopping.
    pub async fn send(&self, report: Report) -> Result<(), Closed> {
        self.reports.send(report).await.map_err(|_| Closed)
    }
}

/// Says how a source is doing, when that is not what it said last.
#[derive(Debug)]
pub struct StatusTeller {
    source: &'static str,
    reporter: Reporter,
    last: Option<SourceStatus>,
}

impl StatusTeller {
    /// For a source of this name, which has said nothing yet.
    pub fn new(source: &'static str, reporter: Reporter) -> Self {
        Self { source, reporter, last: None }
    }

    /// Whether anything was said.
    pub fn has_spoken(&self) -> bool {
        self.last.is_some()
    }

    /// Says whether the source watches, and what, or why not.
    ///
    /// # Errors
    /// When the agent is stopping.
    pub async fn say(&mut self, active: bool, detail: String) -> Result<(), Closed> {
        let status = SourceStatus { name: self.source.to_owned(), active, detail };
        if self.last.as_ref() == Some(&status) {
            return Ok(());
        }
        self.last = Some(status.clone());
        self.reporter.send(Report::Status(status)).await
    }
}

/// Waits until it is time for the next look, or a picture is wanted. Returns whether one is.
///
/// # Errors
/// When the agent is stopping.
pub async fn wait_or_wanted(until: Instant, wanted: &mut PictureWanted) -> Result<bool, Closed> {
    tokio::select! {
        () = sleep_until(until) => Ok(false),
        changed = wanted.changed() => changed.map(|()| true).map_err(|_| Closed),
    }
}

/// Changes whenever the agent wants a new picture from every source.
///
/// It is wanted after a doubt that only the outbox knows of: a collector with a new epoch, or
/// events that were dropped.
pub type PictureWanted = watch::Receiver<u64>;
