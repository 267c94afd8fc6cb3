//! The agent's outbox beside a real Mosquitto that is away until more has failed than the outbox
//! holds. systemd is played, so that what fails, and when, is known.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use played::units_that_fail;
use pvewatch_protocol::event::UnitChange;
use pvewatch_protocol::{CollectorPresence, Epoch, Event, EventData, PresenceState, Sequence};
use pvewatch_tests::deadline::{GENEROUS, eventually, now};
use pvewatch_tests::servers::{Agent, Mosquitto, Security};
use pvewatch_tests::subscriber::Subscriber;
use rustix::process::Signal;

mod played;

const UNITS: usize = 500;

/// The smallest there is: room for some 120 failures.
const OUTBOX_BYTES_MAX: u32 = 64 * 1024;

fn name(number: usize) -> String {
    format!("u{number:03}.service")
}

/// A journalctl that notes that it was asked: the failure that it is asked about was told.
fn noting_journalctl(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("journalctl");
    let asked = folder.join("asked");
    fs::write(&path, format!("#!/bin/sh\ntouch {}\n", asked.display())).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn what_an_outbox_in_memory_could_not_hold_while_the_broker_was_away_is_declared_exactly() {
    let folder = tempfile::tempdir().unwrap();
    check(folder.path(), "");
}

#[test]
fn what_an_outbox_on_disk_could_not_hold_while_the_broker_was_away_is_declared_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("spool");
    check(folder.path(), &format!("directory = {directory:?}\n"));
    assert!(directory.is_dir(), "it was not used");
}

#[test]
fn what_a_broker_refuses_is_kept_and_sent_when_its_rules_allow_it() {
    let all = "topic readwrite #\n";
    let denied = format!("topic deny pvewatch/v1/home/node/pve1/event/#\n{all}");
    let mut broker = Mosquitto::start(Security::Rules(denied));
    let mut observer = Subscriber::connect(&broker.access(None), &["pvewatch/#"]);
    let agent = Agent::start(&format!("url = \"mqtt://127.0.0.1:{}\"", broker.port()));
    agent.says("refuses what node pve1 of site home publishes (not authorized)");
    broker.allow(all);
    let event = observer
        .wait_for("the first event", Duration::from_secs(60), |message| message.event().is_some());
    let event = event.event().unwrap();
    assert_eq!((event.data.kind(), event.position.sequence), ("agent.started", Sequence(1)));
    assert_eq!(agent.log().matches("refuses what node").count(), 1, "{}", agent.log());
}

#[track_caller]
fn check(folder: &Path, outbox: &str) {
    let socket = folder.join("bus");
    units_that_fail(&socket, (0..UNITS).map(name).collect());
    let mut broker = Mosquitto::start(Security::Open);
    broker.stop(Signal::TERM);
    // Only the last unit has journal lines: once they are asked for, all failures were told.
    let sections = format!(
        "[outbox]\nbytes_max = {OUTBOX_BYTES_MAX}\n{outbox}[units.log]\nexclude = [\"u[0-3]*\", \"u4[0-8]*\", \
         \"u49[0-8]*\"]\n[paths]\nsystem_bus = \"unix:path={}\"\njournalctl = {:?}\n",
        socket.display(),
        noting_journalctl(folder),
    );
    let url = format!("url = \"mqtt://127.0.0.1:{}\"", broker.port());
    let agent = Agent::start_with(&url, &sections, &[]);
    agent.says("outbox: full with");
    let asked = folder.join("asked");
    eventually("the last failure to be told", GENEROUS, || asked.exists().then_some(()));

    broker.start_again();
    let mut observer = Subscriber::connect(&broker.access(None), &["pvewatch/#"]);
    let last = name(UNITS - 1);
    let is_last =
        |event: &Event| matches!(&event.data, EventData::UnitChanged(it) if it.state.unit == last);
    // The agent may have come first: a collector that comes is sent what it missed.
    observer.publish("pvewatch/v1/home/collector/main/presence", presence(), true);
    observer.wait_for("the last failure", Duration::from_secs(120), |message| {
        message.event().is_some_and(|event| is_last(&event))
    });
    // The first copy can be on its way still, with its beginning missed, when the second begins.
    let events = eventually("everything up to the last failure", Duration::from_secs(120), || {
        let events = from_the_loss_on(&mut observer);
        events.iter().any(is_last).then_some(events)
    });

    let EventData::OutboxDropped(lost) = &events[0].data else { unreachable!() };
    assert_eq!((lost.from, events[0].position.sequence), (Sequence(1), lost.through));
    assert!(lost.reason.contains("outbox full"), "{}", lost.reason);
    let sequences: Vec<u64> = events.iter().map(|event| event.position.sequence.0).collect();
    let expected: Vec<u64> = (lost.through.0..).take(events.len()).collect();
    assert_eq!(sequences, expected, "in order, and nothing is missing that was not declared");
    // The first event of the stream is agent.started; then unit n has the number n + 2.
    for event in &events[1..] {
        let EventData::UnitChanged(changed) = &event.data else { continue };
        assert_eq!(changed.change, UnitChange::Failed);
        assert_eq!(changed.state.unit, name(event.position.sequence.0 as usize - 2));
    }
    let held = events.len() - 1;
    assert!((50..=130).contains(&held), "{held} events in {OUTBOX_BYTES_MAX} bytes");
    observer.wait_for("the loss in a sample", GENEROUS, |message| {
        message.topic.ends_with("/sample")
            && message.json()["agent"]["dropped_events"].as_u64() >= Some(lost.through.0)
    });
}

/// What a collector says that is there.
fn presence() -> Vec<u8> {
    let presence = CollectorPresence {
        state: PresenceState::Online,
        epoch: Epoch(uuid::Uuid::from_u128(7)),
        ready: true,
        version: String::new(),
        at: now(),
    };
    serde_json::to_vec(&presence).unwrap()
}

/// From the first declared loss on: every event once, in the order of arrival.
fn from_the_loss_on(observer: &mut Subscriber) -> Vec<Event> {
    let mut seen = HashSet::new();
    let events = observer.messages().iter().filter_map(|message| message.event());
    events
        .skip_while(|event| !matches!(event.data, EventData::OutboxDropped(_)))
        .filter(|event| seen.insert(event.id()))
        .collect()
}
