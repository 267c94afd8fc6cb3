//! Nodes: silence and what it holds back, wills, reboots, duplicates, checkpoints.

use std::sync::Arc;

use pvewatch_collector::core::Input;
use pvewatch_collector::fleet::{Loss, Node};
use pvewatch_protocol::{Epoch, Sequence};

use super::story::{CATALOGUE, Stage, at, tell};
use super::teller::uuid;

fn node(stage: &mut Stage, name: &str) -> Arc<Node> {
    let snapshot = stage.core.snapshot();
    let found = snapshot.nodes.iter().find(|view| view.node.name.as_str() == name);
    found.expect("the node is known").node.clone()
}

fn units(stage: &mut Stage) -> Vec<String> {
    let snapshot = stage.core.snapshot();
    snapshot.units().map(|unit| format!("{} {}", unit.id, unit.state.active_state)).collect()
}

#[test]
fn silence_makes_no_alert_of_the_last_reading() {
    tell(
        CATALOGUE,
        "
        0s     pve1 online
        0s     pve1 beats load15=9
        => 0s HighLoadAverage pve1 none -> pending: condition_began
        5m     pve1 hushes
        5m     pve1 offline reason=shutdown
        => 5m HighLoadAverage pve1 pending -> pending: witness_lost
        2h
        2h     pve1 online
        => 2h HighLoadAverage pve1 pending -> pending: witness_returned
        => 10m HighLoadAverage pve1 pending -> firing: condition_lasted, told
        2h6s
        ",
    );
}

#[test]
fn the_children_of_a_silent_node_are_held() {
    tell(
        CATALOGUE,
        "
        0s     pve1 online
        0s     pve1 beats
        10s    pve1 unit a.service failed
        => 10s SystemdServiceFailed pve1/a.service none -> pending: condition_began
        => 5m10s SystemdServiceFailed pve1/a.service pending -> firing: condition_lasted, told
        6m     pve1 unit b.service failed
        => 6m SystemdServiceFailed pve1/b.service none -> pending: condition_began
        7m     pve1 hushes
        7m     pve1 offline
        => 7m SystemdServiceFailed pve1/a.service firing -> firing: witness_lost
        => 7m SystemdServiceFailed pve1/b.service pending -> pending: witness_lost
        => 7m HostDown pve1 none -> pending: condition_began
        => 9m HostDown pve1 pending -> firing: condition_lasted, told
        => 9m SystemdServiceFailed pve1/a.service firing -> firing: inhibition_began
        => 9m SystemdServiceFailed pve1/b.service pending -> pending: inhibition_began
        2h     pve1 online
        => 2h SystemdServiceFailed pve1/a.service firing -> firing: witness_returned
        => 2h SystemdServiceFailed pve1/b.service pending -> pending: witness_returned
        => 2h HostDown pve1 firing -> resolved: condition_ended, told
        => 2h SystemdServiceFailed pve1/a.service firing -> firing: inhibition_ended
        => 2h SystemdServiceFailed pve1/b.service pending -> pending: inhibition_ended
        2h1s   pve1 sample
        => 11m SystemdServiceFailed pve1/b.service pending -> firing: condition_lasted, told
        2h6s
        ",
    );
}

#[test]
fn the_will_of_a_connection_that_was_taken_over_says_nothing() {
    let mut stage = tell(
        CATALOGUE,
        "
        0s    pve1 online epoch=1
        0s    pve1 beats epoch=2
        1m    pve1 online epoch=2
        1m    pve1 offline epoch=1
        5m
        ",
    );
    assert_eq!(stage.core.snapshot().counters.fleet.superseded_wills, 1);
}

#[test]
fn two_agents_with_one_name_are_noticed_and_forgotten_when_one_leaves() {
    let mut stage = Stage::new(CATALOGUE);
    stage.play("0s pve1 sample stream=1");
    stage.play("1s pve1 sample stream=2");
    assert!(!node(&mut stage, "pve1").duplicate_name, "an agent that restarted");
    for (second, stream) in [(10, 1), (11, 2), (20, 1), (21, 2)] {
        stage.play(&format!("{second}s pve1 sample stream={stream}"));
    }
    assert!(node(&mut stage, "pve1").duplicate_name);
    stage.play("30s pve1 beats stream=2");
    stage.play("9m");
    assert!(node(&mut stage, "pve1").duplicate_name);
    stage.play("11m");
    assert!(!node(&mut stage, "pve1").duplicate_name);
}

#[test]
fn two_agents_that_push_each_other_out_are_noticed_by_their_boots() {
    let mut stage = Stage::new(CATALOGUE);
    for (second, boot) in [(0, "a"), (2, "b"), (4, "a"), (6, "b")] {
        stage.play(&format!("{second}s pve1 online boot={boot}"));
    }
    assert!(node(&mut stage, "pve1").duplicate_name);
}

