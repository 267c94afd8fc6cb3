//! What each collector has acked of each stream, and what an ack means for sending.
//!
//! A collector that never spoke is not waited for as soon as another one has. One of which nothing
//! was heard on this connection, or that is said to be away, is sent nothing again until it is
//! there, but for a single event now and then: a broker can have forgotten its presence, and a last
//! will can come late and speak of a connection that is long replaced.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pvewatch_protocol::{Ack, CollectorName, CollectorPresence, Epoch, Sequence, StreamId};
use serde::{Deserialize, Serialize};

use super::lane::Lane;

/// How long an ack may stand still before events are sent again.
pub const RESEND_DELAY_MIN: Duration = Duration::from_secs(30);

/// Resends back off up to this.
pub const RESEND_DELAY_MAX: Duration = Duration::from_secs(300);

/// What an ack told the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckOutcome {
    /// The collector has stored more than before.
    Advanced,
    /// Nothing new, and nothing to do.
    Unchanged,
    /// The collector says the same again because it sees a gap: send again.
    Repeated,
    /// The collector has less than it had: it was restored. Send again.
    FellBack,
    /// A store that never spoke before: it needs everything again, and pictures.
    NewEpoch,
    /// It speaks of a stream that is not held here any more.
    OtherStream,
    /// It covers more than was ever sent: this agent was rolled back and must begin a new stream.
    BeyondSent,
    /// The configuration does not name this collector.
    NotConfigured,
}

/// The state of one collector, as far as this agent knows it.
#[derive(Debug, Clone, Default)]
struct Collector {
    epoch: Option<Epoch>,
    through: BTreeMap<StreamId, Sequence>,
    whereabouts: Whereabouts,
    /// What it said of itself last on this connection.
    presence: Option<CollectorPresence>,
    /// Whether an ack of its was heard on this connection.
    is_heard: bool,
    /// Events that are sent again by themselves, to learn whether it is there, or still has them:
    /// one of a stream at most.
    probes: BTreeMap<StreamId, Sequence>,
    resend: Option<Resend>,
}

/// Where a collector is, as far as this connection heard of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Whereabouts {
    /// Nothing was heard.
    #[default]
    Unknown,
    /// It spoke, or the broker kept its word that it is there.
    There,
    /// Its presence said that it is going away, or that it is gone.
    Away,
}

#[derive(Debug, Clone, Copy)]
struct Resend {
    due: Instant,
    delay: Duration,
}

/// A stream that an ack speaks of, as the outbox knows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub last: Sequence,
    /// The highest that this agent start sent.
    pub sent: Sequence,
    pub is_current: bool,
}

/// What is written down of a collector, as a hint for the next start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    epoch: Epoch,
    through: BTreeMap<StreamId, Sequence>,
}

/// A collector whose time is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Overdue {
    pub name: CollectorName,
    /// Whether it is there, as far as is known.
    pub is_there: bool,
}

/// The collectors that the configuration names.
#[derive(Debug)]
pub(super) struct Collectors {
    by_name: BTreeMap<CollectorName, Collector>,
}

impl Collectors {
    pub(super) fn new(names: &[CollectorName]) -> Self {
        let by_name = names.iter().map(|name| (name.clone(), Collector::default())).collect();
        Self { by_name }
    }

    /// What every collector has stored: events up to here may be deleted.
    pub(super) fn stored_by_all(&self, stream: StreamId) -> Sequence {
        self.by_name.values().map(|collector| collector.through(stream)).min().unwrap_or_default()
    }

    /// What the furthest collector has stored: a new connection sends from here.
    pub(super) fn stored_by_furthest(&self, stream: StreamId) -> Sequence {
        self.by_name.values().map(|collector| collector.through(stream)).max().unwrap_or_default()
    }

    /// What every collector that is there has stored, or the furthest if none is there: this need
    /// not be sent to anybody now.
    pub(super) fn stored_by_audience(&self, stream: StreamId) -> Sequence {
        let present = self.by_name.values().filter(|collector| collector.is_waited_for(true));
        let least = present.map(|collector| collector.through(stream)).min();
        least.unwrap_or_else(|| self.stored_by_furthest(stream))
    }

    /// What the furthest collector of those that are there has stored; none if nobody is there.
    pub(super) fn stored_by_furthest_present(&self, stream: StreamId) -> Option<Sequence> {
        let present = self.by_name.values().filter(|collector| collector.is_waited_for(true));
        present.map(|collector| collector.through(stream)).max()
    }

    pub(super) fn stored_by(&self, name: &CollectorName, stream: StreamId) -> Sequence {
        self.by_name.get(name).map(|collector| collector.through(stream)).unwrap_or_default()
    }

