//! What is learned late is judged by its own time: what is over leaves history, what still holds
//! fires at once and says since when.

use pvewatch_collector::core::Input;
use pvewatch_protocol::AlertState;

use super::story::{Stage, at, tell};

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
fn what_failed_and_recovered_during_an_outage_leaves_history_and_no_notice() {
    // All of it happened while the collector was unreachable, an hour ago.
    tell(
        &rule("5m", "0s"),
        "
        1h     pve1 beats
        1h1s   pve1 unit a.service failed at=10s
        => 10s Failed pve1/a.service none -> pending: condition_began
        1h1s   pve1 unit a.service active at=2m
        => 2m Failed pve1/a.service pending -> none: condition_did_not_last
        1h1s   pve1 unit b.service failed at=10m
        => 10m Failed pve1/b.service none -> pending: condition_began
        1h1s   pve1 unit b.service active at=20m
        => 15m Failed pve1/b.service pending -> firing: condition_lasted, past
        => 20m Failed pve1/b.service firing -> resolved: condition_ended, past
        1h1s   pve1 unit c.service failed at=30m
        => 30m Failed pve1/c.service none -> pending: condition_began
        => 35m Failed pve1/c.service pending -> firing: condition_lasted, told
        1h10s
        ",
    );
}

#[test]
fn a_rule_that_does_not_wait_waits_for_the_end_of_the_backlog() {
    tell(
        &rule("0s", "0s"),
        "
        1h     pve1 beats
        1h1s   pve1 unit a.service failed at=10m
        => 10m Failed pve1/a.service none -> pending: condition_began
        1h1s   pve1 unit a.service active at=11m
        => 10m Failed pve1/a.service pending -> firing: condition_lasted, past
        => 11m Failed pve1/a.service firing -> resolved: condition_ended, past
        1h1s   pve1 unit a.service failed at=12m
        => 12m Failed pve1/a.service none -> pending: condition_began
        => 12m Failed pve1/a.service pending -> firing: condition_lasted, told
        1h7s
        ",
    );
}

#[test]
fn what_is_still_failed_after_a_backlog_fires_once_it_has_settled() {
    let mut stage = Stage::new(&rule("5m", "0s"));
    stage.play("1h pve1 beats");
    stage.play("1h1s pve1 unit c.service failed at=30m");
    assert_eq!(stage.play("1h5s").len(), 1, "the backlog may still bring the recovery");
    let fired = "=> 35m Failed pve1/c.service pending -> firing: condition_lasted, told";
    assert_eq!(stage.play("1h7s")[0], fired);
    let alert = stage.core.snapshot().alerts[0].clone();
    assert_eq!((alert.starts_at, alert.state()), (at("30m"), AlertState::Firing));
}

#[test]
fn what_ended_for_long_enough_before_it_began_again_is_another_alert() {
    // The first one was told before the outage; what came of it was learned late, in one go.
    tell(
        &rule("0s", "1m"),
        "
        0s     pve1 beats
        1s     pve1 unit a.service failed at=1s
        => 1s Failed pve1/a.service none -> firing: condition_lasted, told
        1h     pve1 beats
        1h1s   pve1 unit a.service active at=10m
        1h1s   pve1 unit a.service failed at=20m
        => 11m Failed pve1/a.service firing -> resolved: condition_ended, told
        => 20m Failed pve1/a.service none -> pending: condition_began
        => 20m Failed pve1/a.service pending -> firing: condition_lasted, told
        1h7s
        ",
    );
}

#[test]
fn what_began_again_before_it_had_ended_for_long_enough_is_the_same_alert() {
    tell(
        &rule("0s", "15m"),
        "
        0s     pve1 beats
        1s     pve1 unit a.service failed at=1s
        => 1s Failed pve1/a.service none -> firing: condition_lasted, told
        1h     pve1 beats
        1h1s   pve1 unit a.service active at=10m
        1h1s   pve1 unit a.service failed at=20m
        1h7s
        ",
    );
}

#[test]
fn what_fired_and_ended_in_an_outage_is_nobodys_news_while_it_is_kept() {
    tell(
        &rule("0s", "1m"),
        "
        1h     pve1 beats
        1h1s   pve1 unit a.service failed at=10m
        => 10m Failed pve1/a.service none -> pending: condition_began
        1h1s   pve1 unit a.service active at=20m
        => 10m Failed pve1/a.service pending -> firing: condition_lasted, past
        => 21m Failed pve1/a.service firing -> resolved: condition_ended
        1h7s
        ",
    );
}

