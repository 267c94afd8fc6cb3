//! A story of storages on a real node: runs that leave archives on one that is mounted, fills up
//! and goes away, and another with disks and images, seen by the agent from its package under the unit that is shipped.

use std::time::Duration;

use pvewatch_tests::lab::Suite;
use pvewatch_tests::on_both_releases;
use pvewatch_tests::servers::Collector;
use pvewatch_tests::story::{Site, WatchedNode};

on_both_releases!(what_exists_is_known_and_what_is_amiss_is_told,);

/// The catalogue's rules, but for people who cannot wait for an hour.
const IMPATIENT: &str = r#"
[[rule]]
name = "GoneSoon"
scope = "backup"
when = "archive_gone"
severity = "critical"
summary = "{{ archive }} is gone"

[[rule]]
name = "SurplusSoon"
scope = "backup"
when = "surplus_archives > 0"
severity = "warning"
summary = "{{ surplus_archives }} archives of {{ vmid }} too many"

[[rule]]
name = "FullSoon"
scope = "storage"
when = "counted_here && used_ratio > 0.8"
severity = "warning"
summary = "{{ id }} is {{ used_ratio | percent }} full"

[[rule]]
name = "AwaySoon"
scope = "storage"
when = 'state == "not_mounted"'
severity = "warning"
summary = "{{ id }}: {{ detail }}"
"#;

const STORAGES: &str = "\
dir: local
\tpath /var/lib/vz
\tcontent iso,vztmpl

dir: usb
\tpath /mnt/pve/usb
\tcontent backup
\tis_mountpoint 1
\tprune-backups keep-last=2
";

/// The storages of the node as the operator sees them: name, what lies there in KiB, and whether
/// any is full or out of reach.
fn storages(collector: &Collector) -> (Vec<(String, String)>, Option<i32>) {
    let (answer, code) = collector.asked_by_operator(&["storages", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap_or_default();
    let storages = answer["storages"].as_array().cloned().unwrap_or_default();
    let words = |it: &serde_json::Value| {
        let held = it["held_bytes"].as_object().cloned().unwrap_or_default();
        let held = held
            .iter()
            .map(|(what, bytes)| format!("{what} {}", bytes.as_u64().unwrap_or(0) / 1024));
        let name = it["storage"].as_str().unwrap_or_default().to_owned();
        (name, held.collect::<Vec<_>>().join(", "))
    };
    (storages.iter().map(words).collect(), code)
}

/// The folder of the archives, for the shell.
const DUMP: &str = "cd /mnt/pve/usb/dump";

/// Backs a guest up as the job says, in a second of its own.
fn backs_up(node: &WatchedNode) {
    let run = "option storage usb\nstorage usb\nprune keep-last=2\nnotes before the upgrade of {{guestname}}\n\
               guest 100 qemu\nname web\nsize 1048576\n";
    node.runs_task(&["vzdump", "--job", "nightly", "--storage", "usb", "--play", run]);
    node.shell("sleep 1.1");
}

fn what_exists_is_known_and_what_is_amiss_is_told(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let collector = Collector::named_on("main", site.access(), IMPATIENT);
    let pve1 = site.node("pve1", suite);
    pve1.plays_proxmox();
    pve1.has_guests(&[(100, "qemu", "name: web\n")]);
    pve1.has_jobs("vzdump: nightly\n\tschedule 21:00\n\tvmid 100\n\tstorage usb\n");
    pve1.has_storages(STORAGES);
    pve1.shell(
        "mkdir -p /var/lib/vz/template/iso /var/lib/vz/template/cache; \
         dd if=/dev/zero of=/var/lib/vz/template/iso/debian.iso bs=64k count=8 status=none",
    );
    // An agent that starts looks at once.
    pve1.restart_agent();
    let of_storage = |name: &str| format!("{name}{{node=\"pve1\",storage=\"usb\"}}");
    let of_guest = |name: &str| format!("{name}{{node=\"pve1\",vmid=\"100\",storage=\"usb\"}}");
    let alert = |name, label, value| [("alertname", name), ("node", "pve1"), (label, value)];
    collector.expect_alert("firing", &alert("AwaySoon", "storage", "usb"));
    let (seen, code) = storages(&collector);
    let held = "iso 512, vztmpl 0".to_owned();
    assert_eq!(seen, [("usb".to_owned(), String::new()), ("local".to_owned(), held)]);
    assert_eq!(code, Some(1), "one is out of reach");

    pve1.shell("mkdir -p /mnt/pve/usb; mount -t tmpfs -o size=64m usb /mnt/pve/usb");
    for _ in 0..3 {
        backs_up(&pve1);
    }
    pve1.restart_agent();
    collector.expect_alert("resolved", &alert("AwaySoon", "storage", "usb"));
    collector.expect_metric(&of_storage("pvewatch_storage_size_bytes"), "67108864.0");
    collector.expect_metric(&of_guest("pvewatch_backup_archives"), "2.0");
    collector.expect_metric(&of_guest("pvewatch_backup_surplus_archives"), "0.0");
    collector.expect_metric("pvewatch_backup_archive_gone{node=\"pve1\",vmid=\"100\"}", "0.0");

    let (seen, code) = storages(&collector);
    let names: Vec<_> = seen.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((names, code), (vec!["local", "usb"], Some(0)));

    let backups = collector.asked_by_operator(&["backups"]).0;
    assert!(backups.contains("2 on usb (newest: before the upgrade of web)"), "{backups}");

    // One comes back that was removed, the newest is lost, and something fills the disk.
    pve1.shell(&format!(
        "{DUMP}; newest=$(ls *.vma.zst | tail -n 1); \
         cp \"$newest\" vzdump-qemu-100-2026_01_01-00_00_00.vma.zst"
    ));
    pve1.restart_agent();
    collector.expect_alert("firing", &alert("SurplusSoon", "vmid", "100"));
    pve1.shell(&format!("{DUMP}; rm \"$(ls *.vma.zst | tail -n 1)\"; fallocate -l 58M ../filler"));
    pve1.restart_agent();
    let gone = collector.expect_alert("firing", &alert("GoneSoon", "vmid", "100"));
    let summary = gone["annotations"]["summary"].as_str().unwrap_or_default();
    assert!(summary.starts_with("vzdump-qemu-100-20"), "{summary}");
    collector.expect_alert("firing", &alert("FullSoon", "storage", "usb"));

    // The next run makes it all good: it removes what should be gone.
    pve1.shell("rm /mnt/pve/usb/filler");
    backs_up(&pve1);
    pve1.restart_agent();
    for (name, label, value) in [
        ("GoneSoon", "vmid", "100"),
        ("SurplusSoon", "vmid", "100"),
        ("FullSoon", "storage", "usb"),
    ] {
        collector.expect_alert("resolved", &alert(name, label, value));
    }

    // What was there is not gone because nobody can look; the agent sees that by itself.
    pve1.shell("umount /mnt/pve/usb");
    let away = alert("AwaySoon", "storage", "usb");
    let away = collector.expect_alert_within(Duration::from_mins(2), "firing", &away);
    assert_eq!(away["annotations"]["summary"], "usb: nothing is mounted at /mnt/pve/usb");
    collector.expect_metric(&of_guest("pvewatch_backup_archives"), "2.0");
    let firing = collector.alerts().into_iter().filter(|alert| alert["state"] == "firing");
    let firing: Vec<_> = firing.map(|alert| alert["labels"]["alertname"].clone()).collect();
    assert_eq!(firing, ["AwaySoon"]);
}
