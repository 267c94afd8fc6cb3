//! One expectation of a story: what is heard next about a unit.

use std::time::Duration;

use pvewatch_protocol::EventData;
use pvewatch_protocol::event::{AgentStopping, UnitChange, UnitChanged, UnitLog};

use super::site::{Heard, Site, Thread};
use crate::deadline::GENEROUS;

/// Waits for what is heard next about one unit of one node.
pub struct Hears<'a> {
    site: &'a mut Site,
    thread: Thread,
    within: Duration,
}

impl<'a> Hears<'a> {
    pub(super) fn about(site: &'a mut Site, thread: Thread) -> Self {
        Self { site, thread, within: GENEROUS }
    }

    /// With another deadline than the usual one.
    pub fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// It runs, and did not before.
    #[track_caller]
    pub fn start(self) -> UnitChanged {
        self.change(UnitChange::Started)
    }

    /// It stopped without a failure.
    #[track_caller]
    pub fn stop(self) -> UnitChanged {
        self.change(UnitChange::Stopped)
    }

    /// It failed, and systemd will not start it again by itself.
    #[track_caller]
    pub fn fail_for_good(self) -> UnitChanged {
        self.change_that("fail for good", |it| {
            it.change == UnitChange::Failed && !it.state.will_restart
        })
    }

    /// It failed, and systemd is about to start it again by itself.
    #[track_caller]
    pub fn fail_and_be_restarted(self) -> UnitChanged {
        self.change_that("fail with a restart to come", |it| {
            it.change == UnitChange::Failed && it.state.will_restart
        })
    }

    /// It left the failed state.
    #[track_caller]
    pub fn recover(self) -> UnitChanged {
        self.change(UnitChange::Recovered)
    }

    /// Its failures are folded from now on.
    #[track_caller]
    pub fn crash_loop(self) -> UnitChanged {
        self.change(UnitChange::CrashLooping)
    }

    /// systemd does not know it any more.
    #[track_caller]
    pub fn be_removed(self) {
        self.next("be removed", |data| matches!(data, EventData::UnitRemoved(_)));
    }

    /// The journal lines of a failed run; the lines follow the failure.
    #[track_caller]
    pub fn log(self) -> UnitLog {
        match self.next("its log", |data| matches!(data, EventData::UnitLog(_))).event.data {
            EventData::UnitLog(log) => log,
            other => unreachable!("{other:?}"),
        }
    }

    /// The agent begins a stream.
    #[track_caller]
    pub fn started(self) -> Heard {
        self.next("the agent start", |data| matches!(data, EventData::AgentStarted(_)))
    }

    /// The agent ends its stream on purpose.
    #[track_caller]
    pub fn stopping(self) -> AgentStopping {
        let heard = self.next("the agent stop", |it| matches!(it, EventData::AgentStopping(_)));
        match heard.event.data {
            EventData::AgentStopping(stopping) => stopping,
            other => unreachable!("{other:?}"),
        }
    }

    #[track_caller]
    fn change(self, change: UnitChange) -> UnitChanged {
        self.change_that(&format!("{change:?}"), |it| it.change == change)
    }

    /// Any change for which `wanted` is true.
    #[track_caller]
    pub fn change_that(self, what: &str, wanted: impl Fn(&UnitChanged) -> bool) -> UnitChanged {
        let is_wanted = |data: &EventData| matches!(data, EventData::UnitChanged(it) if wanted(it));
        match self.next(what, is_wanted).event.data {
            EventData::UnitChanged(changed) => *changed,
            other => unreachable!("{other:?}"),
        }
    }

    /// Any event for which `wanted` is true, with the time of its arrival.
    #[track_caller]
    pub fn next(self, what: &str, wanted: impl Fn(&EventData) -> bool) -> Heard {
        let (node, unit) = &self.thread;
        let what = format!("{what}: {unit} on {node}");
        self.site.next_of(&self.thread, &what, self.within, |event| wanted(&event.data))
    }
}
