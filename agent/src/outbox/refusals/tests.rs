//! What a broker refuses, as stories of an outbox: what is sent when, and what is declared.

use jiff::Timestamp;
use pvewatch_protocol::event::UnitRemoved;
use pvewatch_protocol::{Ack, CollectorName, Epoch, EventData, Site, codec};
use uuid::Uuid;

use super::super::queue::{Outbox, WINDOW};
use super::super::spool::{Limits, Opened, Owner, Spool};
use super::*;
use crate::source::Fact;

const TODAY: Timestamp = Timestamp::UNIX_EPOCH;

/// An outbox that is connected, with a clock.
struct Story {
    outbox: Outbox,
    now: Instant,
}

impl Story {
    #[expect(clippy::disallowed_methods, reason = "an Instant cannot be made otherwise")]
    fn new(events: u64) -> Self {
        let limits = Limits { bytes_max: 1024 * 1024, events_max: 1_000 };
        let owner = Owner { site: Site::default(), node: "pve1".parse().unwrap() };
        let spool = Spool::in_memory(owner.clone(), limits, StreamId(Uuid::from_u128(1)));
        let outbox = Outbox::new(owner, &[CollectorName::default()], spool, Opened::default());
        let mut story = Self { outbox, now: Instant::now() };
        story.outbox.on_connected(story.now);
        story.outbox.on_told(story.now);
        for number in 0..events {
            let data = EventData::UnitRemoved(UnitRemoved { unit: format!("{number}.service") });
            let fact = Fact { time: TODAY, recorded_time: TODAY, data };
            story.outbox.append(story.now, fact).unwrap();
        }
        story
    }

    /// Publishes what is due at a broker that refuses these; gives what was sent.
    fn sends(&mut self, is_refused: impl Fn(u64) -> bool, for_good: bool) -> Vec<u64> {
        let mut sent = Vec::new();
        loop {
            let mut round = Vec::new();
            while let Some(outgoing) = self.outbox.next_to_publish(self.now, TODAY) {
                let event = codec::decode_event(&outgoing.payload).unwrap();
                let is_loss = matches!(event.data, EventData::OutboxDropped(_));
                round.push((outgoing.position.sequence.0, is_loss));
            }
            if round.is_empty() {
                return sent;
            }
            for (sequence, is_loss) in round {
                sent.push(sequence);
                let reason = "quota exceeded".to_owned();
                let answer = match is_refused(sequence) && !is_loss {
                    true => Answer::Refused { reason, for_good },
                    false => Answer::Taken,
                };
                self.outbox.on_puback(self.now, answer);
            }
        }
    }

    /// Lets time pass until the outbox wants to be called.
    fn wait(&mut self) -> u64 {
        let due = self.outbox.next_deadline().unwrap();
        let seconds = due.duration_since(self.now).as_secs();
        self.now = due;
        self.outbox.on_deadline(self.now);
        seconds
    }

    /// The next publish, which has to declare a loss.
    fn declares(&mut self) -> (u64, u64, String) {
        let outgoing = self.outbox.next_to_publish(self.now, TODAY).unwrap();
        match codec::decode_event(&outgoing.payload).unwrap().data {
            EventData::OutboxDropped(lost) => (lost.from.0, lost.through.0, lost.reason),
            other => panic!("expected outbox.dropped, got {other:?}"),
        }
    }
}

#[test]
fn where_everything_is_refused_nothing_is_lost_and_pauses_grow() {
    let mut story = Story::new(100);
    story.outbox.on_collector_presence(story.now, &CollectorName::default(), true);
    assert_eq!(story.sends(|_| true, true).len(), WINDOW);
    assert!(story.outbox.trouble().unwrap().contains("quota exceeded"));
    let mut pauses = Vec::new();
    while pauses.len() < 12 {
        pauses.push(story.wait());
        assert!(matches!(story.sends(|_| true, true)[..], [] | [1, 2]));
    }
    assert!(pauses.iter().sum::<u64>() > 600, "{pauses:?}");
    assert_eq!(story.outbox.dropped_events(), 0);
    let until = story.now + PAUSE_MAX;
    while story.now < until {
        story.wait();
    }
    assert_eq!(story.sends(|_| false, true), (1..=100).collect::<Vec<u64>>());
    assert_eq!(story.outbox.trouble(), None);
}

