//! Events that are sent again by themselves, to learn whether a collector is there, or still has
//! what it said.

use std::time::Instant;

use jiff::Timestamp;
use pvewatch_protocol::{CollectorName, Sequence, StreamId};

use super::lane::Lane;
use super::queue::Outbox;
use super::sending::Outgoing;

impl Outbox {
    /// Sends the last event of each stream again that a collector is known to have: it may have it
    /// no more.
    pub(super) fn probe_what_is_stored_by(&mut self, name: &CollectorName) {
        let probes = self.last_stored_by(name);
        self.collectors.set_probes(name, probes);
    }

    /// The same for all of them.
    pub(super) fn probe_what_is_stored(&mut self) {
        for name in self.collectors.names() {
            self.probe_what_is_stored_by(&name);
        }
    }

    /// The same for one stream, of which the broker has just told that a collector has it.
    pub(super) fn probe_end_of(&mut self, name: &CollectorName, stream: StreamId) {
        let mut ends = self.last_stored_by(name).into_iter();
        if let Some(end) = ends.find(|(whole, _)| *whole == stream) {
            self.collectors.add_probe(name, end);
        }
    }

    /// Sends the first event that a collector lacks, in case that it is there.
    pub(super) fn probe_what_is_lacked_by(&mut self, name: &CollectorName) {
        let lacked = |lane: &Lane| {
            let first = self.collectors.stored_by(name, lane.stream).next();
            (first <= lane.last).then_some((lane.stream, first))
        };
        let first = self.lanes.iter().find_map(lacked);
        self.collectors.set_probes(name, first);
    }

    /// The last event of each stream that a collector has to its end, as far as nothing that is
    /// due would tell whether it still has it: it can have been set back to a copy meanwhile, which
    /// can have one stream whole and not another. Of the present stream samples tell, and of one
    /// that it lacks a part of the next event.
    fn last_stored_by(&self, name: &CollectorName) -> Vec<(StreamId, Sequence)> {
        let current = self.spool.stream();
        let older = self.lanes.iter().filter(|lane| lane.stream != current);
        let is_whole = |lane: &&Lane| {
            lane.last > Sequence(0) && self.collectors.stored_by(name, lane.stream) >= lane.last
        };
        older.filter(is_whole).map(|lane| (lane.stream, lane.last)).collect()
    }

    /// The event that is sent again by itself; none if the disk does not give it now.
    pub(super) fn take_probe(&mut self, now: Instant, today: Timestamp) -> Option<Outgoing> {
        let (stream, first) = self.collectors.next_probe()?;
        let Some(index) = self.lanes.iter().position(|lane| lane.stream == stream) else {
            self.collectors.on_probed((stream, first));
            return None;
        };
        let event = self.event_at(now, today, index, first)?;
        self.collectors.on_probed((stream, first));
        let probe = self.hand_out(stream, first, event, true);
        if let Some(last) = self.under_way.back_mut() {
            last.is_probe = true;
        }
        Some(probe)
    }
}
