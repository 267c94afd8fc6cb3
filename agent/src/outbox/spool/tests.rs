//! A disk that fails on demand, below an outbox: what it says, and what it still sends.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use pvewatch_protocol::event::{OutboxDropped, UnitRemoved};
use pvewatch_protocol::{Ack, CollectorName, Epoch, EventData, Sequence, Site, StreamId, codec};
use uuid::Uuid;

use super::super::queue::Outbox;
use super::super::refusals::Answer;
use super::*;
use crate::source::Fact;

mod damage;
mod opening;
mod reading;

/// A segment holds an eighth of the events.
const LIMITS: Limits = Limits { bytes_max: 1024 * 1024, events_max: 80 };
const EVENTS_PER_SEGMENT: u64 = LIMITS.events_max as u64 / 8;

/// What the disk does not do at the moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Fails {
    list: bool,
    /// These segments.
    read: BTreeSet<u64>,
    write: bool,
    sync: bool,
    remove: bool,
}

#[derive(Debug, Default)]
struct State {
    segments: BTreeMap<u64, Vec<u8>>,
    set_aside: BTreeMap<u64, Vec<u8>>,
    mark: Vec<u8>,
    fails: Fails,
    reads: usize,
}

#[derive(Clone, Default)]
struct Disk(Arc<Mutex<State>>);

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn fails(&self, change: impl FnOnce(&mut Fails)) {
        change(&mut self.state().fails);
    }

    fn segments(&self) -> Vec<u64> {
        self.state().segments.keys().copied().collect()
    }

    /// One bit of the last place where `text` is goes bad.
    fn damage(&self, segment: u64, text: &str) {
        let mut state = self.state();
        let bytes = state.segments.get_mut(&segment).unwrap();
        let at = bytes.windows(text.len()).rposition(|it| it == text.as_bytes()).unwrap();
        bytes[at] ^= 1;
    }
}

fn broken(does: bool) -> io::Result<()> {
    if does { Err(io::Error::other("the disk is broken")) } else { Ok(()) }
}

impl Storage for Disk {
    fn segments(&mut self) -> io::Result<Vec<u64>> {
        broken(self.state().fails.list)?;
        Ok(Disk::segments(self))
    }

    fn read(&mut self, segment: u64) -> io::Result<Vec<u8>> {
        let mut state = self.state();
        state.reads += 1;
        broken(state.fails.read.contains(&segment))?;
        state.segments.get(&segment).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn append(&mut self, segment: u64, bytes: &[u8]) -> io::Result<()> {
        broken(self.state().fails.write)?;
        self.state().segments.entry(segment).or_default().extend_from_slice(bytes);
        Ok(())
    }

    fn truncate(&mut self, segment: u64, length: u64) -> io::Result<()> {
        broken(self.state().fails.write)?;
        if let Some(bytes) = self.state().segments.get_mut(&segment) {
            bytes.truncate(usize::try_from(length).unwrap());
        }
        Ok(())
    }

    fn sync(&mut self, _: &[u64]) -> io::Result<SyncJob> {
        let disk = self.clone();
        Ok(Box::new(move || broken(disk.state().fails.sync)))
    }

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        let mut state = self.state();
        broken(state.fails.remove)?;
        state.segments.remove(&segment);
        Ok(())
    }

    fn set_aside(&mut self, segment: u64) -> io::Result<String> {
        let mut state = self.state();
        broken(state.fails.remove)?;
        let bytes = state.segments.get(&segment).cloned().unwrap_or_default();
        state.set_aside.insert(segment, bytes);
        Ok(format!("{segment}.damaged"))
    }

    fn set_mark(&mut self, bytes: &[u8]) -> io::Result<()> {
        broken(self.state().fails.write)?;
        self.state().mark = bytes.to_vec();
        Ok(())
    }

    fn mark(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.state().mark.clone())
    }

    fn place(&self) -> String {
        "the disk".to_owned()
    }
}

fn owner() -> Owner {
    Owner { site: Site::default(), node: "pve1".parse().unwrap() }
}

fn stream(number: u128) -> StreamId {
    StreamId(Uuid::from_u128(number << 80))
}

/// An agent on that disk, with a clock and a broker that takes everything.
struct Story {
    disk: Disk,
    outbox: Outbox,
    now: Instant,
    starts: u128,
    /// Whether a collector acks what is sent.
    acks: bool,
    findings: Vec<String>,
}

impl Story {
    fn new() -> Self {
        Self::on(Disk::default())
    }

    #[expect(clippy::disallowed_methods, reason = "an Instant cannot be made otherwise")]
    fn on(disk: Disk) -> Self {
        let now = Instant::now();
        let outbox = Self::start(&disk, 1, now).0;
        Self { disk, outbox, now, starts: 1, acks: true, findings: Vec::new() }
    }

