//! What comes in on the link: acks, the collectors' presence, and this node's own as the broker
//! kept it.

use jiff::Timestamp;
use pvewatch_edge::mqtt::Received;
use pvewatch_protocol::{
    Ack, AckMessage, CollectorName, CollectorPresence, NodePresence, PresenceState, StreamId,
    Topic, codec,
};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::super::collectors::AckOutcome;
use super::super::company::Word;
use super::Runner;
use crate::clock;

impl Runner {
    pub(super) fn on_message(&mut self, message: &Received) {
        match Topic::parse(&message.topic) {
            Ok((site, Topic::Ack { node, collector }))
                if site == self.site && node == self.node =>
            {
                if let Some(AckMessage { ack, heard_at }) = decoded(message) {
                    self.on_heard(heard_at);
                    if !message.retained {
                        let now = clock::now();
                        self.company.on_word(now, &collector, Word::Live);
                        self.outbox.on_collector_presence(now, &collector, true);
                    }
                    // One that answers a sample asks for nothing, like one that the broker kept.
                    self.on_ack(&collector, ack, message.retained || heard_at.is_some());
                }
            }
            Ok((site, Topic::CollectorPresence { collector })) if site == self.site => {
                if let Some(presence) = decoded(message) {
                    self.on_collector(collector, presence, message.retained);
                }
            }
            Ok((site, Topic::NodePresence { node })) if site == self.site && node == self.node => {
                if let Some(presence) = decoded(message) {
                    self.on_own_presence(&presence);
                }
            }
            _ => log::debug!("{}: not for this agent", message.topic),
        }
    }

    /// The answer to a sample of this connection tells how long the whole way takes.
    fn on_heard(&mut self, heard_at: Option<Timestamp>) {
        let sent = self.samples_sent.iter().find(|(at, _)| Some(*at) == heard_at);
        if let Some((_, sent)) = sent {
            self.round_trip = Some(clock::now().saturating_duration_since(*sent));
        }
    }

    fn on_ack(&mut self, collector: &CollectorName, ack: Ack, retained: bool) {
        let outcome = self.outbox.on_ack(clock::now(), clock::today(), collector, ack, retained);
        match outcome {
            AckOutcome::Advanced | AckOutcome::Unchanged | AckOutcome::OtherStream => {}
            AckOutcome::Repeated | AckOutcome::FellBack => {
                log::info!("collector {collector} asks for events after {}", ack.through);
            }
            AckOutcome::NewEpoch => {
                log::info!("collector {collector} has a new store: it is given what is held");
                self.want_pictures();
            }
            AckOutcome::BeyondSent => {
                log::warn!(
                    "collector {collector} has more than this agent sent: this host was rolled \
                     back, a new stream begins"
                );
                self.outbox.begin_stream(clock::now(), StreamId(Uuid::now_v7()));
                self.want_pictures();
            }
            AckOutcome::NotConfigured => log::debug!("collector {collector} is not configured"),
        }
    }

    /// A collector that comes (back) while this connection is up missed what was sent meanwhile.
    fn on_collector(&mut self, name: CollectorName, presence: CollectorPresence, retained: bool) {
        let is_online = presence.state == PresenceState::Online;
        let word = match (is_online, retained) {
            (true, false) => Word::Live,
            (true, true) => Word::Kept,
            (false, _) => Word::Gone,
        };
        self.company.on_word(clock::now(), &name, word);
        let before = self.collectors_seen.insert(name.clone(), presence.clone());
        self.outbox.on_collector_presence(clock::now(), &name, is_online);
        let was_there = before.is_some_and(|before| {
            before.state == PresenceState::Online
                && before.epoch == presence.epoch
                && (presence.ready || !before.ready)
        });
        if is_online && !was_there && !retained {
            log::info!("collector {name} is online");
            self.outbox.on_collector_online(clock::now(), &name);
        }
    }

    /// Before the first connection the presence is the previous run's; later it is our own,
    /// unless somebody else goes by this name.
    fn on_own_presence(&self, presence: &NodePresence) {
        let is_ours = self.own_epochs.contains(&presence.epoch);
        if self.own_epochs.len() > 1 && !is_ours {
            log::error!(
                "another agent goes by the name {} in site {} (boot id {}) and both throw each \
                 other out: give each node a name of its own, by `node` in its configuration",
                self.node,
                self.site,
                presence.boot_id
            );
        }
    }
}

fn decoded<T: DeserializeOwned>(message: &Received) -> Option<T> {
    codec::decode(&message.payload)
        .inspect_err(|error| log::warn!("{}: {error}", message.topic))
        .ok()
}
