//! Stories of units on real nodes: what fails on them is heard, once, in order, and at once.
//!
//! The agent comes from its package and runs under the unit that the package ships; the broker
//! is Mosquitto; the observer shares no code with the agent.

use std::collections::BTreeSet;

use pvewatch_protocol::EventData;
use pvewatch_protocol::event::UnitChange;
use pvewatch_tests::deadline::{GENEROUS, look_until};
use pvewatch_tests::lab::Suite;
use pvewatch_tests::on_both_releases;
use pvewatch_tests::story::{Site, WatchedNode};

on_both_releases!(
    a_unit_fails_and_recovers,
    a_unit_that_fails_and_recovers_within_milliseconds_is_two_facts,
    a_unit_is_restarted_automatically,
    a_oneshot_fails_and_its_log_follows,
    a_crash_loop_is_folded,
    a_failed_unit_is_masked,
    a_failed_unit_is_removed,
    two_hundred_transient_units_fail_at_once,
    two_hundred_units_fail_while_systemd_reloads_and_executes_itself_again,
    the_bus_restarts_and_nothing_is_missed,
    a_quiet_node_stays_quiet_through_a_reload,
);

/// A service that runs until it is killed.
const RUNS: &str = "ExecStart=sleep infinity";

fn a_unit_fails_and_recovers(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let pve1 = site.node("pve1", suite);

    pve1.has_service("demo.service", RUNS);
    pve1.starts("demo.service");
    site.hears(&pve1, "demo.service").start();

    pve1.fails("demo.service");
    let failed = site.hears(&pve1, "demo.service").fail_for_good();
    assert_eq!(failed.state.active_state, "failed");
    assert_eq!(failed.state.result.as_deref(), Some("signal"));
    let exit = failed.state.exit.expect("a killed process has an exit");
    assert_eq!((exit.code.as_str(), exit.status), ("killed", 9));
    let run = failed.state.invocation_id.expect("a run has an id");
    let systemd_says = pve1.shell("systemctl show -p InvocationID --value demo.service");
    assert_eq!(run, systemd_says);

    pve1.starts("demo.service");
    let recovered = site.hears(&pve1, "demo.service").recover();
    assert_eq!(recovered.state.active_state, "active");
    assert_ne!(recovered.state.invocation_id, Some(run));

    pve1.stops("demo.service");
    site.hears(&pve1, "demo.service").stop();
    site.expect_no_gaps(&pve1);
}

fn a_unit_that_fails_and_recovers_within_milliseconds_is_two_facts(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let pve1 = site.node("pve1", suite);
    pve1.has_service("demo.service", &format!("{RUNS}\n[Unit]\nStartLimitIntervalSec=0"));
    pve1.starts("demo.service");
    site.hears(&pve1, "demo.service").start();

    for _ in 0..20 {
        pve1.shell(
            "systemctl kill --signal=KILL demo.service
             until systemctl is-failed --quiet demo.service; do :; done
             systemctl start demo.service",
        );
        site.hears(&pve1, "demo.service").fail_for_good();
        site.hears(&pve1, "demo.service").recover();
    }
    site.expect_no_gaps(&pve1);
}

fn a_unit_is_restarted_automatically(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let pve1 = site.node("pve1", suite);
    let restarts = format!("{RUNS}\nRestart=on-failure\nRestartSec=200ms");
    pve1.has_service("demo.service", &restarts);
    pve1.starts("demo.service");
    site.hears(&pve1, "demo.service").start();

    pve1.kills("demo.service");
    let failed = site.hears(&pve1, "demo.service").fail_and_be_restarted();
    assert_eq!(failed.state.result.as_deref(), Some("signal"));
    let up_again = site.hears(&pve1, "demo.service").change_that("run again", |it| {
        matches!(it.change, UnitChange::Recovered | UnitChange::Started)
    });
    assert_eq!(up_again.state.active_state, "active");
    assert_eq!(up_again.state.restarts, 1);
    site.expect_no_gaps(&pve1);
}

