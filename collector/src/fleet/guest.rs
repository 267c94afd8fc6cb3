//! A guest on one node: whether it runs, why, and what its configuration says.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::event::{GuestCause, GuestKind, GuestRun, GuestState};
use pvewatch_protocol::{Guest as GuestPlan, NodeName, Position, Vmid};
use serde::{Deserialize, Serialize};

use super::entity::Version;
use super::moment::Moment;

/// The guests of a node, by number.
pub type Guests = BTreeMap<Arc<str>, Arc<Guest>>;

/// How long a node may take to start its guests after a boot, if it does not say when it is done.
const STARTING_MAX: SignedDuration = SignedDuration::from_mins(15);

/// How long a guest that has moved may still be known where it was.
const MOVING_MAX: SignedDuration = SignedDuration::from_mins(10);

/// vzdump says when it ended to the second.
const ROUNDED: SignedDuration = SignedDuration::from_secs(1);

/// A guest, as the node says that has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Guest {
    /// The node.
    pub node: NodeName,
    /// Its number, as a text.
    pub id: Arc<str>,
    /// Its number.
    pub vmid: Vmid,
    /// What it is.
    pub kind: GuestKind,
    /// Whether it runs and why; none as long as nobody has said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<GuestRun>,
    /// What its configuration says; none while the node does not have it, as of one that moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<GuestPlan>,
    /// Its environment, by its tags and pool; none if that of its node counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Since when it runs, or does not.
    pub since: Moment,
    /// Whether it came to a node that was known, and has not run there yet: that it does not run
    /// is as meant.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_newcomer: bool,
    /// Since when it should run again. Can lie ahead, while its node starts its guests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaited_since: Option<Moment>,
    /// The task of the backup of it that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
    /// The boot of its node in which it was started or stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// How new what is known of its running is.
    pub version: Version,
    /// The last event that this description includes.
    pub position: Position,
}

impl Guest {
    /// A guest of which nobody has said yet whether it runs.
    pub fn new(
        node: NodeName,
        (vmid, kind): (Vmid, GuestKind),
        since: Moment,
        at: Position,
    ) -> Self {
        Self {
            node,
            id: vmid.to_string().into(),
            vmid,
            kind,
            run: None,
            plan: None,
            environment: None,
            since,
            is_newcomer: false,
            awaited_since: None,
            backup: None,
            boot: None,
            version: Version::default(),
            position: at,
        }
    }

    /// Whether it runs; no if nobody has said.
    pub fn is_running(&self) -> bool {
        self.state() == Some(GuestState::Running)
    }

    /// Whether it runs; none if nobody has said.
    pub fn state(&self) -> Option<GuestState> {
        self.run.as_ref().map(|run| run.state)
    }

    /// Its name, if its configuration is known.
    pub fn name(&self) -> Option<&str> {
        self.plan.as_ref()?.name.as_deref()
    }

    /// Whether it does not run although it should: nothing asked for that, or, if nobody saw it
    /// stop, the node is to start it when it boots.
    pub fn is_unexpectedly_stopped(&self) -> bool {
        let Some(run) = self.run.as_ref().filter(|run| run.state == GuestState::Stopped) else {
            return false;
        };
        match run.cause {
            Some(_) => !run.expected,
            None => {
                let is_wanted = |plan: &GuestPlan| plan.onboot && !plan.template;
                !self.is_newcomer && self.plan.as_ref().is_some_and(is_wanted)
            }
        }
    }

    /// When the day has passed that a tag such as `expires-2026-12-31` names, in UTC.
    pub fn expires_at(&self) -> Option<Timestamp> {
        let day = |tag: &String| {
            let date = tag.strip_prefix("expires")?.strip_prefix([':', '-', '_', '.'])?;
            let next: Date = date.parse::<Date>().ok()?.tomorrow().ok()?;
            Some(next.to_zoned(TimeZone::UTC).ok()?.timestamp())
        };
        self.plan.as_ref()?.tags.iter().find_map(day)
    }

    /// When the oldest of its snapshots was made that something makes by itself.
    pub fn oldest_auto_snapshot_at(&self) -> Option<Timestamp> {
        let snapshots = &self.plan.as_ref()?.snapshots;
        snapshots.iter().find(|snapshot| snapshot.name.starts_with("auto")).map(|it| it.at)
    }

