//! The source `backup_storages` on real folders: archives, what is mounted, and what changes.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up should fail at that place")]

mod api;
mod node;
mod remote;

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use pvewatch_protocol::StorageState;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tokio::time::Instant;

use node::{Node, archives};

#[tokio::test(start_paused = true)]
async fn archives_are_told_and_told_again_when_they_change() {
    let node = Node::new();
    node.has(&[("usb", "\tprune-backups keep-last=2")]);
    node.archive("usb", "qemu-100", 1, Some("keep-last=2"));
    node.archive("usb", "qemu-100", 2, Some("keep-last=2"));
    node.archive("usb", "lxc-102", 2, None);
    node.rests("usb");
    let mut watching = node.watch();
    let usb = watching.storages().await.remove(0);
    assert_eq!((&*usb.storage, &*usb.kind, usb.shared), ("usb", "dir", false));
    assert_eq!((usb.state, usb.prune.as_deref()), (StorageState::Available, Some("keep-last=2")));
    assert!(usb.listed_at.is_some() && usb.used_bytes <= usb.total_bytes, "{usb:?}");
    assert_eq!(archives(&usb), [(100, 2, Some(0)), (102, 1, None)]);
    let newest = usb.guests[0].newest.clone().unwrap();
    assert_eq!(
        (&*newest.name, newest.bytes),
        ("vzdump-qemu-100-2026_11_02-21_00_04.vma.zst", Some(7))
    );

    // Somebody writes what it is for, and protects it.
    let archive = format!("usb/dump/{}", newest.name);
    node.write(&format!("{archive}.notes"), "before the upgrade\r\n");
    node.write(&format!("{archive}.protected"), "");
    node.rests("usb");
    let newest = watching.storages().await.remove(0).guests[0].newest.clone().unwrap();
    assert_eq!((newest.notes.as_deref(), newest.protected), (Some("before the upgrade"), true));
    fs::remove_file(node.path(&format!("{archive}.protected"))).unwrap();

    // A run that removes nothing although it says so.
    node.archive("usb", "qemu-100", 3, Some("keep-last=2"));
    node.rests("usb");
    let usb = watching.storages().await.remove(0);
    assert_eq!(archives(&usb), [(100, 3, Some(1)), (102, 1, None)]);

    // Somebody takes one away.
    fs::remove_file(node.path("usb/dump/vzdump-qemu-100-2026_11_01-21_00_04.vma.zst")).unwrap();
    node.rests("usb");
    assert_eq!(archives(&watching.storages().await[0])[0], (100, 2, Some(0)));
}

#[tokio::test(start_paused = true)]
async fn while_runs_go_on_files_are_not_listed_again_and_again() {
    let node = Node::new();
    node.has(&[("usb", "")]);
    let mut watching = node.watch();
    assert_eq!(archives(&watching.storages().await[0]), []);
    node.archive("usb", "qemu-100", 1, None);
    // Its folder changed just now, by the clock of the files, which goes on as ever.
    let told = Instant::now();
    assert_eq!(archives(&watching.storages().await[0]), []);
    assert!(told.elapsed() >= Duration::from_secs(14 * 60), "told only because it is time");
    node.rests("usb");
    assert_eq!(archives(&watching.storages().await[0]), [(100, 1, None)]);
}

