//! Stories of guests on real nodes: scopes and services that systemd runs, tasks that a played
//! Proxmox runs, and the agent from its package that tells what was meant and what was not.
//!
//! Absent: a kernel that runs out of memory, since a node of the lab may run where memory cannot be
//! limited. That systemd says so of a guest is told.

use pvewatch_protocol::event::{GuestCause, GuestRun, GuestState};
use pvewatch_tests::deadline::{GENEROUS, eventually};
use pvewatch_tests::lab::{Node, Suite};
use pvewatch_tests::on_both_releases;
use pvewatch_tests::servers::Collector;
use pvewatch_tests::story::{IMPATIENT, Site, WatchedNode, expect};
use serde_json::Value;

on_both_releases!(
    each_start_and_stop_is_told_with_its_cause,
    a_backup_that_stops_guests_is_no_outage_unless_one_does_not_come_back,
    a_reboot_is_over_when_all_guests_that_ran_run_again,
    a_replication_that_fails_is_told_until_it_goes_well,
    an_agent_in_a_guest_is_missed_unless_the_guest_was_stopped,
    a_renamed_guest_keeps_its_past_and_another_under_its_number_has_none,
    pictures_find_nothing_to_correct_whatever_became_of_the_bus,
);

const TWO: [(u32, &str, &str); 2] = [(100, "qemu", "name: web\n"), (101, "lxc", "hostname: dns\n")];

/// A command for a container's unit.
fn tell_container(what: &str) -> String {
    format!("systemctl {what} pve-container@101.service")
}

fn each_start_and_stop_is_told_with_its_cause(suite: Suite) {
    use GuestCause::{Crash, Guest, Ha, Requested, Unexplained};
    use GuestState::{Running, Stopped};
    let mut site = Site::with_mosquitto();
    let pve1 = site.proxmox("pve1", suite, &TWO);
    let start = format!("run={}", Node::machine(100));
    let end = format!("run={}", Node::machine_ends(100));

    let upid = pve1.runs_task(&["qmstart", "--id", "100", &start]);
    let run = site.expect_change((&pve1, 100), Running, Requested);
    assert_eq!((run.upid, run.user.as_deref()), (Some(upid), Some("root@pam")));
    pve1.runs_task(&["qmshutdown", "--id", "100", "--user", "eve@pve!key", &end]);
    let run = site.expect_change((&pve1, 100), Stopped, Requested);
    assert_eq!(run.user.as_deref(), Some("eve@pve!key"));

    let by_ha = "task started by HA resource agent";
    pve1.runs_task(&["qmstart", "--id", "100", by_ha, &start]);
    site.expect_change((&pve1, 100), Running, Ha);
    // It crashes, or is shut down from inside: of a machine nothing tells which.
    pve1.shell(&Node::machine_ends(100));
    site.expect_change((&pve1, 100), Stopped, Unexplained);

    // Somebody at the terminal, without Proxmox.
    pve1.shell(&Node::container(101));
    site.expect_change((&pve1, 101), Running, Unexplained);
    pve1.shell(&tell_container("kill --kill-whom=main --signal=USR1"));
    site.expect_change((&pve1, 101), Stopped, Guest);
    pve1.runs_task(&["vzstart", "--id", "101", &format!("run={}", Node::container(101))]);
    site.expect_change((&pve1, 101), Running, Requested);
    pve1.shell(&tell_container("kill --kill-whom=main --signal=USR2"));
    let run = site.expect_change((&pve1, 101), Stopped, Crash);
    assert_eq!(run.detail.as_deref(), Some("exit status 1"));
    pve1.runs_task(&["vzstart", "--id", "101", &format!("run={}", Node::container(101))]);
    site.expect_change((&pve1, 101), Running, Requested);
    pve1.shell(&tell_container("kill --signal=KILL"));
    let run = site.expect_change((&pve1, 101), Stopped, Crash);
    assert_eq!(run.detail.as_deref(), Some("killed by signal 9"));

    site.expect_no_gaps(&pve1);
}

fn alert<'a>(name: &'a str, vmid: &'a str) -> [(&'a str, &'a str); 3] {
    [("alertname", name), ("node", "pve1"), ("vmid", vmid)]
}

