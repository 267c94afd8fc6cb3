//! Events that are sent again by themselves, to learn whether a collector is there or still has
//! what it said.

use super::*;

#[test]
fn without_a_collector_only_one_event_is_sent_again_now_and_then() {
    let mut story = Story::new(100);
    story.connect();
    story.append(50);
    assert_eq!(story.sends().len(), 50);
    let mut again = Vec::new();
    for _ in 0..120 {
        story.pass(RESEND_DELAY_MIN);
        again.extend(story.sends());
    }
    assert_eq!(again, [1; 14], "an hour");
    story.outbox.on_collector_online(story.now, &CollectorName::default());
    assert_eq!(story.sends().len(), 50);
}

#[test]
fn a_probe_of_what_is_gone_declares_it_and_brings_nothing_else() {
    let mut story = Story::new(3);
    story.connect();
    story.append(5);
    assert_eq!(story.sends(), [2, 3, 4, 5]);
    story.pass(RESEND_DELAY_MIN);
    assert_eq!(story.sends(), [2]);
}

#[test]
fn each_of_two_collectors_has_a_probe_of_its_own() {
    let names = [CollectorName::default(), "second".parse().unwrap()];
    let mut story = Story::with(&names, 100);
    let old = story.outbox.position().stream;
    story.append(2);
    story.sends();
    for name in &names {
        let ack = Ack { collector_epoch: story.epoch, stream: old, through: Sequence(2) };
        story.outbox.on_ack(story.now, Timestamp::UNIX_EPOCH, name, ack, false);
    }
    story.outbox.begin_stream(story.now, Timestamp::UNIX_EPOCH, StreamId(Uuid::from_u128(2)));
    let probes = [(old, Sequence(1)), (old, Sequence(2))];
    for (name, probe) in names.iter().zip(probes) {
        story.outbox.collectors.set_probes(name, [probe]);
    }
    for probe in probes {
        assert_eq!(story.outbox.collectors.next_probe(), Some(probe));
        story.outbox.collectors.on_probed(probe);
    }
    assert_eq!(story.outbox.collectors.next_probe(), None);
}

#[test]
fn what_the_broker_says_of_an_older_stream_is_asked_of_the_collector_too() {
    let mut story = Story::new(100);
    story.append(3);
    let first = story.outbox.position().stream;
    story.outbox.begin_stream(story.now, Timestamp::UNIX_EPOCH, StreamId(Uuid::from_u128(2)));
    let name = CollectorName::default();
    story.outbox.collectors = Collectors::new(std::slice::from_ref(&name));
    story.connect();
    let ack = Ack { collector_epoch: story.epoch, stream: first, through: Sequence(3) };
    let outcome = story.outbox.on_ack(story.now, Timestamp::UNIX_EPOCH, &name, ack, true);
    assert_eq!(outcome, AckOutcome::Advanced);
    assert_eq!(story.outbox.collectors.next_probe(), Some((first, Sequence(3))));
}

#[test]
fn a_collector_that_was_set_back_in_one_of_several_streams_is_found_out() {
    let mut story = Story::new(100);
    story.append(3);
    story.sends();
    story.ack(3);
    let first = story.outbox.position().stream;
    for stream in 2..=3 {
        let stream = StreamId(Uuid::from_u128(stream));
        story.outbox.begin_stream(story.now, Timestamp::UNIX_EPOCH, stream);
        story.append(2);
    }
    story.connect();
    assert_eq!(story.sends(), [3, 2, 1, 2, 3, 4], "the end of each older one, and the present one");
    let ack = Ack { collector_epoch: story.epoch, stream: first, through: Sequence(1) };
    let name = CollectorName::default();
    let outcome = story.outbox.on_ack(story.now, Timestamp::UNIX_EPOCH, &name, ack, false);
    assert_eq!(outcome, AckOutcome::FellBack);
}
