//! The promises of the outbox, as stories of sequences.

use std::time::Duration;

use pvewatch_protocol::event::UnitRemoved;
use pvewatch_protocol::{Epoch, EventData, Site, codec};
use uuid::Uuid;

use super::super::collectors::RESEND_DELAY_MIN;
use super::super::lane::RESEND_PAUSE;
use super::super::refusals::Answer;
use super::super::spool::Limits;
use super::*;

mod probes;

/// An outbox with a clock; sequences stand for events.
struct Story {
    outbox: Outbox,
    now: Instant,
    epoch: Epoch,
}

impl Story {
    fn new(events_max: usize) -> Self {
        Self::with(&[CollectorName::default()], events_max)
    }

    #[expect(clippy::disallowed_methods, reason = "an Instant cannot be made otherwise")]
    fn with(names: &[CollectorName], events_max: usize) -> Self {
        let limits = Limits { bytes_max: 1024 * 1024, events_max };
        let owner = Owner { site: Site::default(), node: "pve1".parse().unwrap() };
        let spool = Spool::in_memory(owner.clone(), limits, StreamId(Uuid::from_u128(1)));
        let outbox = Outbox::new(owner, names, spool, Opened::default());
        Self { outbox, now: Instant::now(), epoch: Epoch(Uuid::from_u128(7)) }
    }

    /// A new connection, on which the broker kept nothing.
    fn connect(&mut self) {
        self.outbox.on_connected(self.now);
        self.now += HOLD_MAX;
        self.outbox.on_deadline(self.now);
    }

    /// The broker tells of the collector that it is there.
    fn find_collector(&mut self) {
        self.outbox.on_collector_presence(self.now, &CollectorName::default(), true);
    }

    fn append(&mut self, count: u64) {
        for number in 0..count {
            let data = EventData::UnitRemoved(UnitRemoved { unit: format!("{number}.service") });
            let epoch = Timestamp::UNIX_EPOCH;
            let fact = Fact { time: epoch, recorded_time: epoch, data };
            self.outbox.append(self.now, fact).unwrap();
        }
    }

    /// Publishes all that is due; the broker takes everything at once.
    fn sends(&mut self) -> Vec<u64> {
        let mut sent = Vec::new();
        while let Some(outgoing) = self.outbox.next_to_publish(self.now, Timestamp::UNIX_EPOCH) {
            sent.push(outgoing.position.sequence.0);
            self.outbox.on_puback(self.now, Answer::Taken);
        }
        sent
    }

    fn ack(&mut self, through: u64) -> AckOutcome {
        self.ack_as(self.epoch, through)
    }

    fn ack_as(&mut self, collector_epoch: Epoch, through: u64) -> AckOutcome {
        let stream = self.outbox.position().stream;
        let ack = Ack { collector_epoch, stream, through: Sequence(through) };
        let today = Timestamp::UNIX_EPOCH;
        self.outbox.on_ack(self.now, today, &CollectorName::default(), ack, false)
    }

    fn pass(&mut self, duration: Duration) -> bool {
        self.now += duration;
        self.outbox.on_deadline(self.now)
    }
}

#[test]
fn events_are_sent_once_and_in_order() {
    let mut story = Story::new(100);
    story.append(3);
    assert_eq!(story.sends(), [1, 2, 3]);
    assert_eq!(story.ack(3), AckOutcome::Advanced);
    assert_eq!(story.sends(), [0; 0]);
    assert_eq!((story.outbox.unacked_events(), story.outbox.resent_events()), (0, 0));
    assert_eq!(story.outbox.next_deadline(), None);
}

#[test]
fn no_more_than_a_window_is_under_way() {
    let mut story = Story::new(100);
    story.append(WINDOW as u64 + 5);
    let mut next = || story.outbox.next_to_publish(story.now, Timestamp::UNIX_EPOCH);
    assert_eq!(std::iter::from_fn(&mut next).count(), WINDOW);
    story.outbox.on_puback(story.now, Answer::Taken);
    assert_eq!(story.sends().len(), 5);
}

#[test]
fn a_collector_that_is_there_is_not_sent_more_than_it_can_ack() {
    let mut story = Story::new(10_000);
    story.append(3 * AHEAD_MAX);
    story.ack(0);
    assert_eq!(story.sends().last(), Some(&AHEAD_MAX));
    assert_eq!(story.ack(10), AckOutcome::Advanced);
    assert_eq!(story.sends().last(), Some(&(AHEAD_MAX + 10)));
    // One that is gone holds nothing back from others that listen.
    story.outbox.on_collector_presence(story.now, &CollectorName::default(), false);
    assert_eq!(story.sends().last(), Some(&(3 * AHEAD_MAX)));
}

#[test]
fn a_new_connection_sends_what_was_not_acked() {
    let mut story = Story::new(100);
    story.append(4);
    story.sends();
    story.ack(2);
    story.connect();
    assert_eq!(story.sends(), [0; 0], "to nobody it is not sent twice");
    story.find_collector();
    assert_eq!(story.sends(), [3, 4]);
    assert_eq!(story.outbox.resent_events(), 2);
}