fn a_backup_that_stops_guests_is_no_outage_unless_one_does_not_come_back(suite: Suite) {
    use GuestCause::{Backup, Requested};
    use GuestState::{Running, Stopped};
    let mut site = Site::with_mosquitto();
    let collector = Collector::named_on("main", site.access(), IMPATIENT);
    let pve1 = site.proxmox("pve1", suite, &TWO);
    for (kind, vmid, start) in
        [("qmstart", 100, Node::machine(100)), ("vzstart", 101, Node::container(101))]
    {
        pve1.runs_task(&[kind, "--id", &vmid.to_string(), &format!("run={start}")]);
        site.expect_change((&pve1, vmid), Running, Requested);
    }
    // The machine runs on while its disks are read; the container does not, and is not back.
    pve1.begins_task(&["vzdump", "100:qemu:web:hold=/run/go", "101:lxc:dns:hold=/run/go-on"]);
    pve1.waits_for_task_to_say("Starting Backup of VM 100");
    pve1.locks(100, "backup");
    pve1.runs_task(&["qmshutdown", "--id", "100", &format!("run={}", Node::machine_ends(100))]);
    let run = site.expect_change((&pve1, 100), Stopped, Backup);
    assert!(run.awaited && run.upid.is_some_and(|upid| upid.contains(":vzdump:")));
    pve1.shell(&Node::machine(100));
    site.expect_change((&pve1, 100), Running, Backup);
    pve1.locks(100, "");
    pve1.shell("touch /run/go");
    pve1.waits_for_task_to_say("Starting Backup of VM 101");
    pve1.locks(101, "backup");
    pve1.shell(&tell_container("stop"));
    site.expect_change((&pve1, 101), Stopped, Backup);
    assert_eq!(collector.told_soon(), [""; 0]);
    pve1.locks(101, "");
    pve1.shell("touch /run/go-on");
    collector.expect_alert("firing", &alert("NotBackSoon", "101"));
    // Stopped while the agent is away: its task says who asked.
    pve1.stop_agent();
    let end = format!("run={}", Node::machine_ends(100));
    pve1.runs_task(&["qmstop", "--id", "100", &end]);
    pve1.shell(&Node::container(101));
    pve1.start_agent();
    collector.expect_alert("resolved", &alert("NotBackSoon", "101"));
    assert_eq!(collector.guests(), ["pve1 100 stopped requested", "pve1 101 running -"]);
    assert_eq!(collector.told_soon(), ["101 (dns): backup"]);
}

fn a_reboot_is_over_when_all_guests_that_ran_run_again(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let collector = Collector::named_on("main", site.access(), IMPATIENT);
    let guests_here = [
        TWO[0],
        TWO[1],
        (102, "qemu", "name: lab\n"),
        (900, "qemu", "name: golden\ntemplate: 1\n"),
    ];
    let mut pve1 = site.proxmox("pve1", suite, &guests_here);
    pve1.shell(&Node::machine(100));
    pve1.shell(&Node::container(101));
    site.change_of(&pve1, 100);
    site.change_of(&pve1, 101);
    pve1.reboot();
    site.wait_until_watching(&pve1);
    // As the node starts its guests: one does not start.
    let all = format!("run={}", Node::machine(100));
    pve1.runs_task(&["startall", &all]);
    let run = change_after_boot(&mut site, &pve1, 100);
    expect(&run, GuestState::Running, GuestCause::NodeBoot);
    let told = collector.expect_alert("firing", &alert("NotBackSoon", "101"));
    assert_eq!(told["annotations"]["summary"], "101 (dns): node_shutdown");
    pve1.runs_task(&["vzstart", "--id", "101", &format!("run={}", Node::container(101))]);
    collector.expect_alert("resolved", &alert("NotBackSoon", "101"));
    // A machine that did not run, and a template, are as they were.
    let expected = [
        "pve1 100 running node_boot",
        "pve1 101 running requested",
        "pve1 102 stopped -",
        "pve1 900 stopped -",
    ];
    assert_eq!(collector.guests(), expected);
    assert_eq!(collector.told_soon(), ["101 (dns): node_shutdown"]);
}

