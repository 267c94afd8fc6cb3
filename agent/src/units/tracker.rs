//! Follows all watched units: from what systemd says to what is told.
//!
//! One owner, one closed [`Input`]; no I/O and no clock. Every answer comes in the order in
//! which systemd gave it, among its signals, so a listing is newer than all that came before
//! and older than all that comes after: no race is left between the two.
//!
//! A unit that systemd unloads while it is inactive is forgotten: it leaves the next picture,
//! and is no fact (there is one after every run of a oneshot, and hundreds after a
//! daemon-reload). One that goes while it runs or has failed is looked up: `unit.removed` if
//! systemd says not-found, otherwise it has stopped or recovered.

mod listing;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use pvewatch_protocol::event::UnitState;

use super::crash_loop::CrashLoopSettings;
use super::exchange::{Input, Now, Output};
use super::phase::Rules;
use super::schedule::Schedule;
use super::unit::Change;
use super::watched::Watched;
use crate::systemd::{Ending, Heard, ListedUnit, Signal, UnitName};

/// Most units that are followed: several times what a large node has. Further ones are not
/// watched, and the source's status says so.
pub const UNITS_MAX: usize = 50_000;

/// Most details that are asked for after one listing; further units go without.
const DETAILS_MAX: usize = 1_000;

/// Most names that are looked up after one listing; further ones wait for the next.
const LOOKUPS_MAX: usize = 500;

/// How long a picture waits for details; then it goes without.
const DETAILS_WAIT: Duration = Duration::from_secs(5);

/// The longest time from one picture to the next.
const PICTURE_INTERVAL_MAX: Duration = Duration::from_secs(900);

/// systemd names a failure that restarts since this version.
const RESTARTS_NAMED_SINCE: u32 = 254;

/// The watched units of one node.
#[derive(Debug)]
pub struct Tracker {
    settings: CrashLoopSettings,
    rules: Rules,
    units: HashMap<UnitName, Watched>,
    /// Units whose verdict waits for the ping that was sent, with the end of their patience.
    pinged: Vec<(UnitName, Instant)>,
    /// Units whose verdict waits for the next ping.
    unpinged: Vec<(UnitName, Instant)>,
    /// Units with a crash loop's deadline.
    looping: HashSet<UnitName>,
    /// Units whose details are on their way, as the listing gave them.
    awaited: HashMap<UnitName, ListedUnit>,
    looked_up: Vec<UnitName>,
    /// When `awaited` and `looked_up` are given up.
    awaited_until: Option<Instant>,
    schedule: Schedule,
    picture: Picture,
    refused: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Picture {
    /// One is due then.
    DueAt(Instant),
    /// One is wanted as soon as it is complete.
    Wanted,
}

impl Tracker {
    /// A tracker that knows nothing yet.
    pub fn new(settings: CrashLoopSettings) -> Self {
        Self {
            settings,
            rules: Rules { restarts_named: false, watching_since: Timestamp::MAX },
            units: HashMap::new(),
            pinged: Vec::new(),
            unpinged: Vec::new(),
            looping: HashSet::new(),
            awaited: HashMap::new(),
            looked_up: Vec::new(),
            awaited_until: None,
            schedule: Schedule::new(),
            picture: Picture::Wanted,
            refused: 0,
        }
    }

    /// Units that are followed.
    pub fn watched(&self) -> usize {
        self.units.len()
    }

    /// Units that are not followed because there are too many.
    pub fn refused(&self) -> usize {
        self.refused
    }

