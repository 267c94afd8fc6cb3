//! Metrics of systemd units: counts by state, and series for those that are in trouble.

use std::fmt;

use super::families::Families;
use crate::core::Snapshot;
use crate::fleet::{NodeView, Unit};

/// Units of one node that have series of their own, for each metric: the first by name. How many
/// failed units that leaves out is told by `pvewatch_units_unlisted`.
pub const UNITS_LISTED_MAX: usize = 50;

/// systemd's active states; any other word counts as the last.
const STATES: [&str; 9] = [
    "active",
    "reloading",
    "refreshing",
    "inactive",
    "failed",
    "activating",
    "deactivating",
    "maintenance",
    "other",
];

/// Writes the metrics of all units.
pub fn write(families: &mut Families<'_>, snapshot: &Snapshot) -> fmt::Result {
    families.gauge(
        "pvewatch_units",
        "Units that are watched, by their active state.",
        snapshot.nodes.iter().flat_map(|view| {
            let counts = count_states(view);
            STATES.into_iter().zip(counts).map(|(state, count)| {
                ([("node", view.node.name.as_str()), ("state", state)], count)
            })
        }),
    )?;
    families.gauge(
        "pvewatch_unit_failed",
        "A unit in the failed state; always 1.",
        listed(snapshot, |unit| unit.state.is_failed().then_some(1)),
    )?;
    families.gauge(
        "pvewatch_unit_crash_loop_failures",
        "Failures so far of a unit in a crash loop.",
        listed(snapshot, |unit| unit.state.crash_loop.as_ref().map(|looping| looping.failures)),
    )?;
    families.counter(
        "pvewatch_unit_restarts",
        "Automatic restarts since the unit was last started on purpose, if there were any.",
        listed(snapshot, |unit| Some(unit.state.restarts).filter(|restarts| *restarts > 0)),
    )?;
    families.gauge(
        "pvewatch_units_unlisted",
        "Failed units that have no series of their own, because there are too many.",
        snapshot.nodes.iter().map(|view| {
            let failed = view.units.iter().filter(|unit| unit.state.is_failed()).count();
            ([("node", view.node.name.as_str())], failed.saturating_sub(UNITS_LISTED_MAX))
        }),
    )
}

/// One series for each unit that `read` has a value for, [`UNITS_LISTED_MAX`] at most a node.
fn listed(
    snapshot: &Snapshot,
    read: fn(&Unit) -> Option<u32>,
) -> impl Iterator<Item = ([(&str, &str); 2], u32)> {
    snapshot.nodes.iter().flat_map(move |view| {
        let values = view.units.iter().filter_map(move |unit| Some((unit, read(unit)?)));
        values
            .take(UNITS_LISTED_MAX)
            .map(|(unit, value)| ([("node", view.node.name.as_str()), ("unit", &*unit.id)], value))
    })
}

fn count_states(view: &NodeView) -> [u64; STATES.len()] {
    let mut counts = [0; STATES.len()];
    for unit in &view.units {
        let known = STATES.iter().position(|state| *state == unit.state.active_state);
        counts[known.unwrap_or(STATES.len() - 1)] += 1;
    }
    counts
}
