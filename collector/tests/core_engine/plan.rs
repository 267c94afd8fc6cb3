//! What is due: guests, the jobs that cover them, and what happens when a backup does not come.
//!
//! Stories begin on a Saturday at 03:00 UTC; `21:00` is 18 hours later, and a day after that.

use super::story::{CATALOGUE, tell};

const NIGHTLY: &str = "
    0s     pve1 beats every=600
    0s     pve1 jobs nightly:100:21:00
    0s     pve1 guests 100
    18h1m  pve1 jobs nightly:100:21:00;ran@18h
    18h5m  pve1 backup 100 ok run=1
    ";

/// A story that goes on after a first night that went well.
fn after_a_good_night(rest: &str) {
    tell(CATALOGUE, &format!("{NIGHTLY}{rest}"));
}

#[test]
fn a_run_that_does_not_begin_is_told_a_quarter_of_an_hour_later() {
    after_a_good_night(
        "
        => 42h15m BackupRunMissed pve1/nightly none -> firing: condition_lasted, told
        43h      pve1 jobs nightly:100:21:00;ran@43h
        => 43h BackupRunMissed pve1/nightly firing -> resolved: condition_ended, told
        43h5m    pve1 backup 100 ok run=2
        60h
        ",
    );
}

#[test]
fn a_run_that_fails_as_a_whole_is_told_until_one_does_not() {
    after_a_good_night(
        "
        42h1m    pve1 job nightly failed began=42h
        => 42h1m BackupRunFailed pve1/nightly none -> firing: condition_lasted, told
        42h2m    pve1 jobs nightly:100:21:00;ran@42h
        66h1m    pve1 jobs nightly:100:21:00;ran@66h
        66h5m    pve1 backup 100 ok run=3
        66h5m    pve1 job nightly ok began=66h
        => 66h5m BackupRunFailed pve1/nightly firing -> resolved: condition_ended, told
        70h
        ",
    );
}

#[test]
fn a_run_that_breaks_off_is_told_beside_the_guest_that_it_was_at() {
    after_a_good_night(
        "
        20h      pve1 jobs nightly:100,101:21:00;ran@18h
        42h1m    pve1 backup 100 interrupted began=42h
        => 42h1m BackupJobFailed pve1/100 none -> firing: condition_lasted, told
        42h1m    pve1 job nightly interrupted began=42h failed=100
        => 42h1m BackupRunFailed pve1/nightly none -> firing: condition_lasted, told
        42h2m    pve1 jobs nightly:100,101,102:21:00;ran@42h
        50h      pve1 jobs nightly:100:21:00;ran@42h
        60h
        ",
    );
}

#[test]
fn a_run_of_which_a_guest_is_to_blame_is_told_for_that_guest_alone() {
    after_a_good_night(
        "
        42h1m    pve1 backup 100 failed began=42h
        => 42h1m BackupJobFailed pve1/100 none -> firing: condition_lasted, told
        42h1m    pve1 job nightly failed began=42h failed=100
        42h2m    pve1 jobs nightly:100:21:00;ran@42h
        60h
        ",
    );
}

#[test]
fn a_run_that_waits_for_its_turn_or_whose_picture_is_late_has_begun() {
    after_a_good_night(
        "
        42h10m   pve1 backing-up 100 job=nightly began=42h
        43h      pve1 backup 100 ok began=42h
        66h5m    pve1 jobs nightly:100:21:00;ran@66h
        70h      pve1 backup 100 ok run=3
        80h
        ",
    );
}

#[test]
fn a_guest_that_is_not_backed_up_is_told_two_days_after_it_was_due() {
    after_a_good_night(
        "
        42h1m    pve1 jobs nightly:100:21:00;ran@42h
        66h1m    pve1 jobs nightly:100:21:00;ran@66h
        => 90h BackupJobMissing pve1/100 none -> firing: condition_lasted, told
        90h1m    pve1 jobs nightly:100:21:00;ran@90h
        90h9m    pve1 backup 100 ok run=4
        => 90h9m BackupJobMissing pve1/100 firing -> resolved: condition_ended, told
        100h
        ",
    );
}

#[test]
fn a_guest_of_a_node_that_is_off_is_told_all_the_same() {
    after_a_good_night(
        "
        20h      pve1 stopping reason=shutdown
        20h      pve1 hushes
        20h1s    pve1 offline reason=shutdown
        => 90h BackupJobMissing pve1/100 none -> firing: condition_lasted, told
        100h
        ",
    );
}

