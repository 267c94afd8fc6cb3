//! What nodes say that exist on paper only: well-formed messages, numbered as an agent would.
//!
//! Of ten units of a node one fails and recovers, the others stop and start. Nothing is sent
//! here. Absent: journal lines, and units that fail in a loop.

use std::collections::BTreeMap;

use jiff::Timestamp;
use pvewatch_protocol::envelope::CONTENT_TYPE;
use pvewatch_protocol::event::{
    AgentFacts, AgentStarted, Exit, UnitChange, UnitChanged, UnitState,
};
use pvewatch_protocol::sample::{AgentHealth, Cpu, Load, Memory, Swap};
use pvewatch_protocol::{
    Checkpoint, CheckpointContent, Epoch, Event, EventData, NodeName, NodePresence, Position,
    PresenceState, Sample, Sequence, Site, StreamId, Topic, codec,
};
use serde::Serialize;
use uuid::Uuid;

use crate::deadline::now;

/// Every so many units one fails and recovers.
const FAILING_EVERY: usize = 10;

/// So seldom that no node falls silent while others are measured.
const SAMPLE_INTERVAL_SECONDS: f64 = 300.0;

/// A message, ready to be published.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The full topic.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// Its content type.
    pub content_type: &'static str,
    /// Whether the broker is to keep it.
    pub retain: bool,
    /// Whether the broker is to confirm it.
    pub confirmed: bool,
}

/// A node with its units, and one stream at a time.
#[derive(Debug, Clone)]
pub struct PaperNode {
    site: Site,
    name: NodeName,
    stream: StreamId,
    sequence: Sequence,
    epoch: Epoch,
    boot_id: String,
    /// Whether each unit runs.
    running: Vec<bool>,
    turn: usize,
}

impl PaperNode {
    /// A node of that number with `units` units, all of which run.
    ///
    /// # Panics
    /// When the site's name is none.
    #[track_caller]
    pub fn new(site: &str, number: usize, units: usize) -> Self {
        Self {
            site: site.parse().expect("the benchmarks name their sites well"),
            name: format!("node{number:05}").parse().expect("a number makes a good name"),
            stream: StreamId(Uuid::now_v7()),
            sequence: Sequence(0),
            epoch: Epoch(Uuid::now_v7()),
            boot_id: Uuid::now_v7().to_string(),
            running: vec![true; units],
            turn: number,
        }
    }

    /// Where its stream is: the last event that it made.
    pub fn position(&self) -> Position {
        Position { stream: self.stream, sequence: self.sequence }
    }

    /// Begins a new stream, as an agent that is started again.
    pub fn restart(&mut self) -> Prepared {
        self.stream = StreamId(Uuid::now_v7());
        self.sequence = Sequence(0);
        let facts = self.facts();
        self.event(EventData::AgentStarted(AgentStarted { facts }))
    }

    /// The next change of a unit, each unit in turn.
    pub fn change(&mut self) -> Prepared {
        let data = self.next_change();
        self.event(data)
    }

    /// As [`PaperNode::change`], without number and envelope.
    pub fn next_change(&mut self) -> EventData {
        let unit = self.turn % self.running.len();
        self.turn += 1;
        self.running[unit] = !self.running[unit];
        let fails = unit.is_multiple_of(FAILING_EVERY);
        let change = match (self.running[unit], fails) {
            (true, true) => UnitChange::Recovered,
            (true, false) => UnitChange::Started,
            (false, true) => UnitChange::Failed,
            (false, false) => UnitChange::Stopped,
        };
        EventData::UnitChanged(Box::new(UnitChanged { change, state: self.state(unit) }))
    }

    /// What an agent says when it has connected: its presence, and the picture of everything.
    pub fn introduction(&self) -> Vec<Prepared> {
        let presence = NodePresence {
            state: PresenceState::Online,
            epoch: self.epoch,
            reason: None,
            boot_id: self.boot_id.clone(),
            cluster: None,
            at: now(),
        };
        let units = (0..self.running.len()).map(|unit| self.state(unit)).collect();
        let topic = Topic::NodePresence { node: self.name.clone() };
        vec![
            Prepared { retain: true, ..self.message(&topic, &presence) },
            self.checkpoint(CheckpointContent::Agent(self.facts())),
            self.checkpoint(CheckpointContent::Units(units)),
        ]
    }

