//! What becomes of streams: new ones, those that go back, those that nobody completes.

use jiff::SignedDuration;

use super::*;

#[test]
fn what_is_missing_is_told_with_its_age_and_what_is_on_its_way_is_no_delay() {
    let id = stream(1);
    let mut ingest = Ingest::default();
    let lack = |events, since: Option<i64>| Lack { events, since: since.map(at) };
    assert_eq!(ingest.sample(&node(), position(id, 3), at(0), &mut Vec::new()), lack(3, Some(0)));
    offer(&mut ingest, (1..=3).map(|n| fact(id, n)).collect());
    // At each sample something is on its way, but never the same.
    assert_eq!(ingest.sample(&node(), position(id, 5), at(10), &mut Vec::new()), lack(2, Some(10)));
    offer(&mut ingest, (4..=5).map(|n| fact(id, n)).collect());
    assert_eq!(ingest.sample(&node(), position(id, 9), at(20), &mut Vec::new()), lack(4, Some(20)));
    offer(&mut ingest, vec![fact(id, 6)]);
    assert_eq!(
        ingest.sample(&node(), position(id, 20), at(30), &mut Vec::new()),
        lack(14, Some(20))
    );
    offer(&mut ingest, (7..=20).map(|n| fact(id, n)).collect());
    assert_eq!(ingest.sample(&node(), position(id, 20), at(40), &mut Vec::new()), lack(0, None));
}

#[test]
fn a_new_stream_of_a_known_node_is_news_and_a_first_one_is_not() {
    let mut ingest = Ingest::default();
    offer(&mut ingest, vec![fact(stream(1), 1), fact(stream(1), 2)]);
    assert_eq!(ingest.take_news(), []);
    offer(&mut ingest, vec![fact(stream(2), 1), fact(stream(2), 2)]);
    assert_eq!(ingest.take_news(), [StreamNews::Began { node: node(), stream: stream(2) }]);
}

#[test]
fn a_stream_that_goes_back_is_noticed_at_the_second_sample_and_its_agent_is_told() {
    let id = stream(1);
    let mut ingest = Ingest::default();
    offer(&mut ingest, (1..=50).map(|n| fact(id, n)).collect());
    acks(&mut ingest);
    let mut sample = |sequence, ms| {
        let lack = ingest.sample(&node(), position(id, sequence), at(ms), &mut Vec::new());
        assert_eq!(lack, Lack::default());
        (ingest.take_news(), acks(&mut ingest))
    };
    assert_eq!(sample(10, 0), (vec![], vec![]), "it may have been overtaken");
    let news =
        StreamNews::WentBack { node: node(), as_of: position(id, 10), through: Sequence(50) };
    assert_eq!(sample(10, 10_000), (vec![news], vec![(node(), position(id, 50))]));
    assert_eq!(sample(10, 20_000), (vec![], vec![]), "once is enough");
    // What it sends under numbers that were used is known, and is not applied again.
    let (applied, outcomes) = offer(&mut ingest, vec![fact(id, 11)]);
    assert_eq!((applied, outcomes), (vec![], vec![Outcome::Duplicate]));
}

#[test]
fn two_agents_with_one_name_are_applied_each_in_its_own_order() {
    let mut ingest = Ingest::default();
    let (one, other) = (stream(1), stream(2));
    let both = (1..=20).flat_map(|n| [fact(one, n), fact(other, n)]).collect();
    let (applied, _) = offer(&mut ingest, both);
    for id in [one, other] {
        let own: Vec<u64> = applied.iter().filter(|(s, _)| *s == id).map(|(_, n)| *n).collect();
        assert_eq!(own, (1..=20).collect::<Vec<_>>());
    }
    assert_eq!(ingest.take_news().len(), 1, "and the second is told of, once");
}

const HOUR_MS: i64 = 3_600_000;

/// Samples of a node that is heard all the time, the last one at the end of `during`; what they
/// let go on, and what became of streams.
fn samples(
    ingest: &mut Ingest,
    as_of: Position,
    during: std::ops::RangeInclusive<i64>,
) -> (Vec<(StreamId, u64)>, Vec<StreamNews>) {
    let mut applied = Vec::new();
    let (begin, end) = during.into_inner();
    for ms in (begin..end).step_by(60_000).chain([end]) {
        ingest.sample(&node(), as_of, at(ms), &mut applied);
    }
    (applied.iter().map(|one| place(&one.arrival)).collect(), ingest.take_news())
}

