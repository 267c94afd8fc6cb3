//! What collectors say, told apart by how it came: sent just now, or kept by the broker.

use std::time::Instant;

use jiff::Timestamp;
use pvewatch_protocol::{AckMessage, CollectorName, CollectorPresence, PresenceState};

use super::collectors::AckOutcome;
use super::queue::Outbox;

impl Outbox {
    /// A collector says what it has stored. `retained` tells an ack that the broker kept.
    pub fn on_ack_message(
        &mut self,
        now: Instant,
        today: Timestamp,
        name: &CollectorName,
        message: AckMessage,
        retained: bool,
    ) -> AckOutcome {
        let AckMessage { ack, heard_at } = message;
        if !retained {
            self.on_collector_presence(now, name, true);
        }
        // One that answers a sample asks for nothing, like one that the broker kept.
        self.on_ack(now, today, name, ack, retained || heard_at.is_some())
    }

    /// A collector says whether it is there. Returns whether it came, or came back, while this
    /// connection is up: it missed what was sent meanwhile, and is sent what it lacks.
    pub fn on_presence_message(
        &mut self,
        now: Instant,
        name: &CollectorName,
        presence: CollectorPresence,
        retained: bool,
    ) -> bool {
        let is_online = presence.state == PresenceState::Online;
        self.on_collector_presence(now, name, is_online);
        let (epoch, ready) = (presence.epoch, presence.ready);
        let before = self.collectors.note_presence(name, presence);
        let was_there = before.is_some_and(|before| {
            before.state == PresenceState::Online
                && before.epoch == epoch
                && (ready || !before.ready)
        });
        let comes = is_online && !was_there && !retained;
        if comes {
            self.on_collector_online(now, name);
        }
        comes
    }
}