/// systemd says that memory ran out only where it has all control groups in version 2.
#[test]
fn a_guest_that_ends_for_want_of_memory_is_told_with_that_cause() {
    use GuestCause::{OutOfMemory, Requested};
    use GuestState::{Running, Stopped};
    let mut site = Site::with_mosquitto();
    let collector = Collector::named_on("main", site.access(), IMPATIENT);
    let pve1 = site.proxmox("pve1", Suite::Trixie, &TWO);
    let machine = ("qmstart", Node::machine(100), "100.scope", 100);
    let container = ("vzstart", Node::container(101), "pve-container@101.service", 101);
    for (task, start, unit, vmid) in [machine, container] {
        let id = vmid.to_string();
        pve1.runs_task(&[task, "--id", &id, &format!("run={start}")]);
        site.expect_change((&pve1, vmid), Running, Requested);
        pve1.shell(&Node::runs_out_of_memory(unit));
        site.expect_change((&pve1, vmid), Stopped, OutOfMemory);
        let told = collector.expect_alert("firing", &alert("StoppedSoon", &id));
        let summary = told["annotations"]["summary"].as_str().unwrap_or_default();
        assert!(summary.ends_with(": out_of_memory"), "{summary}");
    }
}

/// The next start of a guest: what was stopped with the node may have been told before.
#[track_caller]
fn change_after_boot(site: &mut Site, node: &WatchedNode, vmid: u32) -> GuestRun {
    loop {
        let run = site.change_of(node, vmid);
        if run.state == GuestState::Running {
            return run;
        }
        expect(&run, GuestState::Stopped, GuestCause::NodeShutdown);
    }
}

