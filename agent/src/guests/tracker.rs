//! Who runs, by what systemd says.
//!
//! A unit that systemd forgets may be there again at once, and a signal can be lost: whatever is
//! not plain is asked for.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use pvewatch_protocol::Vmid;
use pvewatch_protocol::event::{GuestKind, GuestState};

use super::unit::guest_of;
use crate::systemd::{Ending, Heard, Signal, UnitName};

/// Guests whose state is followed: more than a node has. Overflow: the rest is not told.
const GUESTS_MAX: usize = 10_000;

/// A guest was started or stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The guest.
    pub vmid: Vmid,
    /// What it is.
    pub kind: GuestKind,
    /// What it does now.
    pub state: GuestState,
    /// When, if systemd said so.
    pub at: Option<Timestamp>,
    /// How its processes ended, if they did.
    pub ending: Option<Ending>,
    /// Whether a listing found it, and nobody saw it.
    pub is_unseen: bool,
}

/// What follows from what was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A guest was started or stopped.
    Turned(Turn),
    /// The first listing since the bus was reached has come: all that run are known.
    Complete,
    /// Ask for all guests' units.
    List,
    /// Ask for these.
    LookUp(Vec<UnitName>),
}

/// Follows the guests' units.
#[derive(Debug, Default)]
pub struct Tracker {
    /// The units of guests that run.
    running: BTreeMap<UnitName, (Vmid, GuestKind)>,
    /// How units ended of which it is not said yet that they did.
    endings: BTreeMap<UnitName, Ending>,
}

impl Tracker {
    /// The guests that run.
    pub fn running(&self) -> BTreeMap<Vmid, GuestKind> {
        self.running.values().copied().collect()
    }

    /// Takes in what was heard.
    pub fn hear(&mut self, heard: Heard) -> Vec<Output> {
        match heard {
            Heard::Signal(signal) => self.signal(signal),
            Heard::Listed(units) => {
                let states = units.into_iter().map(|listed| (listed.unit, listed.active_state));
                let running: BTreeSet<_> =
                    states.filter(|(_, state)| is_running(state)).map(|(unit, _)| unit).collect();
                let gone = self.running.keys().filter(|unit| !running.contains(*unit)).cloned();
                let mut outputs: Vec<Output> = gone
                    .collect::<Vec<_>>()
                    .iter()
                    .filter_map(|unit| self.stop(unit, None))
                    .collect();
                outputs.extend(running.into_iter().filter_map(|unit| self.start(unit, None)));
                for output in &mut outputs {
                    if let Output::Turned(turn) = output {
                        turn.is_unseen = true;
                    }
                }
                outputs.push(Output::Complete);
                outputs
            }
            Heard::LookedUp(units) => {
                let turn =
                    |listed: crate::systemd::ListedUnit| match is_running(&listed.active_state) {
                        true => self.start(listed.unit, None),
                        false => self.stop(&listed.unit, None),
                    };
                units.into_iter().filter_map(turn).collect()
            }
            Heard::Overflowed => vec![Output::List],
            Heard::Ending(..) | Heard::Details(..) | Heard::Pong => Vec::new(),
        }
    }

    fn signal(&mut self, signal: Signal) -> Vec<Output> {
        let turned = match signal {
            Signal::Ending(unit, ending) => {
                if self.running.contains_key(&unit) {
                    self.endings.insert(unit, ending);
                }
                None
            }
            Signal::Unit(unit, seen) if is_running(&seen.active_state) => {
                self.start(unit, seen.changed_at)
            }
            Signal::Unit(unit, seen) => self.stop(&unit, seen.changed_at),
            // One that is forgotten, or that a job may have made, is asked for.
            Signal::Removed(unit) => {
                self.running.contains_key(&unit).then(|| Output::LookUp(vec![unit]))
            }
            Signal::JobRemoved(unit, _) => {
                (!self.running.contains_key(&unit)).then(|| Output::LookUp(vec![unit]))
            }
            Signal::Reloading(false) | Signal::OwnerChanged => Some(Output::List),
            Signal::Reloading(true) => None,
        };
        turned.into_iter().collect()
    }

    fn start(&mut self, unit: UnitName, at: Option<Timestamp>) -> Option<Output> {
        let (vmid, kind) = guest_of(unit.as_str())?;
        if self.running.contains_key(&unit) || self.running.len() >= GUESTS_MAX {
            return None;
        }
        let ran = self.runs(vmid);
        self.running.insert(unit, (vmid, kind));
        let turn =
            Turn { vmid, kind, state: GuestState::Running, at, ending: None, is_unseen: false };
        (!ran).then_some(Output::Turned(turn))
    }

    fn stop(&mut self, unit: &UnitName, at: Option<Timestamp>) -> Option<Output> {
        let ending = self.endings.remove(unit);
        let (vmid, kind) = self.running.remove(unit)?;
        let turn = Turn { vmid, kind, state: GuestState::Stopped, at, ending, is_unseen: false };
        (!self.runs(vmid)).then_some(Output::Turned(turn))
    }

