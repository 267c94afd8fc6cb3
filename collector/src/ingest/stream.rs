//! One stream: how far it is applied, and what waits behind a gap.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::{EventData, Sequence};

use super::{Arrival, Lack, REPEAT_ACK_EVERY_MS};

/// What an event weighs beside its payload, in bytes: the decoded form and the map's node.
const ARRIVAL_BYTES: usize = 512;

/// Samples in a row that prove that a stream went back.
const BEHIND_SAMPLES: u32 = 2;

/// The sequences that an event stands for: itself, or a range that is declared lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The first of them.
    pub from: u64,
    /// The last of them: the event's own.
    pub sequence: u64,
}

/// What became of an event that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offered {
    Applied,
    Duplicate,
    Waiting { opened_gap: bool },
    NoRoom,
}

/// How the number of waiting events changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub events: isize,
    pub bytes: isize,
}

/// How much may wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub events: usize,
    pub bytes: usize,
}

#[derive(Debug)]
pub(super) struct Stream {
    ordinal: u64,
    through: u64,
    /// The last event that was ever heard of.
    known: u64,
    /// When anything of the stream was heard last; none since the start.
    heard_at: Option<Timestamp>,
    /// Samples in a row that knew less than what is applied.
    behind_samples: u32,
    waiting: BTreeMap<u64, (u64, Arrival)>,
    waiting_bytes: usize,
    /// Waiting events that stand for more than themselves.
    waiting_ranges: usize,
    repeated_at: Option<Timestamp>,
    /// What was applied when a sample last knew of more.
    behind_at: Option<u64>,
    /// What a sample knew of that was missing then, and when it came.
    owed: Option<(u64, Timestamp)>,
    is_changed: bool,
    is_ack_due: bool,
}

impl Stream {
    pub(super) fn new(ordinal: u64, through: u64, known: u64) -> Self {
        Self {
            ordinal,
            through,
            known: known.max(through),
            heard_at: None,
            behind_samples: 0,
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            waiting_ranges: 0,
            repeated_at: None,
            behind_at: None,
            owed: None,
            is_changed: false,
            is_ack_due: false,
        }
    }

    pub(super) fn set_ordinal(&mut self, ordinal: u64) {
        self.ordinal = ordinal;
    }

    pub(super) fn ordinal(&self) -> u64 {
        self.ordinal
    }

    /// The last sequence that is applied; 0 before the first.
    pub(super) fn through(&self) -> u64 {
        self.through
    }

    /// Takes an event in. What can be applied is given to `apply`, in order.
    pub(super) fn offer(
        &mut self,
        place: Place,
        arrival: Arrival,
        room: Room,
        mut apply: impl FnMut(Arrival),
    ) -> (Offered, Change) {
        if place.sequence <= self.through {
            return (Offered::Duplicate, Change::default());
        }
        self.hear(place.sequence, arrival.received_at);
        // The common case: nothing waits, and this is the next.
        if self.waiting.is_empty() && place.from <= self.through + 1 {
            let first_lost = self.through + 1;
            self.through = place.sequence;
            apply(clipped(arrival, first_lost));
            return (Offered::Applied, Change::default());
        }
        let events_before = self.waiting.len();
        let bytes_before = self.waiting_bytes;
        let opened_gap = events_before == 0;
        let is_new = self.insert(place, arrival);
        self.release(&mut apply);
        let offered = if self.through >= place.sequence {
            Offered::Applied
        } else if is_new && !self.shrink_to(room, place.sequence) {
            Offered::NoRoom
        } else {
            Offered::Waiting { opened_gap }
        };
        if self.waiting.is_empty() {
            self.repeated_at = None;
        }
        let change = Change {
            events: self.waiting.len() as isize - events_before as isize,
            bytes: self.waiting_bytes as isize - bytes_before as isize,
        };
        (offered, change)
    }

    /// Whether an ack should be repeated now because of a gap; if so, it counts as repeated.
    pub(super) fn repeat_is_due(&mut self, now: Timestamp) -> bool {
        let is_due = self.repeated_at.is_none_or(|last| {
            // A clock that jumped back must not silence the repetition.
            let since_ms = now.as_millisecond() - last.as_millisecond();
            !(0..REPEAT_ACK_EVERY_MS).contains(&since_ms)
        });
        if is_due {
            self.repeated_at = Some(now);
        }
        is_due
    }

    /// Notes that a sample knows of more than was applied; whether the one before did too, and
    /// nothing was applied since.
    pub(super) fn is_stuck(&mut self) -> bool {
        self.behind_at.replace(self.through) == Some(self.through)
    }

    /// Notes that something of the stream was heard, which knows of events up to `sequence`; says
    /// whether more is known than before.
    pub(super) fn hear(&mut self, sequence: u64, now: Timestamp) -> bool {
        self.heard_at = Some(now);
        let knows_more = sequence > self.known;
        self.known = self.known.max(sequence);
        knows_more
    }

    /// Counts from now for how long nothing was heard.
    pub(super) fn be_heard(&mut self, now: Timestamp) {
        self.heard_at = Some(now);
    }

    /// The last event that was ever heard of.
    pub(super) fn known(&self) -> u64 {
        self.known
    }

    /// For how long nothing of the stream was heard; counted from the first asking.
    pub(super) fn quiet_for(&mut self, now: Timestamp) -> SignedDuration {
        let heard_at = self.heard_at.get_or_insert(now);
        // What was received just before the clock was set back can be taken in after it.
        *heard_at = now.min(*heard_at);
        now.duration_since(*heard_at)
    }

