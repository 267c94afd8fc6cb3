//! Numbers events, holds them until they are acked, and says what to send next.
//!
//! Pure: time is an argument, the connection is somebody else's. One stream: this agent start.
//! Promises: events are sent in order; what was dropped is declared before what follows it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use pvewatch_protocol::event::OutboxDropped;
use pvewatch_protocol::{
    Ack, CollectorName, Event, EventData, NodeName, Position, Sequence, Site, StreamId,
};

use super::collectors::{AckOutcome, Collectors};
use crate::source::Fact;

/// Publishes that may wait for the broker's PUBACK; the same as the client's own limit.
pub const WINDOW: usize = 16;

/// Bytes of acked events that are kept, so that a restored collector can be given them again.
pub const ACKED_BYTES_MAX: usize = 128 * 1024;

/// A request to send again is not heard so soon after a resend began: what was sent then is
/// still on its way, and a collector that still sees a gap asks again.
pub const RESEND_PAUSE: Duration = Duration::from_secs(1);

/// How much the outbox may hold.
///
/// Overflow: the oldest events go first; the range is declared with `outbox.dropped` and
/// counted in every sample.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most bytes, as estimated from the variable parts of each.
    pub bytes_max: usize,
    /// Most events.
    pub events_max: usize,
}

/// An event that is due, and whether it was sent before.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// The event, complete.
    pub event: Event,
    /// Whether this stream sent it before.
    pub again: bool,
}

#[derive(Debug)]
struct Held {
    fact: Fact,
    bytes: usize,
}

/// The outbox of one agent start.
#[derive(Debug)]
pub struct Outbox {
    site: Site,
    node: NodeName,
    stream: StreamId,
    limits: Limits,
    /// The newest is `last`, and they have no gaps.
    held: VecDeque<Held>,
    held_bytes: usize,
    last: Sequence,
    collectors: Collectors,
    /// The next to send.
    cursor: Sequence,
    /// The highest that was ever sent.
    sent: Sequence,
    resend_began: Option<Instant>,
    awaiting_puback: usize,
    dropped: u64,
    resent: u64,
}

impl Outbox {
    /// An empty outbox that begins `stream`.
    pub fn new(
        site: Site,
        node: NodeName,
        collectors: &[CollectorName],
        limits: Limits,
        stream: StreamId,
    ) -> Self {
        Self {
            site,
            node,
            stream,
            limits,
            held: VecDeque::new(),
            held_bytes: 0,
            last: Sequence(0),
            collectors: Collectors::new(collectors),
            cursor: Sequence(1),
            sent: Sequence(0),
            resend_began: None,
            awaiting_puback: 0,
            dropped: 0,
            resent: 0,
        }
    }

    /// The last event that was put in.
    pub fn position(&self) -> Position {
        Position { stream: self.stream, sequence: self.last }
    }

    /// Events that not every collector has acked.
    pub fn unacked_events(&self) -> u64 {
        self.last.0
            - self.collectors.stored_by_all().0.max(self.first_held().0 - 1).min(self.last.0)
    }

    /// Bytes of the events that are held, acked ones among them.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Events dropped since the start because the outbox was full.
    pub fn dropped_events(&self) -> u64 {
        self.dropped
    }

    /// Events sent again since the start.
    pub fn resent_events(&self) -> u64 {
        self.resent
    }

    /// Puts a fact in as the next event. Returns how many old ones had to go for it.
    pub fn append(&mut self, fact: Fact) -> u64 {
        let bytes = event_bytes(&fact);
        self.last = self.last.next();
        self.held_bytes += bytes;
        self.held.push_back(Held { fact, bytes });
        self.trim_acked();
        let acked = self.collectors.stored_by_all();
        let mut dropped = 0;
        while self.held.len() > 1 && self.is_over_limit() {
            dropped += u64::from(self.first_held() > acked);
            self.forget_oldest();
        }
        self.dropped += dropped;
        dropped
    }