#[test]
fn one_that_alone_is_refused_is_given_up_after_a_minute_and_declared() {
    let mut story = Story::new(20);
    let begun = story.now;
    story.sends(|sequence| sequence == 3, false);
    while story.outbox.dropped_events() == 0 {
        story.wait();
        let sent = story.sends(|sequence| sequence == 3, false);
        assert!(matches!(sent[..], [] | [3, 4]) || story.outbox.dropped_events() == 1);
    }
    let seconds = story.now.duration_since(begun).as_secs();
    assert!((60..=120).contains(&seconds), "{seconds}");
    story.outbox.on_collector_online(story.now, &CollectorName::default());
    let ack = Ack {
        collector_epoch: Epoch(Uuid::from_u128(7)),
        stream: story.outbox.position().stream,
        through: Sequence(2),
    };
    story.outbox.on_ack(story.now, TODAY, &CollectorName::default(), ack, false);
    let (from, through, reason) = story.declares();
    assert_eq!((from, through), (3, 3));
    assert_eq!(reason, "the broker refuses it and takes others: quota exceeded");
    story.outbox.on_puback(story.now, Answer::Taken);
    assert_eq!(story.sends(|_| false, false), (4..=20).collect::<Vec<u64>>());
}

#[test]
fn what_a_broker_will_never_take_is_declared_at_once_if_it_takes_others() {
    let mut story = Story::new(5);
    assert_eq!(story.sends(|sequence| sequence == 2, true), [1, 2, 3, 4, 5, 2, 3, 4, 5]);
    assert_eq!((story.outbox.dropped_events(), story.outbox.trouble()), (1, None));
}

#[test]
fn a_refusal_that_passes_costs_a_pause_and_nothing_else() {
    let mut story = Story::new(3);
    story.sends(|sequence| sequence == 2, false);
    assert_eq!(story.wait(), PAUSE_MIN.as_secs());
    assert_eq!(story.sends(|_| false, false), [2, 3]);
    assert_eq!((story.outbox.dropped_events(), story.outbox.trouble()), (0, None));
}

#[test]
fn one_that_cannot_be_sent_at_all_is_declared_and_its_place_in_the_window_is_free() {
    let mut story = Story::new(40);
    for _ in 0..30 {
        story.outbox.next_to_publish(story.now, TODAY).unwrap();
        let given_up = story.outbox.on_unsendable(story.now, "it has 9 bytes".to_owned());
        assert!(given_up.is_some());
        let (from, through, reason) = story.declares();
        assert_eq!((from, reason.as_str()), (through, "it has 9 bytes"));
        story.outbox.on_puback(story.now, Answer::Taken);
    }
    assert_eq!(story.outbox.dropped_events(), 30);
    assert_eq!(story.sends(|_| false, false), (31..=40).collect::<Vec<u64>>());
}

#[test]
fn a_declaration_that_cannot_be_sent_is_kept_and_tried_again() {
    let mut story = Story::new(1);
    story.outbox.next_to_publish(story.now, TODAY).unwrap();
    story.outbox.on_unsendable(story.now, "too large".to_owned());
    story.declares();
    assert_eq!(story.outbox.on_unsendable(story.now, "too large".to_owned()), None);
    assert_eq!(story.outbox.next_to_publish(story.now, TODAY), None, "a pause");
    story.now += PAUSE_MIN;
    story.outbox.on_deadline(story.now);
    assert_eq!(story.declares().0, 1);
}

#[test]
fn trouble_with_an_event_that_came_through_by_another_copy_is_over() {
    let mut story = Story::new(2);
    story.outbox.on_collector_presence(story.now, &CollectorName::default(), true);
    assert_eq!(story.sends(|_| true, false).len(), 2);
    assert!(story.outbox.trouble().is_some());
    let ack = Ack {
        collector_epoch: Epoch(Uuid::from_u128(7)),
        stream: story.outbox.position().stream,
        through: Sequence(2),
    };
    story.outbox.on_ack(story.now, TODAY, &CollectorName::default(), ack, false);
    assert_eq!(story.outbox.trouble(), None);
    assert_eq!(story.outbox.next_deadline(), None);
}
