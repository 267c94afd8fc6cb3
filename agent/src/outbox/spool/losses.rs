//! What is gone, and why, so that the declaration of a loss gives its true reason.

use std::collections::VecDeque;
use std::fmt;

use pvewatch_protocol::{Sequence, StreamId};

use super::Dropped;

/// Ranges of which is known why they are gone.
///
/// Overflow: the oldest is forgotten, and declared with [`Why::Unknown`].
const LOSSES_MAX: usize = 64;

/// Why an event is not held any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// There was no room for it.
    Full,
    /// Its record was read back damaged.
    Damaged,
    /// Its segment could not be read, with what the disk said.
    Unreadable(String),
    /// An earlier start let it go, or its segment is not there any more.
    Unknown,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("outbox full: the oldest events were dropped"),
            Self::Damaged => f.write_str("cannot be read from the agent's disk: it is damaged"),
            Self::Unreadable(error) => {
                write!(f, "cannot be read from the agent's disk: {error}")
            }
            Self::Unknown => f.write_str(
                "no longer held: dropped before the agent's last start, or lost by its disk",
            ),
        }
    }
}

/// Ranges that went, the oldest loss first.
#[derive(Debug, Default)]
pub(super) struct Losses(VecDeque<(Dropped, Why)>);

impl Losses {
    pub fn add(&mut self, range: Dropped, why: Why) {
        let goes_on = |(known, reason): &&mut (Dropped, Why)| {
            known.stream == range.stream && known.through.next() == range.from && *reason == why
        };
        if let Some((known, _)) = self.0.iter_mut().rev().find(goes_on) {
            known.through = range.through;
            return;
        }
        if self.0.len() == LOSSES_MAX {
            self.0.pop_front();
        }
        self.0.push_back((range, why));
    }

    /// Why an event is gone, and up to where that is the reason, `through` at most.
    pub fn explain(
        &self,
        stream: StreamId,
        sequence: Sequence,
        through: Sequence,
    ) -> (Option<Why>, Sequence) {
        let of_stream = || self.0.iter().filter(|(range, _)| range.stream == stream);
        let covering = of_stream().find(|(it, _)| it.from <= sequence && sequence <= it.through);
        match covering {
            Some((range, why)) => (Some(why.clone()), through.min(range.through)),
            None => {
                let next = of_stream().map(|(it, _)| it.from).filter(|from| *from > sequence).min();
                (None, next.map_or(through, |next| through.min(next.previous())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const STREAM: StreamId = StreamId(Uuid::from_u128(1));

    fn range(from: u64, through: u64) -> Dropped {
        Dropped { stream: STREAM, from: Sequence(from), through: Sequence(through) }
    }

    #[track_caller]
    fn check(losses: &Losses, at: u64, through: u64, why: Option<Why>, ends_at: u64) {
        let explained = losses.explain(STREAM, Sequence(at), Sequence(through));
        assert_eq!(explained, (why, Sequence(ends_at)), "at {at}");
    }

    #[test]
    fn each_part_of_a_range_that_is_gone_has_its_own_reason() {
        let mut losses = Losses::default();
        let torn = Why::Unreadable("Input/output error".to_owned());
        (1..=5).for_each(|number| losses.add(range(number, number), Why::Full));
        losses.add(range(8, 9), torn.clone());
        check(&losses, 1, 9, Some(Why::Full), 5);
        check(&losses, 3, 4, Some(Why::Full), 4);
        check(&losses, 6, 9, None, 7);
        check(&losses, 8, 20, Some(torn), 9);
        check(&losses, 10, 20, None, 20);
    }

    #[test]
    fn a_reason_too_many_lets_the_oldest_be_forgotten() {
        let mut losses = Losses::default();
        for number in 0..=LOSSES_MAX as u64 {
            losses.add(range(number * 2 + 1, number * 2 + 1), Why::Damaged);
        }
        assert_eq!(losses.0.len(), LOSSES_MAX);
        check(&losses, 1, 1, None, 1);
        check(&losses, 3, 3, Some(Why::Damaged), 3);
    }
}
