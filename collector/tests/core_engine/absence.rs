//! After an absence of the collector: nothing fires from an old picture, and nothing waits for ever.

use jiff::SignedDuration;
use pvewatch_collector::core::{Input, PAST_MAX, PAST_PATIENCE};
use pvewatch_protocol::AlertState;

use super::story::{CATALOGUE, FAILED, Stage, at};

const BEGAN: &str = "=> 10s Failed pve1/a.service none -> pending: condition_began";
const FIRED: &str = "=> 5m10s Failed pve1/a.service pending -> firing: condition_lasted, told";
const PAST: [&str; 2] = [
    "=> 5m10s Failed pve1/a.service pending -> firing: condition_lasted, past",
    "=> 20m Failed pve1/a.service firing -> resolved: condition_ended, past",
];

/// A collector that knew of a failure at 10 s, was away from then on, and is back after an hour.
fn back_after_an_hour(rules: &str) -> Stage {
    let mut stage = Stage::new(rules);
    stage.play("0s pve1 beats");
    let told = stage.play("10s pve1 unit a.service failed");
    assert!(rules != FAILED || told.ends_with(&[BEGAN.to_owned()]), "{told:?}");
    stage.play("11s pve1 hushes");
    stage.core = stage.rebuilt(at("1h"));
    stage.core.listen(at("1h"));
    stage.core.handle(at("1h"), Input::Deadline);
    stage.transitions.clear();
    stage
}

fn steps(stage: &Stage) -> Vec<String> {
    stage.transitions.iter().map(super::story::written).collect()
}

#[test]
fn what_was_known_before_fires_once_the_node_is_heard_and_lacks_nothing() {
    let mut stage = back_after_an_hour(FAILED);
    stage.play("1h20s");
    assert_eq!(steps(&stage), [""; 0], "the node was not heard yet");
    stage.play("1h20s pve1 beats");
    assert_eq!(steps(&stage), [FIRED]);
    let alert = stage.core.snapshot().alerts[0].clone();
    assert_eq!((alert.starts_at, alert.state()), (at("10s"), AlertState::Firing));
}

#[test]
fn a_backlog_that_drains_slowly_is_waited_for_and_what_it_ends_is_history() {
    let mut stage = back_after_an_hour(FAILED);
    stage.play("1h1s pve1 beats missing=900");
    for minute in 1..20 {
        // Less than one event in a minute, the next agent of a slow link.
        stage.play(&format!("1h{minute}m pve1 unit b.service active at={minute}m"));
    }
    assert_eq!(steps(&stage), [""; 0]);
    stage.play("1h20m pve1 unit a.service active at=20m");
    stage.play("1h21m pve1 beats");
    stage.play("2h");
    assert_eq!(steps(&stage), PAST);
}

#[test]
fn a_collector_that_starts_again_in_the_middle_of_a_backlog_waits_for_the_rest() {
    let mut stage = back_after_an_hour(FAILED);
    stage.play("1h1s pve1 beats missing=900");
    stage.play("1h2s pve1 unit b.service active at=1m");
    stage.play("1h3s collector restarts");
    stage.play("1h2m pve1 unit b.service inactive at=2m");
    stage.play("1h3m pve1 unit a.service active at=20m");
    stage.play("1h4m pve1 beats");
    stage.play("2h");
    assert_eq!(steps(&stage), PAST);
}

#[test]
fn a_backlog_that_does_not_come_is_not_waited_for_for_ever_nor_twice() {
    let mut stage = back_after_an_hour(FAILED);
    stage.play("1h1s pve1 beats missing=900");
    let over = at("1h") + PAST_PATIENCE;
    stage.wait_until(over - SignedDuration::from_secs(1));
    assert_eq!(steps(&stage), [""; 0]);
    stage.wait_until(over);
    assert_eq!(steps(&stage), [FIRED]);
    // It is missing still; what else happens waits for it no more.
    stage.play("1h10m pve1 unit c.service failed at=1h9m55s");
    stage.play("1h14m54s");
    assert_eq!(steps(&stage).len(), 2);
    stage.play("1h14m55s");
    let fired = "=> 1h14m55s Failed pve1/c.service pending -> firing: condition_lasted, told";
    assert_eq!(steps(&stage).last().unwrap(), fired);
}

#[test]
fn a_backlog_that_never_ends_is_waited_for_for_half_an_hour() {
    let mut stage = back_after_an_hour(FAILED);
    stage.play("1h1s pve1 beats missing=900");
    for minute in 1..40 {
        stage.play(&format!("1h{minute}m pve1 unit b.service active at={minute}m"));
        let is_over = at(&format!("1h{minute}m")) >= at("1h") + PAST_MAX;
        assert_eq!(steps(&stage).contains(&FIRED.to_owned()), is_over, "minute {minute}");
    }
}

#[test]
fn a_gap_that_stays_from_one_sample_to_the_next_holds_back_what_it_could_undo() {
    let mut stage = Stage::new(FAILED);
    stage.play("0s pve1 beats");
    stage.play("10s pve1 unit a.service failed");
    // One sample overtook an event; the event is there before the next one.
    stage.play("5m pve1 beats missing=1 since=5m");
    stage.play("5m9s pve1 beats");
    stage.play("5m10s");
    assert_eq!(steps(&stage), [BEGAN, FIRED]);
    let mut stage = Stage::new(FAILED);
    stage.play("0s pve1 beats");
    stage.play("10s pve1 unit a.service failed");
    stage.play("4m50s pve1 beats missing=1 since=4m50s");
    stage.play("5m30s pve1 unit a.service active at=5m");
    let ended = "=> 5m Failed pve1/a.service pending -> none: condition_did_not_last";
    assert_eq!(steps(&stage), [BEGAN, ended]);
}

#[test]
fn a_node_that_falls_silent_is_down_whatever_is_missing_of_it() {
    let mut stage = back_after_an_hour(CATALOGUE);
    stage.play("1h1s pve1 beats missing=900");
    stage.play("1h1m pve1 hushes");
    stage.play("1h4m");
    let down: Vec<_> = steps(&stage).into_iter().filter(|step| step.contains("HostDown")).collect();
    let fired = "=> 1h3m21s HostDown pve1 pending -> firing: condition_lasted, told";
    assert_eq!(down.last().map(String::as_str), Some(fired));
}

#[test]
fn a_rule_over_samples_waits_for_a_sample_of_its_own() {
    let rule = r#"
        [[rule]]
        name = "Load"
        scope = "node"
        when = "load1 > 8"
        for = "5m"
        severity = "warning"
        summary = "load of {{ name }}"
        "#;
    let mut stage = Stage::new(rule);
    stage.play("0s pve1 beats load1=9");
    stage.play("1m pve1 hushes");
    stage.core = stage.rebuilt(at("1h"));
    stage.core.listen(at("1h"));
    stage.play("1h4m pve1 online");
    stage.play("1h5m pve1 beats load1=1");
    stage.play("2h");
    let told: Vec<_> = steps(&stage).into_iter().filter(|step| step.contains("told")).collect();
    assert_eq!(told, [""; 0], "the load was low when it was heard");
    assert!(stage.core.snapshot().alerts.iter().all(|alert| alert.ends_at().is_some()));
}
