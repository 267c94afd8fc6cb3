//! How events, samples, checkpoints and presences change the fleet.

use std::sync::Arc;

use jiff::Timestamp;
use pvewatch_protocol::event::{UnitChange, UnitLog, UnitState};
use pvewatch_protocol::{
    Checkpoint, CheckpointContent, Event, EventData, NodeName, NodePresence, Position, Sample,
};

use super::backups::Told;
use super::change::{Change, Origin};
use super::delivery::{Backlog, Loss};
use super::entity::Version;
use super::moment::{Moment, is_future};
use super::node::Node;
use super::silence::Heard;
use super::slot::{Put, Slot};
use super::state::{Fleet, NODES_MAX};

impl Fleet {
    /// When an event happened, and whether it comes from a backlog.
    pub fn moment_of(&self, event: &Event, received_at: Timestamp) -> (Moment, bool) {
        let node = self.node(&event.node);
        let skew = node.map_or_else(Default::default, |node| node.clock_skew());
        let learned = Moment::judge(event.recorded_time, received_at, skew);
        let late = learned.is_late(received_at);
        (Moment::judge(event.time, received_at, skew), late)
    }

    /// Whether an event was learned late, by its agent or by this collector: much later than it
    /// happened, the difference of the clocks set aside.
    pub fn is_late(&self, event: &Event, received_at: Timestamp) -> bool {
        let (happened, comes_from_backlog) = self.moment_of(event, received_at);
        comes_from_backlog || happened.is_late(received_at)
    }

    /// Whether a sample was held up on its way, by what was known of its node's clock before it.
    pub fn is_held_up(&self, name: &NodeName, sent_at: Timestamp, received_at: Timestamp) -> bool {
        let node = self.node(name).filter(|node| node.clock_skew_seconds.is_some());
        node.is_some_and(|node| {
            Moment::judge(sent_at, received_at, node.clock_skew()).is_late(received_at)
        })
    }

    /// Applies an event.
    pub fn apply_event(
        &mut self,
        event: Event,
        version: Version,
        received_at: Timestamp,
    ) -> Vec<Change> {
        let (moment, late) = self.moment_of(&event, received_at);
        self.counters.late_events += u64::from(late);
        self.counters.future_times += u64::from(is_future(event.time, received_at));
        if let Some(slot) = self.nodes.get_mut(&event.node) {
            slot.told_through = slot.told_through.max(version);
        }
        let (node, time, at) = (event.node, event.time, (version, event.position));
        match event.data {
            EventData::UnitChanged(changed) => {
                let state = (changed.state, Some(changed.change));
                self.put_unit(&node, state, at, (moment, received_at)).into_iter().collect()
            }
            EventData::UnitRemoved(removed) => {
                self.remove_unit(&node, &removed.unit, version, moment)
            }
            EventData::UnitLog(log) => self.log_unit(&node, &log, time, moment),
            EventData::BackupStarted(started) => {
                self.start_backup(&node, started, Told { at, moment, received_at })
            }
            EventData::BackupFinished(finished) => {
                self.finish_backup(&node, *finished, Told { at, moment, received_at })
            }
            EventData::GuestChanged(run) => {
                let told = Told { at, moment, received_at };
                self.turn_guest(&node, run, told)
            }
            EventData::TaskFinished(task) => {
                self.finish_task(&node, &task, Told { at, moment, received_at })
            }
            EventData::BackupJobFinished(finished) => {
                self.end_job(&node, finished, moment).into_iter().collect()
            }
            EventData::Unknown { .. } => {
                self.counters.unknown_kinds += 1;
                Vec::new()
            }
            data => self.apply_agent_event(&node, (&data, time), at, (moment, received_at)),
        }
    }

