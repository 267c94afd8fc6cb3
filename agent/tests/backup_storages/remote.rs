//! Archives on a Proxmox Backup Server, as the API of the node tells them.

use std::fs;
use std::time::Duration;

use pvewatch_protocol::{BackupStorage, StorageState};

use tokio::time::{Instant, advance};

use super::api::{Answers, PlayedApi};
use super::node::{Node, archives};

const STATUS: &str = "/nodes/pve1/storage/pbs1/status";
const LIST: &str = "/nodes/pve1/storage/pbs1/prunebackups?prune-backups=keep-all%3D1&vmid=100";
const LIST_OF_OTHER: &str =
    "/nodes/pve1/storage/pbs1/prunebackups?prune-backups=keep-all%3D1&vmid=101";

/// A node with a Proxmox Backup Server, and an API that answers like this.
fn node_with_api(answers: Answers) -> (Node, PlayedApi) {
    let node = Node::new();
    let pbs = "pbs: pbs1\n\tdatastore main\n\tserver 192.0.2.1\n\tcontent backup\n";
    node.write("pve/storage.cfg", &format!("{pbs}\ndir: local\n\tpath /x\n\tdisable\n"));
    let api = PlayedApi::start(&node.path(""), answers);
    (node, api)
}

fn ok(data: &str) -> (&'static str, String) {
    ("200 OK", format!("{{\"data\":{data}}}"))
}

fn healthy() -> Answers {
    let status = r#"{"active":1,"enabled":1,"total":"1000","used":600,"avail":400,"type":"pbs"}"#;
    let volume = |vmid: u32, day: u32, ctime: u64, mark: &str| {
        let kind = if vmid == 100 { "vm" } else { "ct" };
        format!(
            r#"{{"volid":"pbs1:backup/{kind}/{vmid}/2026-11-{day:02}T20:00:04Z","ctime":{ctime},
                "mark":"{mark}","type":"qemu","vmid":{vmid}}}"#
        )
    };
    let volumes =
        [volume(100, 2, 1_793_649_604, "keep"), volume(100, 1, 1_793_563_204, "protected")];
    let none = ok("[]");
    vec![
        (STATUS, ok(status)),
        (LIST, ok(&format!("[{}]", volumes.join(",")))),
        (LIST_OF_OTHER, none),
    ]
}

/// The storage, and that nobody can say what is there.
fn expect_unknown(pbs: &BackupStorage, why: &str) {
    assert_eq!(pbs.state, StorageState::Unreadable, "{pbs:?}");
    assert_eq!((pbs.listed_at, archives(pbs)), (None, vec![]));
    let detail = pbs.detail.as_deref().unwrap_or_default();
    assert!(detail.contains(why), "{detail:?} does not say {why:?}");
    assert!(!detail.contains("1111"), "the token is told: {detail}");
}

#[tokio::test(start_paused = true)]
async fn archives_on_a_backup_server_are_told_with_a_token() {
    let (node, api) = node_with_api(healthy());
    let mut watching = node.watch_with(api.api());
    let pbs = watching.storages().await.remove(0);
    assert_eq!((pbs.state, pbs.total_bytes), (StorageState::Available, Some(1000)));
    assert_eq!((pbs.used_bytes, pbs.available_bytes), (Some(600), Some(400)));
    // Of its own guests alone, since other nodes see the same.
    assert_eq!(archives(&pbs), [(100, 2, None)]);
    let guest = &pbs.guests[0];
    assert_eq!((guest.protected, guest.bytes), (1, None));
    let newest = guest.newest.as_ref().unwrap();
    assert_eq!((&*newest.name, newest.bytes), ("vm/100/2026-11-02T20:00:04Z", None));
    assert_eq!(newest.began.to_string(), "2026-11-02T20:00:04Z");
    assert_eq!(guest.oldest.unwrap().to_string(), "2026-11-01T20:00:04Z");

    // Told again four times in an hour, and asked for little.
    for _ in 0..4 {
        watching.storages().await;
    }
    assert!(api.asked("/status") <= 8, "{} times", api.asked("/status"));
    assert_eq!(api.asked("/prunebackups"), 2, "by the clock of files no time has passed");
}