    /// Moves along with a wall clock that was set.
    pub(super) fn clock_jumped(&mut self, by: SignedDuration) {
        let owed_since = self.owed.as_mut().map(|(_, since)| since);
        let times = [self.heard_at.as_mut(), self.repeated_at.as_mut(), owed_since];
        for time in times.into_iter().flatten() {
            *time = time.saturating_add(by).unwrap_or(*time);
        }
    }

    /// Notes what a sample says its agent has; whether that shows that the stream went back:
    /// its agent was restored from an older state. A single sample may have been overtaken.
    pub(super) fn went_back(&mut self, as_of: u64) -> bool {
        self.behind_samples = if as_of < self.through { self.behind_samples + 1 } else { 0 };
        self.behind_samples == BEHIND_SAMPLES
    }

    /// Nobody holds what is missing: applies what waits, and goes on to the last that was heard
    /// of. Returns the ranges that are lost.
    pub(super) fn abandon(&mut self, mut apply: impl FnMut(Arrival)) -> (Vec<(u64, u64)>, Change) {
        let before = self.waiting();
        let mut lost = Vec::new();
        while let Some((_, (from, _))) = self.waiting.first_key_value() {
            lost.push((self.through + 1, from - 1));
            self.through = from - 1;
            self.release(&mut apply);
        }
        if self.known > self.through {
            lost.push((self.through + 1, self.known));
            self.through = self.known;
        }
        let events = -isize::try_from(before.events).unwrap_or(0);
        let bytes = -isize::try_from(before.bytes).unwrap_or(0);
        (lost, Change { events, bytes })
    }

    /// Notes that a sample knows of events up to `as_of`; what of them is missing, and for how
    /// long. What was missing at one sample and has come by the next is no delay.
    pub(super) fn lacks(&mut self, as_of: u64, now: Timestamp) -> Lack {
        let events = as_of.saturating_sub(self.through);
        let still_owed = self.owed.filter(|(owed, _)| *owed > self.through);
        self.owed = (events > 0).then(|| still_owed.unwrap_or((as_of, now)));
        Lack { events, since: self.owed.map(|(_, since)| since) }
    }

    /// Notes that the position has to be stored; false if that was known.
    pub(super) fn note_change(&mut self) -> bool {
        !std::mem::replace(&mut self.is_changed, true)
    }

    pub(super) fn change_is_taken(&mut self) {
        self.is_changed = false;
    }

    /// Notes that an ack has to be sent; false if that was known.
    pub(super) fn note_ack(&mut self) -> bool {
        !std::mem::replace(&mut self.is_ack_due, true)
    }

    pub(super) fn ack_is_taken(&mut self) {
        self.is_ack_due = false;
    }

    /// Puts an event among those that wait. A declaration of loss takes the place of the event
    /// whose number it has, and of one that covers less: an agent declares more when it learns
    /// that what it had sent before did not arrive. Otherwise the first copy stays. Returns
    /// whether it was put there.
    fn insert(&mut self, place: Place, arrival: Arrival) -> bool {
        let is_range = place.from < place.sequence;
        if let Some((from, _)) = self.waiting.get(&place.sequence)
            && *from <= place.from
        {
            return false;
        }
        self.remove(place.sequence);
        self.waiting_bytes += weight(&arrival);
        self.waiting_ranges += usize::from(is_range);
        self.waiting.insert(place.sequence, (place.from, arrival));
        true
    }

    fn remove(&mut self, sequence: u64) -> Option<Arrival> {
        let (from, arrival) = self.waiting.remove(&sequence)?;
        self.waiting_bytes -= weight(&arrival);
        self.waiting_ranges -= usize::from(from < sequence);
        Some(arrival)
    }

    /// Applies what is no longer behind a gap.
    fn release(&mut self, apply: &mut impl FnMut(Arrival)) {
        while let Some(until) = self.reachable() {
            // What was received inside a range that is declared lost is not lost.
            while let Some((&sequence, _)) = self.waiting.first_key_value()
                && sequence <= until
            {
                if let Some(arrival) = self.remove(sequence) {
                    apply(clipped(arrival, self.through + 1));
                }
            }
            self.through = until;
        }
    }

    /// The sequence up to which the next step can go: the next event, or the end of a range that
    /// covers it. None at a gap.
    fn reachable(&self) -> Option<u64> {
        let next = self.through + 1;
        let (&first, (from, _)) = self.waiting.first_key_value()?;
        if *from <= next {
            return Some(first);
        }
        if self.waiting_ranges == 0 {
            return None;
        }
        let covers = |(sequence, (from, _)): (&u64, &(u64, Arrival))| {
            (*from < *sequence && *from <= next).then_some(*sequence)
        };
        self.waiting.iter().find_map(covers)
    }

    /// Lets the farthest events go until the rest has room. False if `newest` was among them.
    fn shrink_to(&mut self, room: Room, newest: u64) -> bool {
        let mut newest_stays = true;
        while self.waiting.len() > room.events || self.waiting_bytes > room.bytes {
            let Some((&farthest, _)) = self.waiting.last_key_value() else { break };
            self.remove(farthest);
            newest_stays &= farthest != newest;
        }
        newest_stays
    }

    pub(super) fn waiting(&self) -> Room {
        Room { events: self.waiting.len(), bytes: self.waiting_bytes }
    }
}

/// A declaration of loss that speaks only of what was not applied already.
fn clipped(mut arrival: Arrival, first: u64) -> Arrival {
    if let EventData::OutboxDropped(dropped) = &mut arrival.event.data {
        dropped.from = dropped.from.max(Sequence(first));
    }
    arrival
}

fn weight(arrival: &Arrival) -> usize {
    // The decoded form holds the same texts once more.
    2 * arrival.payload.len() + ARRIVAL_BYTES
}
