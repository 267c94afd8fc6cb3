//! What should be true of guests and is not, what could not be checked, and what is no drift.

use super::story::{Stage, tell_about};

const POLICY: &str = r#"
    [[environment]]
    name = "prod"
    tags = ["prod"]

    [[policy]]
    name = "prod"
    environments = ["prod"]
    description = "not empty"
    scsihw = "virtio-scsi-single"
    disk_sizes = "GiB"
    protection = true

    [[policy]]
    name = "kept"
    tags = ["kept"]
    backup = { every = "1d", keep-daily = 7 }
    "#;

/// A guest that is as the policy `prod` wants it.
const GOOD: &str = "prod,nobackup,+described,+protected,+scsihw.virtio-scsi-single,+disk.32G";

/// One that nobody has described, with the wrong controller, an odd disk and no protection.
const BAD: &str = "prod,nobackup,+told,+disk.2252M";

fn story(story: &str) -> Stage {
    tell_about(POLICY, &story.replace("GOOD", GOOD).replace("BAD", BAD))
}

/// The last description that was shown of an alert.
fn description<'a>(stage: &'a Stage, rule: &str) -> &'a str {
    let of_rule = stage.transitions.iter().rev().find(|it| *it.alert.rule == *rule).unwrap();
    &of_rule.alert.annotations["description"]
}

#[test]
fn a_guest_that_is_not_as_its_policy_wants_is_told_until_it_is() {
    let stage = story(
        "
        0s     pve1 beats every=600
        0s     pve1 jobs
        0s     pve1 guests 100:GOOD 101:GOOD
        1h     pve1 guests 100:GOOD 101:BAD
        => 1h DriftDetected pve1/prod none -> pending: condition_began
        => 1h5m DriftDetected pve1/prod pending -> firing: condition_lasted, told
        2h     pve1 guests 100:BAD 101:GOOD
        3h     pve1 guests 100:GOOD 101:GOOD
        => 3h DriftDetected pve1/prod firing -> resolved: condition_ended, told
        4h
        ",
    );
    let told: Vec<_> = stage.transitions.iter().filter_map(|it| it.notice()).collect();
    assert_eq!(told[0].title, "Warning: 1 of 2 guests on pve1 are not as policy prod wants them");
    let alert = &stage.transitions.last().unwrap().alert;
    assert_eq!(alert.labels["policy"], "prod");
    assert_eq!(alert.labels["environment"], "prod");
    assert_eq!(
        alert.annotations["description"],
        "100 (web): description: empty, should be not empty; 100 (web): protection: off, should \
         be on; 100 (web): scsihw: lsi, since it is not set, should be virtio-scsi-single; 100 \
         (web): size of scsi0: 2252 MiB on local-lvm, should be a whole number of GiB. See: \
         pvewatch drift, which says where each of it stands."
    );
}

#[test]
fn a_guest_that_is_mended_in_time_or_was_never_wrong_is_no_alert() {
    story(
        "
        0s     pve1 beats every=600
        0s     pve1 jobs
        0s     pve1 guests 100:GOOD 101:lab,nobackup,+told
        1h     pve1 guests 100:BAD 101:lab,nobackup,+told
        => 1h DriftDetected pve1/prod none -> pending: condition_began
        1h4m   pve1 guests 100:GOOD
        => 1h4m DriftDetected pve1/prod pending -> none: condition_did_not_last
        2h     pve1 guests 100:prod,nobackup,template,+told
        3h
        ",
    );
}

#[test]
fn a_backup_that_is_not_as_wanted_follows_from_jobs_and_storages() {
    story(
        "
        0s     pve1 beats every=600
        0s     pve1 jobs nightly:100:21:00
        0s     pve1 storages nas:10;daily:7
        0s     pve1 guests 100:kept
        1h     pve1 storages nas:10;daily:3
        => 1h DriftDetected pve1/kept none -> pending: condition_began
        => 1h5m DriftDetected pve1/kept pending -> firing: condition_lasted, told
        2h     pve1 jobs nightly:100:21:00;daily:7
        => 2h DriftDetected pve1/kept firing -> resolved: condition_ended, told
        3h     pve1 jobs nightly:100:sun_21:00;daily:7
        => 3h DriftDetected pve1/kept none -> pending: condition_began
        => 3h5m DriftDetected pve1/kept pending -> firing: condition_lasted, told
        4h     pve1 jobs nightly:100:21:00;daily:7
        => 4h DriftDetected pve1/kept firing -> resolved: condition_ended, told
        5h
        ",
    );
}

