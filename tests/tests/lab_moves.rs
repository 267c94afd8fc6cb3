//! Stories of guests that go from one real node to another: somebody moves them, or high availability
//! does, because it was told to or because their node is gone.

use pvewatch_protocol::event::{GuestCause, GuestState};
use pvewatch_tests::deadline::{GENEROUS, eventually};
use pvewatch_tests::lab::{Node, Suite};
use pvewatch_tests::on_both_releases;
use pvewatch_tests::servers::Collector;
use pvewatch_tests::story::{IMPATIENT, Site, WatchedNode};

on_both_releases!(
    a_guest_that_moves_is_one_guest,
    a_guest_that_high_availability_relocates_was_meant_to_stop,
    a_guest_that_high_availability_takes_from_a_lost_node_runs_on,
);

const MOBILE: [(u32, &str, &str); 1] = [(100, "qemu", "name: web\n")];

/// What the local resource manager writes into the log of each of its tasks.
const BY_HA: &str = "task started by HA resource agent";

/// A node of the cluster, as `/etc/pve/.members` tells it.
const MEMBERS: &str = r#"{"nodename":"pve1","version":2,
    "cluster":{"name":"berlin","version":2,"nodes":2,"quorate":1},
    "nodelist":{"pve1":{"id":1,"online":1,"ip":"192.0.2.1"},"pve2":{"id":2,"online":1,"ip":"192.0.2.2"}}}"#;

fn member(site: &mut Site, name: &str, suite: Suite, guests: &[(u32, &str, &str)]) -> WatchedNode {
    let node = site.proxmox(name, suite, guests);
    node.write_file("/etc/pve/.members", MEMBERS);
    node.restart_agent();
    site.wait_until_watching(&node);
    site.wait_for_guests(&node);
    node
}

/// The collector knows the guest on one node, and nobody was told of anything.
#[track_caller]
fn expect_on_pve2_alone(collector: &Collector, cause: &str) {
    let guest = format!("pve2 100 running {cause}");
    let is_there = || collector.guests() == [guest.as_str()];
    eventually("the guest to be on pve2 alone", GENEROUS, || is_there().then_some(()));
    assert_eq!(collector.told_soon(), [""; 0]);
}

fn a_guest_that_moves_is_one_guest(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let collector = Collector::named_on("main", site.access(), IMPATIENT);
    let pve1 = site.proxmox("pve1", suite, &MOBILE);
    let pve2 = site.proxmox("pve2", suite, &[]);
    pve1.runs_task(&["qmstart", "--id", "100", &format!("run={}", Node::machine(100))]);
    site.change_of(&pve1, 100);
    // The target runs it before it has its configuration.
    pve1.locks(100, "migrate");
    pve2.shell(&Node::machine(100));
    site.expect_change((&pve2, 100), GuestState::Running, GuestCause::Migration);
    let end = format!("run={}", Node::machine_ends(100));
    pve1.runs_task(&["qmigrate", "--id", "100", &end]);
    site.expect_change((&pve1, 100), GuestState::Stopped, GuestCause::Migration);
    pve1.has_guests(&[]);
    pve2.has_guests(&MOBILE);
    expect_on_pve2_alone(&collector, "migration");
}

fn a_guest_that_high_availability_relocates_was_meant_to_stop(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let collector = Collector::named_on("main", site.access(), IMPATIENT);
    let pve1 = member(&mut site, "pve1", suite, &MOBILE);
    let pve2 = member(&mut site, "pve2", suite, &[]);
    let start = format!("run={}", Node::machine(100));
    pve1.runs_task(&["qmstart", "--id", "100", BY_HA, &start]);
    site.expect_change((&pve1, 100), GuestState::Running, GuestCause::Ha);

    let end = format!("run={}", Node::machine_ends(100));
    pve1.runs_task(&["qmshutdown", "--id", "100", BY_HA, &end]);
    site.expect_change((&pve1, 100), GuestState::Stopped, GuestCause::Ha);
    pve1.runs_task(&["qmigrate", "--id", "100", BY_HA]);
    pve1.has_guests(&[]);
    pve2.has_guests(&MOBILE);
    pve2.runs_task(&["qmstart", "--id", "100", BY_HA, &start]);
    site.expect_change((&pve2, 100), GuestState::Running, GuestCause::Ha);
    expect_on_pve2_alone(&collector, "ha");
}

fn a_guest_that_high_availability_takes_from_a_lost_node_runs_on(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let collector = Collector::named_on("main", site.access(), IMPATIENT);
    let mut pve1 = member(&mut site, "pve1", suite, &MOBILE);
    let pve2 = member(&mut site, "pve2", suite, &[]);
    let start = format!("run={}", Node::machine(100));
    pve1.runs_task(&["qmstart", "--id", "100", &start]);
    site.expect_change((&pve1, 100), GuestState::Running, GuestCause::Requested);

    pve1.power_loss();
    pve2.has_guests(&MOBILE);
    pve2.runs_task(&["qmstart", "--id", "100", BY_HA, &start]);
    site.expect_change((&pve2, 100), GuestState::Running, GuestCause::Ha);
    expect_on_pve2_alone(&collector, "ha");
}
