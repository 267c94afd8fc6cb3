//! The first seeds, as a part of every run of the tests; `tests/simulate` tries as many as wanted.

use std::time::Instant;

use pvewatch_simulation::faults::Fault;
use pvewatch_simulation::tally::Tally;
use pvewatch_simulation::{collector, try_seed};

#[test]
#[expect(clippy::disallowed_methods, reason = "the world's clock begins somewhere")]
fn the_promise_is_kept_under_every_fault() {
    let start = Instant::now();
    let rules = collector::rules();
    let mut tally = Tally::default();
    for seed in 1..=60 {
        let verdict = try_seed(seed, &rules, start, false);
        assert!(verdict.wrong.is_empty(), "seed {seed}: {:#?}", verdict.wrong);
        tally.add(&verdict.tally);
    }
    // A simulation in which nothing goes wrong proves nothing.
    let faults: std::collections::BTreeSet<_> =
        tally.faults.keys().map(|(fault, ..)| fault).collect();
    assert!(faults.len() == Fault::ALL.len(), "{faults:?}");
    assert!(tally.declared > 0 && tally.resent > 0 && tally.duplicates > 0, "{tally}");
    assert!(tally.committed > 5_000, "{tally}");
}