    /// Takes one input and says what is to be done, in order.
    pub fn handle(&mut self, now: Now, input: Input) -> Vec<Output> {
        let mut outputs = Vec::new();
        match input {
            Input::Connected(version) => {
                self.rules = Rules {
                    restarts_named: version.is_some_and(|version| version >= RESTARTS_NAMED_SINCE),
                    watching_since: now.wall,
                };
                self.schedule.connected();
                outputs.push(Output::List);
            }
            Input::Heard(Heard::Signal(signal)) => self.signal(now, signal, &mut outputs),
            Input::Heard(Heard::Listed(listed)) => self.listed(now, listed, &mut outputs),
            Input::Heard(Heard::LookedUp(listed)) => self.looked_up(now, listed, &mut outputs),
            Input::Heard(Heard::Ending(unit, ending)) => {
                self.ended(now, &unit, ending, &mut outputs)
            }
            Input::Heard(Heard::Details(unit, seen)) => {
                self.details(now, &unit, seen, &mut outputs)
            }
            Input::Heard(Heard::Pong) => {
                let waiting = std::mem::take(&mut self.pinged);
                self.decide(now, waiting, &mut outputs);
            }
            Input::Heard(Heard::Overflowed) => self.schedule.doubt(now.instant),
            Input::Disconnected => self.disconnected(now, &mut outputs),
            Input::PictureWanted => self.picture = Picture::Wanted,
            Input::Deadline => self.due(now, &mut outputs),
        }
        if self.pinged.is_empty() && !self.unpinged.is_empty() {
            std::mem::swap(&mut self.pinged, &mut self.unpinged);
            outputs.push(Output::Ping);
        }
        if self.picture == Picture::Wanted && self.is_complete() {
            self.picture = Picture::DueAt(now.instant + PICTURE_INTERVAL_MAX);
            outputs.push(Output::Show(self.picture_of_units()));
        }
        outputs
    }

    /// When [`Input::Deadline`] should come.
    pub fn next_deadline(&self) -> Option<Instant> {
        let waiting = self.pinged.iter().chain(&self.unpinged).map(|(_, until)| *until);
        let loop_of = |name| self.units.get(name)?.deadline(&self.settings);
        let looping = self.looping.iter().filter_map(loop_of);
        let picture = match self.picture {
            Picture::DueAt(due) => Some(due),
            Picture::Wanted => None,
        };
        waiting
            .chain(looping)
            .chain(picture)
            .chain(self.schedule.deadline())
            .chain(self.awaited_until)
            .min()
    }

    fn signal(&mut self, now: Now, signal: Signal, outputs: &mut Vec<Output>) {
        match signal {
            Signal::Unit(name, seen) => {
                let rules = self.rules;
                let Some(watched) = self.watched_mut(&name) else { return };
                let changes = watched.unit.observed(now.instant, seen, rules);
                self.tell(now, &name, changes, outputs);
            }
            Signal::Ending(name, ending) => self.ended(now, &name, ending, outputs),
            Signal::JobRemoved(name, result) => {
                if matches!(result.as_str(), "failed" | "timeout")
                    && let Some(watched) = self.units.get_mut(&name)
                {
                    watched.unit.job_failed();
                }
            }
            Signal::Removed(name) => {
                let Some(watched) = self.units.get(&name) else { return };
                if watched.unit.is_at_rest() && !self.schedule.is_reloading() {
                    self.forget(&name);
                } else {
                    self.schedule.soon(now.instant);
                }
            }
            Signal::Reloading(active) => self.schedule.reloading(now.instant, active),
            Signal::OwnerChanged => self.schedule.doubt(now.instant),
        }
    }

    fn ended(&mut self, now: Now, name: &UnitName, ending: Ending, outputs: &mut Vec<Output>) {
        let Some(watched) = self.watched_mut(name) else { return };
        let change = watched.unit.ended(ending);
        self.tell(now, name, change, outputs);
    }

    fn disconnected(&mut self, now: Now, outputs: &mut Vec<Output>) {
        let mut waiting = std::mem::take(&mut self.pinged);
        waiting.append(&mut self.unpinged);
        self.decide(now, waiting, outputs);
        self.awaited.clear();
        self.looked_up.clear();
        self.awaited_until = None;
        self.schedule.disconnected();
    }

