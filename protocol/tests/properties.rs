//! What holds for every payload: it reads back as it was written, and no bytes cause a panic.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use jiff::Timestamp;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use pvewatch_protocol::checkpoint::{PART_BYTES_MAX, split};
use pvewatch_protocol::event::{
    AgentStopping, CrashLoop, Exit, LogLine, OutboxDropped, UnitChange, UnitChanged, UnitLog,
    UnitRemoved, UnitState,
};
use pvewatch_protocol::{
    Ack, AlertMessage, Checkpoint, CheckpointContent, CollectorPresence, Event, EventData,
    NodePresence, Notice, Position, Sample, Sequence, StopReason, StreamId, Topic, codec,
};
use serde_json::{Map, json};
use uuid::Uuid;

fn timestamp() -> impl Strategy<Value = Timestamp> {
    // Years 1970 to 2100, to the nanosecond.
    (0i128..4_102_444_800_000_000_000)
        .prop_map(|nanoseconds| Timestamp::from_nanosecond(nanoseconds).unwrap())
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9]([a-zA-Z0-9._-]{0,20}[a-zA-Z0-9])?"
}

/// Unit names with every byte that systemd allows.
fn unit_name() -> impl Strategy<Value = String> {
    r"[a-zA-Z0-9:_.\\@-]{1,40}\.(service|timer|socket)"
}

fn position() -> impl Strategy<Value = Position> {
    (any::<u128>(), 1u64..).prop_map(|(stream, sequence)| Position {
        stream: StreamId(Uuid::from_u128(stream)),
        sequence: Sequence(sequence),
    })
}

fn unit_state() -> impl Strategy<Value = UnitState> {
    (
        (unit_name(), "[a-z-]{1,12}", "[a-z]{1,12}", "[a-z-]{1,20}"),
        option::of("[a-z-]{1,12}"),
        option::of(("exited|killed|dumped", any::<i32>())),
        (any::<u32>(), any::<bool>()),
        option::of("[0-9a-f]{32}"),
        option::of(timestamp()),
        option::of((timestamp(), any::<u32>())),
    )
        .prop_map(
            |(
                words,
                result,
                exit,
                (restarts, will_restart),
                invocation_id,
                changed_at,
                crashes,
            )| {
                let (unit, load_state, active_state, sub_state) = words;
                UnitState {
                    unit,
                    load_state,
                    active_state,
                    sub_state,
                    result,
                    exit: exit.map(|(code, status)| Exit { code, status }),
                    restarts,
                    will_restart,
                    invocation_id,
                    changed_at,
                    crash_loop: crashes.map(|(since, failures)| CrashLoop { since, failures }),
                }
            },
        )
}

fn unit_log() -> impl Strategy<Value = UnitLog> {
    let line = (timestamp(), 0u8..8, any::<String>()).prop_map(|(at, priority, message)| LogLine {
        at,
        priority,
        message,
    });
    (unit_name(), "[0-9a-f]{32}", vec(line, 0..5), any::<bool>(), any::<u32>()).prop_map(
        |(unit, invocation_id, lines, truncated, redacted)| UnitLog {
            unit,
            invocation_id,
            lines,
            truncated,
            redacted,
        },
    )
}

