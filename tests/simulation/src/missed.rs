//! What a collector missed while it had no connection: by what came to it, and not by what it
//! believes of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use pvewatch_collector::ingest::Decoded;
use pvewatch_protocol::{NodeName, Position, PresenceState, Sequence};

use crate::durable::Durable;

/// For how long a collector has to wait for it before it speaks: a node can have lost it.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the broker told on one connection.
#[derive(Debug, Default)]
pub(crate) struct Missed {
    pictures: BTreeMap<NodeName, Position>,
    online: BTreeSet<NodeName>,
    /// Since when all that the broker kept is told.
    told_at: Option<Instant>,
}

impl Missed {
    /// A message came. What comes after all that was kept is not missed.
    pub fn hear(&mut self, decoded: &Decoded) {
        if self.told_at.is_some() {
            return;
        }
        match decoded {
            Decoded::Checkpoint { node, checkpoint } => {
                self.pictures.insert(node.clone(), checkpoint.as_of);
            }
            Decoded::NodePresence { node, presence } => {
                match presence.state {
                    PresenceState::Online => self.online.insert(node.clone()),
                    PresenceState::Offline => self.online.remove(node),
                };
            }
            _ => {}
        }
    }

    /// All that the broker kept has come.
    pub fn is_told(&mut self, now: Instant) {
        self.told_at.get_or_insert(now);
    }

    /// Why a collector that has this on its disk must not speak yet.
    pub fn forbids_to_speak(&self, disk: &Durable, now: Instant) -> Option<String> {
        let Some(told_at) = self.told_at else {
            return Some("it has not heard what the broker kept".to_owned());
        };
        let mut waited_for =
            self.pictures.iter().filter(|(node, _)| self.online.contains(node)).filter(
                |(node, as_of)| {
                    let row = disk.streams.get(&((*node).clone(), as_of.stream));
                    row.map_or(Sequence(0), |row| row.through) < as_of.sequence
                },
            );
        let (node, as_of) = waited_for.next()?;
        let still_waits = now < told_at + PATIENCE;
        still_waits.then(|| format!("{node} has events up to {} {}", as_of.stream, as_of.sequence))
    }
}