fn a_replication_that_fails_is_told_until_it_goes_well(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let collector = Collector::on(site.access());
    let pve1 = site.proxmox("pve1", suite, &TWO);
    pve1.replicates("local: 101-0\n\ttarget pve2\n\tschedule */15\n");
    let state = |noted: &str| format!(r#"{{"101":{{"local/pve2":{{{noted}}}}}}}"#);
    pve1.notes_of_replication(&state(
        r#""last_sync":1795230420,"fail_count":2,"error":"no route to host\n""#,
    ));
    let told = collector.expect_alert("firing", &alert("PveReplicationFailed", "101"));
    let said = told["annotations"]["description"].as_str().unwrap_or_default();
    assert!(said.starts_with("no route to host. It last went well at 2026-11-21"), "{said}");
    pve1.notes_of_replication(&state(r#""last_sync":1795240000,"fail_count":0"#));
    collector.expect_alert("resolved", &alert("PveReplicationFailed", "101"));
}

fn pictures_find_nothing_to_correct_whatever_became_of_the_bus(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let collector = Collector::on(site.access());
    let pve1 = site.proxmox("pve1", suite, &TWO);
    for unit in ["before.service", "meanwhile.service"] {
        pve1.has_service(unit, "ExecStart=sleep infinity");
        pve1.starts(unit);
    }
    pve1.shell(&Node::machine(100));
    pve1.shell(&Node::container(101));
    for vmid in [100, 101] {
        site.change_of(&pve1, vmid);
    }
    pve1.fails("before.service");
    pve1.shell("systemctl daemon-reload; systemctl daemon-reexec");
    let parts = collector.metric("pvewatch_checkpoint_parts_total");
    // Nobody can tell the agent what happens without a bus; it finds out, and shows all anew.
    pve1.shell(
        "systemctl stop dbus.socket dbus.service
         systemctl kill --signal=KILL meanwhile.service pve-container@101.service
         systemctl start dbus.socket dbus.service
         systemctl restart systemd-logind.service",
    );
    let failed = [("alertname", "SystemdServiceFailed"), ("unit", "meanwhile.service")];
    collector.expect_alert("firing", &failed);
    assert_eq!(site.change_of(&pve1, 101).state, GuestState::Stopped);
    eventually("new pictures of units and of guests", GENEROUS, || {
        (collector.metric("pvewatch_checkpoint_parts_total") >= parts + 2.0).then_some(())
    });
    for what in ["units", "guests"] {
        assert_eq!(collector.metric(&format!("pvewatch_corrected_{what}_total")), 0.0, "{what}");
    }
}

/// HostDown, for people who cannot wait.
const MISSED: &str = r#"
[[rule]]
name = "MissedSoon"
scope = "node"
when = "silent && !guest_stopped && !host_silent"
severity = "critical"
summary = "{{ name }} is guest {{ guest_vmid }} of {{ guest_host }}"
"#;

fn an_agent_in_a_guest_is_missed_unless_the_guest_was_stopped(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let collector = Collector::named_on("main", site.access(), MISSED);
    let web = "name: web\nnet0: virtio=BC:24:11:00:00:64,bridge=vmbr0\n";
    let pve1 = site.proxmox("pve1", suite, &[(100, "qemu", web)]);
    let vm = site.node("vm", suite);
    vm.write_file("/srv/sys/class/net/eth0/address", "bc:24:11:00:00:64\n");
    vm.configure(site.access(), "[paths]\nsys = \"/srv/sys\"\n");
    let (start, end) =
        (format!("run={}", Node::machine(100)), format!("run={}", Node::machine_ends(100)));
    let starts = || pve1.runs_task(&["qmstart", "--id", "100", &start]);
    let stops = || pve1.runs_task(&["qmshutdown", "--id", "100", &end]);
    let agent = |signal: &str| vm.shell(&format!("systemctl kill -s {signal} pvewatch-agent"));
    let is_seen_as = |state: &str, code: i32| {
        eventually(&format!("the node vm to be {state}"), GENEROUS, || {
            let (answer, exit) = collector.asked_by_operator(&["nodes", "vm", "--json"]);
            let answer: Value = serde_json::from_str(&answer).ok()?;
            let node = &answer["nodes"][0];
            let guest = (&node["guest"]["vmid"], &node["guest"]["node"]);
            let is_so = node["state"] == state && *guest.0 == "100" && *guest.1 == "pve1";
            (is_so && exit == Some(code)).then_some(())
        });
    };

    starts();
    is_seen_as("online", 0);
    // As a machine that hangs: nothing is closed, and nothing is heard.
    agent("STOP");
    let missed = [("alertname", "MissedSoon"), ("node", "vm")];
    let told = collector.expect_alert("firing", &missed);
    assert_eq!(told["annotations"]["summary"], "vm is guest 100 of pve1");
    stops();
    collector.expect_alert("resolved", &missed);
    is_seen_as("guest_stopped", 0);

    starts();
    agent("CONT");
    is_seen_as("online", 0);
    stops();
    agent("STOP");
    is_seen_as("guest_stopped", 0);
    let firing = collector.alerts().into_iter().filter(|alert| alert["state"] == "firing");
    assert_eq!(firing.collect::<Vec<_>>(), [Value::Null; 0]);
    agent("CONT");
}

fn a_renamed_guest_keeps_its_past_and_another_under_its_number_has_none(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let collector = Collector::named_on("main", site.access(), "");
    let guest = |name: &str, card: u32| {
        format!("name: {name}\nnet0: virtio=BC:24:11:00:00:{card},bridge=vmbr0\n")
    };
    let pve1 = site.proxmox("pve1", suite, &[(100, "qemu", &guest("web", 64))]);
    // The guests as the operator sees them: number, name, and whether it was ever backed up.
    let expect_seen = |wanted: &[(u64, &str, bool)]| {
        eventually(&format!("the guests {wanted:?}"), GENEROUS, || {
            let (answer, _) = collector.asked_by_operator(&["backups", "--json"]);
            let answer: Value = serde_json::from_str(&answer).ok()?;
            let guests = answer["backups"].as_array()?.iter().map(|it| {
                let name = it["name"].as_str().unwrap_or_default();
                (it["vmid"].as_u64().unwrap_or(0), name, !it["last_success_at"].is_null())
            });
            (guests.collect::<Vec<_>>() == wanted).then_some(())
        });
    };

    pve1.runs_task(&["vzdump", "--id", "100", "100:qemu:web:ok"]);
    expect_seen(&[(100, "web", true)]);
    pve1.has_guests(&[(100, "qemu", &guest("shop", 64))]);
    expect_seen(&[(100, "shop", true)]);
    pve1.has_guests(&[]);
    expect_seen(&[]);
    pve1.has_guests(&[(100, "qemu", &guest("shop", 65))]);
    expect_seen(&[(100, "shop", false)]);
    let firing = collector.alerts().into_iter().filter(|alert| alert["state"] == "firing");
    assert_eq!(firing.collect::<Vec<_>>(), [Value::Null; 0]);
}
