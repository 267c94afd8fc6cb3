//! A picture that knows more than was applied waits for the events before it.

use jiff::SignedDuration;
use pvewatch_protocol::{Checkpoint, CheckpointContent};

use super::*;

const MINUTE: i64 = 60_000;

/// A picture of the units, as of that event.
fn picture(as_of: Position, part: u32, ms: i64) -> Picture {
    let content = CheckpointContent::Units(Vec::new());
    let checkpoint = Checkpoint { as_of, part, of: 2, at: at(0), content };
    let checkpoint = Box::new(checkpoint);
    Picture { node: node(), checkpoint, bytes: 1000, retained: true, received_at: at(ms) }
}

/// What no longer waits: stream, sequence and part.
fn taken(ingest: &mut Ingest, ms: i64) -> Vec<(StreamId, u64, u32)> {
    let pictures = ingest.take_pictures(at(ms)).into_iter();
    pictures
        .map(|(picture, _)| {
            let Checkpoint { as_of, part, .. } = *picture.checkpoint;
            (as_of.stream, as_of.sequence.0, part)
        })
        .collect()
}

fn apply(ingest: &mut Ingest, events: &[(StreamId, u64)], ms: i64) {
    for (id, sequence) in events {
        ingest.event(arrival(fact(*id, *sequence), ms), &mut Vec::new());
    }
}

/// One event of each of two starts; of the first a sample tells more than has come.
fn a_part_of_the_first_of_two_starts(known: u64) -> Ingest {
    let (first, second) = (stream(1), stream(2));
    let mut ingest = Ingest::default();
    apply(&mut ingest, &[(first, 1)], 0);
    ingest.sample(&node(), position(first, known), at(0), &mut Vec::new());
    apply(&mut ingest, &[(second, 1)], 0);
    ingest
}

#[test]
fn a_picture_waits_until_the_events_that_it_knows_of_are_applied() {
    let id = stream(1);
    let mut ingest = Ingest::default();
    apply(&mut ingest, &[(id, 1)], 0);
    for part in [1, 2] {
        assert_eq!(ingest.picture(picture(position(id, 3), part, 0), false), Shown::Later);
    }
    assert!(matches!(
        ingest.picture(picture(position(id, 1), 1, 0), false),
        Shown::Now { picture, .. } if picture.checkpoint.as_of.sequence == Sequence(1)
    ));
    apply(&mut ingest, &[(id, 2)], 0);
    assert_eq!(taken(&mut ingest, 0), []);
    apply(&mut ingest, &[(id, 3), (id, 4)], 0);
    assert_eq!(taken(&mut ingest, 0), [(id, 3, 1), (id, 3, 2)]);
    assert_eq!((taken(&mut ingest, 0), ingest.next_deadline()), (vec![], None));
}

#[test]
fn what_is_declared_lost_is_not_waited_for() {
    let id = stream(1);
    let mut ingest = Ingest::default();
    apply(&mut ingest, &[(id, 1)], 0);
    assert_eq!(ingest.picture(picture(position(id, 9), 1, 0), false), Shown::Later);
    ingest.event(arrival(dropped(id, 2, 9), 0), &mut Vec::new());
    assert_eq!(taken(&mut ingest, 0), [(id, 9, 1)]);
}

#[test]
fn a_newer_part_takes_the_place_of_an_older_one() {
    let id = stream(1);
    let mut ingest = Ingest::default();
    apply(&mut ingest, &[(id, 1)], 0);
    for sequence in [3, 5] {
        ingest.picture(picture(position(id, sequence), 1, 0), false);
    }
    apply(&mut ingest, &[(id, 2), (id, 3), (id, 4)], 0);
    assert_eq!(taken(&mut ingest, 0), []);
    apply(&mut ingest, &[(id, 5)], 0);
    assert_eq!(taken(&mut ingest, 0), [(id, 5, 1)]);
}