    fn due(&mut self, now: Now, outputs: &mut Vec<Output>) {
        let is_late = |(_, until): &mut (UnitName, Instant)| *until <= now.instant;
        let mut late: Vec<_> = self.pinged.extract_if(.., is_late).collect();
        late.extend(self.unpinged.extract_if(.., is_late));
        self.decide(now, late, outputs);
        let looping: Vec<UnitName> = self.looping.iter().cloned().collect();
        for name in looping {
            if let Some(watched) = self.units.get_mut(&name)
                && let Some(telling) = watched.due(&name, now.instant, &self.settings)
            {
                outputs.push(Output::Tell(Box::new(telling)));
            }
            self.note_deadline(&name);
        }
        if self.awaited_until.is_some_and(|until| until <= now.instant) {
            self.awaited_until = None;
            self.looked_up.clear();
            let missing: Vec<UnitName> = self.awaited.keys().cloned().collect();
            for name in missing {
                self.details(now, &name, None, outputs);
            }
        }
        if self.schedule.due(now.instant) {
            outputs.push(Output::List);
        }
        if matches!(self.picture, Picture::DueAt(due) if due <= now.instant) {
            self.picture = Picture::Wanted;
        }
    }

    /// Takes the verdicts that still wait as they did when they were noted.
    fn decide(&mut self, now: Now, waiting: Vec<(UnitName, Instant)>, outputs: &mut Vec<Output>) {
        for (name, until) in waiting {
            let Some(watched) = self.units.get_mut(&name) else { continue };
            if watched.unit.pending_until() == Some(until) {
                let change = watched.unit.decide();
                self.tell(now, &name, change, outputs);
            }
        }
    }

    /// Tells changes of a unit, and notes what it waits for.
    fn tell(
        &mut self,
        now: Now,
        name: &UnitName,
        changes: impl IntoIterator<Item = Change>,
        outputs: &mut Vec<Output>,
    ) {
        let Some(watched) = self.units.get_mut(name) else { return };
        let mut changed = false;
        for change in changes {
            changed = true;
            let invocation = change.snapshot.invocation;
            let telling = watched.tell(name, now.instant, now.wall, change, &self.settings);
            let Some(telling) = telling else { continue };
            let with_log = telling.with_log;
            outputs.push(Output::Tell(Box::new(telling)));
            if let Some(invocation) = invocation.filter(|_| with_log) {
                outputs.push(Output::ReadLog(name.clone(), invocation));
            }
        }
        if let Some(until) = watched.unit.pending_until() {
            let noted = |entry: &(UnitName, Instant)| entry.1 == until && entry.0 == *name;
            if !self.pinged.iter().any(noted) && !self.unpinged.iter().any(noted) {
                self.unpinged.push((name.clone(), until));
            }
        }
        if changed {
            self.note_deadline(name);
        }
    }

    fn note_deadline(&mut self, name: &UnitName) {
        let deadline = self.units.get(name).and_then(|watched| watched.deadline(&self.settings));
        if deadline.is_some() {
            self.looping.insert(name.clone());
        } else {
            self.looping.remove(name);
        }
    }

    fn forget(&mut self, name: &UnitName) {
        self.units.remove(name);
        self.looping.remove(name);
    }

    /// The unit, made known if there is room for it.
    fn watched_mut(&mut self, name: &UnitName) -> Option<&mut Watched> {
        if !self.units.contains_key(name) {
            if self.units.len() >= UNITS_MAX {
                return None;
            }
            let unit_type = name.unit_type();
            let new = if self.schedule.has_listed() {
                Watched::newly_loaded(unit_type)
            } else {
                Watched::unknown(unit_type)
            };
            self.units.insert(name.clone(), new);
        }
        self.units.get_mut(name)
    }

    /// Whether nothing is on its way that would make a picture wrong a moment later.
    fn is_complete(&self) -> bool {
        self.schedule.has_listed()
            && self.awaited.is_empty()
            && self.looked_up.is_empty()
            && self.pinged.is_empty()
    }

    fn picture_of_units(&self) -> Vec<UnitState> {
        let mut units: Vec<UnitState> =
            self.units.iter().filter_map(|(name, watched)| watched.state(name)).collect();
        units.sort_by(|a, b| a.unit.cmp(&b.unit));
        units
    }
}
