//! A collector whose disk is really full says so, acks nothing that it did not store, and goes
//! on by itself once there is room; one whose disk is read-only does not start, and says why.
//! An agent whose disk becomes read-only goes on from memory, and catches up on a good one; what
//! was damaged on it between two starts is set aside, and its loss declared.
//!
//! Needs root, for disks of its own. The agent is the real one; systemd is played, so that what
//! fails is known.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
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
    let status = get_json(&collector.url("/api/v1/status")).unwrap();
    assert_eq!(status["headline"], "The collector cannot store anything");
    assert!(status["notes"].to_string().contains("collector.db"), "{status}");
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

#[test]
fn an_agent_whose_disk_became_read_only_goes_on_from_memory_and_catches_up() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Mosquitto::start(Security::Open);
    let disk = Disk::mounted_at(&folder.path().join("disk"));
    let spool = disk.place.join("spool");
    let socket = folder.path().join("bus");
    let sections = format!(
        "[outbox]\ndirectory = {spool:?}\n[units.log]\nenabled = false\n\
         [paths]\nsystem_bus = \"unix:path={}\"\n",
        socket.display()
    );
    let url = format!("url = \"mqtt://127.0.0.1:{}\"", broker.port());
    let mut observer = Subscriber::connect(&broker.access(None), &["pvewatch/#"]);
    let mut agent = Agent::start_with(&url, &sections, &[]);
    expect_outbox(&mut observer, 1, true);

    // As the kernel does when it finds the file system damaged. It refuses to be asked for it
    // while somebody writes.
    disk.becomes_read_only();
    units_that_fail(&socket, (0..UNITS).map(|number| format!("u{number}.service")).collect());
    agent.says("Read-only file system");
    expect_outbox(&mut observer, EVENTS as u64, false);
    let said = agent.log();
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("Read-only")).collect();
    assert_eq!(lines.len(), 1, "said once, whatever comes after it: {lines:#?}");
    for part in [spool.to_str().unwrap(), "kept in memory", "mount it for writing"] {
        assert!(lines[0].contains(part), "{part:?} is not in: {}", lines[0]);
    }

    let _good = disk.replaced_by_a_good_one(&folder.path().join("good"));
    agent.says("events are on disk until every collector has them");
    expect_outbox(&mut observer, EVENTS as u64, true);
    // They are: nothing of this start is left in any memory, not even the broker's.
    agent.process.signal(Signal::KILL);
    agent.process.exits_within(GENEROUS);
    broker.stop(Signal::KILL);
    broker.start_again();
    let collector = Collector::on(&broker.access(None));
    let _agent = Agent::start_with(&url, &sections, &[]);
    let stored = eventually("everything in the store", RECOVERY, || {
        let stored = stored(&collector);
        (stored.len() > EVENTS).then_some(stored)
    });
    assert_eq!(stored[..EVENTS], (1..=EVENTS as u64).collect::<Vec<u64>>(), "each once, in order");
    assert_eq!(stored[EVENTS], 1, "then the next start");
}