    /// A sample, unconfirmed as an agent sends it.
    pub fn sample(&self) -> Prepared {
        let sample = Sample {
            at: now(),
            epoch: self.epoch,
            as_of: self.position(),
            interval_seconds: SAMPLE_INTERVAL_SECONDS,
            uptime_seconds: 86_400.0,
            load: Load { one: 0.42, five: 0.31, fifteen: 0.28 },
            cpu: Cpu { count: 8, busy_ratio: Some(0.0734) },
            memory: Memory { total_bytes: 32 << 30, available_bytes: 20 << 30 },
            swap: Swap { total_bytes: 8 << 30, free_bytes: 8 << 30 },
            pressure: None,
            filesystems: Vec::new(),
            pools: Vec::new(),
            interfaces: Vec::new(),
            temperatures: Vec::new(),
            clock: None,
            certificate: None,
            cluster: None,
            oom_kills: None,
            reboot_required: None,
            guests: None,
            agent: AgentHealth { rss_bytes: 6 << 20, ..AgentHealth::default() },
        };
        let topic = Topic::Sample { node: self.name.clone() };
        Prepared { confirmed: false, ..self.message(&topic, &sample) }
    }

    fn event(&mut self, data: EventData) -> Prepared {
        self.sequence = self.sequence.next();
        let at = now();
        let event = Event {
            site: self.site.clone(),
            node: self.name.clone(),
            position: self.position(),
            time: at,
            recorded_time: at,
            data,
            extensions: serde_json::Map::new(),
        };
        let kind = event.data.kind().to_owned();
        Prepared {
            topic: Topic::Event { node: self.name.clone(), kind }.at(&self.site),
            payload: codec::encode_event(&event).expect("an event is JSON"),
            content_type: CONTENT_TYPE,
            retain: false,
            confirmed: true,
        }
    }

    fn checkpoint(&self, content: CheckpointContent) -> Prepared {
        let source = content.source().unwrap_or_default().to_owned();
        let topic = Topic::Checkpoint { node: self.name.clone(), source, part: 1 };
        let picture = Checkpoint { as_of: self.position(), part: 1, of: 1, at: now(), content };
        Prepared { retain: true, ..self.message(&topic, &picture) }
    }

    fn message<T: Serialize>(&self, topic: &Topic, payload: &T) -> Prepared {
        Prepared {
            topic: topic.at(&self.site),
            payload: codec::encode(payload).expect("a payload is JSON"),
            content_type: "application/json",
            retain: false,
            confirmed: true,
        }
    }

    fn facts(&self) -> AgentFacts {
        AgentFacts {
            version: "0.0.0".to_owned(),
            boot_id: self.boot_id.clone(),
            booted_at: Timestamp::UNIX_EPOCH,
            machine_id: None,
            product_uuid: None,
            macs: Vec::new(),
            cluster: None,
            labels: BTreeMap::from([("environment".to_owned(), "bench".to_owned())]),
            sources: Vec::new(),
            sample_interval_seconds: SAMPLE_INTERVAL_SECONDS,
        }
    }

    fn state(&self, unit: usize) -> UnitState {
        let fails = unit.is_multiple_of(FAILING_EVERY);
        let (active, sub) = match (self.running[unit], fails) {
            (true, _) => ("active", "running"),
            (false, true) => ("failed", "failed"),
            (false, false) => ("inactive", "dead"),
        };
        let has_failed = !self.running[unit] && fails;
        UnitState {
            unit: format!("bench-service-{unit:02}.service"),
            load_state: "loaded".to_owned(),
            active_state: active.to_owned(),
            sub_state: sub.to_owned(),
            result: Some(if has_failed { "exit-code" } else { "success" }.to_owned()),
            exit: has_failed.then(|| Exit { code: "exited".to_owned(), status: 1 }),
            restarts: 0,
            will_restart: false,
            invocation_id: Some("4f1c2a9be07d4d3c8a6b5e9f0d1c2b3a".to_owned()),
            changed_at: Some(now()),
            crash_loop: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paper_node_numbers_its_events_without_gaps_from_each_start_on() {
        let mut node = PaperNode::new("bench", 3, 50);
        for _ in 0..2 {
            let messages: Vec<Prepared> =
                std::iter::once(node.restart()).chain((0..100).map(|_| node.change())).collect();
            for (message, number) in messages.iter().zip(1..) {
                let event = codec::decode_event(&message.payload).unwrap();
                assert_eq!(event.position.sequence, Sequence(number));
                assert_eq!(event.position.stream, node.position().stream);
                assert!(message.topic.ends_with(event.data.kind()), "{}", message.topic);
            }
        }
    }

    #[test]
    fn every_unit_changes_in_turn_and_one_in_ten_fails_and_recovers() {
        let mut node = PaperNode::new("bench", 0, 50);
        let changes: Vec<UnitChange> = (0..100)
            .map(|_| match node.next_change() {
                EventData::UnitChanged(changed) => changed.change,
                other => panic!("{other:?}"),
            })
            .collect();
        let count = |wanted| changes.iter().filter(|change| **change == wanted).count();
        assert_eq!((count(UnitChange::Failed), count(UnitChange::Recovered)), (5, 5));
        assert_eq!((count(UnitChange::Stopped), count(UnitChange::Started)), (45, 45));
    }
}
