//! What guests use, on real nodes: processor time as the kernel counts it for their control groups.
//! Memory is played, since a node of the lab may run where the kernel does not count it for groups.

use std::thread::sleep;
use std::time::Duration;

use pvewatch_tests::lab::{Node, Suite};
use pvewatch_tests::on_both_releases;
use pvewatch_tests::servers::Collector;
use pvewatch_tests::story::{Site, WatchedNode};
use serde_json::Value;

on_both_releases!(a_guest_that_uses_all_it_may_is_told);

/// The catalogue's two rules, for people who cannot wait.
const IMPATIENT: &str = r#"
[[rule]]
name = "BusySoon"
scope = "guest"
when = 'state == "running" && cpu_used_ratio > 0.9'
severity = "warning"
summary = "{{ vmid }}: {{ value | percent }} of {{ cpus }}"
value = "cpu_used_ratio"

[[rule]]
name = "FullSoon"
scope = "guest"
when = 'state == "running" && type == "lxc" && memory_used_ratio > 0.9'
severity = "warning"
summary = "{{ vmid }}: {{ memory_used_bytes | bytes }} of {{ memory_bytes | bytes }}"
"#;

/// However busy this machine is, a process gets more than this of it.
const BUSY: &str = "name: busy\ncores: 1\ncpulimit: 0.05\nmemory: 1024\n";

/// An agent that starts tells what guests use; what is told too soon after another time is no rate.
fn tells_again(node: &WatchedNode) {
    sleep(Duration::from_secs(21));
    node.restart_agent();
}

fn guest(guests: &Value, vmid: u64) -> &Value {
    let all = guests["guests"].as_array().into_iter().flatten();
    all.into_iter().find(|guest| guest["vmid"] == vmid).unwrap_or(&Value::Null)
}

fn a_guest_that_uses_all_it_may_is_told(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let collector = Collector::named_on("main", site.access(), IMPATIENT);
    let pve1 = site.node("pve1", suite);
    pve1.plays_proxmox();
    let idle = BUSY.replace("busy", "idle");
    let container = "hostname: dns\nmemory: 512\n";
    pve1.has_guests(&[(100, "qemu", BUSY), (101, "lxc", container), (102, "qemu", &idle)]);
    pve1.has_containers();
    for start in [Node::machine(100), Node::container(101), Node::machine(102)] {
        pve1.shell(&start);
    }
    pve1.has_groups(101..=101);
    pve1.holds(101, 500, 10);
    pve1.is_busy(100);
    pve1.restart_agent();
    let of = |vmid: &'static str| [("node", "pve1"), ("vmid", vmid)];
    let alert = |name, vmid| [[("alertname", name)].as_slice(), &of(vmid)].concat();
    let full = collector.expect_alert("firing", &alert("FullSoon", "101"));
    assert_eq!(full["annotations"]["summary"], "101: 490 MiB of 512 MiB");
    tells_again(&pve1);
    collector.expect_alert("firing", &alert("BusySoon", "100"));
    let series = |name: &str, vmid| format!("{name}{{node=\"pve1\",vmid=\"{vmid}\"}}");
    collector.expect_metric(&series("pvewatch_guest_cpus", 100), "0.05");
    collector.expect_metric(&series("pvewatch_guest_cpu_seconds_total", 101), "0.0");
    collector.expect_metric(&series("pvewatch_guest_memory_used_bytes", 101), "513802240.0");

    let guests = collector.asked_by_operator(&["guests", "--json"]).0;
    let guests: Value = serde_json::from_str(&guests).unwrap_or_default();
    let idle = guest(&guests, 102)["cpu_used_ratio"].as_f64();
    assert!(idle.is_some_and(|ratio| ratio < 0.5), "{guests}");
    let table = collector.asked_by_operator(&["guests"]).0;
    assert!(table.contains("490 MiB of 512 MiB"), "{table}");

    pve1.shell("kill $(cat /run/busy)");
    pve1.holds(101, 500, 400);
    tells_again(&pve1);
    collector.expect_alert("resolved", &alert("FullSoon", "101"));
    tells_again(&pve1);
    collector.expect_alert("resolved", &alert("BusySoon", "100"));
    let told = collector.told_soon();
    assert!(told.len() == 2 && !told.iter().any(|summary| summary.starts_with("102")), "{told:?}");
}