    fn runs(&self, vmid: Vmid) -> bool {
        self.running.values().any(|(running, _)| *running == vmid)
    }
}

/// A guest that is being stopped runs still.
fn is_running(active_state: &str) -> bool {
    !matches!(active_state, "inactive" | "failed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::systemd::{ListedUnit, UnitProperties, word};

    fn name(unit: &str) -> UnitName {
        UnitName::new(unit).unwrap()
    }

    fn listed(units: &[(&str, &'static str)]) -> Vec<ListedUnit> {
        let listed = |(unit, state): &(&str, &'static str)| ListedUnit {
            unit: name(unit),
            load_state: word("loaded"),
            active_state: word(state),
            sub_state: word("running"),
        };
        units.iter().map(listed).collect()
    }

    fn seen(unit: &str, state: &'static str) -> Heard {
        let seen = UnitProperties {
            load_state: None,
            active_state: word(state),
            sub_state: word(""),
            changed_at: None,
            invocation: None,
            has_job: false,
        };
        Heard::Signal(Signal::Unit(name(unit), seen))
    }

    fn ending(unit: &str, result: &'static str) -> Heard {
        let ending = Ending { result: Some(word(result)), exit: None, restarts: 0 };
        Heard::Signal(Signal::Ending(name(unit), ending))
    }

    /// What follows, in short.
    fn told(outputs: Vec<Output>) -> Vec<String> {
        let short = |output| match output {
            Output::Turned(turn) => {
                let ending = turn.ending.and_then(|ending| ending.result).unwrap_or_default();
                format!("{} {} {ending}", turn.vmid, turn.state.as_str()).trim_end().to_owned()
            }
            Output::Complete => "complete".to_owned(),
            Output::List => "list".to_owned(),
            Output::LookUp(units) => {
                let names: Vec<&str> = units.iter().map(UnitName::as_str).collect();
                format!("look up [{}]", names.join(", "))
            }
        };
        outputs.into_iter().map(short).collect()
    }

    #[test]
    fn a_guest_that_starts_and_stops_is_told_once_with_how_it_ended() {
        let mut tracker = Tracker::default();
        let mut hear = |heard| told(tracker.hear(heard));
        assert_eq!(
            hear(Heard::Listed(listed(&[("100.scope", "active")]))),
            ["100 running", "complete"]
        );
        assert_eq!(hear(seen("100.scope", "active")), [""; 0]);
        assert_eq!(hear(seen("100.scope", "deactivating")), [""; 0]);
        assert_eq!(hear(ending("100.scope", "oom-kill")), [""; 0]);
        assert_eq!(hear(seen("100.scope", "failed")), ["100 stopped oom-kill"]);
        assert_eq!(hear(Heard::Signal(Signal::Removed(name("100.scope")))), [""; 0]);
        // What an ending says of a unit that does not run is of an earlier run.
        assert_eq!(hear(ending("100.scope", "success")), [""; 0]);
        let job = Signal::JobRemoved(name("100.scope"), "done".to_owned());
        assert_eq!(hear(Heard::Signal(job)), ["look up [100.scope]"]);
        assert_eq!(hear(Heard::LookedUp(listed(&[("100.scope", "active")]))), ["100 running"]);
        assert_eq!(hear(seen("100.scope", "inactive")), ["100 stopped"]);
    }

    #[test]
    fn a_unit_that_is_forgotten_in_a_reload_has_not_stopped() {
        let mut tracker = Tracker::default();
        tracker.hear(Heard::Listed(listed(&[("pve-container@101.service", "active")])));
        let mut hear = |heard| told(tracker.hear(heard));
        let removed = || Heard::Signal(Signal::Removed(name("pve-container@101.service")));
        assert_eq!(hear(removed()), ["look up [pve-container@101.service]"]);
        let there = listed(&[("pve-container@101.service", "active")]);
        assert_eq!(hear(Heard::LookedUp(there)), [""; 0]);
        assert_eq!(hear(Heard::Signal(Signal::Reloading(false))), ["list"]);
        assert_eq!(hear(Heard::Listed(listed(&[]))), ["101 stopped", "complete"]);
    }

    #[test]
    fn a_container_that_is_run_by_either_of_its_units_runs() {
        let mut tracker = Tracker::default();
        let mut hear = |heard| told(tracker.hear(heard));
        assert_eq!(hear(seen("pve-container-debug@101.service", "active")), ["101 running"]);
        assert_eq!(hear(seen("pve-container@101.service", "activating")), [""; 0]);
        assert_eq!(hear(seen("pve-container@101.service", "failed")), [""; 0]);
        assert_eq!(hear(seen("pve-container-debug@101.service", "failed")), ["101 stopped"]);
    }
}
