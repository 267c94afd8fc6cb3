//! Stories of the agent on real nodes: it stops, is killed, its node reboots or loses power, its
//! broker restarts. Everybody who listens knows which of these it was.

use pvewatch_protocol::StopReason;
use pvewatch_tests::deadline::{GENEROUS, eventually};
use pvewatch_tests::lab::Suite;
use pvewatch_tests::on_both_releases;
use pvewatch_tests::story::Site;
use rustix::process::Signal;

on_both_releases!(
    the_agent_is_stopped_and_started,
    the_agent_is_killed_and_systemd_starts_it_again,
    a_reboot_is_announced,
    a_power_loss_is_not_announced,
    the_broker_restarts_and_nothing_is_lost,
    two_nodes_are_told_apart,
    what_helps_when_something_does_not_work,
);

const RUNS: &str = "ExecStart=sleep infinity";

fn the_agent_is_stopped_and_started(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let pve1 = site.node("pve1", suite);
    pve1.has_service("demo.service", RUNS);
    pve1.starts("demo.service");
    site.hears(&pve1, "demo.service").start();

    pve1.stop_agent();
    assert_eq!(site.hears_agent(&pve1).stopping().reason, StopReason::Stopped);
    let offline = site.expect_offline(&pve1, StopReason::Stopped);
    assert_eq!(offline.boot_id, pve1.boot_id());
    pve1.fails("demo.service");

    pve1.start_agent();
    let online = site.expect_online(&pve1);
    assert!(online.epoch > offline.epoch);
    site.wait_until_watching(&pve1);
    // What failed meanwhile is in the picture that the agent draws when it starts.
    site.expect_message("the failed unit in the picture", "node/pve1/checkpoint/units/1", |it| {
        let units = it.json()["units"].as_array().cloned().unwrap_or_default();
        units.iter().any(|it| it["unit"] == "demo.service" && it["active_state"] == "failed")
    });
    site.expect_no_gaps(&pve1);
}

fn the_agent_is_killed_and_systemd_starts_it_again(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let pve1 = site.node("pve1", suite);
    pve1.kill_agent();
    let offline = site.expect_offline(&pve1, StopReason::Lost);
    let online = site.expect_online(&pve1);
    assert!(online.epoch > offline.epoch);
    assert_eq!(online.boot_id, offline.boot_id);
    site.wait_until_watching(&pve1);
    site.expect_no_gaps(&pve1);
}

fn a_reboot_is_announced(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let mut pve1 = site.node("pve1", suite);
    let boot = pve1.boot_id();
    pve1.reboot();
    assert_eq!(site.hears_agent(&pve1).stopping().reason, StopReason::Reboot);
    assert_eq!(site.expect_offline(&pve1, StopReason::Reboot).boot_id, boot);
    let online = site.expect_online(&pve1);
    assert_ne!(online.boot_id, boot);
    assert_eq!(online.boot_id, pve1.boot_id());
    site.wait_until_watching(&pve1);

    pve1.power_off();
    site.expect_offline(&pve1, StopReason::Shutdown);
    site.expect_no_gaps(&pve1);
}

fn a_power_loss_is_not_announced(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let mut pve1 = site.node("pve1", suite);
    let boot = pve1.boot_id();
    pve1.power_loss();
    assert_eq!(site.expect_offline(&pve1, StopReason::Lost).boot_id, boot);
    pve1.boot();
    let online = site.expect_online(&pve1);
    assert_ne!(online.boot_id, boot);
    site.wait_until_watching(&pve1);
}

fn the_broker_restarts_and_nothing_is_lost(suite: Suite) {
    for signal in [Signal::TERM, Signal::KILL] {
        let mut site = Site::with_mosquitto();
        let pve1 = site.node("pve1", suite);
        pve1.has_service("demo.service", RUNS);
        pve1.starts("demo.service");
        site.hears(&pve1, "demo.service").start();

        site.mosquitto().stop(signal);
        pve1.fails("demo.service");
        pve1.starts("demo.service");
        site.mosquitto().start_again();

        site.expect_online(&pve1);
        site.hears(&pve1, "demo.service").fail_for_good();
        site.hears(&pve1, "demo.service").recover();
        site.expect_no_gaps(&pve1);
    }
}

fn two_nodes_are_told_apart(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let pve1 = site.node("pve1", suite);
    let pve2 = site.node("pve2", suite);
    for node in [&pve1, &pve2] {
        node.has_service("demo.service", RUNS);
        node.starts("demo.service");
        site.hears(node, "demo.service").start();
    }
    pve2.fails("demo.service");
    site.hears(&pve2, "demo.service").fail_for_good();
    pve1.stops("demo.service");
    site.hears(&pve1, "demo.service").stop();
    site.expect_no_gaps(&pve1);
    site.expect_no_gaps(&pve2);
}

/// The last lines of the guide's step "See that it works", word for word.
fn what_helps_when_something_does_not_work(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let pve1 = site.node("pve1", suite);
    let said = |text: &str| {
        let journal = pve1.shell("journalctl --no-pager -u pvewatch-agent");
        journal.contains(text).then_some(())
    };
    eventually("the connection in the journal", GENEROUS, || said("connected to mqtt://"));
    assert!(said("subscribed:").is_none(), "that is for those who look for a fault");
    let dry_run = pve1.shell(
        "pvewatch-agent --dry-run >/run/dry-run 2>&1 & agent=$!
         until grep -q checkpoint/units/1 /run/dry-run; do
             kill -0 $agent || { cat /run/dry-run; exit 1; }
         done
         kill $agent
         wait $agent
         cat /run/dry-run",
    );
    for part in ["node/pve1/event/agent.started {", "node/pve1/sample {"] {
        assert!(dry_run.contains(part), "{part:?} is not in: {dry_run}");
    }
    // The agent itself is not disturbed by it, and nobody heard of a second one.
    assert_eq!(pve1.shell("systemctl show -p NRestarts --value pvewatch-agent"), "0");
    let starts = site.events_of(&pve1).into_iter();
    assert_eq!(starts.filter(|it| it.event.data.kind() == "agent.started").count(), 1);

    // What `systemctl edit pvewatch-agent` writes.
    pve1.write_file(
        "/etc/systemd/system/pvewatch-agent.service.d/override.conf",
        "[Service]\nEnvironment=PVEWATCH_LOG=debug\n",
    );
    pve1.succeeds(&["systemctl", "daemon-reload"]);
    pve1.restart_agent();
    eventually("more in the journal", GENEROUS, || said("subscribed:"));
}
