//! A page of steps on its way out of a channel: what is sent next, and when the position moves.
//!
//! Pure: whoever owns a page does what [`Page::what_next`] says, and tells it when that is done. It
//! promises that a position never passes a step that the channel was to take and has not taken.
//! A page that met trouble is dropped; the next one begins at the position.

use std::collections::VecDeque;

use pvewatch_protocol::AlertState;

use super::channel::Step;
use crate::alerts::{News, Transition};

/// What a channel is, as far as the order of things goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Every change of an alert that is seen from outside. The page counts as taken as a whole,
    /// once it is proved that the broker passes on what it takes.
    Alerts,
    /// What is to be told to people, each step for itself.
    Notices,
}

impl Manner {
    /// Whether a step is to be sent.
    fn wants(self, transition: &Transition) -> bool {
        match self {
            Self::Alerts => {
                transition.news != News::Past
                    && matches!(transition.to, Some(AlertState::Firing | AlertState::Resolved))
            }
            Self::Notices => transition.news == News::Tell && transition.to.is_some(),
        }
    }
}

/// What is to be done next.
#[derive(Debug)]
pub enum Next<'a> {
    /// Send this step, and say when the channel has taken it: [`Page::taken`].
    Send {
        /// Its number.
        id: i64,
        /// The step.
        transition: &'a Transition,
    },
    /// Wait until the broker has passed something on, and say so: [`Page::proved`].
    Prove,
    /// The position moves to this step.
    Move(i64),
    /// The page is done.
    Nothing,
}

/// See the module.
#[derive(Debug)]
pub struct Page {
    manner: Manner,
    steps: VecDeque<Step>,
    /// The last step that is dealt with, if the position is not there yet.
    reached: Option<i64>,
    is_to_prove: bool,
}

impl Page {
    /// A page of which nothing was sent; the oldest step comes first.
    pub fn new(manner: Manner, steps: Vec<Step>) -> Self {
        Self { manner, steps: steps.into(), reached: None, is_to_prove: false }
    }

    /// What is to be done now. The answer stays the same until it is done; a move is done by
    /// having been told.
    pub fn what_next(&mut self) -> Next<'_> {
        // What is not worth sending is dealt with by being passed.
        while let Some(step) = self.steps.front()
            && !step.transition.as_ref().is_some_and(|transition| self.manner.wants(transition))
        {
            self.reached = Some(step.id);
            self.steps.pop_front();
        }
        let moves_now = self.manner == Manner::Notices || self.steps.is_empty();
        if moves_now && let Some(reached) = self.reached {
            if self.is_to_prove {
                return Next::Prove;
            }
            self.reached = None;
            return Next::Move(reached);
        }
        match self.steps.front() {
            Some(Step { id, transition: Some(transition) }) => Next::Send { id: *id, transition },
            _ => Next::Nothing,
        }
    }

    /// The channel took the step that was to be sent.
    pub fn taken(&mut self) {
        if let Some(step) = self.steps.pop_front() {
            self.reached = Some(step.id);
            self.is_to_prove = self.manner == Manner::Alerts;
        }
    }

    /// The broker passed something on after it took the steps.
    pub fn proved(&mut self) {
        self.is_to_prove = false;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use pvewatch_protocol::{Fingerprint, Site};

    use super::*;
    use crate::alerts::{Alert, Phase, Why};
    use crate::fleet::EntityKey;

    fn step(id: i64, to: Option<AlertState>, news: News) -> Step {
        let at = Timestamp::UNIX_EPOCH;
        let alert = Alert {
            fingerprint: Fingerprint::of([]),
            rule: "UnitFailed".into(),
            entity: EntityKey::node(Site::default(), "pve1".parse().unwrap()),
            labels: [].into(),
            annotations: [].into(),
            phase: Phase::Firing { fired_at: at, ending: None },
            detail: Vec::new(),
            starts_at: at,
            unseen_since: None,
            judged_since: at,
            value: None,
            as_of: None,
            stale: false,
            inhibited_by: None,
            told: true,
            changed_at: at,
        };
        let (fingerprint, alert) = (alert.fingerprint, Arc::new(alert));
        let why = Why::ConditionLasted;
        let transition = Transition { fingerprint, from: None, to, at, why, news, alert };
        Step { id, transition: Some(transition) }
    }

    fn steps() -> Vec<Step> {
        vec![
            step(1, Some(AlertState::Pending), News::Update),
            step(2, Some(AlertState::Firing), News::Tell),
            Step { id: 3, transition: None },
            step(4, Some(AlertState::Firing), News::Update),
            step(5, Some(AlertState::Resolved), News::Past),
            step(6, Some(AlertState::Resolved), News::Tell),
            step(7, None, News::Update),
        ]
    }

    /// Plays a page whose every sending succeeds, and writes down what was done.
    fn played(manner: Manner, steps: Vec<Step>) -> String {
        let mut page = Page::new(manner, steps);
        let mut done = Vec::new();
        loop {
            match page.what_next() {
                Next::Send { id, .. } => {
                    done.push(format!("send {id}"));
                    page.taken();
                }
                Next::Prove => {
                    done.push("prove".to_owned());
                    page.proved();
                }
                Next::Move(id) => done.push(format!("move to {id}")),
                Next::Nothing => return done.join(", "),
            }
        }
    }

    #[test]
    fn alerts_move_when_the_whole_page_is_taken_and_proved() {
        let expected = "send 2, send 4, send 6, prove, move to 7";
        assert_eq!(played(Manner::Alerts, steps()), expected);
        let quiet = vec![step(1, Some(AlertState::Pending), News::Update)];
        assert_eq!(played(Manner::Alerts, quiet), "move to 1", "nothing is to be proved");
    }

    #[test]
    fn notices_move_with_each_step() {
        let expected = "move to 1, send 2, move to 5, send 6, move to 7";
        assert_eq!(played(Manner::Notices, steps()), expected);
    }

    #[test]
    fn nothing_moves_while_a_step_is_not_taken() {
        let mut page = Page::new(Manner::Notices, steps());
        assert!(matches!(page.what_next(), Next::Move(1)));
        for _ in 0..3 {
            assert!(matches!(page.what_next(), Next::Send { id: 2, .. }));
        }
    }
}