    fn apply_agent_event(
        &mut self,
        name: &NodeName,
        (data, time): (&EventData, Timestamp),
        at: (Version, Position),
        (moment, received_at): (Moment, Timestamp),
    ) -> Vec<Change> {
        let began_at = self.began_at;
        let Some(slot) = self.slot(name, received_at) else { return Vec::new() };
        let newer = at.0 > slot.node.facts_version;
        let node = slot.node_mut();
        match data {
            // A goodbye is judged by its own time, and a loss is a loss: neither grows old.
            EventData::AgentStopping(stopping) => node.say_goodbye(stopping, time),
            EventData::OutboxDropped(dropped) => {
                let loss = Loss::declared(at.1.stream, dropped, moment);
                if loss.is_before(began_at) {
                    self.counters.events_before += loss.events();
                } else {
                    node.lose(loss);
                }
            }
            EventData::AgentStarted(started) if newer => {
                node.learn(&started.facts, at, time);
                let mut changes = self.make_up_for_runs(name, moment);
                changes.push(node_change(name, vec![Origin::Facts, Origin::Silence], moment));
                changes.extend(self.settle_anew(name, moment));
                return changes;
            }
            _ => {
                self.counters.not_newer += 1;
                return Vec::new();
            }
        }
        vec![node_change(name, vec![Origin::Facts, Origin::Silence], moment)]
    }

    /// Applies a sample. Nothing is too old to be a sign of life, but only the newest is kept.
    pub fn apply_sample(
        &mut self,
        name: &NodeName,
        (sample, backlog): (&Sample, Backlog),
        received_at: Timestamp,
    ) -> Vec<Change> {
        let listening_since = self.listening_since;
        let Some(slot) = self.slot(name, received_at) else { return Vec::new() };
        let before = slot.node.reading.as_ref();
        let before = before.filter(|reading| reading.received_at >= listening_since);
        slot.read_before = before.map(|reading| reading.sample.at);
        let reading = slot.node.reading.as_ref();
        let missing = reading.map(|reading| reading.missing_from(sample)).unwrap_or_default();
        let node = slot.node_mut();
        let mut origins = vec![Origin::Reading];
        let returned = node.read(sample, backlog, received_at);
        let judged = node.pass_time(received_at, listening_since);
        if returned || judged {
            origins.push(Origin::Silence);
        }
        let moment = Moment::judge(sample.at, received_at, node.clock_skew());
        let is_silence = origins.contains(&Origin::Silence);
        self.settle_members(name);
        let mut changes = vec![node_change(name, origins, moment)];
        for (kind, id) in missing {
            // A sample that is older than what is known changes nothing.
            if self.find(name, (kind, &id)).is_none() {
                changes.push(Change::SampledGone { node: name.clone(), kind, id, moment });
            }
        }
        if is_silence {
            changes.extend(self.settle_anew(name, moment));
        }
        changes
    }

    /// Notes events that are lost without their agent having said so.
    pub fn apply_loss(&mut self, name: &NodeName, loss: Loss) -> Vec<Change> {
        let moment = loss.at;
        let Some(slot) = self.slot(name, moment.judged) else { return Vec::new() };
        slot.node_mut().lose(loss);
        vec![node_change(name, vec![Origin::Facts], moment)]
    }

    /// Applies a birth message or a last will.
    pub fn apply_presence(
        &mut self,
        name: &NodeName,
        presence: &NodePresence,
        received_at: Timestamp,
    ) -> Vec<Change> {
        let listening_since = self.listening_since;
        let Some(slot) = self.slot(name, received_at) else { return Vec::new() };
        let node = slot.node_mut();
        let heard = node.hear(presence, received_at);
        let judged = node.pass_time(received_at, listening_since);
        let moment = match node.silent {
            Some(since) => since,
            None => Moment::judge(presence.at, received_at, node.clock_skew()),
        };
        self.counters.superseded_wills += u64::from(heard == Heard::Superseded);
        if heard == Heard::Changed || judged {
            let origins = vec![Origin::Silence, Origin::Facts];
            let mut changes = vec![node_change(name, origins, moment)];
            changes.extend(self.settle_anew(name, moment));
            return changes;
        }
        Vec::new()
    }

