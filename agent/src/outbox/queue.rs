//! Numbers events, holds them until they are acked, and says what to send next.
//!
//! No clock and no connection: time is an argument, the disk is behind [`Storage`]. Each agent
//! start is one stream; older ones that are still held are sent first. Promises: the events of a
//! stream are sent in order, and what is gone is declared before what follows it.
//!
//! [`Storage`]: super::spool::Storage

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use pvewatch_protocol::{Ack, CollectorName, Position, Sequence, StreamId};

use super::collectors::{AckOutcome, Collectors, Known, Overdue};
use super::envelope::{self, AppendError};
use super::lane::Lane;
use super::refusals::{Place, Refusals};
use super::spool::{Dropped, Opened, Owner, Read, Spool, SyncJob, SyncTicket};
use crate::source::Fact;

/// Publishes that may wait for the broker's PUBACK; the same as the client's own limit.
pub const WINDOW: usize = 16;

/// Events of a stream that are sent ahead of the acks of a collector that is there: with more the
/// queues before it run over, and what they lose has to be sent again. Without a collector
/// nothing is held back from whoever else listens.
pub const AHEAD_MAX: u64 = 1_000;

/// How long a new connection sends no event before it was heard what collectors have: a machine
/// that was set back while it ran would give numbers to events that are taken.
const HOLD_MAX: Duration = Duration::from_secs(1);

/// Streams that are remembered at most. One that is gone is remembered until its loss is acked;
/// the oldest is forgotten for a new one.
const LANES_MAX: usize = 4_000;

/// Acks between two notes while there is always more to send.
const ACKS_PER_NOTE: u32 = 256;

/// A publish that waits for its PUBACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UnderWay {
    pub stream: StreamId,
    /// The first event that it stands for: its own, or the first of a range that is declared lost.
    pub first: Sequence,
    /// Whether it declares a loss.
    pub is_loss: bool,
    /// Whether it was sent by itself, to learn what a collector has.
    pub is_probe: bool,
}

/// A new connection on which no event is sent yet.
#[derive(Debug, Clone, Copy)]
struct Hold {
    until: Instant,
    /// Whether the broker has told what it kept.
    is_told: bool,
}

/// The outbox of one agent start.
pub struct Outbox {
    pub(super) owner: Owner,
    pub(super) spool: Spool,
    /// In the order in which they began; the last one is current.
    pub(super) lanes: Vec<Lane>,
    pub(super) collectors: Collectors,
    pub(super) refusals: Refusals,
    /// Until the broker has told what collectors have.
    hold: Option<Hold>,
    /// When what was sent by itself, and refused, is tried again.
    pub(super) probe_again: Option<Instant>,
    pub(super) acks_since_note: u32,
    /// What waits for the broker's PUBACK, in the order in which it was sent; at most [`WINDOW`].
    pub(super) under_way: VecDeque<UnderWay>,
    pub(super) dropped: u64,
    pub(super) resent: u64,
}

impl Outbox {
    /// An outbox on a spool that was just opened.
    pub fn new(owner: Owner, collectors: &[CollectorName], spool: Spool, opened: Opened) -> Self {
        let mut outbox = Self {
            owner,
            lanes: vec![Lane::new(spool.stream(), Sequence(0), Sequence(0))],
            spool,
            collectors: Collectors::new(collectors),
            refusals: Refusals::default(),
            hold: None,
            probe_again: None,
            acks_since_note: 0,
            under_way: VecDeque::new(),
            dropped: 0,
            resent: 0,
        };
        outbox.take_up(opened);
        outbox
    }

    /// The last event that was put in.
    pub fn position(&self) -> Position {
        Position { stream: self.spool.stream(), sequence: self.spool.last() }
    }

    /// Puts a fact in as the next event. Returns how many events had to go for it.
    ///
    /// # Errors
    /// When it cannot be encoded; then it has no number.
    pub fn append(&mut self, now: Instant, fact: Fact) -> Result<u64, AppendError> {
        let sequence = self.spool.last().next();
        let place = Position { stream: self.spool.stream(), sequence };
        let event = envelope::seal(&self.owner, place, fact)?;
        let dropped = self.spool.append(now, event);
        if let Some(current) = self.lanes.last_mut() {
            current.last = sequence;
        }
        Ok(self.on_dropped(now, &dropped))
    }

    /// A new connection. What the broker before did not take is sent again, and what collectors
    /// lack as soon as they are known to be there. Where no collector ever was, whoever else
    /// listens is sent everything again.
    pub fn on_connected(&mut self, now: Instant) {
        for under_way in std::mem::take(&mut self.under_way) {
            self.go_back_to((under_way.stream, under_way.first));
        }
        self.refusals.on_connected();
        self.probe_again = None;
        if !self.collectors.any_spoke() {
            self.lanes.iter_mut().for_each(|lane| lane.cursor = Sequence(1));
        }
        self.skip_what_nobody_lacks();
        self.lanes.iter_mut().for_each(|lane| lane.begun = lane.cursor);
        self.collectors.on_connected(now, &self.lanes);
        self.probe_what_is_stored();
        self.hold = Some(Hold { until: now + HOLD_MAX, is_told: false });
    }

