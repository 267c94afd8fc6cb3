//! What the played Proxmox leaves on a node's disk: stories of readers need not doubt it then.

use std::fmt::Write as _;

use pvewatch_tests::deadline::{GENEROUS, eventually};
use pvewatch_tests::lab::{Node, Suite};
use pvewatch_tests::on_both_releases;

on_both_releases!(
    what_a_run_leaves_in_the_dump_folder,
    what_a_killed_worker_leaves_of_a_guests_log,
    what_becomes_of_the_lists_of_tasks,
);

fn what_a_run_leaves_in_the_dump_folder(suite: Suite) {
    let pve1 = Node::booted("pve1", suite);
    pve1.plays_proxmox();
    let text = "\
storage nas
notes {{guestname}} of the night
protected
guest 100 qemu
name web
size 1048576
";
    let files = |node: &Node| node.shell("ls /mnt/pve/nas/dump | sed 's/-20[0-9_-]*//'");
    pve1.runs_task(&["vzdump", "--play", text]);
    assert_eq!(
        files(&pve1),
        "vzdump-qemu-100.log\nvzdump-qemu-100.vma.zst\nvzdump-qemu-100.vma.zst.notes\n\
         vzdump-qemu-100.vma.zst.protected"
    );
    let said = pve1.shell("cd /mnt/pve/nas/dump; cat *.notes; stat -c ' %s' *.zst");
    assert_eq!(said, "web of the night 1048576");
    // Those of a second may not come in the same one, since they would have the same name.
    for _ in 0..3 {
        let newest = pve1.shell("ls -t /mnt/pve/nas/dump/*.zst | head -n 1");
        eventually("the next second", GENEROUS, || {
            let now = pve1.shell("date +%Y_%m_%d-%H_%M_%S");
            (!newest.contains(&now)).then_some(())
        });
        let text = "storage nas\nprune keep-last=2\nguest 100 qemu\nname web\n";
        pve1.runs_task(&["vzdump", "--play", text]);
    }
    // The protected one does not count, and the third made the first go.
    let count = |name: &str| pve1.shell(&format!("ls /mnt/pve/nas/dump/*{name} | wc -l"));
    assert_eq!(
        (count(".zst"), count(".log"), count(".notes")),
        ("3".into(), "3".into(), "1".into())
    );

    // A failure leaves its log, a killed worker all that it had.
    let killed = "storage nas\nguest 101 lxc\nname dns\ndies copied\n";
    pve1.runs_task(&["vzdump", "--play", killed]);
    let failed = "storage nas\nguest 102 qemu\nname db\nfails copied no space left on device\n";
    pve1.runs_task(&["vzdump", "--play", failed]);
    let left = pve1.shell("ls /mnt/pve/nas/dump | sed 's/-20[0-9_-]*//' | grep -v qemu-100");
    assert_eq!(left, "vzdump-lxc-101.tar.dat\nvzdump-lxc-101.tmp\nvzdump-qemu-102.log");
}

/// The log is written in blocks, and before every child; what is not written is lost.
fn what_a_killed_worker_leaves_of_a_guests_log(suite: Suite) {
    let pve1 = Node::booted("pve1", suite);
    pve1.plays_proxmox();
    let mut long = String::new();
    for second in 1..=120 {
        writeln!(long, "looks progress {second} {} 0", second * 1_000_000).expect("memory");
    }
    for (vmid, compress, looks, bytes) in [(100, "0", "", 0), (101, "0", &*long, 8192)] {
        let text = format!(
            "storage nas\ncompress {compress}\nguest {vmid} qemu\nname web\n{looks}dies copied\n"
        );
        pve1.runs_task(&["vzdump", "--play", &text]);
        let size = pve1.shell(&format!("stat -c %s /var/log/vzdump/qemu-{vmid}.log"));
        assert_eq!(size, bytes.to_string(), "{vmid}");
    }
    // The compressor is a child.
    pve1.runs_task(&["vzdump", "--play", "storage nas\nguest 102 qemu\nname web\ndies copied\n"]);
    let log = pve1.shell("cat /var/log/vzdump/qemu-102.log");
    assert!(log.contains("creating vzdump archive"), "{log}");
    assert!(!log.contains("started backup task"), "{log}");
    let task = pve1.shell("cat /var/log/pve/tasks/?/*:102:*");
    assert!(task.contains("100% ("), "the task's log is written at once: {task}");
}

fn what_becomes_of_the_lists_of_tasks(suite: Suite) {
    let pve1 = Node::booted("pve1", suite);
    pve1.plays_proxmox();
    // A long index is put aside, and of the tasks that are over the list has the newest.
    let old = "UPID:pve1:00000001:00000001:6AC05394:vzdump::root@pam: 6AC05395 OK";
    let fill = format!("yes '{old}' | head -n 800 >/var/log/pve/tasks/index");
    pve1.shell(&fill);
    for _ in 0..2 {
        pve1.runs_task(&["aptupdate", "starting apt-get update", "fail=exit code 100"]);
    }
    let tasks = pve1.shell("cd /var/log/pve/tasks; wc -l <index.1; wc -l <index; head -n 1 active");
    let lines: Vec<&str> = tasks.lines().collect();
    let [put_aside, index, newest] = &*lines else { panic!("{tasks}") };
    assert_eq!((*put_aside, *index), ("801", "1"));
    assert!(newest.contains(":aptupdate::root@pam: 1 "), "{newest}");
    assert!(newest.ends_with(" exit code 100"), "{newest}");
}