#[test]
fn a_run_that_was_missed_while_the_node_was_off_is_told_when_it_returns() {
    after_a_good_night(
        "
        40h      pve1 stopping reason=shutdown
        40h      pve1 hushes
        40h1s    pve1 offline reason=shutdown
        50h      pve1 online
        => 42h15m BackupRunMissed pve1/nightly none -> pending: condition_began
        50h      pve1 started boot=boot-2
        => 42h15m BackupRunMissed pve1/nightly pending -> firing: condition_lasted, told
        50h      pve1 beats every=600
        50h9s    pve1 guests 100
        50h9s    pve1 jobs nightly:100:21:00;ran@18h
        66h1m    pve1 jobs nightly:100:21:00;ran@66h
        => 66h1m BackupRunMissed pve1/nightly firing -> resolved: condition_ended, told
        66h5m    pve1 backup 100 ok run=3
        70h
        ",
    );
}

#[test]
fn runs_during_an_outage_of_the_connection_are_no_misses() {
    after_a_good_night(
        "
        41h      pve1 hushes
        41h1s    pve1 offline
        => 41h HostDown pve1 none -> pending: condition_began
        => 41h2m HostDown pve1 pending -> firing: condition_lasted, told
        50h      pve1 online
        => 42h15m BackupRunMissed pve1/nightly none -> pending: condition_began
        => 50h HostDown pve1 firing -> resolved: condition_ended, told
        50h      pve1 backing-up 100 job=nightly began=42h at=42h1m
        => 42h15m BackupRunMissed pve1/nightly pending -> none: condition_did_not_last
        50h      pve1 backup 100 ok began=42h at=42h9m
        50h      pve1 jobs nightly:100:21:00;ran@42h
        50h      pve1 beats every=600
        60h
        ",
    );
}

#[test]
fn a_run_that_is_made_up_for_after_the_boot_is_no_miss() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats every=600
        0s     pve1 guests 100
        0s     pve1 jobs nightly:100:21:00;repeat
        17h    pve1 stopping reason=shutdown
        17h    pve1 hushes
        17h1s  pve1 offline reason=shutdown
        30h    pve1 online
        => 18h15m BackupRunMissed pve1/nightly none -> pending: condition_began
        30h    pve1 started boot=boot-2
        => 18h15m BackupRunMissed pve1/nightly pending -> firing: condition_lasted, past
        => 30h BackupRunMissed pve1/nightly firing -> resolved: condition_ended, past
        30h    pve1 beats every=600
        30h1s  pve1 guests 100
        30h1s  pve1 jobs nightly:100:21:00;repeat
        30h2m  pve1 jobs nightly:100:21:00;repeat;ran@30h1m
        30h9m  pve1 backup 100 ok run=1
        40h
        ",
    );
}

#[test]
fn a_guest_in_no_job_is_told_unless_nobody_wants_it_backed_up() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats every=600
        0s     pve1 guests 100 101:template 102:nobackup 103
        0s     pve1 jobs nightly:103:21:00 off:100:21:00;off never:100:02-30_21:00
        => 0s GuestsNotBackedUp pve1/100 none -> pending: condition_began
        => 10m GuestsNotBackedUp pve1/100 pending -> firing: condition_lasted, told
        1h     pve1 jobs nightly:100,103:21:00
        => 1h GuestsNotBackedUp pve1/100 firing -> resolved: condition_ended, told
        2h
        ",
    );
}

#[test]
fn nothing_is_said_of_guests_before_it_is_known_what_jobs_there_are() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats every=600
        0s     pve1 guests 100 part=1/2
        1h     pve1 guests 101 part=2/2
        2h     pve1 jobs nightly:100,101:21:00
        3h     pve2 beats every=600
        3h     pve2 backup 200 ok
        4h
        ",
    );
}

#[test]
fn a_guest_of_yesterday_is_due_from_when_it_came() {
    after_a_good_night(
        "
        41h      pve1 jobs nightly:100,101:21:00;ran@18h
        41h      pve1 guests 100 101
        42h1m    pve1 jobs nightly:100,101:21:00;ran@42h
        42h9m    pve1 backup 100 ok run=2
        65h      pve1 jobs nightly:100,101:21:00;ran@42h
        66h1m    pve1 jobs nightly:100,101:21:00;ran@66h
        66h9m    pve1 backup 100 ok run=3
        89h59m
        => 90h BackupJobMissing pve1/101 none -> firing: condition_lasted, told
        90h1m    pve1 jobs nightly:100,101:21:00;ran@90h
        ",
    );
}

#[test]
fn a_job_that_was_changed_is_due_by_its_new_times() {
    after_a_good_night(
        "
        20h      pve1 jobs nightly:100:sat_04:00;ran@18h
        150h     pve1 jobs nightly:100:mon_04:00;ran@18h
        170h
        ",
    );
}

