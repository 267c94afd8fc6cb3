//! What goes out on the link: events through the window, pictures, samples, the presence.

use pvewatch_edge::mqtt::{Message, PublishError};
use pvewatch_protocol::envelope::CONTENT_TYPE;
use pvewatch_protocol::{CheckpointContent, StopReason, codec};
use serde::Serialize;

use super::{Kind, Runner};
use crate::{clock, pictures, samples};

/// Publishes of parts of pictures that may wait for their PUBACK, apart from the events' window.
const PARTS_WINDOW: usize = 4;

impl Runner {
    pub(super) fn queue_picture(&mut self, content: CheckpointContent) {
        if self.epoch.is_none() {
            return;
        }
        let as_of = self.outbox.position();
        for part in pictures::parts(&self.site, &self.node, content, as_of, clock::today()) {
            self.parts.retain(|waiting| waiting.topic != part.topic);
            self.parts.extend(message(part.topic, &part.checkpoint).map(Message::retained));
        }
    }

    /// Publishes what the windows allow.
    pub(super) async fn publish_due(&mut self) {
        if self.epoch.is_none() {
            return;
        }
        while let Some(outgoing) = self.outbox.next_to_publish(clock::now(), clock::today()) {
            let topic = pictures::event_topic(&self.site, &self.node, &outgoing.kind);
            let message = Message::new(topic, outgoing.payload).content_type(CONTENT_TYPE);
            self.publish(message, Kind::Event).await;
        }
        let parts_out = self.awaiting_puback.values().filter(|kind| **kind == Kind::Part).count();
        for _ in parts_out..PARTS_WINDOW {
            let Some(part) = self.parts.pop_front() else { break };
            self.publish(part, Kind::Part).await;
        }
    }

    pub(super) fn publish_sample(&mut self) {
        let reading = self.inputs.readings.borrow_and_update().clone();
        let (Some(reading), Some(epoch)) = (reading, self.epoch) else {
            return;
        };
        let interval = self.inputs.sample_interval;
        let (now, today) = (clock::now(), clock::today());
        let oldest = self.outbox.oldest_unacked(now).map(|since| today.duration_since(since));
        let mut sample = samples::complete(reading, today, epoch, interval, &self.outbox);
        let oldest = oldest.map_or(0.0, |age| age.as_secs_f64().max(0.0));
        sample.agent.oldest_unacked_seconds = Some(oldest);
        let round_trip = self.round_trip.shown(now, interval);
        sample.agent.ack_round_trip_seconds = round_trip.map(|time| time.as_secs_f64());
        self.round_trip.on_sent(now, today);
        let topic = samples::topic(&self.site, &self.node);
        if let (Some(message), Some(client)) = (message(topic, &sample), self.link.client()) {
            // A sample that cannot be sent is made up for by the next one.
            if client.try_publish(message.at_most_once()).is_ok() {
                self.company.on_sample();
            }
        }
    }

    pub(super) async fn publish_presence(&mut self, reason: Option<StopReason>) {
        let Some(epoch) = self.epoch else { return };
        let presence = self.speaker.presence(epoch, reason, clock::today());
        if let Some(message) = message(self.speaker.presence_topic(), &presence) {
            self.publish(message.retained(), Kind::Presence).await;
        }
    }

    /// Hands a message to the link. One that fails with its connection is not lost: an event stays
    /// in the outbox, a picture is asked for again. One that can never be sent is said to be lost.
    async fn publish(&mut self, message: Message, kind: Kind) {
        let Some(client) = self.link.client() else { return };
        match client.publish(message).await {
            Ok(ticket) => {
                self.awaiting_puback.insert(ticket, kind);
            }
            Err(PublishError::Closed) => {}
            Err(error) if kind == Kind::Event => {
                let given_up = self.outbox.on_unsendable(clock::now(), error.to_string());
                self.tell_given_up(given_up);
                self.tell_disk();
            }
            Err(error) => log::error!("{}: {error}", self.link.url()),
        }
    }
}

/// Encodes a payload; one that cannot be encoded is a fault that is logged, not passed on.
fn message<T: Serialize>(topic: String, payload: &T) -> Option<Message> {
    match codec::encode(payload) {
        Ok(bytes) => Some(Message::new(topic, bytes).content_type("application/json")),
        Err(error) => {
            log::error!("{topic}: cannot be encoded: {error}");
            None
        }
    }
}