#[test]
fn words_about_a_unit_that_still_holds_do_not_fire_its_alert_early() {
    // The log and a second failure come late too, and neither ends anything.
    tell(
        &rule("5m", "0s"),
        "
        1h     pve1 beats
        1h1s   pve1 unit a.service failed at=10m
        => 10m Failed pve1/a.service none -> pending: condition_began
        1h1s   pve1 log a.service broken at=10m1s
        1h1s   pve1 unit a.service failed at=30m run=run-2
        1h1s   pve1 unit a.service active at=40m run=run-3
        => 15m Failed pve1/a.service pending -> firing: condition_lasted, past
        => 40m Failed pve1/a.service firing -> resolved: condition_ended, past
        2h
        ",
    );
}

#[test]
fn a_unit_that_was_removed_during_an_outage_leaves_history() {
    tell(
        &rule("5m", "0s"),
        "
        1h     pve1 beats
        1h1s   pve1 unit a.service failed at=10m
        => 10m Failed pve1/a.service none -> pending: condition_began
        1h1s   pve1 removed a.service at=30m
        => 15m Failed pve1/a.service pending -> firing: condition_lasted, past
        => 30m Failed pve1/a.service firing -> resolved: entity_removed, past
        1h10s
        ",
    );
}

#[test]
fn what_fired_before_the_outage_and_ended_in_it_is_told_as_ended_then() {
    tell(
        &rule("0s", "0s"),
        "
        0s     pve1 beats
        10s    pve1 unit a.service failed
        => 10s Failed pve1/a.service none -> firing: condition_lasted, told
        20s    pve1 hushes
        => 50s Failed pve1/a.service firing -> firing: witness_lost
        1h     pve1 beats
        => 1h Failed pve1/a.service firing -> firing: witness_returned
        1h1s   pve1 unit a.service active at=20m
        => 20m Failed pve1/a.service firing -> resolved: condition_ended, told
        1h10s
        ",
    );
}

#[test]
fn a_node_that_returns_is_not_judged_before_its_backlog_came() {
    // The failure was known, the recovery happened while the node could not be heard.
    tell(
        &rule("5m", "0s"),
        "
        0s     pve1 beats
        10s    pve1 unit a.service failed
        => 10s Failed pve1/a.service none -> pending: condition_began
        20s    pve1 hushes
        => 50s Failed pve1/a.service pending -> pending: witness_lost
        1h     pve1 beats
        => 1h Failed pve1/a.service pending -> pending: witness_returned
        1h2s   pve1 unit a.service active at=20m
        => 5m10s Failed pve1/a.service pending -> firing: condition_lasted, past
        => 20m Failed pve1/a.service firing -> resolved: condition_ended, past
        1h10s
        ",
    );
}

#[test]
fn a_collector_that_was_away_does_not_judge_before_the_backlogs_came() {
    let mut stage = Stage::new(&rule("5m", "0s"));
    stage.play("0s pve1 beats");
    stage.play("10s pve1 unit a.service failed");
    stage.store();
    stage.core = stage.rebuilt(at("1h"));
    stage.core.listen(at("1h"));
    assert_eq!(stage.core.handle(at("1h"), Input::Deadline), []);
    let told = stage.play("1h2s pve1 unit a.service active at=20m");
    assert_eq!(
        told[told.len() - 2..],
        [
            "=> 5m10s Failed pve1/a.service pending -> firing: condition_lasted, past",
            "=> 20m Failed pve1/a.service firing -> resolved: condition_ended, past",
        ]
    );
}

#[test]
fn what_is_kept_firing_beyond_the_outage_is_told_only_if_it_comes_back() {
    let story = "
        1h     pve1 beats
        1h1s   pve1 unit a.service failed at=50m
        => 50m Failed pve1/a.service none -> pending: condition_began
        1h1s   pve1 unit a.service active at=59m
        => 50m Failed pve1/a.service pending -> firing: condition_lasted
        ";
    let mut stage = tell(&rule("0s", "10m"), story);
    let over = "=> 1h9m Failed pve1/a.service firing -> resolved: condition_ended";
    assert_eq!(stage.play("2h")[0], over);
    let mut stage = tell(&rule("0s", "10m"), story);
    let back = "=> 1h3m Failed pve1/a.service firing -> firing: condition_lasted, told";
    let told = stage.play("1h3m pve1 unit a.service failed run=run-2");
    assert_eq!(told[told.len() - 1], back);
}

