//! The broker's answers to events: what makes room in the window, and what is given up.

use std::time::Instant;

use pvewatch_protocol::Position;

use super::collectors::RESEND_DELAY_MIN;
use super::queue::{Outbox, UnderWay};
use super::refusals::{Answer, Place, Refused};

impl Outbox {
    /// The broker took a publish, or refused it, in the order in which they were sent: both make
    /// room in the window. Returns the event, if one is given up because of that.
    pub fn on_puback(&mut self, now: Instant, answer: Answer) -> Option<Position> {
        let UnderWay { stream, first, is_loss, is_probe } = self.under_way.pop_front()?;
        let place = (stream, first);
        let given_up = match answer {
            Answer::Taken => self.refusals.on_taken(now, place)?,
            Answer::Refused { .. } if is_probe => {
                self.collectors.probe_again(place);
                self.probe_again = Some(now + RESEND_DELAY_MIN);
                return None;
            }
            // Another copy of it came through.
            Answer::Refused { .. } if !self.is_lacked(place) => return None,
            Answer::Refused { reason, for_good } => {
                self.go_back_to(place);
                self.refusals.on_refused(now, Refused { place, is_loss, reason, for_good })?
            }
        };
        Some(self.note_given_up(given_up))
    }

    /// The event that was given out last can never be sent, and why. Returns it, if it is given up:
    /// then a declaration takes its place.
    pub fn on_unsendable(&mut self, now: Instant, why: String) -> Option<Position> {
        let UnderWay { stream, first, is_loss, .. } = self.under_way.pop_back()?;
        let place = (stream, first);
        if is_loss {
            self.go_back_to(place);
            let refused = Refused { place, is_loss, reason: why, for_good: true };
            self.refusals.on_refused(now, refused);
            return None;
        }
        self.refusals.give_up(place, why);
        Some(self.note_given_up(place))
    }

    fn note_given_up(&mut self, place: Place) -> Position {
        self.dropped += 1;
        self.go_back_to(place);
        Position { stream: place.0, sequence: place.1 }
    }

    /// What was sent is sent again from a place on, unless every collector has it.
    pub(super) fn go_back_to(&mut self, (stream, first): Place) {
        let stored = self.collectors.stored_by_all(stream);
        if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.stream == stream) {
            lane.cursor = lane.cursor.min(first.max(stored.next()));
        }
    }
}