    /// Whether any collector ever acked anything, of whatever stream.
    pub(super) fn any_spoke(&self) -> bool {
        self.by_name.values().any(|collector| collector.epoch.is_some())
    }

    /// Whether one that is there lacks nothing, or has not been waited for in vain since it spoke.
    pub(super) fn is_anybody_keeping_up(&self) -> bool {
        let mut present = self.by_name.values().filter(|collector| collector.is_waited_for(true));
        present.any(|it| it.resend.is_none_or(|resend| resend.delay == RESEND_DELAY_MIN))
    }

    /// A stream ends here: what is left of it goes another way.
    pub(super) fn hand_over(&mut self, stream: StreamId, last: Sequence) {
        for collector in self.by_name.values_mut() {
            collector.through.insert(stream, last);
        }
    }

    /// Forgets what was acked of streams that are gone.
    pub(super) fn keep(&mut self, is_known: impl Fn(StreamId) -> bool) {
        for collector in self.by_name.values_mut() {
            collector.through.retain(|stream, _| is_known(*stream));
        }
    }

    /// What to write down for the next start.
    pub(super) fn positions(&self) -> BTreeMap<CollectorName, Position> {
        let spoke = |(name, collector): (&CollectorName, &Collector)| {
            let through = collector.through.clone();
            Some((name.clone(), Position { epoch: collector.epoch?, through }))
        };
        self.by_name.iter().filter_map(spoke).collect()
    }

    /// Takes up what an earlier start wrote down. What was heard since then counts more.
    pub(super) fn restore(&mut self, positions: BTreeMap<CollectorName, Position>) {
        for (name, position) in positions {
            let Some(collector) = self.by_name.get_mut(&name) else { continue };
            if *collector.epoch.get_or_insert(position.epoch) == position.epoch {
                for (stream, through) in position.through {
                    collector.through.entry(stream).or_insert(through);
                }
            }
        }
    }

    /// Takes in an ack. `retained` tells one that the broker kept from one sent just now.
    pub(super) fn on_ack(
        &mut self,
        name: &CollectorName,
        ack: Ack,
        retained: bool,
        known: Option<Known>,
    ) -> AckOutcome {
        let Some(collector) = self.by_name.get_mut(name) else {
            return AckOutcome::NotConfigured;
        };
        collector.is_heard = true;
        if !retained {
            // Whoever speaks is there, whatever its last will said.
            collector.whereabouts = Whereabouts::There;
        }
        let known_epoch = collector.epoch.replace(ack.collector_epoch);
        let is_new = known_epoch.is_some_and(|epoch| epoch != ack.collector_epoch);
        if is_new {
            collector.through.clear();
        }
        let Some(known) = known else {
            return if is_new { AckOutcome::NewEpoch } else { AckOutcome::OtherStream };
        };
        if ack.through > known.sent && known.is_current {
            return AckOutcome::BeyondSent;
        }
        // Of an older stream the end may have been lost with the power, after it was sent.
        let through = ack.through.min(known.last);
        let before = collector.through(ack.stream);
        if retained && through < before && !is_new {
            // A broker that lost its newest state; a restored collector says so by itself.
            return AckOutcome::Unchanged;
        }
        collector.through.insert(ack.stream, through);
        if is_new {
            AckOutcome::NewEpoch
        } else if through > before {
            AckOutcome::Advanced
        } else if through < before {
            // It was restored, so what it had of other streams is not known either.
            collector.through.retain(|stream, _| *stream == ack.stream);
            AckOutcome::FellBack
        } else if retained || through == known.last {
            AckOutcome::Unchanged
        } else {
            AckOutcome::Repeated
        }
    }

    /// A new connection: nothing is known of who is there, and what they lack is waited for anew.
    pub(super) fn on_connected(&mut self, now: Instant, lanes: &[Lane]) {
        for collector in self.by_name.values_mut() {
            collector.whereabouts = Whereabouts::Unknown;
            collector.presence = None;
            collector.is_heard = false;
            collector.probes.clear();
            collector.wait_for_ack(now, lanes, RESEND_DELAY_MIN);
        }
    }

    /// Whether each that ever acked has said on this connection what it has.
    pub(super) fn all_are_heard(&self) -> bool {
        let mut spoke = self.by_name.values().filter(|collector| collector.epoch.is_some());
        spoke.all(|collector| collector.is_heard)
    }

    /// A collector is there, or is not.
    pub(super) fn on_presence(&mut self, name: &CollectorName, is_online: bool) {
        if let Some(collector) = self.by_name.get_mut(name) {
            collector.whereabouts = if is_online { Whereabouts::There } else { Whereabouts::Away };
        }
    }