#[test]
fn what_nobody_holds_any_more_is_lost_and_said_so() {
    let (old, new) = (stream(1), stream(2));
    let lost = |from, through| {
        let (from, through) = (Sequence(from), Sequence(through));
        StreamNews::Lost { node: node(), stream: old, from, through }
    };
    let mut ingest = Ingest::default();
    // Events 3, 4, 6 and 9 of the old stream never came; of the last only a sample spoke.
    offer(&mut ingest, [1, 2, 5, 7, 8].map(|n| fact(old, n)).to_vec());
    ingest.sample(&node(), position(old, 9), at(0), &mut Vec::new());
    offer(&mut ingest, vec![fact(new, 1)]);
    ingest.take_news();
    let mut sample = |during| samples(&mut ingest, position(new, 1), during);
    assert_eq!(sample(0..=HOUR_MS - 1), (vec![], vec![]), "they may still come");
    let what_waited = vec![(old, 5), (old, 7), (old, 8)];
    let all_lost = vec![lost(3, 4), lost(6, 6), lost(9, 9)];
    assert_eq!(sample(HOUR_MS..=HOUR_MS), (what_waited, all_lost));
    assert_eq!(sample(HOUR_MS..=2 * HOUR_MS), (vec![], vec![]));
    assert_eq!(ingest.waiting(), 0);
    assert_eq!(ingest.through(&node(), old), Some(Sequence(9)));
    // If one comes after all, it is not applied: its place in the order is gone.
    let (applied, outcomes) = offer(&mut ingest, vec![fact(old, 3)]);
    assert_eq!((applied, outcomes), (vec![], vec![Outcome::Duplicate]));
}

#[test]
fn nothing_is_given_up_while_it_may_still_come() {
    let (old, new) = (stream(1), stream(2));
    let gap = || {
        let mut ingest = Ingest::default();
        offer(&mut ingest, vec![fact(old, 1), fact(old, 3)]);
        ingest
    };
    let loses = |ingest: &mut Ingest, id, during| {
        let (_, news) = samples(ingest, position(id, 3), during);
        news.into_iter().any(|news| matches!(news, StreamNews::Lost { .. }))
    };
    // The agent that has it is there, however long it takes.
    let mut ingest = gap();
    assert!(!loses(&mut ingest, old, 0..=10 * HOUR_MS));
    // A new agent sends older streams first: as long as nothing of its own came, it may hold it.
    let mut ingest = gap();
    assert!(!loses(&mut ingest, new, 0..=9 * HOUR_MS));
    offer(&mut ingest, vec![fact(new, 1)]);
    assert!(loses(&mut ingest, new, 9 * HOUR_MS..=10 * HOUR_MS));
    // The collector restarts: what is known to be missing is still known, and waited for anew.
    let mut first = gap();
    offer(&mut first, vec![fact(new, 1)]);
    let mut second = Ingest::restore(first.take_changes().0);
    assert!(!loses(&mut second, new, 9 * HOUR_MS..=10 * HOUR_MS - 1));
    assert!(loses(&mut second, new, 10 * HOUR_MS..=10 * HOUR_MS));
    // The node was away all the time: now that it is heard, it sends what it holds.
    let mut ingest = gap();
    offer(&mut ingest, vec![fact(new, 1)]);
    assert!(!loses(&mut ingest, new, 0..=1) && !loses(&mut ingest, new, 9 * HOUR_MS..=9 * HOUR_MS));
}

#[test]
fn a_loss_is_declared_only_of_what_was_not_applied() {
    let id = stream(1);
    let first_lost = |events: Vec<Event>| {
        let mut applied = Vec::new();
        let mut ingest = Ingest::default();
        for event in events {
            ingest.event(arrival(event, 0), &mut applied);
        }
        applied.iter().find_map(|one| match &one.arrival.event.data {
            EventData::OutboxDropped(dropped) => Some(dropped.from.0),
            _ => None,
        })
    };
    assert_eq!(first_lost(vec![dropped(id, 1, 9)]), Some(1));
    assert_eq!(first_lost(vec![fact(id, 1), fact(id, 2), dropped(id, 1, 9)]), Some(3));
    // What came in between is applied, and the range around it told as one.
    assert_eq!(first_lost(vec![fact(id, 1), fact(id, 3), dropped(id, 1, 9)]), Some(2));
}

