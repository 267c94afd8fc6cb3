//! The first sentence of the page: whether all is well, and if not, where.

use std::collections::BTreeSet;

use pvewatch_protocol::AlertState;
use serde::Serialize;

use crate::alerts::Alert;
use crate::output::http::channels;
use crate::output::http::condition::Condition;
use crate::output::http::picture::{Picture, Readiness};
use crate::output::http::words::Tone;

/// Nodes that the headline names; with more it says how many.
const NODES_NAMED_MAX: usize = 3;

/// What the page says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Headline {
    /// How it looks.
    pub tone: Tone,
    /// The sentence.
    pub text: String,
    /// What else there is to know, each in a sentence.
    pub notes: Vec<String>,
    /// The document's title.
    pub title: String,
}

impl Headline {
    /// The headline of a site.
    pub fn of(picture: &Picture) -> Self {
        let snapshot = &picture.snapshot;
        let in_state = |state| {
            let alerts = snapshot.alerts.iter().map(|alert| &**alert);
            alerts.filter(move |alert| alert.state() == state && alert.inhibited_by.is_none())
        };
        let firing: Vec<&Alert> = in_state(AlertState::Firing).collect();
        let pending = in_state(AlertState::Pending).count();
        let readiness = picture.readiness();
        let node_count = snapshot.nodes.len();
        let (tone, text) = if !firing.is_empty() {
            (worst(&firing), firing_words(&firing))
        } else if readiness != Readiness::Ready {
            (Tone::Doubtful, unready_words(readiness).to_owned())
        } else if node_count == 0 {
            (Tone::Neutral, "No node has been heard yet".to_owned())
        } else if pending > 0 {
            let are = if pending == 1 { "is" } else { "are" };
            (Tone::Doubtful, format!("No alert is firing, but {pending} {are} pending"))
        } else {
            (Tone::Good, format!("Nothing is wrong on {}", counted(node_count, "node", "nodes")))
        };
        let mut notes = Vec::new();
        if readiness != Readiness::Ready && !firing.is_empty() {
            notes.push(format!("{}.", unready_words(readiness)));
        }
        if pending > 0 && !firing.is_empty() {
            let more = counted(pending, "alert is", "alerts are");
            notes.push(format!("{more} pending."));
        }
        notes.extend(picture.store_trouble.iter().map(|trouble| format!("{trouble}.")));
        notes.extend(channels::notes(&picture.channels, picture.now));
        notes.extend(unheard_note(picture));
        let errors = snapshot.rules.iter().filter(|rule| rule.errors > 0).count();
        if errors > 0 {
            notes.push(format!("{} could not be evaluated.", counted(errors, "rule", "rules")));
        }
        let title = match firing.len() {
            0 => format!("{} · pvewatch", snapshot.site),
            count => format!("({count}) {} · pvewatch", snapshot.site),
        };
        Self { tone, text, notes, title }
    }
}

fn worst(firing: &[&Alert]) -> Tone {
    let severities: BTreeSet<&str> = firing.iter().map(|alert| alert.severity()).collect();
    match severities {
        found if found.contains("critical") => Tone::Bad,
        found if found.contains("warning") => Tone::Doubtful,
        _ => Tone::Neutral,
    }
}

fn firing_words(firing: &[&Alert]) -> String {
    let nodes: BTreeSet<&str> = firing.iter().map(|alert| alert.entity.node.as_str()).collect();
    let nodes: Vec<&str> = nodes.into_iter().collect();
    let place = match nodes.as_slice() {
        many if many.len() > NODES_NAMED_MAX => format!("{} nodes", many.len()),
        [rest @ .., last] if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        nodes => nodes.concat(),
    };
    format!("{} firing on {place}", counted(firing.len(), "alert is", "alerts are"))
}

fn unready_words(readiness: Readiness) -> &'static str {
    match readiness {
        Readiness::StoreFails => "The collector cannot store anything",
        Readiness::NotConnected => "The collector has no connection to the broker",
        Readiness::CatchingUp | Readiness::Ready => "The collector is catching up",
    }
}

fn unheard_note(picture: &Picture) -> Option<String> {
    let nodes = picture.snapshot.nodes.iter();
    let unheard: Vec<String> = nodes
        .filter_map(|view| match Condition::of(&view.node) {
            Condition::Online => None,
            condition => Some(format!("{} ({})", view.node.name, condition.words())),
        })
        .collect();
    match unheard.len() {
        0 => None,
        1..=NODES_NAMED_MAX => Some(format!("Not heard: {}.", unheard.join(", "))),
        count => Some(format!("{count} nodes are not heard.")),
    }
}

/// `1 node`, `3 nodes`.
pub fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
