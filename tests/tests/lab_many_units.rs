//! A node with ten thousand units, several times what a large one has: the picture is complete,
//! a failure is told though systemd reads all of its configuration again, and the agent stays
//! small. Prints what it measured.

use std::collections::BTreeSet;
use std::time::Duration;

use pvewatch_protocol::event::UnitChange;
use pvewatch_protocol::{EventData, StopReason};
use pvewatch_tests::deadline::GENEROUS;
use pvewatch_tests::lab::Suite;
use pvewatch_tests::on_both_releases;
use pvewatch_tests::story::{Site, WatchedNode};
use serde_json::Value;

on_both_releases!(with_ten_thousand_units_a_failure_is_still_told);

const UNITS: usize = 10_000;

/// systemd answers nobody while it reads ten thousand units, on a busy machine for a while.
const RELOAD: Duration = Duration::from_secs(180);

/// More than the agent needs for them by far; a unit that is kept twice would show.
const MEMORY_KB_MAX: u64 = 64 * 1024;

/// Active without a process: there is nothing to start, only something to stop.
const INSTANCE: &str = "Type=oneshot\nRemainAfterExit=yes\nExecStop=/bin/true";

fn with_ten_thousand_units_a_failure_is_still_told(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let pve1 = site.node("pve1", suite);
    // Not while the agent watches: ten thousand starts would be news, and more than its outbox
    // holds without a collector.
    pve1.stop_agent();
    site.expect_offline(&pve1, StopReason::Stopped);
    pve1.has_service("many@.service", INSTANCE);
    pve1.has_service("demo.service", "ExecStart=sleep infinity");
    pve1.shell(&format!(
        "seq --format 'many@%05g.service' 0 {} | xargs -n 1000 systemctl start",
        UNITS - 1
    ));
    pve1.start_agent();
    site.expect_online(&pve1);
    site.wait_until_watching(&pve1);
    let after_start = agent_memory_kb(&pve1);
    let shown = picture(&mut site);
    let instances = shown.iter().filter(|unit| unit.starts_with("many@")).count();
    assert_eq!(instances, UNITS, "of {} units in the picture", shown.len());

    pve1.starts("demo.service");
    site.hears(&pve1, "demo.service").start();
    pve1.succeeds(&["systemctl", "daemon-reload"]);
    pve1.fails("demo.service");
    let after_reload = failure_told_after(&mut site, &pve1);
    // And in the middle of a reload, while systemd answers nobody: some 257 take a minute for it.
    pve1.starts("demo.service");
    site.hears(&pve1, "demo.service").recover();
    pve1.shell(
        "pid=$(systemctl show -p MainPID --value demo.service)
         systemctl daemon-reload & kill -KILL $pid
         wait",
    );
    let in_a_reload = failure_told_after(&mut site, &pve1);

    let told: BTreeSet<String> = site
        .events_of(&pve1)
        .into_iter()
        .filter(|heard| heard.event.data.subject().starts_with("many@"))
        .map(|heard| format!("{} {}", heard.event.data.kind(), heard.event.data.subject()))
        .collect();
    assert!(told.is_empty(), "{} events of units that nothing happened to: {told:?}", told.len());
    let in_the_end = agent_memory_kb(&pve1);
    println!(
        "{}: the agent with {} units: {after_start} KB after its first picture, {in_the_end} KB \
         after two reloads; a failure was told {after_reload:.3} s after systemd's own time of it \
         when a reload had ended, {in_a_reload:.3} s in the middle of one",
        suite.name(),
        shown.len()
    );
    assert!(in_the_end <= MEMORY_KB_MAX, "{in_the_end} KB");
    site.expect_no_gaps(&pve1);
}

/// Waits until `demo.service` is told to have failed; the seconds since systemd noticed it.
#[track_caller]
fn failure_told_after(site: &mut Site, node: &WatchedNode) -> f64 {
    let is_failure = |data: &EventData| matches!(data, EventData::UnitChanged(it) if it.change == UnitChange::Failed);
    let heard = site.hears(node, "demo.service").within(RELOAD).next("fail", is_failure);
    heard.arrived.duration_since(heard.event.time).as_secs_f64()
}

/// The names of all units in the node's newest complete picture.
#[track_caller]
fn picture(site: &mut Site) -> BTreeSet<String> {
    let topic = |part: u64| format!("node/pve1/checkpoint/units/{part}");
    let is_large = |json: &Value| json["of"].as_u64() > Some(1);
    let first = site.expect_message("a picture in parts", &topic(1), |it| is_large(&it.json()));
    let first = first.json();
    let of = first["of"].as_u64().expect("a number of parts");
    let mut names = BTreeSet::new();
    for part in 1..=of {
        let what = format!("part {part} of {of} within {GENEROUS:?}");
        let message =
            site.expect_message(&what, &topic(part), |it| it.json()["as_of"] == first["as_of"]);
        let json = message.json();
        let units = json["units"].as_array().cloned().unwrap_or_default();
        names.extend(units.iter().filter_map(|unit| unit["unit"].as_str().map(str::to_owned)));
    }
    names
}

/// What the kernel says that the agent holds in memory, in KB.
#[track_caller]
fn agent_memory_kb(node: &WatchedNode) -> u64 {
    let text = node.shell(
        "pid=$(systemctl show -p MainPID --value pvewatch-agent)
         awk '/^VmRSS:/ { print $2 }' /proc/$pid/status",
    );
    text.parse().expect("a number of KB")
}
