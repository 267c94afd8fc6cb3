//! A collector's process: all of it that is gone when it is killed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use pvewatch_collector::fleet::Presence;
use pvewatch_collector::ingest::Decoded;
use pvewatch_collector::run::{Arrived, Clocks, Counters, Desk, ReadyOn};
use pvewatch_collector::store::Batch;
use pvewatch_protocol::{Epoch, NodeName, PresenceState};

use crate::broker::Message;
use crate::channel::Channel;
use crate::durable::Plate;
use crate::missed::Missed;

/// What waits for the next batch.
pub(crate) enum Told {
    Connected(u64),
    Message(Message, Timestamp),
    RetainedRead,
    Disconnected,
}

/// A collector that runs.
pub(crate) struct Process {
    pub desk: Desk<Plate>,
    pub counters: Arc<Counters>,
    /// The newest connection of each node that was heard of.
    pub online: BTreeMap<NodeName, Epoch>,
    /// The connection at the broker that is up, and which of this process it is.
    pub connection: Option<(u64, u64)>,
    pub connections: u64,
    /// The connection on which it said that it is ready.
    pub ready: ReadyOn,
    /// What it must have before that.
    pub missed: Missed,
    /// The nodes of which a sample came in time.
    pub clocks_known: BTreeSet<NodeName>,
    pub channels: Vec<Channel>,
    pub inbox: VecDeque<Told>,
}

/// What the judge wants to know of what came.
#[derive(Debug, Default)]
pub struct Seen {
    /// Events that came again.
    pub duplicates: u64,
    /// Units and guests that pictures found otherwise than events had told.
    pub corrections: u64,
    /// Last wills of replaced connections that made a node count as offline.
    pub believed_wills: Vec<String>,
    /// What it told before it knew what it had missed.
    pub told_too_soon: Vec<String>,
}

fn whose_sample_came_in_time(decoded: &Decoded, received_at: Timestamp) -> Option<NodeName> {
    let Decoded::Sample { node, sample } = decoded else { return None };
    (received_at.duration_since(sample.at) < SignedDuration::from_secs(1)).then(|| node.clone())
}

impl Process {
    pub fn hang_up(&mut self) {
        self.connection = None;
        self.inbox.push_back(Told::Disconnected);
    }

    pub fn take(&mut self, told: Told, now: Clocks, batch: &mut Batch, seen: &mut Seen) {
        match told {
            Told::Connected(number) => {
                self.missed = Missed::default();
                self.desk.connected(number, now);
            }
            Told::RetainedRead => {
                self.missed.is_told(now.steady.into_std());
                self.desk.retained_read(now);
            }
            Told::Disconnected => self.desk.disconnected(),
            Told::Message(message, received_at) => {
                let decoded = message.understood();
                if let Ok(decoded) = &decoded {
                    self.missed.hear(decoded);
                    self.clocks_known.extend(whose_sample_came_in_time(decoded, received_at));
                }
                let Message { topic, payload, retain, .. } = message;
                let presence = match &decoded {
                    Ok(Decoded::NodePresence { node, presence }) => {
                        Some((node.clone(), presence.state, presence.epoch))
                    }
                    _ => None,
                };
                let arrived = Arrived { topic, payload, retained: retain, received_at, decoded };
                self.desk.take_message(arrived, now.wall, batch);
                match presence {
                    Some((node, PresenceState::Online, epoch)) => {
                        self.online.insert(node, epoch);
                    }
                    Some((node, PresenceState::Offline, epoch))
                        if self.online.get(&node).is_some_and(|online| epoch < *online)
                            && self.is_offline(&node, epoch) =>
                    {
                        seen.believed_wills.push(format!("{node}, connection {epoch}"));
                    }
                    _ => {}
                }
            }
        }
    }

    /// Units and guests that pictures found otherwise than events had told this process.
    pub fn corrections(&mut self) -> u64 {
        let counted = self.desk.core().counters().fleet;
        counted.corrected_units + counted.corrected_guests
    }

    /// Whether a node counts as offline because the will of that connection said so.
    fn is_offline(&mut self, node: &NodeName, connection: Epoch) -> bool {
        let snapshot = self.desk.core().snapshot();
        let view = snapshot.nodes.iter().find(|view| view.node.name == *node);
        view.is_some_and(|view| {
            matches!(view.node.presence, Presence::Offline { epoch, .. } if epoch == connection)
        })
    }
}
