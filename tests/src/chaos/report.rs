//! The figures of a run, beside what was promised.

use super::Outcome;
use super::counters::{DUPLICATES, GAPS, RESENT};
use super::fault::{Kind, NODES};
use crate::bench::figure::{Budget, Figure, Report};
use crate::bench::stage::load_average;

const NONE: Budget = Budget::Exactly(0.0);

pub(super) fn of(outcome: &Outcome) -> Report {
    let seconds = outcome.duration.as_secs_f64();
    let setting = format!(
        "seed {}, {}, {NODES} nodes, {seconds:.0} s, load average {}",
        outcome.seed,
        outcome.via.name(),
        load_average()
    );
    let count = |what: &str, value: u64| Figure::new(what, value as f64, "");
    let none = |what: &str, value: u64| count(what, value).within(NONE);
    let mut figures: Vec<Figure> = Kind::ALL
        .iter()
        .filter_map(|kind| Some(count(kind.name(), *outcome.faults.get(kind)? as u64)))
        .collect();
    let found = &outcome.findings;
    figures.extend([
        count("changes that systemd told", outcome.told),
        Figure::new("changes a second and node", outcome.told as f64 / seconds / NODES as f64, ""),
        count("events committed", found.committed),
        count("streams", found.streams),
        count("events applied", found.applied),
        count("of these, applied before a disk had them", found.from_memory),
        none("events lost", found.lost),
        none("events applied twice", found.twice),
        none("events out of order", found.out_of_order),
        none("events altered", found.altered),
        count("ranges declared as dropped", found.ranges_declared),
        count("events in them that are not applied", found.declared),
        count("of these, once committed", found.given_up),
        none("of these, of nodes whose disk was never full", outcome.unexplained),
        Figure::new("events sent again, at least", outcome.sums.of(RESENT), ""),
        Figure::new("duplicates received, at least", outcome.sums.of(DUPLICATES), ""),
        Figure::new("gaps found, at least", outcome.sums.of(GAPS), ""),
        count("programs that ended by themselves", outcome.ended_by_themselves),
        none("panics", outcome.panics),
    ]);
    if let Some(longest) = outcome.longest {
        let what = format!("longest recovery ({})", longest.kind.name());
        figures.push(Figure::new(what, longest.took.as_secs_f64(), "s"));
    }
    // None, if it never came: that is beyond every bound.
    figures.push(
        Figure::new(
            "all mended until all is stored",
            outcome.rest.map(|rest| rest.as_secs_f64()),
            "s",
        )
        .within(Budget::AtMost(super::REST_MAX.as_secs_f64())),
    );
    Report { name: "chaos", setting, figures }
}