#[tokio::test(start_paused = true)]
async fn of_a_storage_that_others_see_too_a_node_tells_its_own_guests() {
    let node = Node::new();
    node.has(&[("usb", "\tshared 1")]);
    for guest in ["qemu-100", "lxc-101", "lxc-102", "qemu-900"] {
        node.archive("usb", guest, 1, None);
    }
    let usb = node.watch().storages().await.remove(0);
    assert_eq!(archives(&usb), [(100, 1, None), (101, 1, None)]);
    assert!(usb.shared);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_mounted_is_unknown_and_never_empty() {
    let node = Node::new();
    node.has(&[("usb", "\tis_mountpoint 1"), ("disk", ""), ("gone", "")]);
    fs::remove_dir_all(node.path("gone/dump")).unwrap();
    node.write("fstab", &format!("UUID=1 {} ext4 nofail 0 2\n", node.path("disk").display()));
    node.archive("usb", "qemu-100", 1, None);
    let mut watching = node.watch();
    let storages = watching.storages().await;
    use StorageState::{Available, NotMounted, Unreadable};
    let expected = [
        (NotMounted, "nothing is mounted"),
        (NotMounted, "nothing is mounted"),
        (Unreadable, "gone/dump is not there"),
    ];
    for (storage, (state, why)) in storages.iter().zip(expected) {
        assert_eq!(storage.state, state, "{storage:?}");
        assert!(storage.detail.as_ref().unwrap().contains(why), "{storage:?}");
        assert_eq!((storage.listed_at, archives(storage)), (None, vec![]));
    }
    let mount =
        |name| format!("36 25 0:33 / {} rw - ext4 /dev/sdb1 rw\n", node.path(name).display());
    node.write("mountinfo", &format!("{}{}", mount("usb"), mount("disk")));
    let storages = watching.storages().await;
    let states: Vec<_> = storages.iter().map(|storage| storage.state).collect();
    assert_eq!(states, [Available, Available, Unreadable]);
    assert_eq!(archives(&storages[0]), [(100, 1, None)]);
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_takes_no_backups_tells_what_its_files_take() {
    let node = Node::new();
    let path = node.path("disks");
    fs::create_dir_all(path.join("images/100")).unwrap();
    fs::write(path.join("images/100/vm-100-disk-0.raw"), vec![1; 3 * 4096]).unwrap();
    let disks = format!("dir: disks\n\tpath {}\n\tcontent images,iso\n", path.display());
    node.write("pve/storage.cfg", &format!("{disks}\ndir: local\n\tpath /x\n\tdisable\n"));
    let mut watching = node.watch();
    let disks = watching.storages().await.remove(0);
    assert_eq!(
        (disks.state, disks.content.join(",")),
        (StorageState::Available, "images,iso".into())
    );
    assert_eq!((disks.listed_at, disks.guests.len(), disks.prune.as_deref()), (None, 0, None));
    let held: Vec<_> = disks.held_bytes.iter().map(|(kind, bytes)| (&**kind, *bytes)).collect();
    assert_eq!(held, [("images", 3 * 4096), ("iso", 0)]);
    assert!(disks.used_bytes.is_some() && disks.total_bytes >= disks.used_bytes, "{disks:?}");
    assert_eq!(watching.status().await.1, "storages: 1, 0 of them for backups");
}

#[tokio::test(start_paused = true)]
async fn archives_that_are_no_files_are_said_to_be_unknown() {
    let node = Node::new();
    node.has(&[]);
    let pbs = "pbs: pbs1\n\tdatastore main\n\tserver 192.0.2.1\n\tcontent backup\n";
    node.write("pve/storage.cfg", &format!("{pbs}\ndir: local\n\tpath /x\n\tdisable\n"));
    let pbs = node.watch().storages().await.remove(0);
    assert_eq!((pbs.state, pbs.listed_at), (StorageState::NotRead, None));
    let detail =
        "archives of the type pbs are told by Proxmox' API alone: set [proxmox] token_file";
    assert_eq!(pbs.detail.as_deref(), Some(detail));
}

#[tokio::test(start_paused = true)]
async fn many_storages_are_all_looked_at() {
    let node = Node::new();
    let names: Vec<String> = (0..20).map(|number| format!("disk{number}")).collect();
    node.has(&names.iter().map(|name| (name.as_str(), "")).collect::<Vec<_>>());
    let storages = node.watch().storages().await;
    let available = storages.iter().filter(|it| it.state == StorageState::Available).count();
    assert_eq!((storages.len(), available), (20, 20));
}

#[tokio::test(start_paused = true)]
async fn a_log_or_notes_that_are_no_file_blind_nobody() {
    let node = Node::new();
    node.has(&[("usb", "")]);
    for day in 1..=3 {
        node.archive("usb", "qemu-100", day, Some("keep-last=1"));
    }
    // Whoever opens a pipe waits for its other end, and a link leads anywhere.
    let log = |day| node.path(&format!("usb/dump/vzdump-qemu-100-2026_11_0{day}-21_00_04.log"));
    for day in [2, 3] {
        fs::remove_file(log(day)).unwrap();
    }
    mknodat(CWD, log(3), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    symlink(log(1), log(2)).unwrap();
    let notes = |day| log(day).with_extension("vma.zst.notes");
    mknodat(CWD, notes(3), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let usb = node.watch().storages().await.remove(0);
    assert_eq!(usb.guests[0].newest.as_ref().unwrap().notes, None);
    // Judged by the run before them, which had one archive.
    assert_eq!(archives(&usb), [(100, 3, Some(0))]);
}

#[tokio::test(start_paused = true)]
async fn everything_is_told_again_when_that_is_wanted_and_now_and_then() {
    let node = Node::new();
    node.has(&[("usb", "")]);
    let mut watching = node.watch();
    let first = watching.storages().await;
    let told = Instant::now();
    watching.wanted.send(1).unwrap();
    let second = watching.storages().await;
    assert!(told.elapsed() < Duration::from_secs(60));
    assert_eq!(second[0].guests, first[0].guests);
    let told = Instant::now();
    watching.storages().await;
    assert!(told.elapsed() >= Duration::from_secs(14 * 60));
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_cannot_be_read_is_not_an_empty_one() {
    let node = Node::new();
    node.has(&[("usb", "")]);
    let mut watching = node.watch();
    watching.storages().await;
    assert_eq!(watching.status().await, (true, "storages: 1, 1 of them for backups".to_owned()));
    fs::rename(node.path("pve/.version"), node.path("pve/away")).unwrap();
    let (active, detail) = watching.status().await;
    assert!(!active && detail.contains("pve-cluster does not run"), "{detail}");
    fs::rename(node.path("pve/away"), node.path("pve/.version")).unwrap();
    assert!(watching.status().await.0);
}