    fn start(disk: &Disk, number: u128, now: Instant) -> (Outbox, Vec<Finding>) {
        let storage = Box::new(disk.clone());
        let (spool, opened) = Spool::open(storage, owner(), LIMITS, stream(number), now);
        let findings = opened.findings.clone();
        (Outbox::new(owner(), &[CollectorName::default()], spool, opened), findings)
    }

    /// The agent is killed, and starts again.
    fn restart(&mut self) {
        self.starts += 1;
        let (outbox, findings) = Self::start(&self.disk, self.starts, self.now);
        self.outbox = outbox;
        self.findings.clear();
        self.take(findings);
    }

    fn take(&mut self, findings: Vec<Finding>) {
        self.findings.extend(findings.into_iter().map(|finding| match finding {
            Finding::Damaged(text) => text,
            Finding::Torn(text) => format!("torn: {text}"),
        }));
    }

    fn append(&mut self, count: u64) {
        for _ in 0..count {
            let number = self.outbox.position().sequence.0 + 1;
            let data = EventData::UnitRemoved(UnitRemoved { unit: format!("u{number}.service") });
            let epoch = Timestamp::UNIX_EPOCH;
            let fact = Fact { time: epoch, recorded_time: epoch, data };
            self.outbox.append(self.now, fact).unwrap();
        }
    }

    /// What was appended becomes durable, if the disk does that.
    fn sync(&mut self) {
        while let Some((ticket, job)) = self.outbox.begin_sync(self.now) {
            let result = job();
            let is_well = result.is_ok();
            self.outbox.on_synced(self.now, &ticket, result);
            if !is_well {
                return;
            }
        }
    }

    /// What is sent now: the start of its stream, its number; and what is declared on the way.
    fn sends(&mut self) -> (Vec<(u128, u64)>, Vec<OutboxDropped>) {
        let (mut sent, mut declared) = (Vec::new(), Vec::new());
        while let Some(outgoing) = self.outbox.next_to_publish(self.now, Timestamp::UNIX_EPOCH) {
            self.outbox.on_puback(self.now, Answer::Taken);
            let event = codec::decode_event(&outgoing.payload).unwrap();
            match event.data {
                EventData::OutboxDropped(lost) => declared.push(lost),
                _ => {
                    let start = outgoing.position.stream.0.as_u128() >> 80;
                    sent.push((start, outgoing.position.sequence.0));
                }
            }
            if self.acks {
                self.ack(event.position.stream, event.position.sequence);
            }
        }
        let findings = self.outbox.take_findings();
        self.take(findings);
        (sent, declared)
    }

    /// Time passes, with a try to send at every deadline; everything that was sent in it.
    fn pass(&mut self, duration: Duration) -> (Vec<(u128, u64)>, Vec<OutboxDropped>) {
        let end = self.now + duration;
        let (mut sent, mut declared) = self.sends();
        while let Some(at) = self.outbox.next_deadline().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.outbox.on_deadline(self.now);
            let (more, lost) = self.sends();
            sent.extend(more);
            declared.extend(lost);
        }
        self.now = end;
        (sent, declared)
    }

    fn ack(&mut self, stream: StreamId, through: Sequence) {
        let ack = Ack { collector_epoch: Epoch(Uuid::from_u128(7)), stream, through };
        let today = Timestamp::UNIX_EPOCH;
        self.outbox.on_ack(self.now, today, &CollectorName::default(), ack, false);
    }
}

fn range(start: u128, numbers: std::ops::RangeInclusive<u64>) -> Vec<(u128, u64)> {
    numbers.map(|number| (start, number)).collect()
}

/// An older start left segments 1, 2 and 3 with ten events each; this one has made its first.
fn three_older_segments() -> Story {
    let mut story = Story::new();
    story.append(3 * EVENTS_PER_SEGMENT);
    story.sync();
    story.restart();
    story.append(1);
    story.sync();
    assert_eq!(story.disk.segments(), [1, 2, 3, 4]);
    story
}

#[test]
fn what_a_failed_sync_left_in_doubt_is_written_again_to_another_segment() {
    let mut story = Story::new();
    story.append(3);
    story.sync();
    story.append(2);
    let (ticket, job) = story.outbox.begin_sync(story.now).unwrap();
    // These begin another segment while the disk still works on the first.
    story.append(EVENTS_PER_SEGMENT);
    story.disk.fails(|fails| fails.sync = true);
    let result = job();
    story.outbox.on_synced(story.now, &ticket, result);
    story.disk.fails(|fails| fails.sync = false);
    assert_eq!(story.outbox.unsaved_events(), 2 + EVENTS_PER_SEGMENT);
    story.acks = false;
    story.pass(Duration::from_secs(2));
    story.sync();
    assert_eq!((story.outbox.unsaved_events(), story.outbox.trouble()), (0, None));
    story.restart();
    assert_eq!(story.sends(), (range(1, 1..=5 + EVENTS_PER_SEGMENT), vec![]));
}