fn a_oneshot_fails_and_its_log_follows(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let pve1 = site.node("pve1", suite);
    pve1.has_service(
        "job.service",
        "Type=oneshot\nExecStart=sh -c \
         'echo first line; echo cannot open the vault >&2; exit 7'",
    );
    assert!(!pve1.run(&["systemctl", "start", "job.service"]).succeeded());

    let failed = site.hears(&pve1, "job.service").fail_for_good();
    let exit = failed.state.exit.expect("it exited");
    assert_eq!((exit.code.as_str(), exit.status), ("exited", 7));
    let log = site.hears(&pve1, "job.service").log();
    assert_eq!(Some(log.invocation_id), failed.state.invocation_id);
    let lines: Vec<&str> = log.lines.iter().map(|line| line.message.as_str()).collect();
    assert!(lines.contains(&"first line"), "{lines:?}");
    assert!(lines.contains(&"cannot open the vault"), "{lines:?}");

    // Resetting the failure is a recovery too: nothing is failed any more.
    pve1.succeeds(&["systemctl", "reset-failed", "job.service"]);
    site.hears(&pve1, "job.service").recover();
    site.expect_no_gaps(&pve1);
}

fn a_crash_loop_is_folded(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let pve1 = site.node("pve1", suite);
    let access = site.access().clone();
    pve1.configure(&access, "[units.crash_loop]\nfailures = 3\nwindow = \"60s\"\ncalm = \"2s\"\n");
    site.expect_online(&pve1);
    site.wait_until_watching(&pve1);

    pve1.has_service(
        "flappy.service",
        "ExecStart=sh -c 'test -e /run/mended && exec sleep infinity; exit 1'\n\
         Restart=always\nRestartSec=50ms\n[Unit]\nStartLimitIntervalSec=0",
    );
    pve1.shell("systemctl start --no-block flappy.service");
    let looping = site.hears(&pve1, "flappy.service").crash_loop();
    let first = looping.state.crash_loop.expect("the loop");
    assert!(first.failures >= 3, "{first:?}");

    // While it loops, single failures are counted and not told.
    let restarts = |node: &WatchedNode| -> u32 {
        let text = node.shell("systemctl show -p NRestarts --value flappy.service");
        text.parse().expect("a number")
    };
    let many = look_until(GENEROUS, || (restarts(&pve1) >= 30).then_some(()));
    assert!(many.is_some(), "systemd restarted it only {} times", restarts(&pve1));
    let told = site.events_of(&pve1).into_iter().filter(|heard| {
        matches!(&heard.event.data, EventData::UnitChanged(it) if it.state.unit == "flappy.service")
    });
    let told = told.count();
    assert!(told <= 15, "{told} changes were told of {} restarts", restarts(&pve1));

    pve1.write_file("/run/mended", "");
    let mended = site.hears(&pve1, "flappy.service").recover();
    assert_eq!(mended.state.active_state, "active");
    assert_eq!(mended.state.crash_loop, None);
    site.expect_no_gaps(&pve1);
}

fn a_failed_unit_is_masked(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let pve1 = site.node("pve1", suite);
    // Below /run, since a unit in /etc cannot be masked by a link beside it.
    pve1.write_file("/run/systemd/system/demo.service", &format!("[Service]\n{RUNS}\n"));
    pve1.succeeds(&["systemctl", "daemon-reload"]);
    pve1.starts("demo.service");
    site.hears(&pve1, "demo.service").start();
    pve1.fails("demo.service");
    site.hears(&pve1, "demo.service").fail_for_good();

    // A masked unit that has failed stays failed until somebody resets it.
    pve1.succeeds(&["systemctl", "mask", "demo.service"]);
    pve1.succeeds(&["systemctl", "reset-failed", "demo.service"]);
    site.hears(&pve1, "demo.service").recover();
    assert!(!pve1.run(&["systemctl", "start", "demo.service"]).succeeded());
    site.expect_no_gaps(&pve1);
}

fn a_failed_unit_is_removed(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let pve1 = site.node("pve1", suite);
    pve1.has_service("demo.service", RUNS);
    pve1.starts("demo.service");
    site.hears(&pve1, "demo.service").start();
    pve1.fails("demo.service");
    site.hears(&pve1, "demo.service").fail_for_good();

    // As when a package is purged: systemd knows a failed unit until it is reset.
    pve1.shell("rm /etc/systemd/system/demo.service; systemctl daemon-reload");
    pve1.succeeds(&["systemctl", "reset-failed", "demo.service"]);
    site.hears(&pve1, "demo.service").next("be gone", |data| match data {
        EventData::UnitRemoved(_) => true,
        EventData::UnitChanged(it) => it.change == UnitChange::Recovered,
        _ => false,
    });
    site.expect_no_gaps(&pve1);
}