    /// Applies a part of a checkpoint; `version` is that of its `as_of`.
    pub fn apply_checkpoint(
        &mut self,
        name: &NodeName,
        checkpoint: &Checkpoint,
        version: Version,
        received_at: Timestamp,
    ) -> Vec<Change> {
        match &checkpoint.content {
            CheckpointContent::Agent(facts) => {
                let Some(slot) = self.slot(name, received_at) else { return Vec::new() };
                // A source can begin or cease to watch without an event: then a later picture is
                // as of the same one. The broker gives an agent's pictures in their order.
                let is_known = slot.node.facts.as_ref() == Some(facts);
                let is_older = version < slot.node.facts_version;
                if is_older || (is_known && version == slot.node.facts_version) {
                    self.counters.not_newer += 1;
                    return Vec::new();
                }
                let node = slot.node_mut();
                node.learn(facts, (version, checkpoint.as_of), checkpoint.at);
                let moment = Moment::judge(checkpoint.at, received_at, node.clock_skew());
                let origins = vec![Origin::Facts, Origin::Silence];
                let mut changes = vec![node_change(name, origins, moment)];
                changes.extend(self.settle_anew(name, moment));
                changes
            }
            CheckpointContent::Units(units) => {
                self.draw_units(name, (checkpoint, units), version, received_at)
            }
            CheckpointContent::Guests(guests) => {
                self.draw_guests(name, (checkpoint, guests), version, received_at)
            }
            CheckpointContent::GuestRuns(runs) => {
                self.draw_runs(name, (checkpoint, runs), version, received_at)
            }
            CheckpointContent::BackupJobs(jobs) => {
                self.draw_jobs(name, (checkpoint, jobs), version, received_at)
            }
            CheckpointContent::BackupStorages(storages) => {
                self.draw_storages(name, (checkpoint, storages), version, received_at)
            }
            CheckpointContent::Unknown(_) => {
                self.counters.unknown_kinds += 1;
                Vec::new()
            }
        }
    }

    /// Judges a node's silence as of `now`.
    pub fn pass_time(&mut self, name: &NodeName, now: Timestamp) -> Vec<Change> {
        let listening_since = self.listening_since;
        let Some(slot) = self.nodes.get_mut(name) else { return Vec::new() };
        if slot.node.next_judgement(listening_since).is_none_or(|at| at > now) {
            return Vec::new();
        }
        let node = slot.node_mut();
        if !node.pass_time(now, listening_since) {
            return Vec::new();
        }
        let moment = node.silent.unwrap_or(Moment::both(now));
        let mut changes = vec![node_change(name, vec![Origin::Silence], moment)];
        changes.extend(self.settle_anew(name, moment));
        changes
    }

    pub(super) fn slot(&mut self, name: &NodeName, received_at: Timestamp) -> Option<&mut Slot> {
        if !self.nodes.contains_key(name) {
            if self.nodes.len() >= NODES_MAX {
                self.counters.entities_refused += 1;
                return None;
            }
            let node = Arc::new(Node::new(name.clone(), received_at));
            self.nodes.insert(name.clone(), Slot::new(node));
            self.created.push(name.clone());
        }
        self.nodes.get_mut(name)
    }

    fn put_unit(
        &mut self,
        name: &NodeName,
        (state, change): (UnitState, Option<UnitChange>),
        at: (Version, Position),
        (moment, received_at): (Moment, Timestamp),
    ) -> Option<Change> {
        let slot = self.slot(name, received_at)?;
        // systemd's own time of the change says it best, above all in a checkpoint.
        let skew = slot.node.clock_skew();
        let entered = |at| Moment::judge(at, received_at, skew);
        let since = state.changed_at.map_or(moment, entered);
        match slot.put_unit(state, change, at, since) {
            Put::New(change) => {
                self.units_count += 1;
                Some(change)
            }
            Put::Changed(change) => Some(change),
            Put::NotNewer => {
                self.counters.not_newer += 1;
                None
            }
            Put::Refused => {
                self.counters.entities_refused += 1;
                None
            }
        }
    }

    fn remove_unit(
        &mut self,
        name: &NodeName,
        id: &str,
        version: Version,
        moment: Moment,
    ) -> Vec<Change> {
        let Some(slot) = self.nodes.get_mut(name) else { return Vec::new() };
        if !slot.is_newer(id, version) {
            self.counters.not_newer += 1;
            return Vec::new();
        }
        let remembered = node_change(name, Vec::new(), moment);
        match slot.remove_unit(id, version) {
            Some(unit) => {
                self.units_count -= 1;
                vec![remembered, Change::UnitGone { unit, moment }]
            }
            None => vec![remembered],
        }
    }

