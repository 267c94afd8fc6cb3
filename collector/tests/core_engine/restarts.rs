//! The collector restarts, or its rules are replaced: nothing is lost, nothing cries wolf.

use pvewatch_collector::core::Input;
use pvewatch_protocol::AlertState;

use super::story::{CATALOGUE, Stage, at, rules, tell};

#[test]
fn a_pending_alert_keeps_its_age_when_the_collector_restarts() {
    tell(
        CATALOGUE,
        "
        0s    pve1 online
        0s    pve1 beats
        10s   pve1 unit ssh.service failed
        => 10s SystemdServiceFailed pve1/ssh.service none -> pending: condition_began
        3m    collector restarts
        => 5m10s SystemdServiceFailed pve1/ssh.service pending -> firing: condition_lasted, told
        6m    collector restarts
        10m
        11m   pve1 unit ssh.service active
        => 11m SystemdServiceFailed pve1/ssh.service firing -> resolved: condition_ended, told
        ",
    );
}

#[test]
fn a_collectors_start_is_no_reason_to_alert() {
    tell(
        CATALOGUE,
        "
        0s    pve1 online
        0s    pve1 beats
        1m    pve1 hushes
        1m10s collector restarts
        1m39s pve1 beats
        5m
        ",
    );
}

#[test]
fn a_node_that_died_while_the_collector_was_away_is_down_two_minutes_after_its_silence_shows() {
    tell(
        CATALOGUE,
        "
        0s    pve1 online
        0s    pve1 beats
        20s   pve1 hushes
        25s   collector restarts
        => 55s HostDown pve1 none -> pending: condition_began
        => 2m55s HostDown pve1 pending -> firing: condition_lasted, told
        5m
        ",
    );
}

#[test]
fn an_alert_that_fired_before_the_restart_is_not_told_again() {
    tell(
        CATALOGUE,
        "
        0s    pve1 online
        0s    pve1 beats
        20s   pve1 hushes
        20s   pve1 offline
        => 20s HostDown pve1 none -> pending: condition_began
        => 2m20s HostDown pve1 pending -> firing: condition_lasted, told
        5m    collector restarts
        5m    pve1 offline
        10m
        11m   pve1 online
        => 11m HostDown pve1 firing -> resolved: condition_ended, told
        ",
    );
}

#[test]
fn rules_that_are_replaced_end_what_is_gone_and_find_what_is_new() {
    let mut stage = Stage::new(CATALOGUE);
    stage.play("0s pve1 beats");
    stage.play("10s pve1 unit a.service failed");
    stage.play("10m");
    let other = r#"
        [[rule]]
        name = "Other"
        scope = "unit"
        when = 'active_state == "failed"'
        for = "5m"
        severity = "info"
        summary = "{{ name }}"
        "#;
    let transitions = stage.core.replace_rules(at("10m"), rules(other));
    let steps: Vec<_> = transitions.iter().map(|t| (&*t.alert.rule, t.to)).collect();
    let expected = [
        ("SystemdServiceFailed", Some(AlertState::Resolved)),
        ("Other", Some(AlertState::Pending)),
        // It had been failed for longer than the new rule asks.
        ("Other", Some(AlertState::Firing)),
    ];
    assert_eq!(steps, expected);
    assert_eq!(transitions[2].at, at("5m10s"));
}

#[test]
fn a_rule_that_waits_longer_now_moves_the_end_of_its_pending_alerts() {
    let rule = |wait: &str, severity: &str| {
        format!(
            "[[rule]]\nname = 'Failed'\nscope = 'unit'\nwhen = 'active_state == \"failed\"'\n\
             for = '{wait}'\nseverity = '{severity}'\nsummary = 'x'\n"
        )
    };
    let mut stage = Stage::new(&rule("1m", "info"));
    stage.play("0s pve1 beats");
    stage.play("10s pve1 unit a.service failed");
    assert_eq!(stage.core.replace_rules(at("30s"), rules(&rule("3m", "info"))), []);
    assert_eq!(stage.play("3m").len(), 1);
    let fired = "=> 3m10s Failed pve1/a.service pending -> firing: condition_lasted, told";
    assert_eq!(stage.play("4m")[0], fired);
    // Another severity is another alert; the trouble is the same, and was told.
    stage.play("5m");
    let transitions = stage.core.replace_rules(at("5m"), rules(&rule("3m", "warning")));
    assert_eq!(transitions.iter().filter_map(|t| t.notice()).count(), 0);
    assert_eq!(transitions.len(), 2);
}

#[test]
fn records_that_cannot_be_read_are_counted_and_the_rest_is_kept() {
    let mut stage = Stage::new(CATALOGUE);
    stage.play("0s pve1 beats");
    stage.play("10s pve1 unit a.service failed");
    for record in stage.records.values_mut() {
        if record.kind.as_str() == "unit" {
            record.body = Some(r#"{"from":"a later version"}"#.to_owned());
        }
    }
    let mut core = stage.rebuilt(at("1m"));
    let snapshot = core.snapshot();
    assert_eq!(snapshot.counters.records_unreadable, 1);
    assert_eq!((snapshot.nodes.len(), snapshot.alerts.len()), (1, 1));
}

#[test]
fn a_clock_that_was_set_back_while_the_collector_was_away_blinds_nobody() {
    let mut stage = Stage::new(CATALOGUE);
    stage.play("2h pve1 online");
    stage.play("2h pve1 beats");
    stage.play("2h1m pve1 unit a.service failed");
    stage.play("2h2m pve1 hushes");
    stage.store();
    // An hour earlier by the clock that is right now; the node is dead.
    let mut core = stage.rebuilt(at("1h"));
    core.listen(at("1h"));
    let alerts = core.snapshot().alerts.clone();
    assert_eq!(alerts[0].due(), Some(at("1h5m")), "it waits for as long as ever, not for more");
    core.handle(at("1h31s"), Input::Deadline);
    assert!(core.snapshot().nodes[0].node.silent.is_some());
}