    /// Remembers what a collector says of itself. Returns what it said before.
    pub(super) fn note_presence(
        &mut self,
        name: &CollectorName,
        presence: CollectorPresence,
    ) -> Option<CollectorPresence> {
        self.by_name.get_mut(name)?.presence.replace(presence)
    }

    /// Whether a collector is there, as far as is known.
    pub(super) fn is_there(&self, name: &CollectorName) -> bool {
        let collector = self.by_name.get(name);
        collector.is_some_and(|collector| collector.whereabouts == Whereabouts::There)
    }

    /// These events are to be sent again by themselves because of this collector, and no others.
    pub(super) fn set_probes(
        &mut self,
        name: &CollectorName,
        probes: impl IntoIterator<Item = (StreamId, Sequence)>,
    ) {
        if let Some(collector) = self.by_name.get_mut(name) {
            collector.probes = probes.into_iter().collect();
        }
    }

    /// This event is to be sent again by itself, too.
    pub(super) fn add_probe(
        &mut self,
        name: &CollectorName,
        (stream, sequence): (StreamId, Sequence),
    ) {
        if let Some(collector) = self.by_name.get_mut(name) {
            collector.probes.insert(stream, sequence);
        }
    }

    /// The next event that is to be sent by itself.
    pub(super) fn next_probe(&self) -> Option<(StreamId, Sequence)> {
        let first = |collector: &Collector| {
            collector.probes.first_key_value().map(|(stream, sequence)| (*stream, *sequence))
        };
        self.by_name.values().find_map(first)
    }

    /// It was sent; one copy serves all that are to have it.
    pub(super) fn on_probed(&mut self, (stream, sequence): (StreamId, Sequence)) {
        for collector in self.by_name.values_mut() {
            if collector.probes.get(&stream) == Some(&sequence) {
                collector.probes.remove(&stream);
            }
        }
    }

    /// It was refused: those whose probe it was, or could be, are asked again.
    pub(super) fn probe_again(&mut self, (stream, sequence): (StreamId, Sequence)) {
        for collector in self.by_name.values_mut() {
            if collector.epoch.is_some() && collector.through(stream).next() >= sequence {
                collector.probes.entry(stream).or_insert(sequence);
            }
        }
    }

    /// Their names; as many as the configuration has.
    pub(super) fn names(&self) -> Vec<CollectorName> {
        self.by_name.keys().cloned().collect()
    }

    /// A collector said something: its patience begins anew.
    pub(super) fn expect_ack(&mut self, now: Instant, name: &CollectorName, lanes: &[Lane]) {
        if let Some(collector) = self.by_name.get_mut(name) {
            collector.wait_for_ack(now, lanes, RESEND_DELAY_MIN);
        }
    }

    /// Events were sent: those who have not stored them are expected to say so.
    pub(super) fn on_sent(&mut self, now: Instant, lanes: &[Lane]) {
        for collector in self.by_name.values_mut() {
            if collector.resend.is_none() {
                collector.wait_for_ack(now, lanes, RESEND_DELAY_MIN);
            }
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.by_name.values().filter_map(|c| c.resend.map(|resend| resend.due)).min()
    }

    /// The collectors whose time is up and that still lack something.
    pub(super) fn on_deadline(&mut self, now: Instant, lanes: &[Lane]) -> Vec<Overdue> {
        let any_spoke = self.any_spoke();
        let mut overdue = Vec::new();
        for (name, collector) in &mut self.by_name {
            let Some(resend) = collector.resend.filter(|resend| resend.due <= now) else {
                continue;
            };
            collector.wait_for_ack(now, lanes, (resend.delay * 2).min(RESEND_DELAY_MAX));
            if collector.resend.is_some() && collector.is_expected(any_spoke) {
                let is_there = collector.whereabouts == Whereabouts::There;
                overdue.push(Overdue { name: name.clone(), is_there });
            }
        }
        overdue
    }
}

impl Collector {
    fn through(&self, stream: StreamId) -> Sequence {
        self.through.get(&stream).copied().unwrap_or_default()
    }

    /// One that is named but never spoke must not make the others receive everything twice.
    fn is_expected(&self, any_spoke: bool) -> bool {
        self.epoch.is_some() || !any_spoke
    }

    fn is_waited_for(&self, any_spoke: bool) -> bool {
        self.whereabouts == Whereabouts::There && self.is_expected(any_spoke)
    }

    fn wait_for_ack(&mut self, now: Instant, lanes: &[Lane], delay: Duration) {
        let is_behind = lanes.iter().any(|lane| self.through(lane.stream) < lane.last);
        self.resend = is_behind.then(|| Resend { due: now + delay, delay });
    }
}