    /// The next event to publish; none while the window is full or everything was sent.
    ///
    /// `now` dates the declaration of a loss; events carry their own times.
    pub fn next_to_publish(&mut self, now: Instant, today: Timestamp) -> Option<Outgoing> {
        if self.awaiting_puback >= WINDOW || self.cursor > self.last {
            return None;
        }
        let first_held = self.first_held();
        let event = if self.cursor < first_held {
            let (from, through) = (self.cursor, first_held.previous());
            self.cursor = first_held;
            self.declare_loss(from, through, today)
        } else {
            let index = usize::try_from(self.cursor.0 - first_held.0).ok()?;
            let fact = self.held.get(index)?.fact.clone();
            let sequence = self.cursor;
            self.cursor = self.cursor.next();
            self.event(sequence, fact)
        };
        let again = event.position.sequence <= self.sent;
        self.resent += u64::from(again);
        self.sent = self.sent.max(event.position.sequence);
        self.awaiting_puback += 1;
        self.collectors.on_sent(now, self.last);
        Some(Outgoing { event, again })
    }

    /// A new connection: nothing is under way, and what was not acked is sent again.
    pub fn on_connected(&mut self, now: Instant) {
        self.awaiting_puback = 0;
        self.cursor = self.collectors.stored_by_furthest().next();
        self.resend_began = Some(now);
    }

    /// The broker took one publish, or refused it: both make room in the window.
    pub fn on_puback(&mut self) {
        self.awaiting_puback = self.awaiting_puback.saturating_sub(1);
    }

    /// A collector says what it has stored.
    pub fn on_ack(
        &mut self,
        now: Instant,
        name: &CollectorName,
        ack: Ack,
        retained: bool,
    ) -> AckOutcome {
        let outcome = self.collectors.on_ack(now, name, ack, retained, self.stream, self.last);
        match outcome {
            AckOutcome::Advanced => {
                self.cursor = self.cursor.max(self.collectors.stored_by_furthest().next());
                self.trim_acked();
            }
            AckOutcome::Repeated if self.resend_is_under_way(now) => {
                return AckOutcome::Unchanged;
            }
            AckOutcome::Repeated | AckOutcome::FellBack | AckOutcome::NewEpoch => {
                let from = self.collectors.stored_by(name).next();
                self.cursor = self.cursor.min(from);
                self.resend_began = Some(now);
            }
            AckOutcome::Unchanged
            | AckOutcome::OtherStream
            | AckOutcome::BeyondSent
            | AckOutcome::NotConfigured => {}
        }
        outcome
    }

    /// A collector came back, or came for the first time: what it lacks is sent again.
    pub fn on_collector_online(&mut self, now: Instant, name: &CollectorName) {
        self.resend_began = Some(now);
        self.cursor = self.cursor.min(self.collectors.stored_by(name).next());
    }

    /// Begins a new stream with what the old one still held, numbered from 1.
    pub fn begin_stream(&mut self, stream: StreamId) {
        self.stream = stream;
        self.last = Sequence(self.held.len() as u64);
        self.cursor = Sequence(1);
        self.sent = Sequence(0);
        self.awaiting_puback = 0;
        self.collectors.begin_stream();
    }

    /// When [`Self::on_deadline`] wants to be called, if ever.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.collectors.next_deadline()
    }

    /// An ack stood still too long: what it lacks will be sent again. Returns whether so.
    pub fn on_deadline(&mut self, now: Instant) -> bool {
        match self.collectors.on_deadline(now, self.last) {
            Some(from) if from < self.cursor => {
                self.cursor = from;
                self.resend_began = Some(now);
                true
            }
            _ => false,
        }
    }

    /// Whether there is nothing left to do: everything was sent, the broker took it, and a
    /// collector, if any ever spoke, has stored it.
    pub fn is_settled(&self) -> bool {
        let is_stored =
            self.collectors.stored_by_furthest() >= self.last || !self.collectors.any_spoke();
        self.cursor > self.last && self.awaiting_puback == 0 && is_stored
    }

    fn resend_is_under_way(&self, now: Instant) -> bool {
        self.resend_began.is_some_and(|began| now.duration_since(began) < RESEND_PAUSE)
    }

    fn first_held(&self) -> Sequence {
        Sequence(self.last.0 + 1 - self.held.len() as u64)
    }

    fn is_over_limit(&self) -> bool {
        self.held_bytes > self.limits.bytes_max || self.held.len() > self.limits.events_max
    }

    fn trim_acked(&mut self) {
        let acked = self.collectors.stored_by_all();
        while self.first_held() <= acked && self.held_bytes > ACKED_BYTES_MAX {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(held) = self.held.pop_front() {
            self.held_bytes -= held.bytes;
        }
    }

    fn declare_loss(&self, from: Sequence, through: Sequence, today: Timestamp) -> Event {
        let stored = self.collectors.stored_by_all();
        let reason = if through <= stored {
            "no longer held: every collector had acked it"
        } else {
            "outbox full: the oldest events were dropped"
        };
        let data = OutboxDropped { from, through, reason: reason.to_owned() };
        let fact = Fact { time: today, recorded_time: today, data: EventData::OutboxDropped(data) };
        self.event(through, fact)
    }

    fn event(&self, sequence: Sequence, fact: Fact) -> Event {
        Event {
            site: self.site.clone(),
            node: self.node.clone(),
            position: Position { stream: self.stream, sequence },
            time: fact.time,
            recorded_time: fact.recorded_time,
            data: fact.data,
            extensions: serde_json::Map::new(),
        }
    }
}