#[test]
fn the_stream_of_which_its_agent_says_it_is_present_is_the_latest_whatever_its_id() {
    // The clock was set back before the second start: its id is the smaller one.
    let (before, after) = (stream(9), stream(5));
    let mut ingest = Ingest::default();
    let first = ingest.checkpoint(&node(), position(before, 3), false, at(0)).unwrap();
    let retained = ingest.checkpoint(&node(), position(after, 1), true, at(1)).unwrap();
    assert!(retained < first, "a picture that the broker kept proves nothing");
    let live = ingest.checkpoint(&node(), position(after, 1), false, at(2)).unwrap();
    assert!(live > first);

    // One that has begun waits until the other is quiet: two agents could have one name.
    let mut ingest = Ingest::default();
    let first = ingest.checkpoint(&node(), position(before, 3), false, at(0)).unwrap();
    offer(&mut ingest, vec![fact(after, 1)]);
    for (ms, is_later) in [(1_000, false), (59_000, false), (62_000, true)] {
        let live = ingest.checkpoint(&node(), position(after, 1), false, at(ms)).unwrap();
        assert_eq!(live > first, is_later, "after {ms} ms");
    }
}

#[test]
fn a_clock_that_is_set_makes_no_stream_older() {
    let (old, new) = (stream(1), stream(2));
    let hour = SignedDuration::from_hours(1);
    // Set ahead by an hour: what is missing may still come.
    let mut ingest = Ingest::default();
    offer(&mut ingest, vec![fact(old, 1), fact(old, 3), fact(new, 1)]);
    ingest.sample(&node(), position(new, 1), at(0), &mut Vec::new());
    ingest.take_news();
    ingest.clock_jumped(hour);
    ingest.sample(&node(), position(new, 1), at(HOUR_MS + 10), &mut Vec::new());
    assert_eq!(ingest.take_news(), []);

    // Set back by an hour, which the collector is told or not: the present stream is told by its
    // agent after a minute, not after an hour.
    for is_told in [true, false] {
        let mut ingest = Ingest::default();
        let first = ingest.checkpoint(&node(), position(new, 3), false, at(HOUR_MS)).unwrap();
        offer(&mut ingest, vec![fact(old, 1)]);
        if is_told {
            ingest.clock_jumped(-hour);
        }
        for (ms, is_later) in [(1_000, false), (59_000, false), (62_000, true)] {
            let live = ingest.checkpoint(&node(), position(old, 1), false, at(ms)).unwrap();
            assert_eq!(live > first, is_later, "after {ms} ms, told: {is_told}");
        }
    }
}

#[test]
fn what_is_missing_of_a_stream_that_makes_room_for_another_is_lost() {
    let row = |n: u64, through, known| StreamRow {
        node: node(),
        stream: stream(u128::from(n)),
        ordinal: n,
        through: Sequence(through),
        known: Sequence(known),
    };
    // As many streams as are remembered of a node; of the oldest the end is missing.
    let mut rows: Vec<StreamRow> = (2..=10_000).map(|n| row(n, 1, 1)).collect();
    rows.push(row(1, 3, 9));
    let mut ingest = Ingest::restore(rows);
    offer(&mut ingest, vec![fact(stream(20_000), 1)]);
    let (node, lost) = (node(), stream(1));
    let expected = [
        StreamNews::Began { node: node.clone(), stream: stream(20_000) },
        StreamNews::Lost { node, stream: lost, from: Sequence(4), through: Sequence(9) },
    ];
    assert_eq!(ingest.take_news(), expected);
    offer(&mut ingest, vec![fact(stream(20_001), 1)]);
    assert_eq!(ingest.take_news().len(), 1, "nothing is missing of the next one");
}

#[test]
fn samples_ask_for_what_is_missing_of_older_streams_too() {
    let (old, present) = (stream(1), stream(2));
    let mut ingest = Ingest::default();
    offer(&mut ingest, vec![fact(old, 1), fact(old, 3), fact(present, 1)]);
    acks(&mut ingest);
    for (ms, expected) in [(10_000, &[][..]), (20_000, &[(node(), position(old, 1))])] {
        ingest.sample(&node(), position(present, 1), at(ms), &mut Vec::new());
        assert_eq!(acks(&mut ingest), expected, "at {ms} ms");
    }
}
