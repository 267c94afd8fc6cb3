//! What becomes of the events of a stream that went back, on a disk that reads or does not.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pvewatch_protocol::event::UnitRemoved;
use pvewatch_protocol::{Ack, CollectorName, Epoch, Site, codec};
use uuid::Uuid;

use super::super::refusals::Answer;
use super::super::spool::{Limits, Owner, Spool, Storage, SyncJob};
use super::*;

const TODAY: Timestamp = Timestamp::UNIX_EPOCH;

/// A disk that can be made to fail when it is read.
#[derive(Default)]
struct Disk {
    segments: BTreeMap<u64, Vec<u8>>,
    is_unreadable: Arc<AtomicBool>,
}

impl Storage for Disk {
    fn segments(&mut self) -> io::Result<Vec<u64>> {
        Ok(self.segments.keys().copied().collect())
    }

    fn read(&mut self, segment: u64) -> io::Result<Vec<u8>> {
        if self.is_unreadable.load(Ordering::Relaxed) {
            return Err(io::Error::other("unreadable"));
        }
        self.segments.get(&segment).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn append(&mut self, segment: u64, bytes: &[u8]) -> io::Result<()> {
        self.segments.entry(segment).or_default().extend(bytes);
        Ok(())
    }

    fn truncate(&mut self, segment: u64, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.segments.entry(segment).or_default().truncate(length);
        Ok(())
    }

    fn sync(&mut self, _segments: &[u64]) -> io::Result<SyncJob> {
        Ok(Box::new(|| Ok(())))
    }

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        self.segments.remove(&segment);
        Ok(())
    }

    fn set_aside(&mut self, segment: u64) -> io::Result<String> {
        self.segments.remove(&segment);
        Ok(segment.to_string())
    }

    fn set_mark(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn mark(&mut self) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }
}

/// An outbox with events on a disk, and a clock.
struct Story {
    outbox: Outbox,
    is_unreadable: Arc<AtomicBool>,
    now: Instant,
}

impl Story {
    #[expect(clippy::disallowed_methods, reason = "an Instant cannot be made otherwise")]
    fn new() -> Self {
        let disk = Disk::default();
        let is_unreadable = Arc::clone(&disk.is_unreadable);
        let now = Instant::now();
        let owner = Owner { site: Site::default(), node: "pve1".parse().unwrap() };
        let limits = Limits { bytes_max: 1024 * 1024, events_max: 1_000 };
        let stream = StreamId(Uuid::from_u128(1));
        let (spool, opened) = Spool::open(Box::new(disk), owner.clone(), limits, stream, now);
        let outbox = Outbox::new(owner, &[CollectorName::default()], spool, opened);
        Self { outbox, is_unreadable, now }
    }

    fn append_durably(&mut self, count: u64) {
        for number in 0..count {
            let data = EventData::UnitRemoved(UnitRemoved { unit: format!("{number}.service") });
            let fact = Fact { time: TODAY, recorded_time: TODAY, data };
            self.outbox.append(self.now, fact).unwrap();
        }
        while let Some((ticket, job)) = self.outbox.begin_sync(self.now) {
            self.outbox.on_synced(self.now, &ticket, job());
        }
    }

    /// Sends what is due: stream, sequence, and what a declaration says.
    fn sends(&mut self) -> Vec<(u128, u64, Option<String>)> {
        let mut sent = Vec::new();
        while let Some(outgoing) = self.outbox.next_to_publish(self.now, TODAY) {
            let loss = match codec::decode_event(&outgoing.payload).unwrap().data {
                EventData::OutboxDropped(dropped) => Some(dropped.reason),
                _ => None,
            };
            let Position { stream, sequence } = outgoing.position;
            sent.push((stream.0.as_u128(), sequence.0, loss));
            self.outbox.on_puback(self.now, Answer::Taken);
        }
        sent
    }

    fn ack(&mut self, through: u64) {
        let (collector_epoch, stream) = (Epoch(Uuid::from_u128(7)), self.outbox.position().stream);
        let ack = Ack { collector_epoch, stream, through: Sequence(through) };
        self.outbox.on_ack(self.now, TODAY, &CollectorName::default(), ack, false);
    }

    fn begin_stream(&mut self) {
        self.outbox.begin_stream(self.now, TODAY, StreamId(Uuid::from_u128(2)));
    }
}

#[test]
fn what_not_every_collector_has_goes_on_under_new_numbers() {
    let mut story = Story::new();
    story.append_durably(5);
    story.sends();
    story.ack(3);
    story.begin_stream();
    assert_eq!(story.sends(), [(2, 1, None), (2, 2, None)]);
    assert_eq!(story.outbox.dropped_events(), 0);
}

#[test]
fn what_cannot_be_read_then_is_declared_and_sent_under_its_old_numbers_later() {
    let mut story = Story::new();
    story.append_durably(5);
    story.sends();
    story.ack(3);
    story.is_unreadable.store(true, Ordering::Relaxed);
    story.begin_stream();
    assert_eq!(story.sends(), [], "older streams first");
    assert_eq!(story.outbox.dropped_events(), 2);
    story.is_unreadable.store(false, Ordering::Relaxed);
    let due = story.outbox.next_deadline().unwrap();
    story.outbox.on_deadline(due);
    story.now = due;
    let sent = story.sends();
    let places: Vec<(u128, u64)> = sent.iter().map(|(stream, at, _)| (*stream, *at)).collect();
    assert_eq!(places, [(1, 4), (1, 5), (2, 1)]);
    let reason = sent[2].2.as_ref().unwrap();
    assert!(reason.contains("events 4 to 5 of its stream"), "{reason}");
    assert!(reason.contains("cannot be read now"), "{reason}");
}