#[test]
fn what_an_older_agent_does_not_tell_is_no_drift_but_a_check_that_fails() {
    let stage = story(
        "
        0s     pve1 beats every=600
        0s     pve1 jobs
        0s     pve1 guests 100:prod,nobackup
        => 0s DriftCheckFailed pve1/prod none -> pending: condition_began
        => 5m DriftCheckFailed pve1/prod pending -> firing: condition_lasted, told
        1h     pve1 guests 100:GOOD
        => 1h DriftCheckFailed pve1/prod firing -> resolved: condition_ended, told
        2h
        ",
    );
    let told: Vec<_> = stage.transitions.iter().filter_map(|it| it.notice()).collect();
    assert_eq!(told[0].title, "Critical: Policy prod cannot be checked on pve1");
    let said = description(&stage, "DriftCheckFailed");
    assert!(said.starts_with("not known: its agent does not tell descriptions"), "{said}");
}

#[test]
fn a_configuration_that_cannot_be_read_is_a_check_that_fails_and_what_was_found_stays() {
    story(
        "
        0s     pve1 beats every=600
        0s     pve1 jobs
        0s     pve1 guests 100:BAD
        => 0s DriftDetected pve1/prod none -> pending: condition_began
        => 5m DriftDetected pve1/prod pending -> firing: condition_lasted, told
        1h     pve1 started blocked=hangs
        => 1h DriftCheckFailed pve1/prod none -> pending: condition_began
        => 1h5m DriftCheckFailed pve1/prod pending -> firing: condition_lasted, told
        2h     pve1 started
        => 2h DriftCheckFailed pve1/prod firing -> resolved: condition_ended, told
        3h
        ",
    );
}

#[test]
fn a_node_whose_guests_could_never_be_read_is_not_taken_for_one_without_guests() {
    story(
        "
        0s     pve1 beats every=600
        0s     pve1 started blocked=hangs
        => 0s DriftCheckStale pve1/kept none -> pending: condition_began
        => 0s DriftCheckStale pve1/prod none -> pending: condition_began
        => 0s DriftCheckFailed pve1/prod none -> pending: condition_began
        => 0s DriftCheckFailed pve1/kept none -> pending: condition_began
        1m     pve1 started
        => 1m DriftCheckFailed pve1/kept pending -> none: entity_removed
        => 1m DriftCheckStale pve1/kept pending -> none: entity_removed
        => 1m DriftCheckFailed pve1/prod pending -> none: entity_removed
        => 1m DriftCheckStale pve1/prod pending -> none: entity_removed
        1h
        ",
    );
}

#[test]
fn a_policy_file_that_is_broken_is_told_once_and_ends_nothing_that_it_was_for() {
    let stage = story(
        "
        0s     pve1 beats every=600
        0s     pve2 beats every=600
        0s     pve1 jobs
        0s     pve2 jobs
        0s     pve2 guests 200:BAD
        => 0s DriftDetected pve2/prod none -> pending: condition_began
        0s     pve1 guests 100:GOOD
        => 5m DriftDetected pve2/prod pending -> firing: condition_lasted, told
        58m    pve1 guests 100:BAD
        => 58m DriftDetected pve1/prod none -> pending: condition_began
        1h     collector restarts broken
        => 1h DriftDetected pve1/prod pending -> none: entity_removed
        => 1h DriftCheckFailed pve1/policy file none -> pending: condition_began
        => 1h5m DriftCheckFailed pve1/policy file pending -> firing: condition_lasted, told
        2h     collector restarts
        => 2h DriftCheckFailed pve1/policy file firing -> resolved: entity_removed, told
        => 2h DriftDetected pve1/prod none -> pending: condition_began
        2h1m   pve2 guests 200:GOOD
        => 2h1m DriftDetected pve2/prod firing -> resolved: condition_ended, told
        2h2m   pve1 guests 100:GOOD
        => 2h2m DriftDetected pve1/prod pending -> none: condition_did_not_last
        3h
        ",
    );
    assert!(description(&stage, "DriftCheckFailed").starts_with("policy.toml:7: protection"));
}

