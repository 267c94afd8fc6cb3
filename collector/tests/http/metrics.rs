//! The metrics of a full example, as Prometheus' own tool judges them.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use pvewatch_collector::output::http::metrics::{Format, render};

use crate::site::{check_golden, empty_snapshot, picture, snapshot};

/// Lets `promtool check metrics` judge a text; it exits with 3 when it only has doubts.
#[track_caller]
fn check_with_promtool(metrics: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool must be installed: apt install prometheus");
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "promtool: {said}");
}

#[test]
fn a_full_example_is_what_it_was_and_promtool_finds_nothing_wrong() {
    let picture = picture(snapshot());
    let classic = render(&picture, Format::Classic);
    check_golden("metrics/full.txt", &classic);
    check_golden("metrics/full.openmetrics", &render(&picture, Format::OpenMetrics));
    check_with_promtool(&classic);
}

#[test]
fn a_site_without_nodes_has_metrics_of_the_collector() {
    let metrics = render(&picture(empty_snapshot()), Format::Classic);
    assert!(metrics.contains("\npvewatch_ready 1\n"), "{metrics}");
    assert!(!metrics.contains("node="), "{metrics}");
    check_with_promtool(&metrics);
}

#[test]
fn a_node_that_cannot_be_heard_has_no_readings() {
    let mut snapshot = snapshot();
    let with_reading = snapshot.nodes.iter().position(|view| view.node.reading.is_some()).unwrap();
    let mut view = (*snapshot.nodes[with_reading]).clone();
    let node = Arc::make_mut(&mut view.node);
    node.silent = node.last_seen;
    snapshot.nodes[with_reading] = Arc::new(view);
    let metrics = render(&picture(snapshot), Format::Classic);
    assert!(metrics.contains("pvewatch_node_up{node=\"pve1\"} 0"), "{metrics}");
    assert!(!metrics.contains("pvewatch_node_load1{"), "{metrics}");
}

#[test]
fn a_node_with_thousands_of_failed_units_has_a_bounded_number_of_series() {
    let mut snapshot = snapshot();
    let mut view = (*snapshot.nodes[1]).clone();
    let failed = view.units[0].clone();
    view.units = (0..3000)
        .map(|n| {
            let mut unit = (*failed).clone();
            unit.id = format!("job-{n:04}.service").into();
            Arc::new(unit)
        })
        .collect();
    snapshot.nodes = vec![Arc::new(view)];
    let metrics = render(&picture(snapshot), Format::Classic);
    assert_eq!(metrics.matches("pvewatch_unit_failed{").count(), 50);
    assert!(metrics.contains("pvewatch_units_unlisted{node=\"pve1\"} 2950"), "{metrics}");
    assert!(metrics.contains("pvewatch_units{node=\"pve1\",state=\"failed\"} 3000"), "{metrics}");
}
