//! The I/O of the source `units`: joins the bus, the tracker, the journal and the reporter.
//!
//! Never gives up: without a bus it says so in its status, and tries again after 1 s to 60 s.
//! One task owns the tracker; nothing here decides anything about units.

mod journalctl;
mod stop;

use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use jiff::Timestamp;
use pvewatch_protocol::event::UnitRemoved;
use pvewatch_protocol::{CheckpointContent, EventData};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::config::{UnitsConfig, UnitsPaths};
use super::exchange::{Input, Now, Output};
use super::tracker::{Tracker, UNITS_MAX};
use crate::source::{Closed, Fact, PictureWanted, Report, Reporter, StatusTeller};
use crate::systemd::bus::{Bus, BusError};
use crate::systemd::{Heard, Selection, UnitGlob};
use journalctl::{REQUESTS_MAX, Request};

pub use stop::stop_reason;

/// The first and the longest wait for the bus to come back.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Follows the units of this node until the outbox closes.
///
/// # Errors
/// When the outbox is closed: the agent stops.
pub async fn run(
    config: UnitsConfig,
    paths: UnitsPaths,
    reporter: Reporter,
    picture_wanted: PictureWanted,
) -> Result<(), Closed> {
    let selection = Arc::new(config.selection());
    let address = paths.system_bus.clone();
    let (requests, requests_out) = mpsc::channel(REQUESTS_MAX);
    let (trouble_in, trouble) = watch::channel(None);
    let mut source = Source {
        tracker: Tracker::new(config.crash_loop.settings()),
        reporter: reporter.clone(),
        picture_wanted,
        requests: config.log.enabled.then_some(requests),
        log_exclude: config.log.exclude.clone(),
        trouble,
        status: StatusTeller::new("units", reporter.clone()),
        counted: None,
    };
    let mut reader = JoinSet::new();
    reader.spawn(journalctl::serve(config.log, paths, requests_out, reporter, trouble_in));
    let retries = ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(RETRY.0)
        .with_max_delay(RETRY.1)
        .without_max_times();
    let mut delays = retries.build();
    loop {
        let reason = match Bus::connect(address.as_deref(), selection.clone()).await {
            Ok(bus) => {
                let end = source.follow(bus).await?;
                if end.was_useful {
                    delays = retries.build();
                }
                end.reason
            }
            Err(error) => error,
        };
        source.say_inactive(&reason, &selection).await?;
        source.wait(delays.next().unwrap_or(RETRY.1)).await?;
    }
}

/// How a connection ended.
struct End {
    reason: BusError,
    /// Whether a listing came over it.
    was_useful: bool,
}

struct Source {
    tracker: Tracker,
    reporter: Reporter,
    picture_wanted: PictureWanted,
    /// None if no lines are wanted at all.
    requests: Option<mpsc::Sender<Request>>,
    log_exclude: Vec<UnitGlob>,
    trouble: watch::Receiver<Option<String>>,
    status: StatusTeller,
    /// How many units the first listing of this connection had.
    counted: Option<usize>,
}

impl Source {
    /// Follows the units over one connection, until it is lost.
    async fn follow(&mut self, mut bus: Bus) -> Result<End, Closed> {
        let mut was_useful = false;
        let mut input = Input::Connected(bus.systemd_version);
        let reason = loop {
            let listed =
                matches!(input, Input::Heard(Heard::Listed(_)) | Input::Heard(Heard::Overflowed));
            was_useful |= listed;
            let outputs = self.tracker.handle(now(), input);
            if let Err(reason) = self.carry_out(outputs, Some(&mut bus)).await? {
                break reason;
            }
            if listed {
                self.say_active(&bus).await?;
            }
            if let Err(reason) = bus.ask_for_details(instant()).await {
                break reason;
            }
            input = match self.next_input(&mut bus).await? {
                Ok(input) => input,
                Err(reason) => break reason,
            };
        };
        self.counted = None;
        let outputs = self.tracker.handle(now(), Input::Disconnected);
        // Without a bus nothing can be asked; what is told and shown is told and shown.
        let _ = self.carry_out(outputs, None).await?;
        Ok(End { reason, was_useful })
    }

    /// Waits for whatever comes first.
    async fn next_input(&mut self, bus: &mut Bus) -> Result<Result<Input, BusError>, Closed> {
        loop {
            let deadline = self.tracker.next_deadline();
            let patience = bus.patience_ends();
            tokio::select! {
                heard = bus.next() => return Ok(heard.map(Input::Heard)),
                changed = self.picture_wanted.changed() => {
                    changed.map_err(|_| Closed)?;
                    return Ok(Ok(Input::PictureWanted));
                }
                Ok(()) = self.trouble.changed() => self.say_active(bus).await?,
                () = sleep_until(deadline) => return Ok(Ok(Input::Deadline)),
                () = sleep_until(patience) => return Ok(Err(BusError::SystemdHangs)),
            }
        }
    }

