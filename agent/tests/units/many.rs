//! Ten thousand units: several times what a large node has.

use std::collections::BTreeSet;

use jiff::Timestamp;
use pvewatch_agent::source::Report;
use pvewatch_protocol::checkpoint::{PART_BYTES_MAX, split};
use pvewatch_protocol::event::{UnitChange, UnitState};
use pvewatch_protocol::{
    Checkpoint, CheckpointContent, EventData, Position, Sequence, StreamId, codec,
};
use uuid::Uuid;

use crate::bus::{Source, playing, socket_in};
use crate::play::{LONG_AGO, Play, Played, later};

const UNITS: usize = 10_000;
/// Every tenth fails after the listing.
const FAILING_EACH: usize = 10;
/// Failed already when the agent came.
const FAILED_BEFORE: usize = 500;

/// Names near the length that packages with instances have.
fn name(number: usize) -> String {
    format!("a-service-with-instances-as-packages-have-them@{number:05}.service")
}

#[tokio::test]
async fn of_ten_thousand_units_every_failure_is_told_once_and_the_picture_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let is_failing = |number: &usize| number.is_multiple_of(FAILING_EACH);
    let failed_before = |number: usize| !is_failing(&number) && number % 20 == 1;
    let listed = (0..UNITS).map(|number| match failed_before(number) {
        true => Played::failed(name(number), LONG_AGO),
        false => Played::runs(name(number)),
    });
    let failing: Vec<usize> = (0..UNITS).filter(is_failing).collect();
    let act = Play {
        version: "257",
        units: listed.collect(),
        said_after_listing: failing
            .iter()
            .map(|&number| Played::failed(name(number), later(1)))
            .collect(),
        ..Play::default()
    };
    let _bus = playing(&folder, vec![act]);
    let mut source = Source::start(&socket_in(&folder));

    let mut told = Vec::new();
    while told.len() < failing.len() {
        if let Report::Fact(fact) = source.next().await
            && let EventData::UnitChanged(changed) = fact.data
        {
            assert_eq!(changed.change, UnitChange::Failed, "{}", changed.state.unit);
            told.push(changed.state.unit);
        }
    }
    let expected: Vec<String> = failing.iter().map(|&number| name(number)).collect();
    assert_eq!(told, expected, "each once, in the order in which systemd said so");

    source.picture_wanted.send(1).unwrap();
    let picture = source.picture().await;
    let failed = picture.iter().filter(|unit| unit.is_failed()).count();
    assert_eq!(failed, failing.len() + FAILED_BEFORE);
    let in_parts = read_in_parts(picture);
    assert_eq!(in_parts, (0..UNITS).map(name).collect());
}

/// The names in a picture's parts, each encoded as it goes on the wire and within its bound.
fn read_in_parts(picture: Vec<UnitState>) -> BTreeSet<String> {
    let units = picture.len();
    let parts = split(picture);
    let of = u32::try_from(parts.len()).unwrap();
    assert!(of > 1, "ten thousand units do not fit one part");
    let as_of = Position { stream: StreamId(Uuid::nil()), sequence: Sequence(1) };
    let mut names = BTreeSet::new();
    let mut count = 0;
    for (part, units) in (1..=of).zip(parts) {
        let content = CheckpointContent::Units(units);
        let checkpoint = Checkpoint { as_of, part, of, at: Timestamp::UNIX_EPOCH, content };
        let payload = codec::encode(&checkpoint).unwrap();
        assert!(payload.len() <= PART_BYTES_MAX, "part {part}: {} bytes", payload.len());
        let read: Checkpoint = codec::decode(&payload).unwrap();
        let CheckpointContent::Units(units) = read.content else { panic!("units") };
        count += units.len();
        names.extend(units.into_iter().map(|unit| unit.unit));
    }
    assert_eq!(count, units, "every unit is in one part");
    names
}