#[test]
fn a_broken_policy_file_is_told_on_one_node_that_can_be_heard() {
    story(
        "
        0s     pve2 beats every=600
        0s     pve2 jobs
        0s     pve2 guests 200:GOOD
        1h     collector restarts broken
        => 1h DriftCheckFailed pve2/policy file none -> pending: condition_began
        => 1h5m DriftCheckFailed pve2/policy file pending -> firing: condition_lasted, told
        2h     pve1 online
        2h     pve1 beats every=600
        2h     pve1 guests 100:GOOD
        => 2h DriftCheckFailed pve2/policy file firing -> resolved: entity_removed, told
        => 2h DriftCheckFailed pve1/policy file none -> pending: condition_began
        => 2h5m DriftCheckFailed pve1/policy file pending -> firing: condition_lasted, told
        3h     pve1 hushes
        3h     pve1 offline reason=shutdown
        => 3h DriftCheckFailed pve1/policy file firing -> firing: witness_lost
        => 3h DriftCheckFailed pve2/policy file none -> pending: condition_began
        => 3h DriftCheckFailed pve1/policy file firing -> resolved: entity_removed, told
        3h1m   collector restarts broken
        => 3h5m DriftCheckFailed pve2/policy file pending -> firing: condition_lasted, told
        7h
        ",
    );
}

#[test]
fn a_policy_that_is_taken_out_takes_its_alerts_with_it() {
    story(
        "
        0s     pve1 beats every=600
        0s     pve1 jobs
        0s     pve1 guests 100:BAD
        => 0s DriftDetected pve1/prod none -> pending: condition_began
        => 5m DriftDetected pve1/prod pending -> firing: condition_lasted, told
        1h     collector restarts without
        => 1h DriftDetected pve1/prod firing -> resolved: entity_removed, told
        2h
        ",
    );
}

#[test]
fn a_restart_of_the_collector_tells_nothing_anew() {
    story(
        "
        0s     pve1 beats every=600
        0s     pve1 jobs
        0s     pve1 guests 100:BAD 101:GOOD
        => 0s DriftDetected pve1/prod none -> pending: condition_began
        => 5m DriftDetected pve1/prod pending -> firing: condition_lasted, told
        1h     collector restarts
        2h     pve1 guests 100:BAD 101:GOOD
        3h
        ",
    );
}

#[test]
fn a_check_is_stale_when_the_node_has_not_told_of_its_guests_for_two_days() {
    story(
        "
        0s     pve1 beats every=600
        0s     pve1 jobs
        0s     pve1 guests 100:GOOD
        24h    pve1 guests 100:GOOD
        => 72h DriftCheckStale pve1/prod none -> pending: condition_began
        => 73h DriftCheckStale pve1/prod pending -> firing: condition_lasted, told
        80h    pve1 guests 100:GOOD
        => 80h DriftCheckStale pve1/prod firing -> resolved: condition_ended, told
        81h
        ",
    );
}

#[test]
fn a_check_that_was_never_made_is_stale_after_an_hour() {
    story(
        "
        0s     pve1 beats every=600
        0s     pve1 jobs nightly:100:21:00
        0s     pve1 guests 100:kept
        => 0s DriftCheckStale pve1/kept none -> pending: condition_began
        => 1h DriftCheckStale pve1/kept pending -> firing: condition_lasted, told
        2h     pve1 storages nas:10;daily:7
        => 2h DriftCheckStale pve1/kept firing -> resolved: condition_ended, told
        3h
        ",
    );
}

#[test]
fn a_node_that_was_shut_down_or_is_down_is_not_told_as_unchecked_as_well() {
    story(
        "
        0s     pve1 beats every=600
        0s     pve1 online
        0s     pve1 jobs
        0s     pve1 guests 100:GOOD
        1h     pve1 hushes
        1h     pve1 stopping reason=shutdown
        1h     pve1 offline reason=shutdown
        60h
        ",
    );
    story(
        "
        0s     pve1 beats every=600
        0s     pve1 online
        0s     pve1 jobs
        0s     pve1 guests 100:BAD
        => 0s DriftDetected pve1/prod none -> pending: condition_began
        => 5m DriftDetected pve1/prod pending -> firing: condition_lasted, told
        1h     pve1 hushes
        1h     pve1 offline reason=lost
        => 1h DriftDetected pve1/prod firing -> firing: witness_lost
        => 1h HostDown pve1 none -> pending: condition_began
        => 1h2m HostDown pve1 pending -> firing: condition_lasted, told
        => 48h DriftCheckStale pve1/prod none -> pending: condition_began
        => 49h DriftCheckStale pve1/prod pending -> firing: condition_lasted
        60h
        ",
    );
}

