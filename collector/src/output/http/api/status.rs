//! `/api/v1/status`: the first sentence of the page, and the numbers behind it.

use jiff::Timestamp;
use pvewatch_protocol::{AlertState, CollectorName, Site};
use serde::{Deserialize, Serialize};

use crate::output::channel::ChannelReading;
use crate::output::http::condition::Condition;
use crate::output::http::page::Headline;
use crate::output::http::picture::{Picture, Readiness};
use crate::output::http::words::Tone;

/// How events arrived since the collector started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryAnswer {
    /// Events that were applied, each once.
    pub applied_events: u64,
    /// Events that came again, and were known.
    pub duplicate_events: u64,
    /// Gaps that were found in streams; agents send again what is missing.
    pub gaps: u64,
    /// Events that wait behind gaps now.
    pub waiting_events: u64,
    /// Events that were learned late.
    pub late_events: u64,
    /// Messages that were not accepted.
    pub rejected_messages: u64,
    /// Events that agents declared lost, since this store began.
    pub lost_events: u64,
}

impl DeliveryAnswer {
    /// What was counted.
    pub fn of(picture: &Picture) -> Self {
        let (counters, snapshot) = (&picture.counters, &picture.snapshot);
        Self {
            applied_events: counters.events_by_kind().iter().map(|(_, count)| count).sum(),
            duplicate_events: counters.duplicates.get(),
            gaps: counters.gaps.get(),
            waiting_events: u64::try_from(counters.waiting.get()).unwrap_or(0),
            late_events: snapshot.counters.fleet.late_events,
            rejected_messages: counters.rejects_by_reason().iter().map(|(_, count)| count).sum(),
            lost_events: snapshot.nodes.iter().map(|view| view.node.dropped_events).sum(),
        }
    }
}

/// A channel through which steps of alerts are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelAnswer {
    /// Its name.
    pub name: String,
    /// Steps of alerts that it has yet to take.
    pub untold_transitions: u64,
    /// Since when it has taken none although there are some.
    pub stuck_since: Option<Timestamp>,
    /// Why, if that is known.
    pub trouble: Option<String>,
}

impl ChannelAnswer {
    fn of(channel: &ChannelReading) -> Self {
        Self {
            name: channel.name.to_owned(),
            untold_transitions: channel.untold,
            stuck_since: channel.since,
            trouble: channel.trouble.clone(),
        }
    }
}

/// The answer of `/api/v1/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusAnswer {
    /// The site.
    pub site: Site,
    /// The collector that answers.
    pub collector: CollectorName,
    /// Its version.
    pub version: String,
    /// When the answer was made, by the collector's clock.
    pub at: Timestamp,
    /// Whether it speaks for the site's alerts.
    pub ready: bool,
    /// The same in words, with the reason.
    pub readiness: String,
    /// Whether all is well, in a sentence.
    pub headline: String,
    /// `bad`, `doubtful`, `good` or `neutral`.
    pub tone: Tone,
    /// What else there is to know, each in a sentence.
    pub notes: Vec<String>,
    /// Nodes that are known.
    pub nodes_total: usize,
    /// Nodes that are heard.
    pub nodes_online: usize,
    /// Alerts that fire, those that a graver one explains included.
    pub alerts_firing: usize,
    /// Alerts that are pending.
    pub alerts_pending: usize,
    /// How events arrived.
    #[serde(default)]
    pub delivery: DeliveryAnswer,
    /// The channels through which steps of alerts are told.
    #[serde(default)]
    pub channels: Vec<ChannelAnswer>,
}

impl StatusAnswer {
    /// Answers.
    pub fn of(picture: &Picture) -> Self {
        let snapshot = &picture.snapshot;
        let readiness = picture.readiness();
        let headline = Headline::of(picture);
        let online = |node| Condition::of(node) == Condition::Online;
        let count = |state| snapshot.alerts.iter().filter(|alert| alert.state() == state).count();
        Self {
            site: snapshot.site.clone(),
            collector: picture.collector.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: picture.now,
            ready: readiness == Readiness::Ready,
            readiness: readiness.words().to_owned(),
            headline: headline.text,
            tone: headline.tone,
            notes: headline.notes,
            nodes_total: snapshot.nodes.len(),
            nodes_online: snapshot.nodes.iter().filter(|view| online(&view.node)).count(),
            alerts_firing: count(AlertState::Firing),
            alerts_pending: count(AlertState::Pending),
            delivery: DeliveryAnswer::of(picture),
            channels: picture.channels.iter().map(ChannelAnswer::of).collect(),
        }
    }
}
