//! The glue of an agent: connects, publishes what is due, hears acks, sends pictures and samples,
//! syncs in groups. It does what the agent's runner does, without waiting.

use std::time::{Duration, Instant};

use fastrand::Rng;
use jiff::Timestamp;
use pvewatch_agent::outbox::AckOutcome;
use pvewatch_protocol::{
    AckMessage, Checkpoint, CheckpointContent, CollectorName, Epoch, NodePresence, PresenceState,
    StopReason, Topic, codec,
};
use uuid::Uuid;

use crate::broker::{Broker, Client, Delivery, Message};
use crate::node::{Node, Now, PICTURE_EVERY, UNITS};

/// From one sample to the next.
const SAMPLE_EVERY: Duration = Duration::from_secs(60);

impl Node {
    /// Connects, if the broker takes it.
    pub fn connect(&mut self, now: Now, broker: &mut Broker) -> bool {
        if self.agent.as_ref().is_none_or(|agent| agent.connection.is_some()) {
            return false;
        }
        // Later ones are greater, as with a UUIDv7, also within a millisecond.
        self.connects += 1;
        let epoch = Epoch(Uuid::from_u128(
            u128::from(now.wall.as_millisecond().unsigned_abs()) << 80
                | 0x7 << 76
                | 0x2 << 62
                | self.connects << 8
                | self.index as u128,
        ));
        let will = self.presence(epoch, Some(StopReason::Lost), now.wall);
        let topics = |leaf: &str| format!("pvewatch/v1/{}/{leaf}", self.site);
        let filters =
            vec![topics(&format!("node/{}/ack/+", self.name)), topics("collector/+/presence")];
        let Some(connection) = broker.connect(Client::Node(self.index), will, filters) else {
            return false;
        };
        let Some(agent) = &mut self.agent else { return false };
        agent.connection = Some((connection, epoch));
        agent.outbox.on_connected(now.instant);
        let birth = self.presence(epoch, None, now.wall);
        broker.publish(connection, birth);
        self.send_picture(now, broker);
        true
    }

    fn presence(&self, epoch: Epoch, reason: Option<StopReason>, at: Timestamp) -> Message {
        let presence = NodePresence {
            state: if reason.is_some() { PresenceState::Offline } else { PresenceState::Online },
            epoch,
            reason,
            boot_id: "boot".to_owned(),
            cluster: None,
            at,
        };
        let topic = Topic::NodePresence { node: self.name.clone() }.at(&self.site);
        let payload = codec::encode(&presence).unwrap_or_default();
        Message::new(topic, payload, true)
    }

    fn send_picture(&mut self, now: Now, broker: &mut Broker) {
        let units = (0..UNITS).map(|unit| self.unit_state(unit)).collect();
        let backups = self.pictures_of_backups(now);
        let Some(agent) = &self.agent else { return };
        let Some((connection, _)) = agent.connection else { return };
        let as_of = agent.outbox.position();
        for content in [CheckpointContent::Units(units)].into_iter().chain(backups) {
            let source = content.source().unwrap_or_default().to_owned();
            let checkpoint = Checkpoint { as_of, part: 1, of: 1, at: now.wall, content };
            let node = self.name.clone();
            let topic = Topic::Checkpoint { node, source, part: 1 }.at(&self.site);
            let payload = codec::encode(&checkpoint).unwrap_or_default();
            broker.publish(connection, Message::new(topic, payload, true));
        }
    }

    fn send_sample(&mut self, now: Now, broker: &mut Broker) {
        let Some(agent) = &mut self.agent else { return };
        let Some((connection, epoch)) = agent.connection else { return };
        if agent.next_sample > now.instant {
            return;
        }
        agent.next_sample = now.instant + SAMPLE_EVERY;
        let sample = serde_json::json!({
            "at": now.wall, "epoch": epoch, "as_of": agent.outbox.position(),
            "interval_seconds": SAMPLE_EVERY.as_secs_f64(), "uptime_seconds": 100.0,
            "load": { "one": 0.0, "five": 0.0, "fifteen": 0.0 },
            "cpu": { "count": 2 },
            "memory": { "total_bytes": 1, "available_bytes": 1 },
            "swap": { "total_bytes": 0, "free_bytes": 0 },
            "agent": {
                "rss_bytes": 1, "outbox_events": agent.outbox.unacked_events(),
                "outbox_bytes": 0, "dropped_events": 0, "resent_events": 0,
            },
        });
        let topic = Topic::Sample { node: self.name.clone() }.at(&self.site);
        let payload = codec::encode(&sample).unwrap_or_default();
        broker.publish(connection, Message::new(topic, payload, false));
    }

