//! The disk's side of the runner: opening the spool, making it durable, saying how it is.

use std::io;
use std::path::Path;

use pvewatch_protocol::event::SourceStatus;
use pvewatch_protocol::{CheckpointContent, StreamId};
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio::time::timeout;

use super::{GOODBYE_MAX, Runner};
use crate::outbox::spool::{Files, Finding, Limits, Opened, Owner, Spool, SyncTicket};
use crate::{clock, pictures};

/// What is being made durable.
pub(super) struct Syncing {
    ticket: SyncTicket,
    job: JoinHandle<io::Result<()>>,
}

/// Opens the spool. An agent whose disk cannot be used still watches: it says so, and keeps its
/// events in memory until it can.
pub(super) fn open(
    folder: Option<&Path>,
    owner: Owner,
    limits: Limits,
    stream: StreamId,
) -> (Spool, Opened, SourceStatus) {
    let Some(folder) = folder else {
        let why = "events are kept in memory only: set [outbox] directory, to have them survive a \
                   restart";
        let spool = Spool::in_memory(owner, limits, stream);
        return (spool, Opened::default(), status(Some(why)));
    };
    let files = Box::new(Files::at(folder));
    let (spool, opened) = Spool::open(files, owner, limits, stream, clock::now());
    opened.findings.iter().for_each(tell);
    if let Some(trouble) = spool.trouble() {
        log::error!("outbox: {trouble}");
    }
    let status = status(spool.trouble());
    (spool, opened, status)
}

/// Waits for what is being made durable; for ever if nothing is. Cancel safe.
pub(super) async fn synced(syncing: &mut Option<Syncing>) -> (SyncTicket, io::Result<()>) {
    match syncing {
        Some(running) => {
            let result = outcome((&mut running.job).await);
            match syncing.take() {
                Some(done) => (done.ticket, result),
                None => std::future::pending().await,
            }
        }
        None => std::future::pending().await,
    }
}

impl Runner {
    /// Begins to make durable what is not, unless that is under way.
    pub(super) fn begin_sync(&mut self) {
        self.tell_findings();
        if self.syncing.is_none()
            && let Some((ticket, job)) = self.outbox.begin_sync(clock::now())
        {
            self.syncing = Some(Syncing { ticket, job: spawn_blocking(job) });
        }
    }

    pub(super) fn on_synced(&mut self, ticket: &SyncTicket, result: io::Result<()>) {
        self.outbox.on_synced(clock::now(), ticket, result);
        self.tell_disk();
    }

    /// Answers those whose events are durable.
    pub(super) fn answer_keepers(&mut self) {
        while let Some((position, _)) = self.keepers.front()
            && self.outbox.is_kept(*position)
            && let Some((_, answer)) = self.keepers.pop_front()
        {
            // Whoever asked may be gone.
            let _ = answer.send(());
        }
    }

    /// Says how the disk is, when that changed.
    pub(super) fn tell_disk(&mut self) {
        if !self.outbox.is_on_disk() {
            return;
        }
        let status = status(self.outbox.trouble());
        let line = status.detail.clone();
        let is_well = status.active;
        if pictures::set_status(&mut self.facts, status) {
            if is_well {
                log::info!("outbox: {line}");
            } else {
                log::error!("outbox: {line}");
            }
            self.queue_picture(CheckpointContent::Agent(self.facts.clone()));
            self.tell_status();
        }
    }

    /// Says what was found on the disk; pictures make up for what it lost.
    fn tell_findings(&mut self) {
        let findings = self.outbox.take_findings();
        if findings.is_empty() {
            return;
        }
        findings.iter().for_each(tell);
        if self.epoch.is_some() {
            self.want_pictures();
        }
        self.tell_disk();
    }

    /// The last events become durable too, if the disk answers in time.
    pub(super) async fn sync_last(&mut self) {
        let all = timeout(GOODBYE_MAX, async {
            loop {
                self.begin_sync();
                if self.syncing.is_none() {
                    return;
                }
                let (ticket, result) = synced(&mut self.syncing).await;
                self.outbox.on_synced(clock::now(), &ticket, result);
            }
        });
        if all.await.is_err() {
            log::warn!("the disk did not answer within {GOODBYE_MAX:?}");
        }
    }
}

fn tell(finding: &Finding) {
    match finding {
        Finding::Torn(text) => log::info!("{text}"),
        Finding::Damaged(text) => log::error!("{text}"),
    }
}

fn outcome(joined: Result<io::Result<()>, JoinError>) -> io::Result<()> {
    joined.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn status(trouble: Option<&str>) -> SourceStatus {
    SourceStatus {
        name: "outbox".to_owned(),
        active: trouble.is_none(),
        detail: trouble.unwrap_or("events are on disk until every collector has them").to_owned(),
    }
}
