//! The guests on the page: how many run, each that does not, and each that uses almost all it may.

use pvewatch_protocol::event::GuestState;
use serde::Serialize;

use super::view::{Listed, Moment};
use crate::output::http::Picture;
use crate::output::http::api::{GuestAnswer, GuestsAnswer, GuestsQuery, guests};
use crate::output::http::words::{self, Tone};

/// Guests on the page; those that do not run and should come first.
const GUESTS_MAX: usize = 100;

/// The guests of the site.
#[derive(Debug, Default, Serialize)]
pub struct GuestsView {
    /// How many run, in words; empty if no guest is known.
    summary: String,
    listed: Listed<GuestView>,
}

/// A guest that does not run, or uses almost all it may.
#[derive(Debug, Serialize)]
struct GuestView {
    vmid: String,
    name: String,
    node: String,
    tone: Tone,
    why: String,
    /// Since when it does not run.
    since: Option<Moment>,
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
        is_down && !guest.template || !uses_much(guest).is_empty()
    };
    let listed: Vec<_> = answer.guests.iter().filter(is_shown).collect();
    let shown = listed.iter().take(GUESTS_MAX).map(|guest| GuestView::of(guest, &answer));
    GuestsView {
        summary: format!("{} of {} run", answer.running, answer.total),
        listed: Listed {
            left_out: listed.len().saturating_sub(GUESTS_MAX),
            shown: shown.collect(),
        },
    }
}

impl GuestView {
    fn of(guest: &GuestAnswer, answer: &GuestsAnswer) -> Self {
        let now = answer.at;
        let awaited = guest.awaited_since.filter(|since| *since <= now);
        let much = uses_much(guest);
        let tone = match (guest.is_wrong(now), much.is_empty()) {
            (true, _) => Tone::Bad,
            (false, true) => Tone::Neutral,
            (false, false) => Tone::Doubtful,
        };
        let why = match much.is_empty() {
            true => guest.run.as_ref().map(words::what_became).unwrap_or_default(),
            false => much.join(", "),
        };
        Self {
            vmid: guest.vmid.to_string(),
            name: guest.name.clone().unwrap_or_default(),
            node: guest.node.to_string(),
            tone,
            why,
            since: much.is_empty().then(|| Moment::of(guest.since, now)),
            awaited: awaited.map(|since| Moment::of(since, now)),
        }
    }
}

/// Of what a guest uses almost all, in words.
fn uses_much(guest: &GuestAnswer) -> Vec<String> {
    let used = [("processors", words::cpu_use(guest)), ("memory", words::memory_use(guest))];
    let much = used.into_iter().filter_map(|(what, used)| {
        let (tone, text) = used?;
        (tone == Tone::Doubtful).then(|| format!("{what}: {text}"))
    });
    much.collect()
}
