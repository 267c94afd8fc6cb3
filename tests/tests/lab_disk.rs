//! A collector whose disk is really full says so, acks nothing that it did not store, and goes
//! on by itself once there is room; one whose disk is read-only does not start, and says why.
//!
//! Needs root, for disks of its own. The agent is the real one; systemd is played, so that what
//! fails is known.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use played::units_that_fail;
use pvewatch_protocol::{Ack, codec};
use pvewatch_tests::deadline::{GENEROUS, eventually};
use pvewatch_tests::places::program;
use pvewatch_tests::servers::{Agent, Collector, Mosquitto, Security, get_json};
use pvewatch_tests::subscriber::Subscriber;
use rustix::process::Signal;

mod played;

const UNITS: usize = 300;

/// `agent.started`, and one for each unit.
const EVENTS: usize = UNITS + 1;

/// Enough for an empty store with its log, and for everything in the end.
const DISK_BYTES: u64 = 16 * 1024 * 1024;

/// The collector tries again after 1 s to 60 s, the agent after 30 s.
const RECOVERY: Duration = Duration::from_secs(180);

#[test]
fn a_full_disk_is_named_and_nothing_is_lost_by_it() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(Security::Open);
    let mut observer = Subscriber::connect(&broker.access(None), &["pvewatch/#"]);
    let collector = Collector::on_a_small_disk(&broker.access(None), DISK_BYTES);
    let ballast = collector.data_as_it_sees_it().join("ballast");
    fill(&ballast);

    let socket = folder.path().join("bus");
    units_that_fail(&socket, (0..UNITS).map(|number| format!("u{number}.service")).collect());
    let sections = format!(
        "[units.log]\nenabled = false\n[paths]\nsystem_bus = \"unix:path={}\"\n",
        socket.display()
    );
    let url = format!("url = \"mqtt://127.0.0.1:{}\"", broker.port());
    let _agent = Agent::start_with(&url, &sections, &[]);
    collector.says("cannot grow");
    // It goes on saying so, also when it finds the disk as full as before.
    eventually("a second attempt", GENEROUS, || {
        (collector.log().matches("cannot grow").count() >= 2).then_some(())
    });
    let said = collector.log();
    let line = said.lines().find(|line| line.contains("cannot grow")).unwrap();
    for part in ["/data/collector.db", "full", "free space on its disk"] {
        assert!(line.contains(part), "{part:?} is not in: {line}");
    }
    observer.wait_for("the agent's last failure", GENEROUS, |message| {
        message.event().is_some_and(|event| event.position.sequence.0 == EVENTS as u64)
    });
    let acked = acked(&mut observer);
    assert!(acked < EVENTS as u64, "{acked} of {EVENTS} are acked, and the disk is full");

    std::fs::remove_file(&ballast).unwrap();
    let stored = eventually("everything in the store", RECOVERY, || {
        let stored = stored(&collector);
        (stored.len() >= EVENTS).then_some(stored)
    });
    assert_eq!(stored, (1..=EVENTS as u64).collect::<Vec<u64>>(), "each once, in order");
    observer.wait_for("the last ack", RECOVERY, |message| {
        message.topic.ends_with("/node/pve1/ack/main")
            && codec::decode::<Ack>(&message.payload).unwrap().through.0 == EVENTS as u64
    });
    eventually("the collector to be ready", RECOVERY, || {
        (get_json(&collector.url("/api/v1/status"))?["ready"] == true).then_some(())
    });
}

#[test]
fn a_disk_that_became_read_only_is_named() {
    let broker = Mosquitto::start(Security::Open);
    let mut collector = Collector::on(&broker.access(None));
    collector.stop(Signal::TERM);
    let data = collector.directory().join("data");
    let read_only = r#"mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@""#;
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", read_only])
        .arg(&data)
        .arg(program("pvewatch-collector"))
        .arg("--config")
        .arg(collector.directory().join("collector.toml"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in [data.to_str().unwrap(), "Read-only file system", "mount its disk for writing"] {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
    // Nothing is the matter with what is on it.
    collector.start_again();
}

/// Writes a file until the disk has no room left.
fn fill(ballast: &Path) {
    let mut file = File::create(ballast).unwrap();
    for bytes in [64 * 1024, 4 * 1024, 1] {
        let piece = vec![0; bytes];
        let error = loop {
            if let Err(error) = file.write_all(&piece) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
    }
}

/// The highest ack so far.
fn acked(observer: &mut Subscriber) -> u64 {
    let acks = observer.messages().iter().filter(|it| it.topic.ends_with("/node/pve1/ack/main"));
    acks.map(|it| codec::decode::<Ack>(&it.payload).unwrap().through.0).max().unwrap_or(0)
}

/// The sequences of the events that the collector has, the oldest first.
fn stored(collector: &Collector) -> Vec<u64> {
    let answer = get_json(&collector.url("/api/v1/events?limit=500&node=pve1"));
    let answer = answer.unwrap_or_default();
    let events = answer["events"].as_array().cloned().unwrap_or_default();
    events.iter().rev().map(|event| event["sequence"].as_u64().unwrap()).collect()
}