fn two_hundred_transient_units_fail_at_once(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let pve1 = site.node("pve1", suite);
    start_transient_failures(&pve1, "true");
    expect_all_transient_failures(&mut site, &pve1);
}

fn two_hundred_units_fail_while_systemd_reloads_and_executes_itself_again(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let pve1 = site.node("pve1", suite);
    start_transient_failures(
        &pve1,
        "if [ $i = 60 ] || [ $i = 120 ]; then systemctl daemon-reload; fi
         if [ $i = 90 ]; then systemctl daemon-reexec; fi",
    );
    expect_all_transient_failures(&mut site, &pve1);
    // And it still listens.
    pve1.has_service("after.service", RUNS);
    pve1.starts("after.service");
    site.hears(&pve1, "after.service").start();
}

/// Starts 200 units that fail, as fast as the bus takes them. `between` runs before each start.
///
/// While systemd executes itself again it refuses to start units, or takes one and does not say
/// so; then the start is tried again, and a unit that is there already is good.
fn start_transient_failures(node: &WatchedNode, between: &str) {
    node.shell(&format!(
        "start() {{
             until systemd-run --quiet --no-block --unit=burst-$1 false 2>/dev/null; do
                 ! systemctl is-failed --quiet burst-$1 || return 0
             done
         }}
         i=0
         while [ $i -lt 200 ]; do
             {between}
             start $i &
             i=$((i + 1))
         done
         wait"
    ));
}

/// Injected = received: each of the 200 is heard to fail, and none twice.
fn expect_all_transient_failures(site: &mut Site, node: &WatchedNode) {
    let heard = |site: &mut Site| -> Vec<String> {
        let failures =
            site.events_of(node).into_iter().filter_map(|heard| match heard.event.data {
                EventData::UnitChanged(it) if it.change == UnitChange::Failed => {
                    Some(it.state.unit)
                }
                _ => None,
            });
        failures.filter(|unit| unit.starts_with("burst-")).collect()
    };
    let all = look_until(GENEROUS, || {
        let units: BTreeSet<String> = heard(site).into_iter().collect();
        (units.len() == 200).then_some(())
    });
    let systemd_says = node.shell("systemctl list-units --failed --no-legend 'burst-*' | wc -l");
    assert_eq!(systemd_says, "200");
    let told = heard(site);
    let units: BTreeSet<&String> = told.iter().collect();
    let missing: Vec<String> = (0..200)
        .map(|number| format!("burst-{number}.service"))
        .filter(|unit| !units.contains(unit))
        .collect();
    assert!(all.is_some(), "not heard to fail: {missing:?}");
    assert_eq!(told.len(), 200, "some were told twice");
    site.expect_no_gaps(node);
}

fn the_bus_restarts_and_nothing_is_missed(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let pve1 = site.node("pve1", suite);
    pve1.has_service("before.service", RUNS);
    pve1.has_service("meanwhile.service", RUNS);
    pve1.shell("systemctl start before meanwhile");
    site.hears(&pve1, "before.service").start();
    site.hears(&pve1, "meanwhile.service").start();

    // Without a bus nobody tells the agent; it finds out when the bus is back.
    pve1.shell(
        "systemctl stop dbus.socket dbus.service
         systemctl kill --signal=KILL meanwhile.service
         systemctl start dbus.socket dbus.service
         systemctl restart systemd-logind.service",
    );
    site.hears(&pve1, "meanwhile.service").fail_for_good();
    pve1.fails("before.service");
    site.hears(&pve1, "before.service").fail_for_good();
    assert_eq!(pve1.shell("systemctl is-active pvewatch-agent"), "active");
    site.expect_no_gaps(&pve1);
}

fn a_quiet_node_stays_quiet_through_a_reload(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let pve1 = site.node("pve1", suite);
    let before = site.events_of(&pve1).len();
    pve1.shell("for i in 1 2 3; do systemctl daemon-reload; done; systemctl daemon-reexec");
    // What comes after is heard, so all that came before has been too.
    pve1.has_service("last.service", RUNS);
    pve1.starts("last.service");
    site.hears(&pve1, "last.service").start();
    let told: Vec<String> = site.events_of(&pve1)[before..]
        .iter()
        .map(|heard| format!("{} {}", heard.event.data.kind(), heard.event.data.subject()))
        .filter(|it| !it.ends_with("last.service"))
        .collect();
    assert!(told.is_empty(), "{told:?}");
}