#[test]
fn what_a_broker_did_not_take_is_sent_on_the_next_connection() {
    let mut story = Story::new(100);
    story.ack(0);
    story.append(4);
    let today = Timestamp::UNIX_EPOCH;
    for _ in 0..3 {
        assert!(story.outbox.next_to_publish(story.now, today).is_some());
    }
    story.outbox.on_puback(story.now, Answer::Taken);
    story.connect();
    assert_eq!(story.sends(), [2, 3, 4]);
}

#[test]
fn where_no_collector_ever_was_a_new_connection_sends_everything_again() {
    let mut story = Story::new(100);
    story.append(2);
    assert_eq!(story.sends(), [1, 2]);
    story.connect();
    assert_eq!(story.sends(), [1, 2]);
}

#[test]
fn a_collector_that_is_found_by_its_ack_is_sent_what_it_lacks() {
    let mut story = Story::new(100);
    story.ack(0);
    story.append(4);
    story.sends();
    story.connect();
    story.append(1);
    assert_eq!(story.sends(), [5]);
    assert_eq!(story.ack(2), AckOutcome::Advanced);
    assert_eq!(story.sends(), [3, 4, 5]);
    assert_eq!(story.ack(5), AckOutcome::Advanced);
    assert_eq!(story.sends(), [0; 0]);
}

#[test]
fn an_ack_that_stands_still_brings_a_resend_that_backs_off() {
    let mut story = Story::new(100);
    story.find_collector();
    story.append(2);
    story.sends();
    assert!(!story.pass(RESEND_DELAY_MIN - Duration::from_secs(1)));
    assert!(story.pass(Duration::from_secs(1)));
    assert_eq!(story.sends(), [1, 2]);
    assert!(!story.pass(RESEND_DELAY_MIN));
    assert!(story.pass(RESEND_DELAY_MIN));
}

#[test]
fn a_repeated_ack_is_a_request_and_a_lower_one_too() {
    let mut story = Story::new(100);
    story.append(5);
    story.sends();
    story.ack(3);
    assert_eq!(story.ack(3), AckOutcome::Repeated);
    assert_eq!(story.sends(), [4, 5]);
    assert_eq!(story.ack(3), AckOutcome::Unchanged, "what was sent again is on its way");
    story.pass(RESEND_PAUSE);
    assert_eq!(story.ack(3), AckOutcome::Repeated);
    assert_eq!(story.sends(), [4, 5]);
    assert_eq!(story.ack(1), AckOutcome::FellBack);
    assert_eq!(story.sends(), [2, 3, 4, 5]);
}

#[test]
fn a_request_for_one_stream_sends_nothing_of_another_again() {
    let mut story = Story::new(100);
    let older = StreamId(Uuid::from_u128(0));
    story.outbox.take_up(Opened { streams: vec![(older, Sequence(3))], ..Opened::default() });
    story.append(2);
    assert_eq!(story.sends(), [3, 1, 2], "what the older one lost, then the present one");
    assert_eq!(story.ack(0), AckOutcome::Repeated);
    assert_eq!(story.sends(), [1, 2]);
    let ack = Ack { collector_epoch: story.epoch, stream: older, through: Sequence(0) };
    let (today, name) = (Timestamp::UNIX_EPOCH, CollectorName::default());
    assert_eq!(story.outbox.on_ack(story.now, today, &name, ack, false), AckOutcome::Repeated);
    assert_eq!(story.sends(), [3], "each in its own time");
}

#[test]
fn a_new_collector_epoch_is_given_everything_that_is_held() {
    let mut story = Story::new(100);
    story.append(3);
    story.sends();
    story.ack(3);
    assert_eq!(story.ack_as(Epoch(Uuid::from_u128(8)), 0), AckOutcome::NewEpoch);
    assert_eq!(story.sends(), [1, 2, 3]);
}

#[test]
fn a_full_outbox_declares_what_it_dropped_under_its_last_number() {
    let mut story = Story::new(3);
    story.append(5);
    let outgoing = story.outbox.next_to_publish(story.now, Timestamp::UNIX_EPOCH).unwrap();
    let event = codec::decode_event(&outgoing.payload).unwrap();
    let EventData::OutboxDropped(lost) = event.data else {
        panic!("expected outbox.dropped, got {:?}", event.data);
    };
    assert_eq!((lost.from, lost.through), (Sequence(1), Sequence(2)));
    assert_eq!(event.position.sequence, Sequence(2));
    story.outbox.on_puback(story.now, Answer::Taken);
    assert_eq!(story.sends(), [3, 4, 5]);
    assert_eq!(story.outbox.dropped_events(), 2);
}