#[test]
fn a_boot_that_nobody_announced_is_unclean() {
    for (story, unclean) in [
        (["0s pve1 started boot=a", "1m pve1 started boot=b", "2m"], true),
        (["0s pve1 started boot=a", "1m pve1 started boot=a", "2m"], false),
        (
            ["0s pve1 started boot=a", "1m pve1 stopping reason=reboot", "2m pve1 started boot=b"],
            false,
        ),
    ] {
        let mut stage = Stage::new(CATALOGUE);
        for line in story {
            stage.play(line);
        }
        assert_eq!(node(&mut stage, "pve1").boots.is_unclean(), unclean, "{story:?}");
    }
}

#[test]
fn a_checkpoint_removes_what_it_does_not_name_once_all_its_parts_are_there() {
    let mut stage = Stage::new(CATALOGUE);
    stage.play("0s pve1 beats");
    for name in ["a", "b", "c"] {
        stage.play(&format!("1s pve1 unit {name}.service active"));
    }
    stage.play("2s pve1 units a.service=active part=1/2 as_of=3");
    assert_eq!(units(&mut stage).len(), 3, "a part alone removes nothing");
    stage.play("3s pve1 units b.service=inactive part=2/2 as_of=3");
    assert_eq!(units(&mut stage), ["a.service active", "b.service inactive"]);
}

#[test]
fn a_checkpoint_that_is_newer_than_the_events_wins_and_an_older_one_changes_nothing() {
    let mut stage = Stage::new(CATALOGUE);
    stage.play("0s pve1 beats");
    stage.play("1s pve1 units a.service=active b.service=active as_of=10");
    // Events 1 and 2 come late: the picture includes them.
    stage.play("2s pve1 unit a.service failed");
    stage.play("3s pve1 unit gone.service failed");
    assert_eq!(units(&mut stage), ["a.service active", "b.service active"]);
    stage.play("4s pve1 units as_of=5");
    assert_eq!(units(&mut stage), ["a.service active", "b.service active"]);
    assert_eq!(stage.core.snapshot().counters.fleet.not_newer, 3);
}

#[test]
fn what_a_checkpoint_had_to_correct_is_counted() {
    let corrected = |stage: &mut Stage| {
        let counted = stage.core.snapshot().counters.fleet;
        (counted.corrected_units, counted.corrected_guests)
    };
    let mut stage = Stage::new(CATALOGUE);
    stage.play("0s pve1 beats");
    // Before the first picture nobody has said how things are.
    stage.play("1s pve1 units a.service=active b.service=active");
    stage.play("1s pve1 runs 100 101");
    stage.play("2s pve1 unit a.service failed");
    stage.play("2s pve1 guest 100:stopped:crash");
    stage.play("3s pve1 units a.service=failed b.service=active");
    stage.play("3s pve1 runs 101");
    assert_eq!(corrected(&mut stage), (0, 0), "events told it all");
    stage.play("4s pve1 unit b.service active");
    stage.play("4s pve1 units a.service=active b.service=active c.service=failed");
    stage.play("4s pve1 runs 100 102");
    assert_eq!(corrected(&mut stage), (2, 3), "one that is other or new, one that runs, or not");
    stage.play("5s pve1 unit b.service active");
    stage.play("5s pve1 units a.service=active");
    assert_eq!(corrected(&mut stage), (4, 3), "two are gone");
    // The event on which it is based has yet to come.
    stage.play("5s pve1 units a.service=failed as_of=9");
    assert_eq!(corrected(&mut stage), (4, 3));
    // Another start of the agent: what happened in between has no events.
    stage.play("6s pve1 started");
    stage.play("6s pve1 units a.service=failed");
    stage.play("6s pve1 runs");
    assert_eq!(corrected(&mut stage), (4, 3));
}

#[test]
fn a_unit_that_was_removed_is_not_brought_back_by_an_older_picture() {
    let mut stage = tell(
        CATALOGUE,
        "
        0s    pve1 beats
        1s    pve1 unit a.service failed
        => 1s SystemdServiceFailed pve1/a.service none -> pending: condition_began
        2s    pve1 removed a.service
        => 2s SystemdServiceFailed pve1/a.service pending -> none: entity_removed
        3s    pve1 units a.service=failed as_of=1
        10m
        ",
    );
    assert_eq!(units(&mut stage), [""; 0]);
}

