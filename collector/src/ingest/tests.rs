//! The promise of ingest: applied once, in the order of the stream, whatever comes how often.

use proptest::prelude::*;
use pvewatch_protocol::event::OutboxDropped;
use pvewatch_protocol::{NodeName, Site, Topic, codec};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

mod pictures;
mod words;

fn node() -> NodeName {
    "alert".parse().unwrap()
}

fn stream(n: u128) -> StreamId {
    StreamId(Uuid::from_u128(n))
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_000 + ms).unwrap()
}

fn position(id: StreamId, sequence: u64) -> Position {
    Position { stream: id, sequence: Sequence(sequence) }
}

fn event_of(id: StreamId, sequence: u64, data: EventData) -> Event {
    Event {
        site: Site::default(),
        node: node(),
        position: position(id, sequence),
        time: at(0),
        recorded_time: at(0),
        data,
        extensions: serde_json::Map::new(),
    }
}

fn fact(id: StreamId, sequence: u64) -> Event {
    event_of(id, sequence, EventData::Unknown { kind: "tried".into(), data: json!(sequence) })
}

fn dropped(id: StreamId, from: u64, through: u64) -> Event {
    let (from, through) = (Sequence(from), Sequence(through));
    let data = OutboxDropped { from, through, reason: "outbox full".into() };
    event_of(id, through.0, EventData::OutboxDropped(data))
}

fn arrival(event: Event, ms: i64) -> Arrival {
    let payload = codec::encode_event(&event).unwrap().into();
    Arrival { event: Box::new(event), payload, received_at: at(ms) }
}

/// Offers events in this order; what was applied, with the outcome of each.
fn offer(ingest: &mut Ingest, events: Vec<Event>) -> (Vec<(StreamId, u64)>, Vec<Outcome>) {
    let mut applied = Vec::new();
    let outcomes =
        events.into_iter().map(|event| ingest.event(arrival(event, 0), &mut applied)).collect();
    (applied.iter().map(|one| place(&one.arrival)).collect(), outcomes)
}

fn acks(ingest: &mut Ingest) -> Vec<(NodeName, Position)> {
    ingest.take_acks().into_iter().map(|due| (due.node, due.position)).collect()
}

fn place(arrival: &Arrival) -> (StreamId, u64) {
    let Position { stream, sequence } = arrival.event.position;
    (stream, sequence.0)
}

#[test]
fn events_apply_in_order_and_each_outcome_has_its_name() {
    let id = stream(1);
    let mut ingest = Ingest::default();
    let order = [1, 3, 3, 5, 2, 1, 4];
    let (applied, outcomes) = offer(&mut ingest, order.map(|n| fact(id, n)).to_vec());
    assert_eq!(applied, [1, 2, 3, 4, 5].map(|n| (id, n)));
    use Outcome::{Applied, Duplicate, Waiting};
    assert_eq!(
        outcomes,
        [
            Applied { released: 0 },
            Waiting { opened_gap: true },
            Waiting { opened_gap: false },
            Waiting { opened_gap: false },
            Applied { released: 1 },
            Duplicate,
            Applied { released: 1 },
        ]
    );
    assert_eq!(ingest.waiting(), 0);
}

#[test]
fn an_unknown_stream_that_does_not_begin_at_one_is_asked_for_from_the_start() {
    let id = stream(1);
    let mut ingest = Ingest::default();
    let (applied, outcomes) = offer(&mut ingest, vec![fact(id, 58)]);
    assert_eq!((applied, outcomes), (vec![], vec![Outcome::Waiting { opened_gap: true }]));
    assert_eq!(acks(&mut ingest), [(node(), position(id, 0))]);
}

#[test]
fn while_a_gap_is_open_the_ack_is_repeated_once_a_second() {
    let id = stream(1);
    let mut ingest = Ingest::default();
    let mut applied = Vec::new();
    ingest.event(arrival(fact(id, 1), 0), &mut applied);
    acks(&mut ingest);
    // (time in ms, sequence) -> whether the ack is repeated
    for (ms, sequence, is_due) in
        [(0, 3, true), (1, 4, false), (999, 5, false), (1000, 6, true), (-5000, 7, true)]
    {
        ingest.event(arrival(fact(id, sequence), ms), &mut applied);
        let expected: &[_] = if is_due { &[(node(), position(id, 1))] } else { &[] };
        assert_eq!(acks(&mut ingest), expected, "at {ms} ms");
    }
    ingest.event(arrival(fact(id, 2), 1200), &mut applied);
    assert_eq!(acks(&mut ingest), [(node(), position(id, 7))], "the gap is closed");
}

