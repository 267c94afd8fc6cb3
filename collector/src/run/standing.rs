//! How the collector stands to the site: whether it hears the nodes, and whether it has caught
//! up and may speak.
//!
//! Pure: a closed set of states, changed here alone. Not ready means that no alert is told.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use pvewatch_protocol::{NodeName, Position, PresenceState, Sequence, StreamId};
use tokio::time::Instant;

/// How long agents are given to send what their checkpoints know and the store has not. Some
/// may never: a node that is online, but whose outbox was lost.
const CATCH_UP_MAX: Duration = Duration::from_secs(10);

/// Where the collector stands.
#[derive(Debug, Default)]
pub(super) enum Standing {
    /// No connection: silence proves nothing.
    #[default]
    Deaf,
    /// Connected; what the broker had retained is coming.
    Reading(Pictures),
    /// The pictures are read; some know events that are on their way.
    CatchingUp {
        /// What is still missing.
        missing: HashMap<NodeName, Position>,
        /// Until when it is waited for.
        until: Instant,
    },
    /// Caught up: judgements count, and are told.
    Ready,
}

/// What retained messages said.
#[derive(Debug, Default)]
pub(super) struct Pictures {
    as_of: HashMap<NodeName, Position>,
    online: HashSet<NodeName>,
}

/// What a judgement changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    None,
    BecameReady,
    NoLongerReady,
}

impl Standing {
    pub(super) fn connected(&mut self) {
        *self = Self::Reading(Pictures::default());
    }

    pub(super) fn disconnected(&mut self) {
        *self = Self::Deaf;
    }

    pub(super) fn is_connected(&self) -> bool {
        !matches!(self, Self::Deaf)
    }

    /// Whether the silence of a node proves something.
    pub(super) fn is_listening(&self) -> bool {
        matches!(self, Self::Ready)
    }

    pub(super) fn checkpoint(&mut self, node: &NodeName, as_of: Position) {
        if let Self::Reading(pictures) = self {
            pictures.as_of.insert(node.clone(), as_of);
        }
    }

    pub(super) fn presence(&mut self, node: &NodeName, state: PresenceState) {
        if let Self::Reading(pictures) = self {
            match state {
                PresenceState::Online => pictures.online.insert(node.clone()),
                PresenceState::Offline => pictures.online.remove(node),
            };
        }
    }

    pub(super) fn retained_read(&mut self, now: Instant) {
        if let Self::Reading(pictures) = self {
            let Pictures { as_of, online } = std::mem::take(pictures);
            // A node that is away sends nothing, so nothing of it is waited for.
            let missing = as_of.into_iter().filter(|(node, _)| online.contains(node)).collect();
            *self = Self::CatchingUp { missing, until: now + CATCH_UP_MAX };
        }
    }

    /// When [`Standing::judge`] has something to say at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::CatchingUp { until, .. } => Some(*until),
            Self::Deaf | Self::Reading(_) | Self::Ready => None,
        }
    }

    /// Judges whether everything is there. `is_reached` says whether a stream is stored up to a
    /// sequence.
    pub(super) fn judge(
        &mut self,
        now: Instant,
        is_reached: impl Fn(&NodeName, StreamId, Sequence) -> bool,
    ) -> Step {
        match self {
            Self::CatchingUp { missing, until } => {
                missing.retain(|node, at| !is_reached(node, at.stream, at.sequence));
                if missing.is_empty() || *until <= now {
                    for (node, position) in missing.iter() {
                        log::warn!(
                            "{node} has not sent what it has up to {} {}: not waited for",
                            position.stream,
                            position.sequence
                        );
                    }
                    *self = Self::Ready;
                    return Step::BecameReady;
                }
                Step::None
            }
            Self::Deaf | Self::Reading(_) => Step::NoLongerReady,
            Self::Ready => Step::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn node(name: &str) -> NodeName {
        name.parse().unwrap()
    }

    fn position(sequence: u64) -> Position {
        Position { stream: StreamId(Uuid::from_u128(1)), sequence: Sequence(sequence) }
    }

    fn read(nodes: &[(&str, PresenceState)], now: Instant) -> Standing {
        let mut standing = Standing::default();
        standing.connected();
        for (name, state) in nodes {
            standing.checkpoint(&node(name), position(7));
            standing.presence(&node(name), *state);
        }
        standing.retained_read(now);
        standing
    }

    #[tokio::test]
    async fn it_is_ready_once_the_events_that_pictures_know_of_are_stored() {
        let now = Instant::now();
        let mut standing = read(&[("a", PresenceState::Online)], now);
        assert_eq!(standing.judge(now, |_, _, sequence| sequence <= Sequence(6)), Step::None);
        assert!(!standing.is_listening());
        assert_eq!(
            standing.judge(now, |_, _, sequence| sequence <= Sequence(7)),
            Step::BecameReady
        );
        assert_eq!(standing.judge(now, |_, _, _| false), Step::None);
        standing.disconnected();
        assert_eq!(standing.judge(now, |_, _, _| true), Step::NoLongerReady);
    }

    #[tokio::test]
    async fn nobody_is_waited_for_who_is_away_or_takes_too_long() {
        let now = Instant::now();
        let away = [("a", PresenceState::Offline)];
        assert_eq!(read(&away, now).judge(now, |_, _, _| false), Step::BecameReady);
        let mut slow = read(&[("a", PresenceState::Online)], now);
        let until = slow.deadline().unwrap();
        assert_eq!(slow.judge(until, |_, _, _| false), Step::BecameReady);
    }
}
