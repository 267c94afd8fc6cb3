//! A short run of `tests/chaos` with unoptimised programs and few events: everything is broken
//! once or twice, and nothing is lost.
//!
//! Needs root, for namespaces and disks.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::Command;

use pvewatch_tests::places::program;
use serde_json::Value;

/// Few enough for slow programs on a busy machine.
const EVENTS_A_SECOND: &str = "100";

/// Half of it through each of the two brokers.
const MINUTES: &str = "0.8";

#[test]
fn nothing_is_lost_while_everything_breaks() {
    let output = Command::new(program("chaos"))
        .args(["--json", "--minutes", MINUTES, "--rate", EVENTS_A_SECOND])
        .arg("--agent")
        .arg(program("pvewatch-agent"))
        .arg("--collector")
        .arg(program("pvewatch-collector"))
        .output()
        .unwrap();
    // It has the seed with which this can be done again.
    let said = String::from_utf8_lossy(&output.stderr);
    let found = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{found}");
    let found: Value = serde_json::from_str(&found).unwrap();
    let runs = found["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    for run in runs {
        let figure = |what: &str| {
            let figures = run["figures"].as_array().unwrap();
            figures.iter().find(|it| it["what"] == what).unwrap()["value"].as_f64().unwrap()
        };
        assert!(figure("events committed") > 500.0, "hardly anything happened: {run:#}");
        assert_eq!(figure("events lost") + figure("events applied twice"), 0.0, "{run:#}");
    }
}
