//! Stories of what should be on real nodes and is not: guests that a policy wants otherwise, and
//! nodes that their cluster has lost.

use pvewatch_tests::deadline::{GENEROUS, look_until};
use pvewatch_tests::lab::Suite;
use pvewatch_tests::on_both_releases;
use pvewatch_tests::servers::Collector;
use pvewatch_tests::story::Site;

on_both_releases!(
    what_a_policy_wants_otherwise_is_listed_until_it_is_so,
    a_lost_member_of_a_cluster_is_told_by_one_node,
);

const POLICY: &str = r#"
[[environment]]
name = "prod"
tags = ["prod"]

[[policy]]
name = "prod"
environments = ["prod"]
backup = { every = "1d", keep-daily = 7 }
description = "not empty"
scsihw = "virtio-scsi-single"
disk_sizes = "GiB"
protection = true
"#;

/// The catalogue's rules, for people who cannot wait.
const IMPATIENT: &str = r#"
[[rule]]
name = "DriftSoon"
scope = "drift"
when = "differences > 0"
severity = "warning"
summary = "{{ policy }}: {{ found }}"

[[rule]]
name = "MemberLostSoon"
scope = "member"
when = "told_here"
severity = "critical"
summary = "{{ name }} of {{ cluster }}"
"#;

fn what_a_policy_wants_otherwise_is_listed_until_it_is_so(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let collector = Collector::with_policy(site.access(), IMPATIENT, POLICY);
    let pve1 = site.node("pve1", suite);
    pve1.plays_proxmox();
    let loose = "name: web\ntags: prod\nscsi0: local:100/vm-100-disk-0.raw,size=33000M\n";
    let of_lab = "name: toy\ntags: lab\n";
    pve1.has_guests(&[(100, "qemu", loose), (101, "qemu", of_lab)]);
    pve1.has_jobs(
        "vzdump: weekly\n\tschedule sun 01:00\n\tvmid 100\n\tprune-backups keep-last=3\n",
    );
    pve1.restart_agent();
    let drifts = [("alertname", "DriftSoon"), ("node", "pve1"), ("policy", "prod")];
    let told = collector.expect_alert("firing", &drifts);
    assert_eq!(told["labels"]["environment"], "prod");
    let expected = [
        "backup schedule every 1d 7 days apart at most (sun 01:00) /etc/pve/jobs.cfg, weekly",
        "description not empty empty /etc/pve/qemu-server/100.conf",
        "keep-daily 7 not set /etc/pve/jobs.cfg, weekly",
        "protection on off /etc/pve/qemu-server/100.conf",
        "scsihw virtio-scsi-single lsi, since it is not set /etc/pve/qemu-server/100.conf",
        "size of scsi0 a whole number of GiB 33000 MiB on local /etc/pve/qemu-server/100.conf",
    ];
    let is_listed =
        || (differences(&collector) == (expected.map(str::to_owned).to_vec(), 1)).then_some(());
    look_until(GENEROUS, is_listed);
    assert_eq!(differences(&collector), (expected.map(str::to_owned).to_vec(), 1));

    let tight = "#the shop\nname: web\nprotection: 1\ntags: prod\nscsihw: virtio-scsi-single\n\
                 scsi0: local:100/vm-100-disk-0.raw,size=33G\n";
    pve1.has_guests(&[(100, "qemu", tight), (101, "qemu", of_lab)]);
    pve1.has_jobs("vzdump: daily\n\tschedule 01:00\n\tvmid 100\n\tprune-backups keep-daily=7\n");
    collector.expect_alert("resolved", &drifts);
    assert_eq!(differences(&collector), (Vec::new(), 0));
}

/// What `pvewatch drift` lists, in order: what, how it should be, how it is, where; and its exit
/// code.
fn differences(collector: &Collector) -> (Vec<String>, i32) {
    let (answer, code) = collector.asked_by_operator(&["drift", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap_or_default();
    let differences = answer["differences"].as_array().cloned().unwrap_or_default();
    let words = |it: &serde_json::Value| {
        ["what", "expected", "found", "where"]
            .map(|part| it[part].as_str().unwrap_or("-").to_owned())
            .join(" ")
    };
    let mut listed: Vec<String> = differences.iter().map(words).collect();
    listed.sort();
    (listed, code.unwrap_or(-1))
}

fn a_lost_member_of_a_cluster_is_told_by_one_node(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let collector = Collector::named_on("main", site.access(), IMPATIENT);
    let nodes = ["pve1", "pve2"].map(|name| site.node(name, suite));
    let sees = |online: u8| {
        for node in &nodes {
            node.shell("mkdir -p /etc/pve");
            let members = format!(
                r#"{{"nodename":"pve1","version":3,
                    "cluster":{{"name":"berlin","version":3,"nodes":3,"quorate":1}},
                    "nodelist":{{"pve1":{{"id":1,"online":1,"ip":"192.0.2.1"}},
                        "pve2":{{"id":2,"online":1,"ip":"192.0.2.2"}},
                        "pve9":{{"id":9,"online":{online},"ip":"192.0.2.9"}}}}}}"#
            );
            node.write_file("/etc/pve/.members", &members);
        }
    };
    sees(1);
    for node in ["pve1", "pve2"] {
        let online = format!("pvewatch_cluster_member_online{{node=\"{node}\",member=\"pve9\"}}");
        collector.expect_metric(&online, "1.0");
    }
    sees(0);
    let lost = [("alertname", "MemberLostSoon"), ("member", "pve9")];
    let told = collector.expect_alert("firing", &lost);
    assert_eq!(told["annotations"]["summary"], "pve9 of berlin");
    // Both have seen it by now.
    collector.expect_metric("pvewatch_cluster_member_online{node=\"pve2\",member=\"pve9\"}", "0.0");
    sees(1);
    collector.expect_alert("resolved", &lost);
    let of_members = collector.alerts();
    let of_members = of_members.iter().filter(|it| it["labels"]["alertname"] == "MemberLostSoon");
    let witnesses: Vec<_> = of_members.map(|it| it["labels"]["node"].clone()).collect();
    assert_eq!(witnesses, ["pve1"]);
}