    /// The broker has answered the first words of a new connection: it has told, or begun to tell,
    /// what it kept.
    pub fn on_told(&mut self, now: Instant) {
        if let Some(hold) = &mut self.hold {
            hold.is_told = true;
        }
        self.let_go(now);
    }

    /// A collector says what it has stored.
    pub(super) fn on_ack(
        &mut self,
        now: Instant,
        today: Timestamp,
        name: &CollectorName,
        ack: Ack,
        retained: bool,
    ) -> AckOutcome {
        let known = self.lanes.iter().find(|lane| lane.stream == ack.stream).map(|lane| Known {
            last: lane.last,
            sent: lane.sent,
            is_current: lane.stream == self.spool.stream(),
        });
        let was_there = self.collectors.is_there(name);
        let outcome = self.collectors.on_ack(name, ack, retained, known);
        self.let_go(now);
        if !was_there && self.collectors.is_there(name) {
            self.welcome(now, name);
        }
        if retained && outcome == AckOutcome::Advanced {
            self.probe_end_of(name, ack.stream);
        }
        match outcome {
            AckOutcome::Advanced => self.on_advanced(now, today, ack.stream),
            AckOutcome::Repeated => {
                if !self.resend_stream(now, name, ack.stream) {
                    return AckOutcome::Unchanged;
                }
            }
            AckOutcome::FellBack | AckOutcome::NewEpoch => self.resend_to(now, name),
            AckOutcome::Unchanged
            | AckOutcome::OtherStream
            | AckOutcome::BeyondSent
            | AckOutcome::NotConfigured => return outcome,
        }
        self.collectors.expect_ack(now, name, &self.lanes);
        outcome
    }

    /// A collector came, or came back: what it lacks is sent again.
    pub(super) fn on_collector_online(&mut self, now: Instant, name: &CollectorName) {
        self.collectors.on_presence(name, true);
        if !self.collectors.is_there(name) {
            // It is not configured.
            return;
        }
        self.probe_what_is_stored_by(name);
        self.resend_to(now, name);
    }

    /// A collector's presence was heard: one that is found to be there is sent what it lacks, and
    /// nothing is sent again for one that is away.
    pub(super) fn on_collector_presence(
        &mut self,
        now: Instant,
        name: &CollectorName,
        is_online: bool,
    ) {
        let was_there = self.collectors.is_there(name);
        self.collectors.on_presence(name, is_online);
        if !was_there && self.collectors.is_there(name) {
            self.welcome(now, name);
        }
    }

    /// When [`Self::on_deadline`] wants to be called, if ever.
    pub fn next_deadline(&self) -> Option<Instant> {
        let hold = self.hold.map(|hold| hold.until);
        let (collectors, spool) = (self.collectors.next_deadline(), self.spool.next_deadline());
        let refusals = self.refusals.next_deadline();
        [hold, collectors, spool, refusals, self.probe_again].into_iter().flatten().min()
    }

    /// An ack stood still too long, or a disk is worth another try. Returns whether events will
    /// be sent again.
    pub fn on_deadline(&mut self, now: Instant) -> bool {
        self.let_go(now);
        self.refusals.on_deadline(now);
        self.probe_again.take_if(|at| *at <= now);
        let dropped = self.spool.on_deadline(now);
        self.on_dropped(now, &dropped);
        if let Some(opened) = self.spool.take_opened() {
            self.take_up(opened);
            self.probe_what_is_stored();
        }
        let before: Vec<Sequence> = self.lanes.iter().map(|lane| lane.cursor).collect();
        for Overdue { name, is_there } in self.collectors.on_deadline(now, &self.lanes) {
            if is_there {
                self.resend_to(now, &name);
            } else {
                self.probe_what_is_lacked_by(&name);
            }
        }
        self.lanes.iter().zip(before).any(|(lane, before)| lane.cursor < before)
    }

    /// Whether a collector that is there has everything, or said lately that it has more: then
    /// the way to the collectors works, whatever ails another of them.
    pub fn is_anybody_keeping_up(&self) -> bool {
        self.collectors.is_anybody_keeping_up()
    }

    /// Whether there is nothing left to do: everything was sent, the broker took it, and a
    /// collector, if any ever spoke, has stored it.
    pub fn is_settled(&self) -> bool {
        let any_spoke = self.collectors.any_spoke();
        let is_settled = |lane: &Lane| {
            let stored = self.collectors.stored_by_furthest(lane.stream);
            lane.cursor > lane.last && (stored >= lane.last || !any_spoke)
        };
        self.under_way.is_empty() && self.lanes.iter().all(is_settled)
    }