#[test]
fn a_picture_of_a_later_start_waits_for_what_is_missing_of_the_one_before() {
    let (first, second) = (stream(1), stream(2));
    let mut ingest = a_part_of_the_first_of_two_starts(3);
    assert_eq!(ingest.picture(picture(position(second, 1), 1, 0), false), Shown::Later);
    apply(&mut ingest, &[(first, 2), (first, 3)], 0);
    assert_eq!(taken(&mut ingest, 0), [(second, 1, 1)]);
}

#[test]
fn the_first_picture_of_a_node_counts_at_once_and_later_ones_wait() {
    let mut ingest = Ingest::default();
    let is_now = |shown| matches!(shown, Shown::Now { .. });
    for part in [1, 2] {
        assert!(is_now(ingest.picture(picture(position(stream(1), 57), part, 0), true)));
    }
    assert!(!is_now(ingest.picture(picture(position(stream(1), 60), 1, 0), false)));
}

#[test]
fn it_is_not_waited_for_ever() {
    let id = stream(1);
    let mut ingest = Ingest::default();
    apply(&mut ingest, &[(id, 1)], 0);
    ingest.picture(picture(position(id, 9), 1, MINUTE), false);
    // Each event that comes shows that more of them are on their way.
    apply(&mut ingest, &[(id, 2)], 5 * MINUTE);
    assert_eq!(taken(&mut ingest, 10 * MINUTE), []);
    assert_eq!(ingest.next_deadline(), Some(at(11 * MINUTE)));
    assert_eq!(taken(&mut ingest, 11 * MINUTE), [(id, 9, 1)]);

    // A clock that is set makes no wait longer or shorter.
    ingest.picture(picture(position(id, 9), 1, 0), false);
    ingest.clock_jumped(SignedDuration::from_hours(1));
    assert_eq!(ingest.next_deadline(), Some(at(66 * MINUTE)));
    assert_eq!(taken(&mut ingest, 65 * MINUTE), []);
    assert_eq!(taken(&mut ingest, 66 * MINUTE), [(id, 9, 1)]);

    // A clock that was set back says nothing of how long it was.
    ingest.picture(picture(position(id, 9), 1, MINUTE), false);
    assert_eq!(taken(&mut ingest, 0), [(id, 9, 1)]);
}

#[test]
fn what_finds_no_room_to_wait_counts_at_once() {
    let id = stream(1);
    let mut ingest = Ingest::default();
    apply(&mut ingest, &[(id, 1)], 0);
    let bytes = PICTURES_WAITING_BYTES_MAX / 2;
    let mut shown = (1..=3).map(|part| {
        let picture = Picture { bytes, ..picture(position(id, 9), part, 0) };
        ingest.picture(picture, false)
    });
    assert_eq!((shown.next(), shown.next()), (Some(Shown::Later), Some(Shown::Later)));
    assert!(matches!(shown.next(), Some(Shown::Now { .. })));
    drop(shown);
    apply(
        &mut ingest,
        &[(id, 2), (id, 3), (id, 4), (id, 5), (id, 6), (id, 7), (id, 8), (id, 9)],
        0,
    );
    assert_eq!(taken(&mut ingest, 0).len(), 2);
    assert_eq!(ingest.picture(picture(position(id, 12), 1, 0), false), Shown::Later, "room again");
}

#[test]
fn what_was_waited_for_in_vain_holds_up_no_second_picture() {
    let (first, second) = (stream(1), stream(2));
    let mut ingest = a_part_of_the_first_of_two_starts(4);
    let picture = || picture(position(second, 1), 1, 0);
    let is_now = |shown| matches!(shown, Shown::Now { .. });
    assert!(!is_now(ingest.picture(picture(), false)));
    assert_eq!(taken(&mut ingest, 6 * MINUTE), [(second, 1, 1)]);
    assert!(is_now(ingest.picture(picture(), false)));
    // It comes after all.
    apply(&mut ingest, &[(first, 2)], 7 * MINUTE);
    assert!(!is_now(ingest.picture(picture(), false)));
    apply(&mut ingest, &[(first, 3), (first, 4)], 7 * MINUTE);
    assert_eq!(taken(&mut ingest, 7 * MINUTE), [(second, 1, 1)]);
}