#[test]
fn an_event_that_comes_again_is_acked_again_but_not_every_time() {
    let id = stream(1);
    let mut ingest = Ingest::default();
    offer(&mut ingest, vec![fact(id, 1), fact(id, 2)]);
    acks(&mut ingest);
    for (ms, expected) in [(0, 1), (1, 0), (999, 0), (1000, 1)] {
        ingest.event(arrival(fact(id, 1), ms), &mut Vec::new());
        assert_eq!(acks(&mut ingest).len(), expected, "at {ms} ms");
    }
}

#[test]
fn a_declared_loss_closes_its_gap_and_keeps_what_came_inside_it() {
    let id = stream(1);
    // Offered in this order; sequences that are applied, in order.
    let cases: [(Vec<Event>, &[u64]); 8] = [
        (vec![fact(id, 1), dropped(id, 2, 9), fact(id, 10)], &[1, 9, 10]),
        (vec![dropped(id, 1, 9), fact(id, 10)], &[9, 10]),
        (vec![fact(id, 1), fact(id, 5), fact(id, 10), dropped(id, 2, 9)], &[1, 5, 9, 10]),
        (vec![fact(id, 1), dropped(id, 3, 9), fact(id, 10), fact(id, 2)], &[1, 2, 9, 10]),
        (vec![fact(id, 1), fact(id, 9), dropped(id, 2, 9)], &[1, 9]),
        // The agent learns only later that more is gone.
        (vec![fact(id, 1), dropped(id, 5, 9), dropped(id, 2, 9), fact(id, 10)], &[1, 9, 10]),
        (vec![fact(id, 1), fact(id, 2), dropped(id, 1, 4), fact(id, 5)], &[1, 2, 4, 5]),
        (vec![fact(id, 1), fact(id, 2), fact(id, 3), dropped(id, 1, 2)], &[1, 2, 3]),
    ];
    for (events, expected) in cases {
        let (applied, _) = offer(&mut Ingest::default(), events.clone());
        let applied: Vec<u64> = applied.into_iter().map(|(_, sequence)| sequence).collect();
        assert_eq!(applied, expected, "{events:?}");
    }
}

#[test]
fn an_impossible_declaration_is_refused() {
    let id = stream(1);
    let mut wrong_end = dropped(id, 2, 9);
    wrong_end.position.sequence = Sequence(8);
    for event in [wrong_end, dropped(id, 0, 9), dropped(id, 10, 9), fact(id, u64::MAX)] {
        let (applied, outcomes) = offer(&mut Ingest::default(), vec![event]);
        assert_eq!((applied, outcomes), (vec![], vec![Outcome::Refused(Reason::BadSequence)]));
    }
}

#[test]
fn when_the_room_behind_a_gap_is_full_the_farthest_are_let_go() {
    let id = stream(1);
    let mut ingest = Ingest::default();
    let last = WAITING_PER_NODE_MAX as u64 + 3;
    let (_, outcomes) = offer(&mut ingest, (2..=last).rev().map(|n| fact(id, n)).collect());
    // Nearer ones push the farther ones out; going up, the newest finds no room.
    assert_eq!(ingest.waiting(), WAITING_PER_NODE_MAX);
    assert!(!outcomes.contains(&Outcome::NoRoom));
    let (applied, outcomes) = offer(&mut ingest, vec![fact(id, last), fact(id, 1)]);
    assert_eq!(outcomes[0], Outcome::NoRoom);
    assert_eq!(outcomes[1], Outcome::Applied { released: WAITING_PER_NODE_MAX });
    assert_eq!(applied.len(), WAITING_PER_NODE_MAX + 1);
    assert_eq!(ingest.waiting(), 0);
}

#[test]
fn large_events_behind_a_gap_are_bounded_by_their_bytes() {
    let id = stream(1);
    let mut ingest = Ingest::default();
    for sequence in 2..200 {
        let payload = vec![b' '; 1024 * 1024].into();
        let event = Box::new(fact(id, sequence));
        ingest.event(Arrival { event, payload, received_at: at(0) }, &mut Vec::new());
    }
    assert!(ingest.waiting() < 10, "{} MiB wait", ingest.waiting());
}

