//! Metrics of what policies come to, by policy and node.

use std::fmt;

use super::families::Families;
use crate::core::Snapshot;
use crate::fleet::Drift;

/// Writes the metrics of all checks: as many series as policies that are about guests of a node.
pub fn write(families: &mut Families<'_>, snapshot: &Snapshot) -> fmt::Result {
    let is_broken = snapshot.policies.problem.is_some();
    families.one_gauge(
        "pvewatch_policy_file_failed",
        "Whether the policy file is there and cannot be used.",
        i64::from(is_broken),
    )?;
    families.gauge(
        "pvewatch_drift_guests",
        "Guests of a node that a policy is about.",
        checks(snapshot, |drift| Some(drift.guests as f64)),
    )?;
    families.gauge(
        "pvewatch_drift_differing_guests",
        "Those of them that are not as the policy wants them.",
        checks(snapshot, |drift| Some(drift.differing as f64)),
    )?;
    families.gauge(
        "pvewatch_drift_differences",
        "What of them is not as the policy wants it.",
        checks(snapshot, |drift| Some(drift.total() as f64)),
    )?;
    families.gauge(
        "pvewatch_drift_check_failed",
        "Whether something that a policy asks for cannot be looked at.",
        checks(snapshot, |drift| Some(f64::from(u8::from(drift.problem.is_some())))),
    )?;
    families.gauge(
        "pvewatch_drift_last_check_timestamp_seconds",
        "When the node told last what a policy asks for.",
        checks(snapshot, |drift| {
            let at = drift.checked_at.filter(|_| drift.is_checked)?;
            Some(at.as_millisecond() as f64 / 1000.0)
        }),
    )
}

/// One series for each check of a policy that `read` has a value for.
fn checks(
    snapshot: &Snapshot,
    read: impl Fn(&Drift) -> Option<f64> + Copy,
) -> impl Iterator<Item = ([(&str, &str); 2], f64)> {
    snapshot.nodes.iter().flat_map(move |view| {
        let of_policies = view.drifts.iter().filter(|drift| !drift.is_of_file());
        of_policies.filter_map(move |drift| {
            let labels = [("policy", &*drift.id), ("node", view.node.name.as_str())];
            Some((labels, read(drift)?))
        })
    })
}
