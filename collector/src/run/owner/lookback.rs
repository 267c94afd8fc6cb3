//! Whether an event that comes again is the one that is stored.
//!
//! A virtual machine that was set back to an older state, or its clone, gives numbers out a second
//! time. An event that comes under the number of another one is no duplicate: it is lost, and that
//! is said. Two events of one number differ in when they happened or were recorded; their bytes do
//! not count, as another version of the agent may write them otherwise.
//!
//! Bounded: the newest [`LOOKBACK_EVENTS`] of a node, read when something comes again. What is
//! older counts as a duplicate; that its stream went back is seen by its samples.

use std::collections::HashMap;

use jiff::Timestamp;
use pvewatch_protocol::event::OutboxDropped;
use pvewatch_protocol::{Event, NodeName, Position};

use crate::store::Logged;

/// Events of a node that are compared with: as many as an agent sends ahead of acks.
pub(super) const LOOKBACK_EVENTS: u32 = 1000;

/// Nodes of which events are remembered for it; beyond it all are read anew.
const LOOKBACK_NODES_MAX: usize = 256;

/// When an event happened and was recorded, in microseconds as the store keeps it. None for a
/// declaration of loss: it takes the place of the last event that it declares.
type Identity = Option<(i64, i64)>;

/// What there is to say of an event that came again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is stored.
    Stored,
    /// Another event of its number is stored: this one is lost.
    Another,
    /// The same, and that was said before.
    AnotherAgain,
}

/// An event, as far as it is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub node: NodeName,
    pub position: Position,
    identity: Identity,
}

impl Claim {
    pub(super) fn of(event: &Event) -> Self {
        let is_loss = event.data.kind() == OutboxDropped::KIND;
        let identity = identity((event.time, event.recorded_time), is_loss);
        Self { node: event.node.clone(), position: event.position, identity }
    }
}

fn identity((time, recorded): (Timestamp, Timestamp), is_loss: bool) -> Identity {
    (!is_loss).then(|| (time.as_microsecond(), recorded.as_microsecond()))
}

/// Remembers what is stored of nodes whose events came again.
#[derive(Debug, Default)]
pub(super) struct Lookback {
    nodes: HashMap<NodeName, HashMap<Position, Known>>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    stored: Identity,
    /// Another event of this number that was refused.
    refused: Identity,
}

impl Lookback {
    /// Whether the stored events of a node are known.
    pub(super) fn knows(&self, node: &NodeName) -> bool {
        self.nodes.contains_key(node)
    }

    /// Takes in what is stored of a node.
    pub(super) fn learn(&mut self, node: &NodeName, stored: impl IntoIterator<Item = Logged>) {
        if self.nodes.len() >= LOOKBACK_NODES_MAX {
            self.nodes.clear();
        }
        let known = |logged: Logged| {
            let stored =
                identity((logged.time, logged.recorded), logged.kind == OutboxDropped::KIND);
            (logged.position, Known { stored, refused: None })
        };
        self.nodes.insert(node.clone(), stored.into_iter().map(known).collect());
    }

    /// An event is stored now.
    pub(super) fn note(&mut self, event: &Event) {
        let Some(events) = self.nodes.get_mut(&event.node) else { return };
        if events.len() >= 2 * LOOKBACK_EVENTS as usize {
            // The newest are read anew when something comes again.
            self.nodes.remove(&event.node);
            return;
        }
        let stored = Claim::of(event).identity;
        events.insert(event.position, Known { stored, refused: None });
    }

    /// Judges an event that came again.
    pub(super) fn judge(&mut self, claim: &Claim) -> Verdict {
        let known = self.nodes.get_mut(&claim.node);
        let Some(known) = known.and_then(|events| events.get_mut(&claim.position)) else {
            return Verdict::Stored;
        };
        match (known.stored, claim.identity) {
            (Some(stored), Some(came)) if stored != came => {
                let is_known = known.refused.replace(came) == Some(came);
                if is_known { Verdict::AnotherAgain } else { Verdict::Another }
            }
            _ => Verdict::Stored,
        }
    }
}

#[cfg(test)]
mod tests {
    use pvewatch_protocol::{Sequence, StreamId};
    use uuid::Uuid;

    use super::*;

    fn logged(sequence: u64, second: i64, kind: &str) -> Logged {
        let position =
            Position { stream: StreamId(Uuid::from_u128(1)), sequence: Sequence(sequence) };
        let at = Timestamp::from_second(second).unwrap();
        Logged { position, kind: kind.to_owned(), time: at, recorded: at }
    }

    fn claim(sequence: u64, second: i64, kind: &str) -> Claim {
        let Logged { position, time, recorded, .. } = logged(sequence, second, kind);
        let identity = identity((time, recorded), kind == OutboxDropped::KIND);
        Claim { node: "pve1".parse().unwrap(), position, identity }
    }

    #[test]
    fn an_event_that_differs_from_the_one_that_is_stored_is_named_once() {
        let mut lookback = Lookback::default();
        let node: NodeName = "pve1".parse().unwrap();
        assert!(!lookback.knows(&node));
        assert_eq!(lookback.judge(&claim(1, 1, "a")), Verdict::Stored, "nothing is known of it");
        lookback.learn(&node, [logged(1, 1, "a"), logged(2, 2, OutboxDropped::KIND)]);
        for (came, expected) in [
            (claim(1, 1, "a"), Verdict::Stored),
            (claim(1, 9, "a"), Verdict::Another),
            (claim(1, 9, "a"), Verdict::AnotherAgain),
            (claim(1, 10, "a"), Verdict::Another),
            (claim(1, 9, OutboxDropped::KIND), Verdict::Stored),
            (claim(2, 9, "a"), Verdict::Stored),
            (claim(3, 9, "a"), Verdict::Stored),
        ] {
            assert_eq!(lookback.judge(&came), expected, "{came:?}");
        }
    }
}
