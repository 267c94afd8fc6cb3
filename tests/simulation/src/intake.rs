//! What a collector makes of a message: a place in its stream, inputs of the core, rows.

use jiff::Timestamp;
use pvewatch_collector::core::{Core, Input};
use pvewatch_collector::fleet::{Backlog, Presence, Version};
use pvewatch_collector::ingest::{
    Applicable, Arrival, Decoded, Lack, Outcome, Picture, Shown, StreamNews, decode,
};
use pvewatch_protocol::{Epoch, EventData, NodeName, Position, PresenceState, Sequence, Site};

use crate::broker::Message;
use crate::collector::Memory;
use crate::durable::Logged;
use crate::node::Now;

#[derive(Default)]
pub(crate) struct Batch {
    pub log: Vec<Logged>,
    /// Ranges that nobody will bring any more.
    pub given_up: Vec<Logged>,
    pub transitions: Vec<String>,
}

/// What the judge wants to know of what came.
#[derive(Debug, Default)]
pub struct Seen {
    /// Events that came again.
    pub duplicates: u64,
    /// Last wills of replaced connections that made a node count as offline.
    pub believed_wills: Vec<String>,
}

impl Batch {
    pub fn tell(&mut self, core: &mut Core, now: Now, input: Input) {
        for transition in core.handle(now.wall, input) {
            self.transitions.push(format!(
                "{} {:?} -> {:?} at {}",
                transition.fingerprint, transition.from, transition.to, transition.at
            ));
        }
    }
}

impl Memory {
    pub(crate) fn core_takes(
        &mut self,
        now: Now,
        message: Message,
        received_at: Timestamp,
        batch: &mut Batch,
        seen: &mut Seen,
    ) {
        let site = Site::default();
        let received_at = received_at.min(now.wall);
        let Ok(decoded) = decode(&site, &message.topic, &message.payload) else { return };
        match decoded {
            Decoded::Event { event, .. } => {
                let payload = message.payload;
                let arrival = Arrival { event, payload, received_at };
                let mut applicable = Vec::new();
                let outcome = self.ingest.event(arrival, &mut applicable);
                seen.duplicates += u64::from(outcome == Outcome::Duplicate);
                self.apply(now, applicable, batch);
            }
            Decoded::Checkpoint { node, checkpoint } => {
                let (bytes, retained) = (message.payload.len(), message.retain);
                let picture = Picture { node, checkpoint, bytes, retained, received_at };
                let is_first = !self.core.has_picture(&picture.node);
                if let Shown::Now { picture, ordinal } = self.ingest.picture(picture, is_first) {
                    self.show(now, picture, ordinal, batch);
                }
            }
            Decoded::Sample { node, sample } => {
                let mut applicable = Vec::new();
                let as_of = sample.as_of;
                let Lack { events, since } =
                    self.ingest.sample(&node, as_of, received_at, &mut applicable);
                self.apply(now, applicable, batch);
                let (sample, backlog) = (*sample, Backlog { events, since });
                batch.tell(
                    &mut self.core,
                    now,
                    Input::Sample { node, sample, backlog, received_at },
                );
            }
            Decoded::NodePresence { node, presence } => {
                let (name, epoch) = (node.clone(), presence.epoch);
                let is_will = presence.state == PresenceState::Offline;
                batch.tell(
                    &mut self.core,
                    now,
                    Input::NodePresence { node, presence, received_at },
                );
                if !is_will {
                    self.online.insert(name, epoch);
                } else if self.online.get(&name).is_some_and(|online| epoch < *online)
                    && self.is_offline(&name, epoch)
                {
                    seen.believed_wills.push(format!("{name}, connection {epoch}"));
                }
            }
            _ => {}
        }
    }

    /// Whether a node counts as offline because the will of that connection said so.
    fn is_offline(&mut self, node: &NodeName, connection: Epoch) -> bool {
        let snapshot = self.core.snapshot();
        let view = snapshot.nodes.iter().find(|view| view.node.name == *node);
        view.is_some_and(|view| {
            matches!(view.node.presence, Presence::Offline { epoch, .. } if epoch == connection)
        })
    }

    /// Applies the pictures that have waited for the events before them.
    pub(crate) fn show_what_waited(&mut self, now: Now, batch: &mut Batch) {
        for (picture, ordinal) in self.ingest.take_pictures(now.wall) {
            self.show(now, picture, ordinal, batch);
        }
    }

    fn show(&mut self, now: Now, picture: Picture, ordinal: u64, batch: &mut Batch) {
        let Picture { node, checkpoint, received_at, .. } = picture;
        let sequence = checkpoint.as_of.sequence.0;
        let version = Version { stream_ordinal: ordinal, sequence };
        let checkpoint = *checkpoint;
        batch.tell(
            &mut self.core,
            now,
            Input::Checkpoint { node, checkpoint, version, received_at },
        );
    }

    fn apply(&mut self, now: Now, applicable: Vec<Applicable>, batch: &mut Batch) {
        for Applicable { arrival, ordinal } in applicable {
            let Arrival { event, received_at, .. } = arrival;
            let Position { stream, sequence: Sequence(sequence) } = event.position;
            let from = match &event.data {
                EventData::OutboxDropped(dropped) => dropped.from.0,
                _ => sequence,
            };
            batch.log.push(Logged { node: number(&event.node), stream, from, sequence });
            let version = Version { stream_ordinal: ordinal, sequence };
            let event = *event;
            batch.tell(&mut self.core, now, Input::Event { event, version, received_at });
        }
        for news in self.ingest.take_news() {
            if let StreamNews::Lost { node, stream, from, through } = news {
                let row = Logged { node: number(&node), stream, from: from.0, sequence: through.0 };
                batch.given_up.push(row);
            }
        }
    }
}

fn number(node: &NodeName) -> usize {
    node.as_str().trim_start_matches("pve").parse().unwrap_or(usize::MAX)
}
