//! What the page, the API and the metrics are made from: the site and the collector itself, as
//! of one moment. Cheap to share; nothing here can change the collector.

use std::sync::Arc;

use jiff::Timestamp;
use pvewatch_protocol::CollectorName;

use crate::core::Snapshot;
use crate::run::Counters;

/// The site and the collector at one moment.
#[derive(Debug, Clone)]
pub struct Picture {
    /// The site: nodes, units, alerts, rules.
    pub snapshot: Arc<Snapshot>,
    /// What the collector counts of its own work.
    pub counters: Arc<Counters>,
    /// The collector that shows it.
    pub collector: CollectorName,
    /// The moment.
    pub now: Timestamp,
}

/// Whether the collector speaks for the site's alerts, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It does.
    Ready,
    /// It has no connection to the broker.
    NotConnected,
    /// It is connected, and has yet to take in what the broker and the agents hold for it.
    CatchingUp,
}

impl Readiness {
    /// The readiness that the counters tell.
    pub fn of(counters: &Counters) -> Self {
        match (counters.connected.get(), counters.ready.get()) {
            (false, _) => Self::NotConnected,
            (true, false) => Self::CatchingUp,
            (true, true) => Self::Ready,
        }
    }

    /// In words for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NotConnected => {
                "not connected to the broker: see the collector's log for the reason"
            }
            Self::CatchingUp => "catching up with what the broker and the agents hold",
        }
    }
}
