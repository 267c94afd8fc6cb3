//! What knowing the archives costs an agent: a storage with those of many guests, listed at its
//! start, and looked at every minute.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use jiff::Timestamp;
use pvewatch_protocol::{Site, topic};

use super::figure::{Budget, Figure};
use super::soak::RSS_KIB_MAX;
use super::usage::{memory, processor};
use crate::deadline::now;
use crate::process::Process;
use crate::subscriber::{Access, Message, Subscriber};

/// Guests, and the archives of each: a fortnight of one a day.
const GUESTS: usize = 1_000;
const ARCHIVES_OF_A_GUEST: usize = 14;

/// How long the agent may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// For how long it is watched afterwards: two looks.
const RESTING_FOR: Duration = Duration::from_secs(125);

/// Measures one agent that starts on a node with such a storage.
///
/// # Panics
/// When something does not start, or a file cannot be written.
#[track_caller]
pub fn figures(program: &Path, access: &Access) -> Vec<Figure> {
    let filters = topic::filter::from_nodes(&Site::default());
    let mut subscriber = Subscriber::connect(access, &filters.each_ref().map(String::as_str));
    let folder = tempfile::tempdir().expect("a temporary directory");
    make_node(folder.path());
    let config = make_config(folder.path(), &access.url());
    let started = now();
    let log = folder.path().join("agent.log");
    let mut command = Command::new(program);
    // As the shipped unit sets it.
    command.args(["--config", &config]).env("MALLOC_ARENA_MAX", "1");
    let agent = Process::start_command("pvewatch-agent", &log, &command);
    let told = wait_until_told(&mut subscriber);
    let told = told.map(|at| at.duration_since(started).as_secs_f64());
    let cpu = || processor(agent.id()).ok().map(|spent| spent.own_seconds);
    let (cpu_at_start, rss) = (cpu(), memory(agent.id()).ok());
    std::thread::sleep(RESTING_FOR);
    let resting = cpu().zip(cpu_at_start).map(|(after, before)| after - before);
    let percent = resting.map(|seconds| seconds / RESTING_FOR.as_secs_f64() * 100.0);
    vec![
        Figure::new("archives at start", (GUESTS * ARCHIVES_OF_A_GUEST) as f64, ""),
        Figure::new("archives at start, told within", told, "s"),
        Figure::new("archives at start, processor time", cpu_at_start, "s"),
        Figure::new("archives at start, RSS", rss.map(|it| it.rss_kib as f64), "KiB")
            .within(Budget::AtMost(RSS_KIB_MAX)),
        Figure::new("archives that rest, CPU of a core", percent, "%"),
    ]
}

/// When the last part of the picture came; none if it does not.
fn wait_until_told(subscriber: &mut Subscriber) -> Option<Timestamp> {
    let is_last = |message: &Message| {
        let part = || message.json();
        message.topic.contains("/checkpoint/backup_storages/") && part()["part"] == part()["of"]
    };
    Some(subscriber.find(PATIENCE, is_last)?.arrived)
}

fn make_config(folder: &Path, url: &str) -> String {
    let text = format!(
        "node = \"bench\"\n[broker]\nurl = \"{url}\"\n[paths]\n\
         system_bus = \"unix:path=/nonexistent/bus\"\ntasks = {:?}\npve = {:?}\nfstab = \
         \"/dev/null\"\n",
        folder.join("tasks"),
        folder.join("pve"),
    );
    let file = folder.join("agent.toml");
    fs::write(&file, text).expect("a temporary directory can be written");
    file.display().to_string()
}

/// A node whose storage has been in use for two weeks.
#[track_caller]
fn make_node(folder: &Path) {
    let write = |name: String, text: &str| {
        fs::write(folder.join(name), text).expect("a temporary directory can be written");
    };
    for name in ["pve/nodes/bench/qemu-server", "nas/dump"] {
        fs::create_dir_all(folder.join(name)).expect("a temporary directory can be written");
    }
    symlink("nodes/bench", folder.join("pve/local")).expect("a temporary directory");
    let storage = format!("dir: local\n\tpath {}/nas\n\tcontent backup\n", folder.display());
    write("pve/storage.cfg".to_owned(), &storage);
    let log = format!(
        "{}2026-11-02 21:03:10 INFO: prune older backups with retention: keep-daily=14\n",
        "2026-11-02 21:01:00 INFO:  50% (16.0 GiB of 32.0 GiB) in 1m, read: 151.2 MiB/s\n"
            .repeat(100)
    );
    let mut listed = Vec::new();
    for vmid in 100..100 + GUESTS {
        listed.push(format!(r#""{vmid}":{{"node":"bench","type":"qemu","version":1}}"#));
        write(format!("pve/nodes/bench/qemu-server/{vmid}.conf"), "name: guest\n");
        for day in 1..=ARCHIVES_OF_A_GUEST {
            let run = format!("nas/dump/vzdump-qemu-{vmid}-2026_11_{day:02}-21_00_04");
            write(format!("{run}.vma.zst"), "");
            write(format!("{run}.log"), &log);
        }
    }
    write("pve/.vmlist".to_owned(), &format!(r#"{{"ids":{{{}}}}}"#, listed.join(",")));
    write("pve/.version".to_owned(), r#"{"starttime":1,"vmlist":1}"#);
}
