//! Time: `for`, `keep_firing_for`, `older()`, late events, wrong clocks, a collector that was away.

use jiff::SignedDuration;
use pvewatch_collector::core::Input;
use pvewatch_protocol::AlertState;

use super::story::{CATALOGUE, Stage, at, tell, written};

/// A rule over units with these durations.
fn rule(wait: &str, keep: &str) -> String {
    format!(
        r#"
        [[rule]]
        name = "Failed"
        scope = "unit"
        when = 'active_state == "failed"'
        for = "{wait}"
        keep_firing_for = "{keep}"
        severity = "warning"
        summary = "{{{{ name }}}} failed"
        "#
    )
}

#[test]
fn without_for_an_alert_fires_with_the_event() {
    tell(
        &rule("0s", "0s"),
        "
        0s    pve1 beats
        10s   pve1 unit a.service failed
        => 10s Failed pve1/a.service none -> firing: condition_lasted, told
        10s   pve1 unit a.service active
        => 10s Failed pve1/a.service firing -> resolved: condition_ended, told
        ",
    );
}

#[test]
fn what_ends_together_with_what_inhibits_it_is_not_told_for_it() {
    let rule = |name: &str, inhibitors: &str| {
        format!(
            r#"
            [[rule]]
            name = "{name}"
            scope = "unit"
            when = 'active_state == "failed"'
            for = "1m"
            severity = "warning"
            summary = "{{{{ name }}}} failed"
            inhibited_by = [{inhibitors}]
            "#
        )
    };
    let rules = [rule("A", ""), rule("B", "\"A\""), rule("C", "\"A\", \"B\"")].concat();
    tell(
        &rules,
        "
        0s    pve1 beats
        10s   pve1 unit a.service failed
        => 10s C pve1/a.service none -> pending: condition_began
        => 10s B pve1/a.service none -> pending: condition_began
        => 10s A pve1/a.service none -> pending: condition_began
        => 1m10s A pve1/a.service pending -> firing: condition_lasted, told
        => 1m10s B pve1/a.service pending -> pending: inhibition_began
        => 1m10s C pve1/a.service pending -> pending: inhibition_began
        => 1m10s B pve1/a.service pending -> firing: condition_lasted
        => 1m10s C pve1/a.service pending -> firing: condition_lasted
        5m    pve1 unit a.service active
        => 5m C pve1/a.service firing -> resolved: condition_ended
        => 5m B pve1/a.service firing -> resolved: condition_ended
        => 5m A pve1/a.service firing -> resolved: condition_ended, told
        ",
    );
}

#[test]
fn a_condition_that_returns_while_the_alert_is_kept_firing_is_not_told_again() {
    tell(
        &rule("0s", "5m"),
        "
        0s    pve1 beats
        10s   pve1 unit a.service failed
        => 10s Failed pve1/a.service none -> firing: condition_lasted, told
        1m    pve1 unit a.service active
        2m    pve1 unit a.service failed
        10m
        20m   pve1 unit a.service active
        => 25m Failed pve1/a.service firing -> resolved: condition_ended, told
        30m
        ",
    );
}

#[test]
fn an_unfinished_condition_begins_anew_each_time() {
    tell(
        &rule("1m", "0s"),
        "
        0s    pve1 beats
        10s   pve1 unit a.service failed
        => 10s Failed pve1/a.service none -> pending: condition_began
        1m    pve1 unit a.service active
        => 1m Failed pve1/a.service pending -> none: condition_did_not_last
        1m5s  pve1 unit a.service failed
        => 1m5s Failed pve1/a.service none -> pending: condition_began
        => 2m5s Failed pve1/a.service pending -> firing: condition_lasted, told
        3m
        ",
    );
}

#[test]
fn a_late_handled_deadline_still_says_when_it_was_due() {
    let mut stage = Stage::new(&rule("1m", "0s"));
    stage.play("0s pve1 sample");
    stage.play("10s pve1 unit a.service failed");
    stage.play("25s pve1 sample");
    stage.play("50s pve1 sample");
    let transitions = stage.core.handle(at("1m15s"), Input::Deadline);
    let fired: Vec<_> = transitions.iter().map(|t| (t.to, t.at)).collect();
    assert_eq!(fired, [(Some(AlertState::Firing), at("1m10s"))]);
}

#[test]
fn older_fires_at_its_exact_time_and_only_while_the_rest_holds() {
    let rules = r#"
        [[rule]]
        name = "Long"
        scope = "unit"
        when = 'active_state == "activating" && older(changed_at, "1m30s")'
        severity = "warning"
        summary = "{{ name }} does not come up"
        "#;
    tell(
        rules,
        "
        0s    pve1 beats
        10s   pve1 unit a.service activating
        => 1m40s Long pve1/a.service none -> firing: condition_lasted, told
        3m    pve1 unit a.service active
        => 3m Long pve1/a.service firing -> resolved: condition_ended, told
        4m    pve1 unit a.service activating run=run-2
        5m    pve1 unit a.service active run=run-2
        20m
        ",
    );
}