    /// A job that makes durable what is not yet; see [`Spool::begin_sync`].
    pub fn begin_sync(&mut self, now: Instant) -> Option<(SyncTicket, SyncJob)> {
        self.spool.begin_sync(now)
    }

    /// The end of such a job.
    pub fn on_synced(&mut self, now: Instant, ticket: &SyncTicket, result: std::io::Result<()>) {
        self.spool.on_synced(now, ticket, result);
    }

    fn on_advanced(&mut self, now: Instant, today: Timestamp, stream: StreamId) {
        self.skip_what_nobody_lacks();
        let collectors = &self.collectors;
        self.refusals
            .keep_given_up(|(stream, sequence)| sequence > collectors.stored_by_all(stream));
        self.spool.set_acked(stream, self.collectors.stored_by_all(stream), today);
        let (spool, collectors) = (&self.spool, &self.collectors);
        self.lanes.retain(|lane| {
            spool.holds(lane.stream) || collectors.stored_by_all(lane.stream) < lane.last
        });
        self.acks_since_note += 1;
        let is_idle = self.lanes.iter().all(|lane| {
            lane.cursor > lane.last && self.collectors.stored_by_all(lane.stream) >= lane.last
        });
        if is_idle || self.acks_since_note >= ACKS_PER_NOTE {
            self.write_note(now);
        }
    }

    /// Whether events wait for what the broker tells.
    pub(super) fn is_held(&self) -> bool {
        self.hold.is_some()
    }

    /// Begins to send on a new connection, when it was heard what collectors have, or for too long
    /// it was not.
    fn let_go(&mut self, now: Instant) {
        let is_over =
            |hold: &Hold| hold.until <= now || hold.is_told && self.collectors.all_are_heard();
        if self.hold.as_ref().is_some_and(is_over) {
            self.hold = None;
            self.lanes.iter_mut().for_each(|lane| lane.begin(now));
        }
    }

    pub(super) fn skip_what_nobody_lacks(&mut self) {
        for lane in &mut self.lanes {
            let stored = self.collectors.stored_by_audience(lane.stream);
            lane.cursor = lane.cursor.max(stored.next());
        }
        if self.refusals.refused().is_some_and(|place| !self.is_lacked(place)) {
            self.refusals.forget_refused();
        }
    }

    /// Whether a collector that is there lacks an event, or any if none is there.
    pub(super) fn is_lacked(&self, (stream, sequence): Place) -> bool {
        self.lanes.iter().any(|lane| lane.stream == stream)
            && sequence > self.collectors.stored_by_audience(stream)
    }

    /// A collector is found to be there: what it lacks and was not sent on this connection is sent.
    fn welcome(&mut self, now: Instant, name: &CollectorName) {
        let lacks_more = |lane: &Lane| {
            self.collectors.stored_by(name, lane.stream).next() < lane.begun.min(lane.cursor)
        };
        if self.lanes.iter().any(lacks_more) {
            self.resend_to(now, name);
        }
        self.skip_what_nobody_lacks();
    }

    /// Sends again what a collector lacks, of every stream.
    fn resend_to(&mut self, now: Instant, name: &CollectorName) {
        for lane in &mut self.lanes {
            lane.go_back_to(self.collectors.stored_by(name, lane.stream).next(), now);
        }
    }

    /// Sends again what a collector lacks of one stream, unless that was begun just now. Returns
    /// whether it is begun.
    fn resend_stream(&mut self, now: Instant, name: &CollectorName, stream: StreamId) -> bool {
        let mut lanes = self.lanes.iter_mut();
        let lane = lanes.find(|lane| lane.stream == stream && !lane.is_being_resent(now));
        let Some(lane) = lane else { return false };
        lane.go_back_to(self.collectors.stored_by(name, stream).next(), now);
        true
    }

    /// Reads an event. What the disk gives back no more is counted and written down.
    pub(super) fn read(&mut self, now: Instant, stream: StreamId, sequence: Sequence) -> Read {
        let read = self.spool.read(now, stream, sequence);
        let lost = self.spool.take_lost();
        if self.count_lost(&lost) > 0 {
            self.write_note(now);
        }
        read
    }

    /// Counts what is lost, and writes it down.
    fn on_dropped(&mut self, now: Instant, dropped: &[Dropped]) -> u64 {
        let lost = self.count_lost(dropped);
        if lost > 0 {
            let excess = self.lanes.len().saturating_sub(LANES_MAX);
            self.lanes.drain(..excess);
            self.write_note(now);
        }
        lost
    }

    /// What every collector had is no loss.
    fn count_lost(&mut self, dropped: &[Dropped]) -> u64 {
        let mut lost = 0;
        for Dropped { stream, from, through } in dropped {
            let from = self.collectors.stored_by_all(*stream).next().max(*from);
            lost += (through.0 + 1).saturating_sub(from.0);
        }
        self.dropped += lost;
        lost
    }
}

#[cfg(test)]
mod tests;
