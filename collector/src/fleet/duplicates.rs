//! Finds two agents that use one name: an identity that was left behind comes back.
//!
//! A single agent that restarts always shows an identity that was never seen before (a new
//! stream; after a reboot a new boot id). Two agents show theirs in turns.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::moment::shift;

/// How long two agents must have kept quiet until the name counts as used by one again.
pub const DUPLICATE_WINDOW: SignedDuration = SignedDuration::from_secs(10 * 60);

/// Returns within the window that make a duplicate. One alone can be a late message.
const RETURNS_MIN: usize = 2;

/// Identities remembered; the oldest is forgotten. Two agents need two.
const IDENTITIES_KEPT: usize = 4;

/// The identities under which a name was used lately.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duplicates {
    /// Newest last; the last is the one in use.
    identities: VecDeque<String>,
    /// When an identity came back, by the collector's clock; as many as are needed to decide.
    returns: VecDeque<Timestamp>,
}

impl Duplicates {
    /// Notes that the name was used under `identity`; says whether anything changed.
    pub fn note(&mut self, identity: &str, at: Timestamp) -> bool {
        if self.identities.back().is_some_and(|last| last == identity) {
            return false;
        }
        if let Some(place) = self.identities.iter().position(|known| known == identity) {
            self.identities.remove(place);
            self.returns.push_back(at);
            if self.returns.len() > RETURNS_MIN {
                self.returns.pop_front();
            }
        } else if self.identities.len() == IDENTITIES_KEPT {
            self.identities.pop_front();
        }
        self.identities.push_back(identity.to_owned());
        true
    }

    /// Whether two agents use the name, as far as is known at `at`.
    pub fn is_duplicate(&self, at: Timestamp) -> bool {
        self.ends_at().is_some_and(|end| at < end)
    }

    /// When the name counts as used by one agent again, if nothing more is heard; none if it does.
    pub fn ends_at(&self) -> Option<Timestamp> {
        if self.returns.len() < RETURNS_MIN {
            return None;
        }
        // The oldest of the returns that count must be younger than the window, so that two
        // restorations of one machine's snapshot in a year are no duplicate.
        let first = *self.returns.front()?;
        let last = *self.returns.back()?;
        let close = last <= shift(first, DUPLICATE_WINDOW);
        close.then(|| shift(last, DUPLICATE_WINDOW))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(story: &[(i64, &str)], asked_at: i64, expected: bool) {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut duplicates = Duplicates::default();
        for (second, identity) in story {
            duplicates.note(identity, at(*second));
        }
        assert_eq!(duplicates.is_duplicate(at(asked_at)), expected, "{story:?}");
    }

    #[test]
    fn restarts_of_one_agent_are_no_duplicate() {
        check(&[(0, "a"), (10, "b"), (20, "c"), (30, "d"), (40, "e")], 40, false);
    }

    #[test]
    fn one_late_message_is_no_duplicate() {
        check(&[(0, "a"), (10, "b"), (11, "a"), (600, "a")], 600, false);
        check(&[(0, "a"), (10, "b"), (11, "a"), (12, "c")], 13, false);
    }

    #[test]
    fn two_identities_in_turns_are_a_duplicate_until_one_falls_silent() {
        let story = [(0, "a"), (1, "b"), (10, "a"), (11, "b"), (20, "a"), (21, "b")];
        check(&story, 21, true);
        check(&story, 620, true);
        check(&story, 621, false);
    }

    #[test]
    fn returns_that_lie_far_apart_do_not_count_together() {
        check(&[(0, "a"), (1, "b"), (10, "a"), (90_000, "b")], 90_001, false);
    }
}