#[test]
fn a_firing_alert_resolves_when_its_unit_is_removed() {
    tell(
        CATALOGUE,
        "
        0s    pve1 beats
        1s    pve1 unit a.service failed
        => 1s SystemdServiceFailed pve1/a.service none -> pending: condition_began
        => 5m1s SystemdServiceFailed pve1/a.service pending -> firing: condition_lasted, told
        6m    pve1 units b.service=active as_of=9
        => 6m SystemdServiceFailed pve1/a.service firing -> resolved: entity_removed, told
        ",
    );
}

#[test]
fn a_label_that_changes_makes_another_alert_that_is_not_told_again() {
    let stage = tell(
        CATALOGUE,
        "
        0s    pve1 started environment=lab
        0s    pve1 beats
        1s    pve1 unit a.service failed
        => 1s SystemdServiceFailed pve1/a.service none -> pending: condition_began
        => 5m1s SystemdServiceFailed pve1/a.service pending -> firing: condition_lasted, told
        6m    pve1 started environment=prod
        => 6m SystemdServiceFailed pve1/a.service firing -> resolved: labels_changed
        => 6m SystemdServiceFailed pve1/a.service none -> firing: labels_changed
        8m    pve1 unit a.service active
        => 8m SystemdServiceFailed pve1/a.service firing -> resolved: condition_ended, told
        ",
    );
    let environments: Vec<_> =
        stage.transitions.iter().map(|t| t.alert.labels["environment"].clone()).collect();
    assert_eq!(environments, ["lab", "lab", "lab", "prod", "prod"]);
}

#[test]
fn an_inhibited_alert_stays_inhibited_when_the_labels_change() {
    let stage = tell(
        CATALOGUE,
        "
        0s    pve1 started environment=lab
        0s    pve1 beats
        0s    pve1 unit pveproxy.service failed
        => 0s SystemdServiceFailed pve1/pveproxy.service none -> pending: condition_began
        => 0s ProxmoxServiceFailed pve1/pveproxy.service none -> pending: condition_began
        => 10s ProxmoxServiceFailed pve1/pveproxy.service pending -> firing: condition_lasted, told
        => 10s SystemdServiceFailed pve1/pveproxy.service pending -> pending: inhibition_began
        => 5m SystemdServiceFailed pve1/pveproxy.service pending -> firing: condition_lasted
        6m    pve1 started environment=prod
        => 6m ProxmoxServiceFailed pve1/pveproxy.service firing -> resolved: labels_changed
        => 6m ProxmoxServiceFailed pve1/pveproxy.service none -> firing: labels_changed
        => 6m SystemdServiceFailed pve1/pveproxy.service firing -> resolved: labels_changed
        => 6m SystemdServiceFailed pve1/pveproxy.service none -> firing: labels_changed
        ",
    );
    assert_eq!(stage.transitions.iter().filter_map(|t| t.notice()).count(), 1);
}

#[test]
fn a_node_whose_clock_is_behind_is_heard_when_it_is_heard() {
    tell(
        CATALOGUE,
        "
        0s    pve2 beats
        2h    pve1 online at=1h
        2h5s  pve1 sample at=1h5s
        2h30s pve1 sample at=1h30s
        ",
    );
}

#[test]
fn events_that_this_collector_found_to_be_lost_are_counted_with_those_that_were_declared() {
    let mut stage = Stage::new(CATALOGUE);
    stage.play("0s pve1 online");
    stage.play("10s pve1 dropped 7 9");
    let declared = node(&mut stage, "pve1");
    let loss = declared.last_loss.clone().unwrap();
    assert_eq!((declared.dropped_events, loss.events(), loss.at.fact), (3, 3, at("10s")));
    let found = Loss { from: Sequence(20), through: Sequence(20), ..loss };
    let name = "pve1".parse().unwrap();
    stage.core.handle(at("20s"), Input::Lost { node: name, loss: found.clone() });
    stage.check_records();
    let after = node(&mut stage, "pve1");
    assert_eq!((after.dropped_events, after.last_loss.clone()), (4, Some(found)));
}

#[test]
fn what_agents_no_longer_hold_from_before_a_new_store_is_no_loss() {
    // (when the store began, the range that is declared lost) -> events that count as lost
    for (began, range, lost) in [("0s", "1 9", 9), ("1h", "1 9", 0), ("1h", "5 9", 5)] {
        let mut stage = Stage::new(CATALOGUE);
        let epoch = Epoch(uuid(at(began), 1));
        stage.core.begin_with(epoch);
        stage.play("2h pve1 online");
        stage.play(&format!("2h pve1 dropped {range}"));
        assert_eq!(node(&mut stage, "pve1").dropped_events, lost, "{began} {range}");
        let before = stage.core.snapshot().counters.fleet.events_before;
        assert_eq!(before, if lost == 0 { 9 } else { 0 });
    }
}
