//! The guests on the page: how many run, and each that does not.

use pvewatch_protocol::event::GuestState;
use serde::Serialize;

use super::view::{Listed, Moment};
use crate::output::http::Picture;
use crate::output::http::api::{GuestAnswer, GuestsAnswer, GuestsQuery, guests};
use crate::output::http::words::{self, Tone};

/// Guests on the page that do not run; those that should come first.
const GUESTS_MAX: usize = 100;

/// The guests of the site.
#[derive(Debug, Default, Serialize)]
pub struct GuestsView {
    /// How many run, in words; empty if no guest is known.
    summary: String,
    stopped: Listed<GuestView>,
}

/// A guest that does not run.
#[derive(Debug, Serialize)]
struct GuestView {
    vmid: String,
    name: String,
    node: String,
    tone: Tone,
    why: String,
    since: Moment,
    awaited: Option<Moment>,
}

/// The guests of the site.
pub fn view(picture: &Picture) -> GuestsView {
    let query = GuestsQuery { limit: Some(guests::GUESTS_MAX), node: None };
    // The limit is one that is possible.
    let Ok(answer) = GuestsAnswer::of(picture, &query) else { return GuestsView::default() };
    if answer.total == 0 {
        return GuestsView::default();
    }
    let is_shown = |guest: &&GuestAnswer| {
        let is_down = guest.run.as_ref().is_some_and(|run| run.state != GuestState::Running);
        is_down && !guest.template
    };
    let stopped: Vec<_> = answer.guests.iter().filter(is_shown).collect();
    let shown = stopped.iter().take(GUESTS_MAX).map(|guest| GuestView::of(guest, &answer));
    GuestsView {
        summary: format!("{} of {} run", answer.running, answer.total),
        stopped: Listed {
            left_out: stopped.len().saturating_sub(GUESTS_MAX),
            shown: shown.collect(),
        },
    }
}

impl GuestView {
    fn of(guest: &GuestAnswer, answer: &GuestsAnswer) -> Self {
        let now = answer.at;
        let awaited = guest.awaited_since.filter(|since| *since <= now);
        Self {
            vmid: guest.vmid.to_string(),
            name: guest.name.clone().unwrap_or_default(),
            node: guest.node.to_string(),
            tone: if guest.is_wrong(now) { Tone::Bad } else { Tone::Neutral },
            why: guest.run.as_ref().map(words::what_became).unwrap_or_default(),
            since: Moment::of(guest.since, now),
            awaited: awaited.map(|since| Moment::of(since, now)),
        }
    }
}