#[test]
fn what_was_damaged_on_an_agents_disk_is_set_aside_and_its_loss_is_an_alert() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Mosquitto::start(Security::Open);
    let mut observer = Subscriber::connect(&broker.access(None), &["pvewatch/#"]);
    let spool = folder.path().join("spool");
    let socket = folder.path().join("bus");
    units_that_fail(&socket, (0..UNITS).map(|number| format!("u{number}.service")).collect());
    let sections = format!(
        "[outbox]\ndirectory = {spool:?}\n[units.log]\nenabled = false\n\
         [paths]\nsystem_bus = \"unix:path={}\"\n",
        socket.display()
    );
    let url = format!("url = \"mqtt://127.0.0.1:{}\"", broker.port());
    let mut agent = Agent::start_with(&url, &sections, &[]);
    expect_outbox(&mut observer, EVENTS as u64, true);
    agent.process.signal(Signal::TERM);
    agent.process.exits_within(GENEROUS);

    let segment = spool.join("00000000000000000001.segment");
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x20;
    std::fs::write(&segment, &bytes).unwrap();

    let collector = Collector::on(&broker.access(None));
    let agent = Agent::start_with(&url, &sections, &[]);
    agent.says("segment 1 is damaged in 1 places");
    let said = agent.log();
    let line = said.lines().find(|line| line.contains("is damaged")).unwrap();
    for part in
        [spool.to_str().unwrap(), "it is kept as", ".damaged", "what is missing is declared"]
    {
        assert!(line.contains(part), "{part:?} is not in: {line}");
    }
    assert_eq!(std::fs::read(segment.with_extension("damaged")).unwrap(), bytes, "for a person");

    collector.expect_alert("firing", &[("alertname", "AgentOutboxDropped"), ("node", "pve1")]);
    // The whole stream with the goodbye, and the start of the next one.
    let stored = eventually("everything else in the store", RECOVERY, || {
        let stored = stored(&collector);
        (stored.len() > EVENTS + 1).then_some(stored)
    });
    let whole: Vec<u64> = (1..=EVENTS as u64 + 1).chain([1]).collect();
    assert_eq!(stored, whole, "the damaged one is declared in its place, all others are there");
    let events = collector.events();
    let losses: Vec<_> = events.iter().filter(|it| it["kind"] == "outbox.dropped").collect();
    assert_eq!(losses.len(), 1, "{losses:#?}");
    let lost = &losses[0]["data"];
    assert_eq!(lost["from"], lost["through"], "one event, and no more: {lost}");
    assert!(lost["reason"].as_str().unwrap().contains("cannot be read"), "{lost}");
}

/// Waits until the agent has so many events, and says of its outbox that it is well or not.
#[track_caller]
fn expect_outbox(observer: &mut Subscriber, events: u64, is_well: bool) {
    observer.wait_for("the outbox in a sample", RECOVERY, |message| {
        message.topic.ends_with("/sample") && message.json()["agent"]["outbox_events"] == events
    });
    observer.wait_for("the outbox in the agent's picture", GENEROUS, |message| {
        message.topic.ends_with("/checkpoint/agent/1") && {
            let sources =
                message.json()["agent"]["sources"].as_array().cloned().unwrap_or_default();
            sources.iter().any(|it| it["name"] == "outbox" && it["active"] == is_well)
        }
    });
}

/// A file system of its own on a file, unmounted when it is dropped.
struct Disk {
    place: PathBuf,
}

impl Disk {
    #[track_caller]
    fn mounted_at(place: &Path) -> Self {
        let image = place.with_extension("img");
        File::create(&image).unwrap().set_len(DISK_BYTES * 2).unwrap();
        std::fs::create_dir(place).unwrap();
        succeeds(Command::new("mkfs.ext4").arg("-q").arg(&image));
        let this = Self { place: place.to_owned() };
        this.mount(&image);
        this
    }

    #[track_caller]
    fn mount(&self, image: &Path) {
        let options = ["-o", "loop,errors=remount-ro"];
        succeeds(Command::new("mount").args(options).arg(image).arg(&self.place));
    }

    #[track_caller]
    fn becomes_read_only(&self) {
        let source = Command::new("findmnt").args(["-no", "SOURCE"]).arg(&self.place).output();
        let source = String::from_utf8(source.unwrap().stdout).unwrap();
        let device = source.trim().trim_start_matches("/dev/");
        std::fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "tried").unwrap();
    }

    /// What is on it is copied to another one, which takes its place.
    #[track_caller]
    fn replaced_by_a_good_one(&self, place: &Path) -> Self {
        let good = Self::mounted_at(place);
        succeeds(Command::new("cp").arg("-a").arg(self.place.join(".")).arg(&good.place));
        succeeds(Command::new("umount").arg("--lazy").arg(&self.place));
        succeeds(Command::new("mount").arg("--bind").arg(&good.place).arg(&self.place));
        good
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.place).status();
    }
}

#[track_caller]
fn succeeds(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
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
    collector.events().iter().rev().map(|event| event["sequence"].as_u64().unwrap()).collect()
}