#[test]
fn streams_keep_the_order_in_which_the_agent_sends_them() {
    let mut ingest = Ingest::default();
    // The store is new: a retained picture names the running stream before its events come.
    let running = ingest.checkpoint(&node(), position(stream(5), 57), true, at(0)).unwrap();
    assert_eq!(acks(&mut ingest), [(node(), position(stream(5), 0))]);
    let mut ordinals = Vec::new();
    for id in [stream(2), stream(3), stream(5)] {
        let mut applied = Vec::new();
        ingest.event(arrival(fact(id, 1), 0), &mut applied);
        ordinals.push(applied[0].ordinal);
    }
    assert!(ordinals.is_sorted() && ordinals[2] == running, "{ordinals:?}");
    // The collector came while the agent sent: what is sent again from the start is still older.
    let mut applied = Vec::new();
    ingest.event(arrival(fact(stream(4), 1), 0), &mut applied);
    assert!(ordinals[1] < applied[0].ordinal && applied[0].ordinal < running);
    // A clock that was set back makes an older UUID, but the stream is later all the same: its
    // agent drew a picture before it sent anything.
    let mut applied = Vec::new();
    ingest.checkpoint(&node(), position(stream(1), 1), false, at(0));
    ingest.event(arrival(fact(stream(1), 1), 0), &mut applied);
    assert!(applied[0].ordinal > running);
}

#[test]
fn a_checkpoint_that_knows_more_than_was_applied_repeats_the_ack() {
    let id = stream(1);
    let mut ingest = Ingest::default();
    offer(&mut ingest, vec![fact(id, 1)]);
    acks(&mut ingest);
    ingest.checkpoint(&node(), position(id, 1), false, at(0));
    ingest.checkpoint(&node(), position(id, 2), true, at(0));
    assert_eq!(acks(&mut ingest), []);
    ingest.checkpoint(&node(), position(id, 2), false, at(0));
    assert_eq!(acks(&mut ingest), [(node(), position(id, 1))]);
}

#[test]
fn samples_repeat_the_ack_only_when_nothing_came_from_one_to_the_next() {
    let id = stream(1);
    let mut ingest = Ingest::default();
    ingest.sample(&node(), position(id, 1), at(0), &mut Vec::new());
    assert_eq!(acks(&mut ingest), [], "the event may be on its way");
    offer(&mut ingest, vec![fact(id, 1)]);
    acks(&mut ingest);
    for (ms, expected) in [(10_000, 0), (20_000, 1), (30_000, 1)] {
        ingest.sample(&node(), position(id, 3), at(ms), &mut Vec::new());
        assert_eq!(acks(&mut ingest).len(), expected, "at {ms} ms");
    }
}

#[test]
fn a_restart_goes_on_where_the_store_is() {
    let id = stream(7);
    let mut first = Ingest::default();
    offer(&mut first, vec![fact(id, 1), fact(id, 2), fact(id, 4)]);
    let (rows, forgotten) = first.take_changes();
    assert_eq!((rows.len(), forgotten), (1, vec![]));
    assert_eq!(first.take_changes(), (vec![], vec![]));
    let mut second = Ingest::restore(rows);
    let (applied, outcomes) = offer(&mut second, vec![fact(id, 2), fact(id, 3), fact(id, 4)]);
    assert_eq!(applied, [(id, 3), (id, 4)]);
    assert_eq!(outcomes[0], Outcome::Duplicate);
    assert_eq!(second.through(&node(), id), Some(Sequence(4)));
}

/// Decodes what `change` makes of a good event.
fn decode_changed(change: impl FnOnce(&mut Value)) -> Result<Decoded, Rejection> {
    let event = fact(stream(1), 1);
    let mut envelope: Value =
        serde_json::from_slice(&codec::encode_event(&event).unwrap()).unwrap();
    change(&mut envelope);
    let topic = Topic::Event { node: node(), kind: "tried".into() }.at(&Site::default());
    decode(&Site::default(), &topic, envelope.to_string().as_bytes())
}

#[test]
fn a_payload_that_claims_to_be_something_else_is_refused_with_its_reason() {
    let set = |key: &'static str, value: Value| {
        decode_changed(move |envelope| envelope[key] = value).unwrap_err().reason
    };
    assert!(decode_changed(|_| {}).is_ok());
    assert_eq!(set("specversion", json!("2.0")), Reason::BadEnvelope);
    assert_eq!(set("id", json!("other")), Reason::BadEnvelope);
    assert_eq!(set("type", json!("pvewatch.other")), Reason::WrongKind);
    assert_eq!(set("time", json!(7)), Reason::WrongShape);
    assert_eq!(set("sequence", json!("1")), Reason::WrongShape);
    let claim = |source: &str, name: &str| {
        let id = format!("{name}/{}/{}", stream(1), Sequence(1));
        decode_changed(|envelope| {
            envelope["source"] = json!(source);
            envelope["id"] = json!(id);
        })
        .unwrap_err()
        .reason
    };
    assert_eq!(claim("/home/other", "other"), Reason::WrongNode);
    assert_eq!(claim("/away/alert", "alert"), Reason::WrongSite);
}

