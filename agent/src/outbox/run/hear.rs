//! What comes in on the link: acks, the collectors' presence, this node's own as the broker kept
//! it, and the broker's answers.

use pvewatch_edge::mqtt::{PublishReason, Received, Ticket};
use pvewatch_protocol::{
    AckMessage, CollectorName, CollectorPresence, NodePresence, Position, PresenceState, StreamId,
    Topic, codec,
};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::super::collectors::AckOutcome;
use super::super::company::Word;
use super::super::refusals::Answer;
use super::{Kind, Runner};
use crate::clock;

impl From<PublishReason> for Answer {
    fn from(reason: PublishReason) -> Self {
        match reason.refusal() {
            None => Self::Taken,
            Some(why) => Self::Refused { reason: why.to_owned(), for_good: reason.is_for_good() },
        }
    }
}

impl Runner {
    pub(super) fn on_message(&mut self, message: &Received) {
        match Topic::parse(&message.topic) {
            Ok((site, Topic::Ack { node, collector }))
                if site == self.site && node == self.node =>
            {
                if let Some(ack) = decoded(message) {
                    self.on_ack(&collector, ack, message.retained);
                }
            }
            Ok((site, Topic::CollectorPresence { collector })) if site == self.site => {
                if let Some(presence) = decoded(message) {
                    self.on_collector(&collector, presence, message.retained);
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

    fn on_ack(&mut self, collector: &CollectorName, message: AckMessage, retained: bool) {
        let (now, today, through) = (clock::now(), clock::today(), message.ack.through);
        if let Some(at) = message.heard_at {
            self.round_trip.on_answer(now, at);
        }
        if !retained {
            self.company.on_word(now, collector, Word::Live);
        }
        match self.outbox.on_ack_message(now, today, collector, message, retained) {
            AckOutcome::Advanced | AckOutcome::Unchanged | AckOutcome::OtherStream => {}
            AckOutcome::Repeated | AckOutcome::FellBack => {
                log::info!("collector {collector} asks for events after {through}");
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
                let stream = StreamId(Uuid::now_v7());
                self.outbox.begin_stream(clock::now(), clock::today(), stream);
                self.want_pictures();
            }
            AckOutcome::NotConfigured => log::debug!("collector {collector} is not configured"),
        }
    }

    fn on_collector(&mut self, name: &CollectorName, presence: CollectorPresence, retained: bool) {
        let is_online = presence.state == PresenceState::Online;
        let word = match (is_online, retained) {
            (true, false) => Word::Live,
            (true, true) => Word::Kept,
            (false, _) => Word::Gone,
        };
        self.company.on_word(clock::now(), name, word);
        if self.outbox.on_presence_message(clock::now(), name, presence, retained) {
            log::info!("collector {name} is online");
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

    /// After both answers what the broker kept has come, or comes now.
    pub(super) fn note_answered(&mut self) {
        if self.answered.subscription && self.answered.presence {
            self.outbox.on_told(clock::now());
        }
    }

    pub(super) fn on_puback(&mut self, ticket: Ticket, reason: PublishReason) {
        let kind = self.awaiting_puback.remove(&ticket);
        match kind {
            Some(Kind::Event) => {
                let given_up = self.outbox.on_puback(clock::now(), reason.into());
                self.tell_given_up(given_up);
                self.tell_disk();
            }
            Some(Kind::Presence) => {
                self.answered.presence = true;
                self.note_answered();
            }
            Some(Kind::Part) | None => {}
        }
        // Without a subscriber the event stays here until a collector comes and acks.
        if let Some(why) = reason.refusal()
            && !std::mem::replace(&mut self.refusal_was_logged, true)
        {
            log::error!(
                "{} refuses what node {} of site {} publishes ({why}): check the broker's access \
                 rules, and that its user or certificate is named {}",
                self.link.url(),
                self.node,
                self.site,
                self.node
            );
        }
    }

    /// Says that an event is lost, and has what it would have told shown otherwise.
    pub(super) fn tell_given_up(&mut self, given_up: Option<Position>) {
        if let Some(Position { stream, sequence }) = given_up {
            log::error!(
                "{}: event {} of stream {stream} cannot be sent and is declared as lost: see \
                 outbox.dropped at the collector for the reason",
                self.link.url(),
                sequence.0
            );
            self.want_pictures();
        }
    }
}

fn decoded<T: DeserializeOwned>(message: &Received) -> Option<T> {
    codec::decode(&message.payload)
        .inspect_err(|error| log::warn!("{}: {error}", message.topic))
        .ok()
}