    /// Somebody saw it start or stop, in this boot of its node.
    pub fn turn(&mut self, run: GuestRun, boot: Option<&str>, moment: Moment) {
        self.awaited_since = match run.cause {
            _ if run.state != GuestState::Stopped => None,
            // One that is restarted was to be there again at once.
            Some(GuestCause::Requested) if run.awaited => Some(moment),
            // One that moves is another node's soon, or the move has failed.
            Some(GuestCause::Migration) => Some(moment.after(MOVING_MAX)),
            _ => None,
        };
        self.is_newcomer &= run.state != GuestState::Running;
        self.kind = run.kind;
        self.since = moment;
        self.boot = boot.map(str::to_owned);
        self.run = Some(run);
    }

    /// A picture says whether it runs. What was seen of its stop says more than a picture, unless
    /// that knows why and nobody else does. Returns whether that is news.
    pub fn learn(&mut self, run: GuestRun, boot: Option<&str>, moment: Moment) -> bool {
        let is_same = self.state() == Some(run.state);
        let explains =
            |cause: Option<GuestCause>| cause.is_some_and(|cause| cause != GuestCause::Unexplained);
        let is_explained = self.run.as_ref().is_some_and(|known| explains(known.cause));
        if is_same && (is_explained || !explains(run.cause)) {
            // One that runs does so in this boot, whenever it was started.
            let is_news = run.state == GuestState::Running && self.boot.as_deref() != boot;
            if is_news {
                self.boot = boot.map(str::to_owned);
            }
            return is_news;
        }
        let since = self.since;
        self.turn(run, boot, moment);
        if is_same {
            self.since = since;
        }
        true
    }

    /// A complete picture of those that run does not name it. Returns whether that is news.
    pub fn is_not_running(&mut self, boot: Option<&str>, moment: Moment) -> bool {
        let cause = match self.state() {
            Some(GuestState::Stopped) => return false,
            Some(GuestState::Running) if self.was_before(boot) => Some(GuestCause::NodeShutdown),
            Some(GuestState::Running) => Some(GuestCause::Unexplained),
            Some(GuestState::Unknown) | None => None,
        };
        let run = GuestRun {
            vmid: self.vmid,
            kind: self.kind,
            state: GuestState::Stopped,
            since: None,
            cause,
            expected: cause.is_some_and(GuestCause::is_meant),
            // What ran for its backup alone was stopped before.
            awaited: cause == Some(GuestCause::NodeShutdown)
                && self.run.as_ref().is_some_and(|run| !run.awaited),
            upid: None,
            user: None,
            detail: None,
        };
        // It was stopped in the boot before, if it was for a boot.
        let boot = self.boot.take().or_else(|| boot.map(str::to_owned));
        self.turn(run, boot.as_deref(), moment);
        true
    }

    /// Its node runs in this boot: what was not yet to run counts from now on. If it was stopped for
    /// that, it is to be back when the node has started its guests. Returns whether that is news.
    pub fn await_after_boot(&mut self, boot: Option<&str>, moment: Moment) -> bool {
        self.is_newcomer &= !self.was_before(boot);
        let is_due = self.is_awaited_after(GuestCause::NodeShutdown)
            && self.awaited_since.is_none()
            && self.was_before(boot);
        if is_due {
            self.awaited_since = Some(moment.after(STARTING_MAX));
        }
        is_due
    }

    /// Its node has started its guests. Returns whether that is news.
    pub fn await_after_start_of_all(&mut self, moment: Moment) -> bool {
        let is_due = self.is_awaited_after(GuestCause::NodeShutdown)
            && self.awaited_since.is_some_and(|since| moment.fact < since.fact);
        if is_due {
            self.awaited_since = Some(moment);
        }
        is_due
    }

    /// A backup of it has ended: if that stopped it, it is to be back. Returns whether that is news.
    pub fn await_after_backup(&mut self, moment: Moment) -> bool {
        let is_due = self.is_awaited_after(GuestCause::Backup)
            && self.awaited_since.is_none()
            && self.since.fact < moment.after(ROUNDED).fact;
        if is_due {
            self.awaited_since = Some(moment);
        }
        is_due
    }

    /// Whether it was started or stopped in another boot of its node; no, if nobody knows.
    fn was_before(&self, boot: Option<&str>) -> bool {
        self.boot.as_deref().zip(boot).is_some_and(|(own, now)| own != now)
    }

    fn is_awaited_after(&self, cause: GuestCause) -> bool {
        self.run.as_ref().is_some_and(|run| {
            run.awaited && run.state == GuestState::Stopped && run.cause == Some(cause)
        })
    }
}