#[test]
fn messages_that_are_not_ours_are_refused_with_their_reason() {
    let large = vec![b' '; 10 * 1024 * 1024];
    for (topic, payload, reason) in [
        ("pvewatch/v1/home/node/alert/sample", large.as_slice(), Reason::TooLarge),
        ("pvewatch/v1/home/node/alert/event/tried", b"\xff\x00not json", Reason::NotJson),
        ("pvewatch/v1/home/node/alert/presence", b"{}", Reason::WrongShape),
        ("pvewatch/v1/home/node/../sample", b"{}", Reason::ForeignTopic),
        ("pvewatch/v1/home/node/a b/sample", b"{}", Reason::ForeignTopic),
        ("pvewatch/v1/home/node/+/sample", b"{}", Reason::ForeignTopic),
        ("pvewatch/v1/away/node/alert/sample", b"{}", Reason::WrongSite),
        ("weather/today", b"rain", Reason::ForeignTopic),
    ] {
        let found = decode(&Site::default(), topic, payload).unwrap_err();
        assert_eq!(found.reason, reason, "{topic}");
        assert!(!found.detail.is_empty());
    }
}

#[test]
fn data_that_cannot_be_read_do_not_stop_their_stream() {
    let mut envelope: Value =
        serde_json::from_slice(&codec::encode_event(&fact(stream(1), 1)).unwrap()).unwrap();
    envelope["type"] = json!("pvewatch.unit.changed");
    let topic = Topic::Event { node: node(), kind: "unit.changed".into() }.at(&Site::default());
    let decoded = decode(&Site::default(), &topic, envelope.to_string().as_bytes()).unwrap();
    let Decoded::Event { event, doubt } = decoded else { panic!("{decoded:?}") };
    assert_eq!(event.data, EventData::Unknown { kind: "unit.changed".into(), data: json!(1) });
    assert_eq!(doubt.unwrap().reason, Reason::BadData);
    let (applied, _) = offer(&mut Ingest::default(), vec![*event]);
    assert_eq!(applied, [(stream(1), 1)]);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(topic in ".*", payload in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&Site::default(), &topic, &payload);
        let _ = decode(&Site::default(), "pvewatch/v1/home/node/a/event/x", &payload);
    }

    /// Any interleaving, duplication and reordering of streams, with ranges that are declared
    /// lost, and a restart in between: each event at most once, in order; all of them once
    /// everything was sent to the end.
    #[test]
    fn whatever_comes_is_applied_once_and_in_order(
        lengths in proptest::collection::vec(1_u64..30, 1..4),
        sent in proptest::collection::vec((any::<prop::sample::Index>(), 0_u8..10), 0..300),
        restart_at in 0_usize..300,
        lost in proptest::collection::vec((1_u64..30, 0_u64..5), 4),
    ) {
        let mut events = Vec::new();
        let mut expected: Vec<Vec<(StreamId, u64)>> = Vec::new();
        for (n, length) in lengths.iter().enumerate() {
            let id = stream(n as u128 + 1);
            let (from, more) = lost[n];
            let through = (from + more).min(*length);
            let is_lost = |sequence: &u64| (from..through).contains(sequence);
            let kept: Vec<u64> = (1..=*length).filter(|sequence| !is_lost(sequence)).collect();
            for sequence in &kept {
                let is_end = from < through && *sequence == through;
                events.push(if is_end { dropped(id, from, through) } else { fact(id, *sequence) });
            }
            expected.push(kept.into_iter().map(|sequence| (id, sequence)).collect());
        }
        let mut ingest = Ingest::default();
        let mut stored = std::collections::HashMap::new();
        let mut applied = Vec::new();
        let chaos = sent.iter().map(|(index, copies)| (index.get(&events).clone(), copies / 9 + 1));
        let rest = events.iter().cloned().map(|event| (event, 1));
        for (step, (event, copies)) in chaos.chain(rest).enumerate() {
            if step == restart_at {
                ingest = Ingest::restore(std::mem::take(&mut stored).into_values().collect());
            }
            for _ in 0..copies {
                ingest.event(arrival(event.clone(), step as i64), &mut applied);
            }
            let (rows, _) = ingest.take_changes();
            stored.extend(rows.into_iter().map(|row| (row.stream, row)));
        }
        // Memory that a restart lost is sent again, in order, as an agent does.
        for event in events {
            ingest.event(arrival(event, 10_000), &mut applied);
        }
        prop_assert_eq!(ingest.waiting(), 0);
        for (n, wanted) in expected.into_iter().enumerate() {
            let id = stream(n as u128 + 1);
            let got: Vec<_> =
                applied.iter().map(|one| place(&one.arrival)).filter(|one| one.0 == id).collect();
            prop_assert_eq!(got, wanted);
        }
    }
}