/// What a fact counts towards the limit, in bytes: its variable parts and a fixed share.
fn event_bytes(fact: &Fact) -> usize {
    const FIXED: usize = 512;
    FIXED
        + match &fact.data {
            EventData::UnitLog(log) => {
                log.lines.iter().map(|line| line.message.len() + 64).sum::<usize>()
            }
            EventData::UnitChanged(changed) => changed.state.unit.len(),
            _ => 0,
        }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pvewatch_protocol::Epoch;
    use pvewatch_protocol::event::UnitRemoved;
    use uuid::Uuid;

    use super::super::collectors::RESEND_DELAY_MIN;
    use super::*;

    /// An outbox with a clock; sequences stand for events.
    struct Story {
        outbox: Outbox,
        now: Instant,
        epoch: Epoch,
    }

    impl Story {
        #[expect(clippy::disallowed_methods, reason = "an Instant cannot be made otherwise")]
        fn new(events_max: usize) -> Self {
            let limits = Limits { bytes_max: 1024 * 1024, events_max };
            let names = [CollectorName::default()];
            let stream = StreamId(Uuid::from_u128(1));
            let node = "pve1".parse().unwrap();
            let outbox = Outbox::new(Site::default(), node, &names, limits, stream);
            Self { outbox, now: Instant::now(), epoch: Epoch(Uuid::from_u128(7)) }
        }

        fn append(&mut self, count: u64) {
            for number in 0..count {
                let data =
                    EventData::UnitRemoved(UnitRemoved { unit: format!("{number}.service") });
                let epoch = Timestamp::UNIX_EPOCH;
                self.outbox.append(Fact { time: epoch, recorded_time: epoch, data });
            }
        }

        /// Publishes all that is due; the broker takes everything at once.
        fn sends(&mut self) -> Vec<u64> {
            let mut sent = Vec::new();
            while let Some(outgoing) = self.outbox.next_to_publish(self.now, Timestamp::UNIX_EPOCH)
            {
                sent.push(outgoing.event.position.sequence.0);
                self.outbox.on_puback();
            }
            sent
        }

        fn ack(&mut self, through: u64) -> AckOutcome {
            self.ack_as(self.epoch, through)
        }

        fn ack_as(&mut self, collector_epoch: Epoch, through: u64) -> AckOutcome {
            let stream = self.outbox.position().stream;
            let ack = Ack { collector_epoch, stream, through: Sequence(through) };
            self.outbox.on_ack(self.now, &CollectorName::default(), ack, false)
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
        story.outbox.on_puback();
        assert_eq!(story.sends().len(), 5);
    }

    #[test]
    fn a_new_connection_sends_what_was_not_acked() {
        let mut story = Story::new(100);
        story.append(4);
        story.sends();
        story.ack(2);
        story.outbox.on_connected(story.now);
        assert_eq!(story.sends(), [3, 4]);
        assert_eq!(story.outbox.resent_events(), 2);
    }

    #[test]
    fn an_ack_that_stands_still_brings_a_resend_that_backs_off() {
        let mut story = Story::new(100);
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
        let EventData::OutboxDropped(lost) = outgoing.event.data else {
            panic!("expected outbox.dropped, got {:?}", outgoing.event.data);
        };
        assert_eq!((lost.from, lost.through), (Sequence(1), Sequence(2)));
        assert_eq!(outgoing.event.position.sequence, Sequence(2));
        story.outbox.on_puback();
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
        story.outbox.on_connected(story.now);
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
        story.outbox.on_connected(story.now);
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
        story.outbox.begin_stream(StreamId(Uuid::from_u128(2)));
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
        let outcome = story.outbox.on_ack(story.now, &other, ack, false);
        assert_eq!(outcome, AckOutcome::NotConfigured);
        assert_eq!(story.outbox.unacked_events(), 1);
    }
}