#[tokio::test(start_paused = true)]
async fn what_the_api_cannot_tell_is_unknown_and_why() {
    let (node, api) = node_with_api(vec![(
        STATUS,
        ("403 Permission check failed (/storage/pbs1, Datastore.Audit)", String::new()),
    )]);
    let mut watching = node.watch_with(api.api());
    let pbs = watching.storages().await.remove(0);
    expect_unknown(&pbs, "Permission check failed (/storage/pbs1, Datastore.Audit)");
    expect_unknown(&pbs, "PVEAuditor");
    let fails = || ("500 error pruning backups - check log", String::new());
    let with = |list: (&'static str, String)| {
        vec![healthy().remove(0), (LIST, list.clone()), (LIST_OF_OTHER, list)]
    };
    for (answers, why) in [
        (vec![(STATUS, ok(r#"{"active":0,"enabled":1}"#))], "not active"),
        (with(fails()), "needs the privilege Datastore.Prune"),
        (with(ok("null")), "not understood"),
        (vec![], "not implemented"),
    ] {
        api.answers(answers);
        expect_unknown(&watching.storages().await[0], why);
    }
    // What one guest's archives are is known although another's are not.
    let mut answers = healthy();
    answers[2].1 = fails();
    api.answers(answers);
    let pbs = watching.storages().await.remove(0);
    assert_eq!((pbs.state, archives(&pbs)), (StorageState::Available, vec![(100, 2, None)]));
    assert!(pbs.detail.unwrap().starts_with("1 of 2 guests: Proxmox' API says: error pruning"));
}

#[tokio::test(start_paused = true)]
async fn a_backup_server_that_hangs_holds_up_no_other_storage() {
    let (node, api) = node_with_api(healthy());
    let pbs = fs::read_to_string(node.path("pve/storage.cfg")).unwrap();
    node.has(&[("usb", "")]);
    let usb = fs::read_to_string(node.path("pve/storage.cfg")).unwrap();
    node.write("pve/storage.cfg", &format!("{pbs}\n{usb}"));
    node.archive("usb", "qemu-100", 1, None);
    api.hold(true);
    let mut watching = node.watch_with(api.api());
    let storages = loop {
        let storages = tokio::select! {
            storages = watching.storages() => storages,
            // The clock stands still while anybody waits for an answer.
            () = async { advance(Duration::from_secs(1)).await } => continue,
        };
        // The other may take its time, too, by a clock that runs as fast as it can.
        if storages[1].state == StorageState::Available {
            break storages;
        }
    };
    assert_eq!(storages[0].state, StorageState::Hanging);
    assert_eq!((storages[0].listed_at, storages[0].used_bytes), (None, None));
    assert_eq!(archives(&storages[1]), [(100, 1, None)]);
    api.hold(false);
    let storages = watching.storages().await;
    assert_eq!(storages[0].state, StorageState::Available);
    assert_eq!(archives(&storages[0]), [(100, 2, None)]);
}

#[tokio::test(start_paused = true)]
async fn an_api_that_another_authority_signed_is_not_trusted() {
    let (node, api) = node_with_api(healthy());
    let other = PlayedApi::start(&node.path("jobs"), healthy());
    fs::copy(&other.config.ca, &api.config.ca).unwrap();
    let pbs = node.watch_with(api.api()).storages().await.remove(0);
    expect_unknown(&pbs, "invalid peer certificate");
    expect_unknown(&pbs, "is not trusted");
    fs::remove_file(&api.config.ca).unwrap();
    let pbs = node.watch_with(api.api()).storages().await.remove(0);
    expect_unknown(&pbs, "[proxmox] ca");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_not_known_is_refused() {
    let (node, api) = node_with_api(healthy());
    fs::write(api.config.token_file.as_ref().unwrap(), "pvewatch@pve!old=1111").unwrap();
    let pbs = node.watch_with(api.api()).storages().await.remove(0);
    expect_unknown(&pbs, "token_file");
}

/// A node with a thin pool for guests' disks, and an API that says this of it and of all pools.
fn node_with_thin_pool(pools: (&'static str, String)) -> (Node, PlayedApi) {
    let status = r#"{"active":1,"enabled":1,"total":1000,"used":"870","avail":130}"#;
    let answers = vec![
        ("/nodes/pve1/storage/local-lvm/status", ok(status)),
        ("/nodes/pve1/disks/lvmthin", pools),
    ];
    let (node, api) = node_with_api(answers);
    let thin = "lvmthin: local-lvm\n\tthinpool data\n\tvgname pve\n\tcontent rootdir,images\n";
    node.write("pve/storage.cfg", &format!("{thin}\ndir: local\n\tpath /x\n\tdisable\n"));
    (node, api)
}

#[tokio::test(start_paused = true)]
async fn a_thin_pool_is_told_with_its_metadata() {
    let pools = r#"[{"lv":"data","vg":"other","lv_size":5,"metadata_size":7,"metadata_used":7},
        {"lv":"data","vg":"pve","lv_size":1000,"used":870,"metadata_size":"100","metadata_used":92}]"#;
    let (node, api) = node_with_thin_pool(ok(pools));
    let thin = node.watch_with(api.api()).storages().await.remove(0);
    assert_eq!((thin.state, thin.detail.as_deref()), (StorageState::Available, None));
    assert_eq!((thin.content.join(","), thin.shared), ("rootdir,images".to_owned(), false));
    assert_eq!(
        (thin.total_bytes, thin.used_bytes, thin.available_bytes),
        (Some(1000), Some(870), Some(130))
    );
    assert_eq!((thin.metadata_total_bytes, thin.metadata_used_bytes), (Some(100), Some(92)));
    assert_eq!((thin.listed_at, thin.takes_backups()), (None, false));
    assert_eq!(api.asked("prunebackups"), 0);
}

#[tokio::test(start_paused = true)]
async fn metadata_that_a_token_may_not_see_is_said_to_be_unknown() {
    let forbidden = ("403 Permission check failed (/, Sys.Audit)", String::new());
    for (pools, why) in [
        (forbidden, "needs the role PVEAuditor on /"),
        (ok("[]"), "Proxmox knows no pool pve/data"),
        (ok("7"), "not understood"),
    ] {
        let (node, api) = node_with_thin_pool(pools);
        let thin = node.watch_with(api.api()).storages().await.remove(0);
        assert_eq!((thin.state, thin.used_bytes), (StorageState::Available, Some(870)));
        assert_eq!((thin.metadata_total_bytes, thin.metadata_used_bytes), (None, None));
        let detail = thin.detail.unwrap();
        assert!(detail.contains(why), "{detail:?} does not say {why:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_token_a_thin_pool_is_said_to_be_unknown() {
    let (node, _api) = node_with_thin_pool(ok("[]"));
    let thin = node.watch().storages().await.remove(0);
    assert_eq!((thin.state, thin.total_bytes), (StorageState::NotRead, None));
    let detail = "the use of storages of the type lvmthin is told by Proxmox' API alone: set \
                  [proxmox] token_file";
    assert_eq!(thin.detail.as_deref(), Some(detail));
}

#[tokio::test(start_paused = true)]
async fn how_full_a_thin_pool_is_is_asked_every_two_minutes() {
    let (node, api) = node_with_thin_pool(ok("[]"));
    let mut watching = node.watch_with(api.api());
    watching.storages().await;
    let fuller = r#"{"active":1,"enabled":1,"total":1000,"used":990,"avail":10}"#;
    api.answers(vec![
        ("/nodes/pve1/storage/local-lvm/status", ok(fuller)),
        ("/nodes/pve1/disks/lvmthin", ok("[]")),
    ]);
    let told = Instant::now();
    assert_eq!(watching.storages().await[0].used_bytes, Some(990));
    assert!(told.elapsed() < Duration::from_secs(5 * 60), "{:?}", told.elapsed());
}