#[test]
fn what_is_overdue_stays_so_whatever_becomes_of_the_job() {
    after_a_good_night(
        "
        42h1m    pve1 jobs nightly:100:21:00;ran@42h
        66h1m    pve1 jobs nightly:100:21:00;ran@66h
        70h      pve1 jobs nightly:100:23:00;ran@66h
        80h      pve1 jobs other:100:23:00
        => 90h BackupJobMissing pve1/100 none -> firing: condition_lasted, told
        90h1m    pve1 jobs
        => 90h1m GuestsNotBackedUp pve1/100 none -> pending: condition_began
        => 90h1m BackupJobMissing pve1/100 firing -> resolved: condition_ended, told
        90h5m    pve1 jobs other:100:23:00
        => 90h5m GuestsNotBackedUp pve1/100 pending -> none: condition_did_not_last
        91h
        ",
    );
}

#[test]
fn a_job_that_is_off_or_covers_nothing_here_is_never_missed() {
    after_a_good_night(
        "
        20h      pve1 jobs nightly:100:21:00;off;ran@18h weekly:100:sun_21:00
        40h      pve1 jobs nightly:100:21:00;off;ran@18h weekly:100:mon_21:00 elsewhere::21:00
        41h      pve1 jobs nightly:100:21:00;off;ran@18h daily:100:21:00;cron
        60h      pve1 backup 100 ok run=2
        80h
        ",
    );
}

#[test]
fn a_guest_that_is_deleted_takes_its_alerts_with_it() {
    after_a_good_night(
        "
        42h1m    pve1 jobs nightly:100:21:00;ran@42h
        42h9m    pve1 backup 100 failed run=2
        => 42h9m BackupJobFailed pve1/100 none -> firing: condition_lasted, told
        43h      pve1 guests
        => 43h BackupJobFailed pve1/100 firing -> resolved: entity_removed, told
        43h      pve1 jobs nightly::21:00;ran@42h
        150h
        ",
    );
}

#[test]
fn a_guest_that_moves_takes_its_past_with_it() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats every=600
        0s     pve2 beats every=600
        1s     pve1 started cluster=lab
        1s     pve2 started cluster=lab
        2s     pve1 jobs nightly:100:21:00
        2s     pve1 guests 100
        2s     pve2 guests
        2s     pve2 jobs nightly::21:00
        18h1m  pve1 jobs nightly:100:21:00;ran@18h
        18h5m  pve1 backup 100 ok run=1
        42h1m  pve1 jobs nightly:100:21:00;ran@42h
        42h1m  pve2 jobs nightly::21:00;ran@42h
        50h    pve1 guests
        50h    pve1 jobs nightly::21:00;ran@42h
        50h1s  pve2 jobs nightly:100:21:00;ran@42h
        50h1s  pve2 guests 100
        50h2s  pve1 guests 100 at=49h
        66h1m  pve1 jobs nightly::21:00;ran@66h
        66h1m  pve2 jobs nightly:100:21:00;ran@66h
        => 90h BackupJobMissing pve2/100 none -> firing: condition_lasted, told
        90h1m  pve2 jobs nightly:100:21:00;ran@90h
        90h9m  pve2 backup 100 ok run=3
        => 90h9m BackupJobMissing pve2/100 firing -> resolved: condition_ended, told
        91h    pve1 jobs nightly:100:21:00;ran@90h
        91h    pve1 guests 100
        91h1s  pve2 guests
        91h1s  pve2 jobs nightly::21:00;ran@90h
        91h2s  pve1 backup 100 failed run=4
        => 91h0m2s BackupJobFailed pve1/100 none -> firing: condition_lasted, told
        92h
        ",
    );
}

#[test]
fn a_guest_that_returns_is_the_one_that_left() {
    after_a_good_night(
        "
        30h      pve1 guests
        30h      pve1 jobs nightly::21:00;ran@18h
        40h      pve1 jobs nightly:100:21:00;ran@18h
        40h      pve1 guests 100
        42h1m    pve1 jobs nightly:100:21:00;ran@42h
        42h9m    pve1 backup 100 failed run=2
        => 42h9m BackupJobFailed pve1/100 none -> firing: condition_lasted, told
        60h
        ",
    );
}

#[test]
fn a_number_that_is_given_to_another_guest_gives_it_no_past() {
    let story = |returns: &str, then: &str| {
        tell(
            CATALOGUE,
            &format!(
                "
        0s     pve1 beats every=600
        0s     pve1 guests 100:nobackup,+mac.m1
        1h     pve1 backup 100 failed run=1
        => 1h BackupJobFailed pve1/100 none -> firing: condition_lasted, told
        2h     pve1 guests
        => 2h BackupJobFailed pve1/100 firing -> resolved: entity_removed, told
        3h     pve1 guests 100:nobackup{returns}{then}
        4h
        "
            ),
        );
    };
    let again = "\n        => 3h BackupJobFailed pve1/100 none -> firing: condition_lasted, told";
    story(",+mac.m2", "");
    story(",+mac.m1", again);
    // An agent that does not tell, or a guest without a network.
    story("", again);
}