    /// Waits without a bus. Crash loops go quiet and pictures are wanted all the same.
    async fn wait(&mut self, delay: Duration) -> Result<(), Closed> {
        let until = instant() + delay;
        loop {
            let deadline = self.tracker.next_deadline();
            let input = tokio::select! {
                () = sleep_until(Some(until)) => return Ok(()),
                changed = self.picture_wanted.changed() => {
                    changed.map_err(|_| Closed)?;
                    Input::PictureWanted
                }
                () = sleep_until(deadline) => Input::Deadline,
            };
            let outputs = self.tracker.handle(now(), input);
            let _ = self.carry_out(outputs, None).await?;
        }
    }

    async fn carry_out(
        &mut self,
        outputs: Vec<Output>,
        mut bus: Option<&mut Bus>,
    ) -> Result<Result<(), BusError>, Closed> {
        for output in outputs {
            let now = now();
            let asked = match (output, &mut bus) {
                (Output::Tell(telling), _) => {
                    let data = EventData::UnitChanged(Box::new(telling.changed));
                    self.tell(telling.at.unwrap_or(now.wall), now.wall, data).await?;
                    Ok(())
                }
                (Output::TellRemoved(unit), _) => {
                    let unit = unit.as_str().to_owned();
                    let data = EventData::UnitRemoved(UnitRemoved { unit });
                    self.tell(now.wall, now.wall, data).await?;
                    Ok(())
                }
                (Output::ReadLog(unit, invocation), _) => {
                    self.request_log(Request { unit, invocation });
                    Ok(())
                }
                (Output::Show(units), _) => {
                    let picture = CheckpointContent::Units(units);
                    self.reporter.send(Report::Picture(picture)).await?;
                    Ok(())
                }
                (Output::List, Some(bus)) => bus.list(now.instant).await,
                (Output::LookUp(names), Some(bus)) => bus.look_up(now.instant, &names).await,
                (Output::Details(unit), Some(bus)) => bus.details(now.instant, unit).await,
                (Output::Ping, Some(bus)) => bus.ping(now.instant).await,
                (Output::List | Output::LookUp(_) | Output::Details(_) | Output::Ping, None) => {
                    Ok(())
                }
            };
            if asked.is_err() {
                return Ok(asked);
            }
        }
        Ok(Ok(()))
    }

    async fn tell(
        &self,
        time: Timestamp,
        recorded_time: Timestamp,
        data: EventData,
    ) -> Result<(), Closed> {
        self.reporter.send(Report::Fact(Fact { time, recorded_time, data })).await
    }

    fn request_log(&self, request: Request) {
        let Some(requests) = &self.requests else { return };
        if self.log_exclude.iter().any(|glob| glob.matches(request.unit.as_str())) {
            return;
        }
        if let Err(mpsc::error::TrySendError::Full(request)) = requests.try_send(request) {
            log::info!("{}: no journal lines are sent, too many units failed", request.unit);
        }
    }

    async fn say_active(&mut self, bus: &Bus) -> Result<(), Closed> {
        let version = match bus.systemd_version {
            Some(version) => format!("systemd {version}"),
            None => "systemd".to_owned(),
        };
        // The number at first: a status that changed with every unit would say nothing new.
        let counted = *self.counted.get_or_insert(self.tracker.watched());
        let mut detail = format!("{counted} units of {version}");
        if self.tracker.refused() > 0 {
            let refused = self.tracker.refused();
            detail += &format!(
                "; {refused} more are not watched, since {UNITS_MAX} is the most: set [units] exclude"
            );
        }
        if bus.dropped() > 0 {
            let dropped = bus.dropped();
            detail += &format!("; {dropped} signals came too fast: all units were listed again");
        }
        if let Some(trouble) = &*self.trouble.borrow_and_update() {
            detail += &format!("; failures come without journal lines: {trouble}");
        }
        self.status.say(true, detail).await
    }

    async fn say_inactive(
        &mut self,
        reason: &BusError,
        selection: &Selection,
    ) -> Result<(), Closed> {
        let patterns: Vec<&str> = selection.include.iter().map(UnitGlob::as_str).collect();
        let detail = format!("{} are not watched: {reason}", patterns.join(", "));
        self.status.say(false, detail).await
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

fn now() -> Now {
    #[expect(clippy::disallowed_methods, reason = "the source stamps what it learned, on arrival")]
    let wall = Timestamp::now();
    Now { instant: instant(), wall }
}

#[expect(clippy::disallowed_methods, reason = "the pure parts take time as an argument from here")]
fn instant() -> Instant {
    Instant::now()
}