/// The link's attempts are their own; the outbox waits for one that succeeds.
#[test]
fn an_hour_without_a_broker_loses_nothing_within_the_bound() {
    let mut story = Story::new(2_000);
    for _ in 0..1_800 {
        story.append(1);
        story.pass(Duration::from_secs(2));
    }
    assert_eq!(story.outbox.next_deadline(), None, "nobody is waited for who was not told");
    assert_eq!((story.outbox.unacked_events(), story.outbox.dropped_events()), (1_800, 0));
    story.connect();
    assert_eq!(story.sends(), (1..=1_800).collect::<Vec<u64>>());
    assert_eq!(story.outbox.resent_events(), 0);
    assert_eq!(story.ack(1_800), AckOutcome::Advanced);
    assert_eq!(story.outbox.unacked_events(), 0);
}

#[test]
fn a_broker_that_never_comes_costs_the_bound_and_no_more() {
    let mut story = Story::new(1_000);
    for _ in 0..24 {
        story.append(3_600);
        story.pass(Duration::from_secs(3_600));
    }
    let bytes = story.outbox.held_bytes();
    assert!(bytes <= 1024 * 1024, "{bytes}");
    let all = 24 * 3_600;
    assert_eq!(story.outbox.dropped_events(), all - 1_000);
    // And should it come after all: one declaration, and what is held.
    story.connect();
    let mut sent = story.sends().into_iter();
    assert_eq!(sent.next(), Some(all - 1_000), "the loss goes by its last number");
    assert_eq!(sent.collect::<Vec<u64>>(), (all - 999..=all).collect::<Vec<u64>>());
}

#[test]
fn what_every_collector_has_is_no_loss_when_it_goes() {
    let mut story = Story::new(3);
    story.append(3);
    story.sends();
    story.ack(3);
    story.append(2);
    assert_eq!(story.sends(), [4, 5]);
    assert_eq!(story.outbox.dropped_events(), 0);
}

#[test]
fn an_ack_beyond_what_was_sent_means_that_this_agent_was_rolled_back() {
    let mut story = Story::new(100);
    story.append(2);
    story.sends();
    assert_eq!(story.ack(9), AckOutcome::BeyondSent);
    story.outbox.begin_stream(story.now, Timestamp::UNIX_EPOCH, StreamId(Uuid::from_u128(2)));
    assert_eq!(story.sends(), [1, 2]);
}

#[test]
fn a_collector_that_comes_back_gets_what_it_missed_at_once() {
    let mut story = Story::new(100);
    story.append(2);
    story.sends();
    story.outbox.on_collector_online(story.now, &CollectorName::default());
    assert_eq!(story.sends(), [1, 2]);
}

#[test]
fn a_collector_that_is_not_configured_has_no_say() {
    let mut story = Story::new(100);
    story.append(1);
    story.sends();
    let stream = story.outbox.position().stream;
    let ack = Ack { collector_epoch: story.epoch, stream, through: Sequence(1) };
    let other: CollectorName = "other".parse().unwrap();
    let outcome = story.outbox.on_ack(story.now, Timestamp::UNIX_EPOCH, &other, ack, false);
    assert_eq!(outcome, AckOutcome::NotConfigured);
    story.outbox.on_collector_presence(story.now, &other, true);
    story.outbox.on_collector_online(story.now, &other);
    assert_eq!(story.sends(), [0; 0]);
    assert_eq!(story.outbox.unacked_events(), 1);
}

#[test]
fn a_machine_that_was_set_back_while_it_ran_begins_a_new_stream_before_it_sends() {
    let mut story = Story::new(100);
    story.append(2);
    story.sends();
    story.ack(2);
    // It is set back to this moment; the collector has got more, and here other events follow.
    story.append(10);
    story.outbox.on_connected(story.now);
    story.outbox.on_told(story.now);
    assert_eq!(story.sends(), [0; 0], "what the collector has is not heard yet");
    let ack = Ack {
        collector_epoch: story.epoch,
        stream: story.outbox.position().stream,
        through: Sequence(8),
    };
    let (today, name) = (Timestamp::UNIX_EPOCH, CollectorName::default());
    let outcome = story.outbox.on_ack(story.now, today, &name, ack, true);
    assert_eq!(outcome, AckOutcome::BeyondSent);
    story.outbox.begin_stream(story.now, Timestamp::UNIX_EPOCH, StreamId(Uuid::from_u128(2)));
    assert_eq!(story.sends(), (1..=10).collect::<Vec<u64>>());
}

#[test]
fn a_new_connection_waits_for_what_collectors_have_but_not_long() {
    let mut story = Story::new(100);
    story.append(2);
    story.outbox.on_connected(story.now);
    assert_eq!(story.sends(), [0; 0]);
    story.outbox.on_told(story.now);
    assert_eq!(story.sends(), [1, 2], "nobody ever acked anything");
    story.ack(2);
    story.append(1);
    story.outbox.on_connected(story.now);
    story.outbox.on_told(story.now);
    assert_eq!(story.sends(), [0; 0]);
    assert_eq!(story.outbox.next_deadline(), Some(story.now + HOLD_MAX));
    story.pass(HOLD_MAX);
    assert_eq!(story.sends(), [3]);
}