#[test]
fn a_guest_that_migrates_is_checked_where_it_is() {
    story(
        "
        0s     pve1 started cluster=c
        0s     pve2 started cluster=c
        0s     pve1 beats every=600
        0s     pve2 beats every=600
        0s     pve1 jobs nightly:100:21:00;daily:7
        0s     pve2 jobs nightly::21:00;daily:7
        0s     pve1 storages nas:10
        0s     pve2 storages nas:10
        0s     pve1 guests 100:kept,prod,+described,+protected,+scsihw.virtio-scsi-single
        0s     pve2 guests
        1h     pve2 jobs nightly:100:21:00;daily:7
        1h     pve2 guests 100:kept,prod,+described,+protected,+scsihw.virtio-scsi-single
        1h     pve1 guests
        1h     pve1 jobs nightly::21:00;daily:7
        2h
        ",
    );
}

#[test]
fn a_guest_with_drift_that_migrates_leaves_it_with_no_node_but_its_own() {
    story(
        "
        0s     pve1 started cluster=c
        0s     pve2 started cluster=c
        0s     pve1 beats every=600
        0s     pve2 beats every=600
        0s     pve1 jobs
        0s     pve2 jobs
        0s     pve1 guests 100:BAD
        => 0s DriftDetected pve1/prod none -> pending: condition_began
        0s     pve2 guests
        => 5m DriftDetected pve1/prod pending -> firing: condition_lasted, told
        1h     pve2 guests 100:BAD
        => 1h DriftDetected pve1/prod firing -> resolved: entity_removed, told
        => 1h DriftDetected pve2/prod none -> pending: condition_began
        1h     pve1 guests
        => 1h5m DriftDetected pve2/prod pending -> firing: condition_lasted, told
        2h
        ",
    );
}

#[test]
fn a_host_without_proxmox_and_one_that_has_told_nothing_yet_have_no_drift() {
    let mut stage = story(
        "
        0s     pve1 beats every=600
        0s     pve1 units ssh.service=active
        1h     pve2 beats every=600
        1h     pve2 jobs nightly:100:21:00
        17h
        ",
    );
    assert_eq!(stage.core.snapshot().drifts().count(), 0);
}

#[test]
fn alerts_of_a_guest_carry_its_own_environment_and_move_with_it_without_being_told_twice() {
    let stage = story(
        "
        0s     pve1 started environment=lab
        0s     pve1 beats every=600
        0s     pve1 jobs
        0s     pve1 guests 100 101:prod,+described,+protected,+scsihw.virtio-scsi-single
        => 0s GuestsNotBackedUp pve1/100 none -> pending: condition_began
        => 0s GuestsNotBackedUp pve1/101 none -> pending: condition_began
        => 10m GuestsNotBackedUp pve1/100 pending -> firing: condition_lasted, told
        => 10m GuestsNotBackedUp pve1/101 pending -> firing: condition_lasted, told
        1h     pve1 guests 100:prod,+described,+protected,+scsihw.virtio-scsi-single 101:prod,+described,+protected,+scsihw.virtio-scsi-single
        => 1h GuestsNotBackedUp pve1/100 firing -> resolved: labels_changed
        => 1h GuestsNotBackedUp pve1/100 none -> firing: labels_changed
        2h     collector restarts broken
        => 2h DriftCheckFailed pve1/policy file none -> pending: condition_began
        2h1m   collector restarts
        => 2h1m DriftCheckFailed pve1/policy file pending -> none: entity_removed
        3h     pve1 jobs nightly:100,101:21:00
        => 3h GuestsNotBackedUp pve1/100 firing -> resolved: condition_ended, told
        => 3h GuestsNotBackedUp pve1/101 firing -> resolved: condition_ended, told
        4h     collector restarts without
        ",
    );
    let of_guests = stage.transitions.iter().filter(|it| &*it.alert.rule == "GuestsNotBackedUp");
    let environments: Vec<_> = of_guests
        .map(|it| (&*it.alert.entity.id, it.alert.labels["environment"].as_str()))
        .collect();
    let expected = [
        ("100", "lab"),
        ("101", "prod"),
        ("100", "lab"),
        ("101", "prod"),
        ("100", "lab"),
        ("100", "prod"),
        ("100", "prod"),
        ("101", "prod"),
    ];
    assert_eq!(environments, expected);
}