    /// Its connection is gone without its doing.
    pub fn notice_loss(&mut self, broker: &Broker) {
        if let Some(agent) = &mut self.agent
            && let Some((connection, _)) = agent.connection
            && !broker.is_connected(connection)
        {
            agent.connection = None;
        }
    }

    /// Ends its connection. Returns whether it had one.
    pub fn disconnect(&mut self, broker: &mut Broker, rng: &mut Rng) -> bool {
        let connection = self.agent.as_mut().and_then(|agent| agent.connection.take());
        if let Some((connection, _)) = connection {
            broker.disconnect(connection, rng);
        }
        connection.is_some()
    }

    /// Publishes what is due, and does what time brings. Returns how many events went out.
    pub fn work(&mut self, now: Now, broker: &mut Broker) -> usize {
        let Some(agent) = &mut self.agent else { return 0 };
        if agent.outbox.next_deadline().is_some_and(|due| due <= now.instant) {
            agent.wants_picture |= agent.outbox.on_deadline(now.instant);
        }
        if agent.next_picture <= now.instant {
            agent.next_picture = now.instant + PICTURE_EVERY;
            agent.wants_picture = true;
        }
        let mut sent = 0;
        let Some((connection, _)) = agent.connection else { return 0 };
        while let Some(outgoing) = agent.outbox.next_to_publish(now.instant, now.wall) {
            let (node, kind) = (self.name.clone(), outgoing.kind);
            let topic = Topic::Event { node, kind }.at(&self.site);
            broker.publish(connection, Message::new(topic, outgoing.payload, false));
            sent += 1;
        }
        if std::mem::take(&mut agent.wants_picture) {
            self.send_picture(now, broker);
        }
        self.send_sample(now, broker);
        sent
    }

    /// Begins to make durable what is not, or ends that.
    pub fn sync(&mut self, now: Now) {
        let Some(agent) = &mut self.agent else { return };
        match agent.sync.take() {
            Some((ticket, job)) => agent.outbox.on_synced(now.instant, &ticket, job()),
            None => agent.sync = agent.outbox.begin_sync(now.instant),
        }
    }

    /// When the agent wants to be called, if ever.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.agent.as_ref()?.outbox.next_deadline()
    }

    /// Something came.
    pub fn deliver(&mut self, now: Now, delivery: Delivery) {
        let Some(agent) = &mut self.agent else { return };
        match delivery {
            Delivery::PubAck { is_event: true, reason } => {
                self.was_refused |= reason.refusal().is_some();
                agent.outbox.on_puback(now.instant, reason.into());
            }
            Delivery::PubAck { is_event: false, .. } => {}
            Delivery::RetainedRead => agent.outbox.on_told(now.instant),
            Delivery::Message(message) => match Topic::parse(&message.topic) {
                Ok((_, Topic::Ack { collector, .. })) => {
                    if let Ok(ack) = codec::decode(&message.payload) {
                        self.on_ack(now, &collector, ack, message.retain);
                    }
                }
                Ok((_, Topic::CollectorPresence { collector })) => {
                    if let Ok(presence) = codec::decode(&message.payload) {
                        let retained = message.retain;
                        agent.outbox.on_presence_message(
                            now.instant,
                            &collector,
                            presence,
                            retained,
                        );
                    }
                }
                _ => {}
            },
        }
    }

    fn on_ack(&mut self, now: Now, collector: &CollectorName, ack: AckMessage, retained: bool) {
        let Some(agent) = &mut self.agent else { return };
        match agent.outbox.on_ack_message(now.instant, now.wall, collector, ack, retained) {
            AckOutcome::NewEpoch => agent.wants_picture = true,
            AckOutcome::BeyondSent => {
                self.streams += 1;
                let before = agent.outbox.position();
                let stream = self.stream_id(now);
                if let Some(agent) = &mut self.agent {
                    agent.outbox.begin_stream(now.instant, now.wall, stream);
                    let last = agent.outbox.position().sequence;
                    // What was carried over goes by its new name; the old one is nobody's.
                    self.made.extend((1..=last.0).map(|number| (stream, number)));
                    self.made.retain(|(of, number)| *of != before.stream || *number == 0);
                    self.committed.retain(|(of, _)| *of != before.stream);
                    agent.wants_picture = true;
                }
            }
            _ => {}
        }
    }
}