#[test]
fn a_node_whose_clock_is_an_hour_behind_is_judged_as_any_other() {
    // The alert tells the node's own time, but it fires when five minutes have really passed.
    let mut stage = Stage::new(&rule("5m", "0s"));
    stage.play("2h pve1 sample at=1h");
    stage.play("2h1s pve1 unit a.service failed at=1h1s");
    for minute in 0..4 {
        stage.play(&format!("2h{}m10s pve1 sample at=1h{}m10s", minute + 1, minute + 1));
    }
    assert!(
        stage
            .transitions
            .iter()
            .all(|t| &*t.alert.rule != "Failed" || t.from.is_none() || t.from == t.to),
        "nothing fired yet"
    );
    stage.play("2h5m5s pve1 sample at=1h5m5s");
    // It had fallen silent, and what it has to say of the meantime is waited for.
    stage.play("2h5m11s");
    let last = stage.transitions.iter().rfind(|t| &*t.alert.rule == "Failed").unwrap();
    assert_eq!(last.at, at("1h5m1s"));
    assert_eq!(last.alert.starts_at, at("1h1s"));
}

#[test]
fn a_time_in_the_future_is_not_believed() {
    let mut stage = tell(
        &rule("1m", "0s"),
        "
        0s    pve1 beats
        10s   pve1 unit a.service failed at=24h
        => 10s Failed pve1/a.service none -> pending: condition_began
        => 1m10s Failed pve1/a.service pending -> firing: condition_lasted, told
        2m
        ",
    );
    assert_eq!(stage.core.snapshot().counters.fleet.future_times, 1);
}

#[test]
fn a_collector_that_was_suspended_does_not_take_its_nodes_for_dead() {
    let mut stage = Stage::new(CATALOGUE);
    stage.play("0s pve1 online");
    stage.play("0s pve1 beats");
    stage.play("1m pve1 hushes");
    // Nothing at all was handled for an hour; the node was there all the time.
    assert_eq!(stage.core.handle(at("1h"), Input::Deadline), []);
    assert_eq!(stage.play("1h5s pve1 beats").len(), 1);
    assert_eq!(stage.play("1h10m").len(), 1);
}

#[test]
fn resolved_alerts_are_to_be_seen_for_an_hour() {
    let mut stage = tell(
        &rule("0s", "0s"),
        "
        0s    pve1 beats
        10s   pve1 unit a.service failed
        => 10s Failed pve1/a.service none -> firing: condition_lasted, told
        20s   pve1 unit a.service active
        => 20s Failed pve1/a.service firing -> resolved: condition_ended, told
        ",
    );
    stage.play("59m");
    assert_eq!(stage.core.snapshot().alerts.len(), 1);
    stage.play("1h21s");
    assert_eq!(stage.core.snapshot().alerts.len(), 0);
    stage.store();
    assert!(stage.records.keys().all(|(kind, _)| kind.as_str() != "alert"));
}

/// What a story tells, with the collector's clock set in the middle of it; the node's is right.
fn with_clock_set_by(hours: i64) -> Vec<String> {
    let by = SignedDuration::from_hours(hours);
    let mut stage = Stage::new(&rule("5m", "0s"));
    stage.play("2h pve1 sample");
    stage.play("2h10s pve1 sample");
    stage.play("2h10s pve1 unit a.service failed");
    stage.core.clock_jumped(by);
    stage.check_records();
    let mut told = Vec::new();
    for second in (20..330).step_by(10) {
        let said_at = at("2h") + SignedDuration::from_secs(second);
        let node = "pve1".parse().unwrap();
        let mut sample = stage.sample("pve1");
        sample.at = said_at;
        let received_at = said_at + by;
        let backlog = Default::default();
        let sample = Box::new(sample);
        let input = Input::Sample { node, sample, backlog, received_at };
        let transitions = stage.core.handle(received_at, input);
        told.extend(transitions.iter().map(|step| format!("{second} s {}", written(step))));
    }
    assert!(stage.core.snapshot().nodes[0].node.silent.is_none());
    let skew = stage.core.snapshot().nodes[0].node.clock_skew_seconds.unwrap();
    assert!((skew - by.as_secs_f64()).abs() < 1.0, "{skew}");
    // From here on nothing is heard: silence is noticed as fast as ever.
    let silent_at = at("2h") + SignedDuration::from_secs(320 + 31) + by;
    stage.core.handle(silent_at, Input::Deadline);
    assert!(stage.core.snapshot().nodes[0].node.silent.is_some());
    told
}

#[test]
fn a_clock_that_is_set_makes_nothing_last_longer_or_shorter() {
    let fired = "310 s => 2h5m10s Failed pve1/a.service pending -> firing: condition_lasted, told";
    for hours in [0, 1, -1, 24 * 365] {
        assert_eq!(with_clock_set_by(hours), [fired], "{hours} h");
    }
}