fn data() -> impl Strategy<Value = EventData> {
    let change = prop_oneof![
        Just(UnitChange::Started),
        Just(UnitChange::Stopped),
        Just(UnitChange::Failed),
        Just(UnitChange::Recovered),
        Just(UnitChange::CrashLooping),
    ];
    prop_oneof![
        (change, unit_state()).prop_map(|(change, state)| {
            EventData::UnitChanged(Box::new(UnitChanged { change, state }))
        }),
        unit_name().prop_map(|unit| EventData::UnitRemoved(UnitRemoved { unit })),
        unit_log().prop_map(EventData::UnitLog),
        any::<String>().prop_map(|boot_id| {
            EventData::AgentStopping(AgentStopping { reason: StopReason::Reboot, boot_id })
        }),
        (any::<u64>(), any::<u64>(), any::<String>()).prop_map(|(from, through, reason)| {
            let (from, through) = (Sequence(from), Sequence(through));
            EventData::OutboxDropped(OutboxDropped { from, through, reason })
        }),
        ("later\\.[a-z]{1,10}", any::<i64>()).prop_map(|(kind, number)| EventData::Unknown {
            kind,
            data: json!({"number": number, "deep": [{"a": null}]}),
        }),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    (name(), name(), position(), timestamp(), timestamp(), data(), option::of(any::<String>()))
        .prop_map(|(site, node, position, time, recorded_time, data, extension)| Event {
            site: site.parse().unwrap(),
            node: node.parse().unwrap(),
            position,
            time,
            recorded_time,
            data,
            extensions: extension
                .map(|value| Map::from_iter([("traceparent".to_owned(), json!(value))]))
                .unwrap_or_default(),
        })
}

/// Every decoder, so that none is forgotten.
fn decode_as_everything(bytes: &[u8]) {
    let _ = codec::decode_event(bytes);
    let _ = codec::decode::<Sample>(bytes);
    let _ = codec::decode::<Checkpoint>(bytes);
    let _ = codec::decode::<NodePresence>(bytes);
    let _ = codec::decode::<CollectorPresence>(bytes);
    let _ = codec::decode::<Ack>(bytes);
    let _ = codec::decode::<AlertMessage>(bytes);
    let _ = codec::decode::<Notice>(bytes);
}

proptest! {
    #[test]
    fn an_event_reads_back_as_it_was_written(event in event()) {
        let bytes = codec::encode_event(&event).unwrap();
        prop_assert_eq!(codec::decode_event(&bytes).unwrap(), event);
    }

    #[test]
    fn a_checkpoint_reads_back_as_it_was_written(
        units in vec(unit_state(), 0..20), as_of in position(), at in timestamp(),
    ) {
        let content = CheckpointContent::Units(units);
        let checkpoint = Checkpoint { as_of, part: 1, of: 1, at, content };
        let bytes = codec::encode(&checkpoint).unwrap();
        prop_assert_eq!(codec::decode::<Checkpoint>(&bytes).unwrap(), checkpoint);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        decode_as_everything(&bytes);
    }

    #[test]
    fn an_event_with_a_byte_changed_never_panics(
        event in event(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut bytes = codec::encode_event(&event).unwrap();
        let index = at.index(bytes.len());
        bytes[index] = byte;
        decode_as_everything(&bytes);
    }

    #[test]
    fn arbitrary_text_is_never_mistaken_for_a_topic_that_it_does_not_print(text in any::<String>()) {
        if let Ok((site, topic)) = Topic::parse(&text) {
            prop_assert_eq!(topic.at(&site), text);
        }
    }
}

#[test]
fn many_units_are_split_into_parts_below_the_limit_without_losing_one() {
    let units: Vec<UnitState> = (0..10_000)
        .map(|number| UnitState {
            unit: format!("a-rather-long-name-of-a-service-number-{number}.service"),
            load_state: "loaded".into(),
            active_state: "active".into(),
            sub_state: "running".into(),
            result: Some("success".into()),
            exit: None,
            restarts: 0,
            will_restart: false,
            invocation_id: Some("0123456789abcdef0123456789abcdef".into()),
            changed_at: Some(Timestamp::UNIX_EPOCH),
            crash_loop: None,
        })
        .collect();
    let parts = split(units.clone());
    assert!(parts.len() > 1);
    for part in &parts {
        let checkpoint = Checkpoint {
            as_of: Position { stream: StreamId(Uuid::nil()), sequence: Sequence(1) },
            part: 1,
            of: 1,
            at: Timestamp::UNIX_EPOCH,
            content: CheckpointContent::Units(part.clone()),
        };
        assert!(codec::encode(&checkpoint).unwrap().len() < PART_BYTES_MAX);
    }
    assert_eq!(parts.concat(), units);
}

#[test]
fn a_payload_of_ten_megabytes_is_refused_before_it_is_parsed() {
    let bytes = vec![b' '; 10 * 1024 * 1024];
    let error = codec::decode_event(&bytes).unwrap_err();
    assert_eq!(error.reason(), "too_large");
}
