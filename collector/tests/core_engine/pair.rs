//! Two collectors: one that was there, and one that missed a part. They speak of the same alerts.

use jiff::Timestamp;
use pvewatch_collector::alerts::Transition;
use pvewatch_collector::core::Input;
use pvewatch_protocol::{AlertMessage, AlertState, Fingerprint, Notice};

use super::story::{CATALOGUE, FAILED, Stage, at};

/// Fires when a node has been busy for a minute.
const BUSY: &str = r#"
    [[rule]]
    name = "Load"
    scope = "node"
    when = "load1 > 8"
    for = "1m"
    severity = "warning"
    summary = "{{ name }} is busy"
    "#;

/// A collector that watches for both.
fn stage() -> Stage {
    Stage::new(&[FAILED, BUSY].concat())
}

/// What a stage's collector tells of its alerts, as the broker has it.
fn told(stage: &mut Stage) -> Vec<AlertMessage> {
    let name = "other".parse().unwrap();
    stage.core.snapshot().alerts.iter().map(|alert| alert.message(&name)).collect()
}

/// A stage's collector hears of the alerts of another one.
fn hear(stage: &mut Stage, time: &str, alerts: &[AlertMessage]) {
    for alert in alerts {
        let fires = alert.state == AlertState::Firing;
        let starts_at = fires.then_some(alert.starts_at);
        let input = Input::Peer { fingerprint: alert.fingerprint, starts_at };
        let transitions = stage.core.handle(at(time), input);
        stage.transitions.extend(transitions);
        stage.store();
    }
}

/// What subscribers go by: which alert, how it is, since and until when.
fn facts(stage: &mut Stage) -> Vec<(Fingerprint, AlertState, Timestamp, Option<Timestamp>)> {
    let facts =
        |alert: &AlertMessage| (alert.fingerprint, alert.state, alert.starts_at, alert.ends_at);
    told(stage).iter().map(facts).collect()
}

fn notices(stage: &Stage) -> Vec<Notice> {
    stage.transitions.iter().filter_map(Transition::notice).collect()
}

fn keys(stage: &Stage) -> Vec<String> {
    notices(stage).into_iter().map(|notice| notice.key).collect()
}

#[test]
fn one_that_knows_a_failure_from_a_picture_alone_says_the_same_as_one_that_saw_it() {
    let mut there = stage();
    there.play("0s pve1 beats");
    there.play("10s pve1 unit a.service failed run=run-1");
    there.play("6m pve1 unit a.service failed run=run-2");
    let mut new = stage();
    hear(&mut new, "7m", &told(&mut there));
    new.play("7m pve1 units a.service=failed at=6m as_of=0");
    new.play("7m1s pve1 beats");
    assert_eq!(new.core.snapshot().alerts[0].starts_at, at("10s"));
    for stage in [&mut there, &mut new] {
        stage.play("8m pve1 unit a.service active");
        stage.check_records();
    }
    assert_eq!(notices(&there), notices(&new));
    assert_eq!(facts(&mut there), facts(&mut new));
}

#[test]
fn what_is_heard_after_it_was_found_counts_too() {
    let mut there = stage();
    there.play("0s pve1 beats");
    there.play("10s pve1 unit a.service failed run=run-1");
    let mut new = stage();
    new.play("5m pve1 units a.service=failed at=4m50s as_of=1");
    there.play("5m20s");
    hear(&mut new, "5m20s", &told(&mut there));
    new.play("5m21s pve1 sample");
    assert_eq!(keys(&there), keys(&new));
    assert_eq!(keys(&new).len(), 1);
}

#[test]
fn a_rule_over_samples_begins_for_both_when_one_saw_it_begin() {
    let mut stages = [stage(), stage()];
    for stage in &mut stages {
        stage.play("0s pve1 sample load1=1");
    }
    let [there, away] = &mut stages;
    for second in 1..12 {
        there.play(&format!("{}s pve1 sample load1=9", second * 10));
    }
    away.core = away.rebuilt(at("1m55s"));
    away.core.listen(at("1m55s"));
    hear(away, "1m55s", &told(there));
    for stage in [&mut *there, &mut *away] {
        stage.play("2m pve1 sample load1=9");
        stage.play("3m");
    }
    assert_eq!(keys(there), keys(away));
    assert_eq!(facts(there), facts(away));
}

#[test]
fn a_node_that_fell_silent_is_down_since_the_same_moment() {
    let mut stages = [Stage::new(CATALOGUE), Stage::new(CATALOGUE)];
    for (place, stage) in stages.iter_mut().enumerate() {
        stage.play("0s pve1 online");
        stage.play("0s pve1 beats");
        stage.play("1m pve1 hushes");
        // The last sample reached only one of them.
        if place == 1 {
            stage.play("1m5s pve1 sample");
        }
    }
    let [there, other] = &mut stages;
    there.play("3m31s");
    other.play("3m31s");
    hear(other, "3m31s", &told(there));
    other.play("5m");
    assert_eq!(keys(there).len(), 1);
    assert_eq!(keys(there), keys(other));
}

#[test]
fn nobody_is_believed_against_what_was_seen() {
    let mut stage = stage();
    stage.play("0s pve1 sample load1=1");
    stage.play("10s pve1 unit a.service failed");
    stage.play("6m pve1 unit a.service active");
    let mut alerts = told(&mut stage);
    let starts_at = |stage: &mut Stage, fingerprint: Fingerprint| {
        let snapshot = stage.core.snapshot();
        let alert = snapshot.alerts.iter().find(|alert| alert.fingerprint == fingerprint);
        alert.map(|alert| alert.starts_at)
    };
    // The other one died before it saw the end; what it said stays with the broker.
    alerts[0].state = AlertState::Firing;
    hear(&mut stage, "6m1s", &alerts);
    stage.play("7m pve1 unit a.service failed");
    assert_eq!(starts_at(&mut stage, alerts[0].fingerprint), Some(at("7m")), "it was seen");
    stage.play("8m pve1 unit a.service active");
    hear(&mut stage, "8m1s", &alerts);
    stage.play("9m pve1 units a.service=failed as_of=9");
    assert_eq!(starts_at(&mut stage, alerts[0].fingerprint), Some(at("9m")), "it had ended");
    stage.play("9m50s pve1 sample load1=1");
    stage.play("10m pve1 sample load1=9");
    let load = told(&mut stage).into_iter().find(|alert| alert.labels["alertname"] == "Load");
    let mut load = load.unwrap();
    (load.state, load.starts_at) = (AlertState::Firing, at("9m40s"));
    hear(&mut stage, "10m1s", &[load.clone()]);
    assert_eq!(starts_at(&mut stage, load.fingerprint), Some(at("10m")), "it was low at 9m50s");
    load.starts_at = at("9m55s");
    hear(&mut stage, "10m1s", &[load.clone()]);
    assert_eq!(starts_at(&mut stage, load.fingerprint), Some(at("9m55s")));
    stage.check_records();
}