    fn log_unit(
        &mut self,
        name: &NodeName,
        log: &UnitLog,
        time: Timestamp,
        moment: Moment,
    ) -> Vec<Change> {
        let Some(slot) = self.nodes.get_mut(name) else { return Vec::new() };
        let Some(unit) = slot.unit_mut(&log.unit) else { return Vec::new() };
        if unit.log.as_ref().is_some_and(|kept| kept.at >= time) {
            self.counters.not_newer += 1;
            return Vec::new();
        }
        Arc::make_mut(unit).keep_log(log, time);
        let known_since = Some(unit.since);
        vec![Change::Unit { unit: unit.clone(), moment, state: false, known_since }]
    }

    fn draw_units(
        &mut self,
        name: &NodeName,
        (checkpoint, units): (&Checkpoint, &[UnitState]),
        version: Version,
        received_at: Timestamp,
    ) -> Vec<Change> {
        let Some(slot) = self.slot(name, received_at) else { return Vec::new() };
        if version <= slot.node.units_as_of {
            self.counters.not_newer += 1;
            return Vec::new();
        }
        let drawn = Moment::judge(checkpoint.at, received_at, slot.node.clock_skew());
        let names = units.iter().map(|unit| unit.unit.clone());
        let complete = slot.parts.add(version, (checkpoint.part, checkpoint.of), names);
        let is_corrected = |unit: &&UnitState| slot.is_corrected(unit, version);
        self.counters.corrected_units += units.iter().filter(is_corrected).count() as u64;
        let at = (version, checkpoint.as_of);
        let put = |state: &UnitState| {
            self.put_unit(name, (state.clone(), None), at, (drawn, received_at))
        };
        let mut changes: Vec<Change> = units.iter().filter_map(put).collect();
        if let (Some(named), Some(slot)) = (complete, self.nodes.get_mut(name)) {
            let was_told = slot.is_told_by_events(slot.node.units_as_of, version);
            let gone = slot.keep_only(&named, version);
            self.counters.corrected_units += if was_told { gone.len() as u64 } else { 0 };
            self.units_count -= gone.len();
            changes.extend(gone.into_iter().map(|unit| Change::UnitGone { unit, moment: drawn }));
            // The node remembers which picture was the last.
            changes.push(node_change(name, Vec::new(), drawn));
        }
        changes
    }
}

pub(super) fn node_change(node: &NodeName, origins: Vec<Origin>, moment: Moment) -> Change {
    Change::Node { node: node.clone(), origins, moment }
}

#[cfg(test)]
mod tests {
    use pvewatch_protocol::event::{AgentFacts, SourceStatus};
    use pvewatch_protocol::{Position, Sequence, Site, StreamId};

    use super::*;

    #[test]
    fn a_source_that_ceases_to_watch_is_seen_although_no_event_came() {
        let now = Timestamp::UNIX_EPOCH;
        let node: NodeName = "pve1".parse().unwrap();
        let mut fleet = Fleet::new(Site::default(), now);
        let stream = StreamId(uuid::Uuid::nil());
        let version = |sequence| Version { stream_ordinal: 1, sequence };
        let mut tell = |sequence, active| {
            let source = SourceStatus { name: "units".to_owned(), active, detail: String::new() };
            let facts = AgentFacts {
                version: "0.1.0".to_owned(),
                boot_id: "1".to_owned(),
                booted_at: now,
                machine_id: None,
                product_uuid: None,
                macs: Vec::new(),
                cluster: None,
                labels: Default::default(),
                sources: vec![source],
                sample_interval_seconds: 10.0,
            };
            let content = CheckpointContent::Agent(facts);
            let as_of = Position { stream, sequence: Sequence(sequence) };
            let checkpoint = Checkpoint { as_of, part: 1, of: 1, at: now, content };
            let changed = fleet.apply_checkpoint(&node, &checkpoint, version(sequence), now);
            let known = fleet.node(&node).unwrap().facts.clone().unwrap();
            (!changed.is_empty(), known.sources[0].active)
        };
        assert_eq!(tell(2, true), (true, true));
        assert_eq!(tell(2, false), (true, false), "the same event, another picture");
        assert_eq!(tell(2, false), (false, false), "the same picture again");
        assert_eq!(tell(1, true), (false, false), "an older picture");
    }
}