#[test]
fn a_node_whose_events_are_always_late_is_not_without_alerts() {
    let mut stage = Stage::new(&rule("0s", "0s"));
    stage.play("0s pve1 beats");
    stage.play("1h pve1 unit a.service failed at=30m");
    let mut told = Vec::new();
    for second in 1..120 {
        let line = format!(
            "1h{}m{}s pve1 unit b.service active at=30m{second}s",
            second / 60,
            second % 60
        );
        told.extend(stage.play(&line));
    }
    let fired = "=> 30m Failed pve1/a.service pending -> firing: condition_lasted, told";
    assert!(told.iter().any(|line| line == fired), "{told:?}");
}

#[test]
fn a_loss_that_is_declared_in_the_middle_of_a_backlog_does_not_end_it() {
    tell(
        &rule("0s", "0s"),
        "
        1h     pve1 beats
        1h1s   pve1 unit a.service failed at=10m
        => 10m Failed pve1/a.service none -> pending: condition_began
        1h1s   pve1 dropped 2 9
        1h1s   pve1 unit a.service active at=11m
        => 10m Failed pve1/a.service pending -> firing: condition_lasted, past
        => 11m Failed pve1/a.service firing -> resolved: condition_ended, past
        1h10s
        ",
    );
}

#[test]
fn what_came_in_time_and_waited_for_what_was_lost_before_it_does_not_end_a_backlog() {
    tell(
        &rule("0s", "0s"),
        "
        1h     pve1 beats
        1h1s   pve1 unit a.service failed at=10m
        => 10m Failed pve1/a.service none -> pending: condition_began
        1h1s   pve1 unit b.service active at=11m came=11m
        1h1s   pve1 unit a.service active at=12m
        => 10m Failed pve1/a.service pending -> firing: condition_lasted, past
        => 12m Failed pve1/a.service firing -> resolved: condition_ended, past
        1h10s
        ",
    );
}

#[test]
fn a_sample_that_was_held_up_does_not_end_a_backlog() {
    tell(
        &rule("0s", "0s"),
        "
        59m50s pve1 beats
        59m55s pve1 sample
        1h     pve1 unit a.service failed at=10m
        => 10m Failed pve1/a.service none -> pending: condition_began
        1h3s   pve1 sample at=11m
        1h4s   pve1 unit a.service active at=12m
        => 10m Failed pve1/a.service pending -> firing: condition_lasted, past
        => 12m Failed pve1/a.service firing -> resolved: condition_ended, past
        1h10s
        ",
    );
}

#[test]
fn what_happens_now_is_told_at_once_although_a_backlog_came_before_it() {
    tell(
        &rule("0s", "0s"),
        "
        1h     pve1 beats
        1h1s   pve1 unit a.service failed at=10m
        => 10m Failed pve1/a.service none -> pending: condition_began
        1h2s   pve1 unit b.service failed
        => 1h0m2s Failed pve1/b.service none -> pending: condition_began
        => 10m Failed pve1/a.service pending -> firing: condition_lasted, told
        => 1h0m2s Failed pve1/b.service pending -> firing: condition_lasted, told
        1h10s
        ",
    );
}

#[test]
fn late_is_what_was_learned_late_by_whomever_whatever_the_clocks_say() {
    let mut stage = Stage::new(&rule("0s", "0s"));
    stage.play("2h pve1 sample");
    // pve2's clock is an hour behind.
    stage.play("2h pve2 sample at=1h");
    // (node, happened, the agent learned it, received) -> late
    for (node, time, recorded, received, late) in [
        ("pve1", "2h", "2h", "2h1s", false),
        ("pve1", "1h", "1h", "2h1s", true),
        ("pve1", "1h", "2h", "2h1s", true),
        ("pve2", "1h", "1h", "2h1s", false),
        ("pve2", "30m", "1h", "2h1s", true),
    ] {
        let mut event = stage.event(node, "unit a.service failed");
        (event.time, event.recorded_time) = (at(time), at(recorded));
        let found = stage.core.is_late(&event, at(received));
        assert_eq!(found, late, "{node} {time} {recorded}");
    }
}

#[test]
fn two_collectors_that_learn_the_same_at_other_times_tell_the_same() {
    let rules = rule("5m", "0s");
    let news = |lines: &[&str]| {
        let mut stage = Stage::new(&rules);
        for line in lines {
            stage.play(line);
        }
        stage.play("2h");
        let told = stage.transitions.iter().filter_map(|transition| transition.notice());
        told.collect::<Vec<_>>()
    };
    let live = news(&["0s pve1 beats", "30m pve1 unit c.service failed"]);
    let late = news(&["1h pve1 beats", "1h1s pve1 unit c.service failed at=30m"]);
    assert_eq!(live, late, "same key, times and words");
    assert_eq!(live.len(), 1);
}
