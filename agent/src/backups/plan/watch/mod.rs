//! The source `backup_jobs`: tells what the node has to back up, when that changes.
//!
//! The kernel says nothing of what other nodes write below `/etc/pve`, so Proxmox' own versions are
//! looked at every few seconds. That is done on a thread of its own, since the file system can hang.
//! Absent: what became of the runs (`backups::watch`).

pub mod notes;
pub mod reader;

use std::io;
use std::time::Duration;

use pvewatch_protocol::{CheckpointContent, Guest};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use crate::clock::instant;
use crate::source::{Closed, PictureWanted, Report, Reporter, StatusTeller, wait_or_wanted};
use reader::{Plan, PlanError, PlanPaths, PlanReader};

/// From one look to the next. A job is told within it of when it began.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// From one look to the next where there is nothing of Proxmox, as there hardly ever will be.
const LOOK_EVERY_IF_ABSENT: Duration = Duration::from_mins(1);

/// How long a look may take before it counts as hanging; it is waited for all the same.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often the whole plan is told although nothing changed.
const RENEW_EVERY: Duration = Duration::from_mins(15);

/// Tells the plan until the outbox closes.
///
/// # Errors
/// When the outbox is closed: the agent stops.
pub async fn run(
    paths: PlanPaths,
    reporter: Reporter,
    mut picture_wanted: PictureWanted,
) -> Result<(), Closed> {
    let status = StatusTeller::new("backup_jobs", reporter.clone());
    let mut source = Source { reporter, told: None, renew_at: instant(), status };
    let mut reader = PlanReader::new(paths);
    loop {
        let mut look = spawn_blocking(move || {
            let plan = reader.read();
            (reader, plan)
        });
        let looked = source.wait(&mut look, &mut picture_wanted).await?;
        let Ok((reader_back, plan)) = looked else {
            // A panic is a defect, and was logged as one; what is left of the agent goes on.
            return source.status.say(false, "its reader broke down".to_owned()).await;
        };
        reader = reader_back;
        let pause = match &plan {
            Err(PlanError::NoProxmox(_)) => LOOK_EVERY_IF_ABSENT,
            _ => LOOK_EVERY,
        };
        let next_look = instant() + pause;
        source.take(plan).await?;
        if wait_or_wanted(next_look, &mut picture_wanted).await? {
            source.renew_at = instant();
        }
    }
}

struct Source {
    reporter: Reporter,
    told: Option<Plan>,
    renew_at: Instant,
    status: StatusTeller,
}

impl Source {
    /// Waits for a look at the plan, however long it takes.
    async fn wait<T>(
        &mut self,
        look: &mut JoinHandle<T>,
        picture_wanted: &mut PictureWanted,
    ) -> Result<io::Result<T>, Closed> {
        let hangs_at = instant() + PATIENCE;
        let mut is_hanging = false;
        loop {
            tokio::select! {
                looked = &mut *look => return Ok(looked.map_err(io::Error::other)),
                () = sleep_until(hangs_at), if !is_hanging => {
                    is_hanging = true;
                    self.status.say(false, "Proxmox' configuration cannot be read: it hangs".to_owned())
                        .await?;
                }
                changed = picture_wanted.changed() => {
                    changed.map_err(|_| Closed)?;
                    self.renew_at = instant();
                }
            }
        }
    }

    async fn take(&mut self, plan: Result<Plan, PlanError>) -> Result<(), Closed> {
        let plan = match plan {
            Ok(plan) => plan,
            // A host that never was a Proxmox node lacks nothing.
            Err(PlanError::NoProxmox(_)) if !self.status.has_spoken() => return Ok(()),
            // What was told stands: a plan that cannot be read is not an empty one.
            Err(error) => return self.status.say(false, error.to_string()).await,
        };
        let must_renew = self.renew_at <= instant();
        if must_renew {
            self.renew_at = instant() + RENEW_EVERY;
        }
        let told = self.told.take();
        let is_other = |differs: fn(&Plan, &Plan) -> bool| {
            must_renew || told.as_ref().is_none_or(|told| differs(told, &plan))
        };
        let guests = is_other(|told, plan| told.guests != plan.guests);
        let all = || plan.guests.iter().map(|guest| Guest::clone(guest)).collect();
        let guests = guests.then(|| CheckpointContent::Guests(all()));
        let jobs = is_other(|told, plan| told.jobs != plan.jobs);
        let jobs = jobs.then(|| CheckpointContent::BackupJobs(plan.jobs.clone()));
        // So that no guest that is covered seems to be in no job, not even for a moment: one that
        // comes comes after its jobs, one that leaves leaves before them.
        let is_left = told.is_some_and(|told| plan.lacks_guests_of(&told));
        let pictures = if is_left { [guests, jobs] } else { [jobs, guests] };
        for picture in pictures.into_iter().flatten() {
            self.reporter.send(Report::Picture(picture)).await?;
        }
        let detail = format!("{} guests, {} backup jobs", plan.guests.len(), plan.jobs.len());
        self.told = Some(plan);
        self.status.say(true, detail).await
    }
}
