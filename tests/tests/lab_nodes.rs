//! The lab itself: nodes boot, obey, reboot and lose power as real ones do.

use pvewatch_tests::deadline::{GENEROUS, eventually};
use pvewatch_tests::lab::{Node, Suite};
use pvewatch_tests::on_both_releases;

on_both_releases!(
    a_node_boots_and_runs_commands,
    a_reboot_is_announced_to_units_and_keeps_files,
    a_power_loss_is_not_announced,
    a_bus_restarts_and_the_node_still_obeys,
    two_nodes_do_not_see_each_other,
);

fn a_node_boots_and_runs_commands(suite: Suite) {
    let node = Node::new("pve1", suite);
    node.write_file("/etc/written-while-off", "yes");
    let mut node = node;
    node.boot();
    assert_eq!(node.succeeds(&["hostname"]), "pve1");
    assert_eq!(node.succeeds(&["cat", "/etc/written-while-off"]), "yes");
    assert_eq!(node.shell("systemctl show -p SystemState"), "SystemState=running");
    assert_eq!(node.shell("systemctl list-units --failed --no-legend"), "");
    assert_eq!(node.run(&["sh", "-c", "exit 3"]).code, Some(3));
    let journal = node.shell("systemd-cat -t story echo once upon a time; journalctl --sync");
    assert_eq!(journal, "");
    assert_eq!(node.shell("journalctl -t story -o cat"), "once upon a time");
    node.power_off();
}

fn a_reboot_is_announced_to_units_and_keeps_files(suite: Suite) {
    let mut node = Node::booted("pve1", suite);
    let unit = "[Service]\nExecStart=sleep infinity\nExecStop=touch /var/lib/stopped\n";
    node.write_file("/etc/systemd/system/witness.service", unit);
    node.shell("systemctl daemon-reload; systemctl start witness");
    let before = node.boot_id();
    node.reboot();
    assert_ne!(node.boot_id(), before);
    node.shell("test -e /var/lib/stopped");
}

fn a_power_loss_is_not_announced(suite: Suite) {
    let mut node = Node::booted("pve1", suite);
    let unit = "[Service]\nExecStart=sleep infinity\nExecStop=touch /var/lib/stopped\n";
    node.write_file("/etc/systemd/system/witness.service", unit);
    node.shell("systemctl daemon-reload; systemctl start witness");
    let before = node.boot_id();
    node.power_loss();
    node.boot();
    assert_ne!(node.boot_id(), before);
    node.shell("test ! -e /var/lib/stopped");
}

fn a_bus_restarts_and_the_node_still_obeys(suite: Suite) {
    let mut node = Node::booted("pve1", suite);
    node.restart_bus();
    eventually("the bus to answer again", GENEROUS, || {
        node.run(&["busctl", "status"]).succeeded().then_some(())
    });
    assert_eq!(node.succeeds(&["systemctl", "is-system-running"]), "running");
    node.power_off();
}

fn two_nodes_do_not_see_each_other(suite: Suite) {
    let one = Node::booted("pve1", suite);
    let two = Node::booted("pve2", suite);
    one.shell("systemd-run --unit=mine sleep infinity");
    two.succeeds(&["systemctl", "daemon-reexec"]);
    assert_eq!(one.succeeds(&["systemctl", "is-active", "mine"]), "active");
    assert_eq!(two.run(&["systemctl", "is-active", "mine"]).stdout, "inactive");
    assert_ne!(one.boot_id(), two.boot_id());
    let pid = one.shell("systemctl show -p MainPID --value mine").parse().expect("a process id");
    assert!(one.host_pid(pid).is_some_and(|host| host != pid));
}
