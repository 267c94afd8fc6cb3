//! What listings, look-ups and details say, beside what was told.

use std::collections::{HashMap, HashSet};

use super::{DETAILS_MAX, DETAILS_WAIT, LOOKUPS_MAX, Picture, Tracker, UNITS_MAX};
use crate::systemd::{ListedUnit, UnitName, UnitProperties};
use crate::units::exchange::{Now, Output};
use crate::units::schedule::Reason;
use crate::units::unit::Compared;
use crate::units::watched::Watched;

impl Tracker {
    /// A listing came: what differs from what was told happened unseen.
    pub(super) fn listed(&mut self, now: Now, listed: Vec<ListedUnit>, outputs: &mut Vec<Output>) {
        let reason = self.schedule.listed(now.instant);
        self.refused = 0;
        let mut unlisted: HashSet<UnitName> = self.units.keys().cloned().collect();
        for entry in listed {
            unlisted.remove(&entry.unit);
            if !self.units.contains_key(&entry.unit) {
                if self.units.len() >= UNITS_MAX {
                    self.refused += 1;
                    continue;
                }
                let unit_type = entry.unit.unit_type();
                let is_news = matches!(&*entry.active_state, "active" | "failed");
                let new = match reason {
                    Reason::Doubt | Reason::Routine if is_news => Watched::newly_loaded(unit_type),
                    _ => Watched::unknown(unit_type),
                };
                self.units.insert(entry.unit.clone(), new);
            }
            let Some(watched) = self.units.get_mut(&entry.unit) else { continue };
            watched.forget_old_failures(now.instant, &self.settings);
            let compared = watched.unit.compare(&entry, reason == Reason::Doubt);
            if compared == Compared::DetailsWanted && self.awaited.len() < DETAILS_MAX {
                outputs.push(Output::Details(entry.unit.clone()));
                self.awaited.insert(entry.unit.clone(), entry);
            }
        }
        for name in unlisted {
            if self.units.get(&name).is_some_and(|watched| watched.unit.is_at_rest()) {
                self.forget(&name);
            } else if self.looked_up.len() < LOOKUPS_MAX && !self.looked_up.contains(&name) {
                self.looked_up.push(name);
            }
        }
        if !self.looked_up.is_empty() {
            outputs.push(Output::LookUp(self.looked_up.clone()));
        }
        if !self.awaited.is_empty() || !self.looked_up.is_empty() {
            self.awaited_until = Some(now.instant + DETAILS_WAIT);
        }
        if self.units.capacity() > 4 * self.units.len().max(64) {
            self.units.shrink_to_fit();
        }
        if reason != Reason::Routine {
            self.picture = Picture::Wanted;
        }
    }

    /// Units that were not in the listing, though they ran or had failed, were looked up.
    pub(super) fn looked_up(
        &mut self,
        now: Now,
        listed: Vec<ListedUnit>,
        outputs: &mut Vec<Output>,
    ) {
        let asked = std::mem::take(&mut self.looked_up);
        let mut found: HashMap<UnitName, ListedUnit> =
            listed.into_iter().map(|entry| (entry.unit.clone(), entry)).collect();
        for name in asked {
            let Some(watched) = self.units.get_mut(&name) else { continue };
            let unseen = watched.unit.failed_unseen();
            self.tell(now, &name, unseen, outputs);
            // systemd leaves out the names that it cannot load at all.
            let gone = found.get(&name).is_none_or(|entry| {
                entry.load_state == "not-found" && entry.active_state == "inactive"
            });
            if gone {
                self.forget(&name);
                outputs.push(Output::TellRemoved(name));
            } else if let Some(entry) = found.remove(&name) {
                let rules = self.rules;
                let Some(watched) = self.units.get_mut(&name) else { continue };
                let changes = watched.unit.observed_in_listing(now.instant, &entry, rules);
                self.tell(now, &name, changes, outputs);
            }
        }
    }

    pub(super) fn details(
        &mut self,
        now: Now,
        name: &UnitName,
        seen: Option<UnitProperties>,
        outputs: &mut Vec<Output>,
    ) {
        let Some(entry) = self.awaited.remove(name) else { return };
        let rules = self.rules;
        let Some(watched) = self.units.get_mut(name) else { return };
        let changes = match seen {
            Some(seen) => watched.unit.observed(now.instant, seen, rules),
            None => watched.unit.observed_in_listing(now.instant, &entry, rules),
        };
        self.tell(now, name, changes, outputs);
    }
}
