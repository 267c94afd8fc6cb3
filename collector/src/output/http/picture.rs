//! What the page, the API and the metrics are made from: the site and the collector itself, as
//! of one moment. Cheap to share; nothing here can change the collector.

use std::sync::Arc;

use jiff::Timestamp;
use pvewatch_protocol::CollectorName;

use crate::core::Snapshot;
use crate::output::channel::ChannelReading;
use crate::run::{Counters, Queries};

/// The site and the collector at one moment.
#[derive(Debug, Clone)]
pub struct Picture {
    /// The site: nodes, units, alerts, rules.
    pub snapshot: Arc<Snapshot>,
    /// What the collector counts of its own work.
    pub counters: Arc<Counters>,
    /// The collector that shows it.
    pub collector: CollectorName,
    /// What the channels have yet to take.
    pub channels: Vec<ChannelReading>,
    /// Why nothing can be stored, while that is so.
    pub store_trouble: Option<String>,
    /// The moment.
    pub now: Timestamp,
}

/// Whether the collector speaks for the site's alerts, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It does.
    Ready,
    /// Nothing can be stored, so nothing is taken in.
    StoreFails,
    /// It has no connection to the broker.
    NotConnected,
    /// It is connected, and has yet to take in what the broker and the agents hold for it.
    CatchingUp,
}

impl Readiness {
    /// The readiness of a collector at this moment.
    pub fn of(queries: &Queries) -> Self {
        Self::judge(&queries.counters(), queries.store_trouble().is_some())
    }

    fn judge(counters: &Counters, store_fails: bool) -> Self {
        match (counters.connected.get(), counters.ready.get()) {
            _ if store_fails => Self::StoreFails,
            (false, _) => Self::NotConnected,
            (true, false) => Self::CatchingUp,
            (true, true) => Self::Ready,
        }
    }

    /// In words for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::StoreFails => "nothing can be stored: see the collector's log for the reason",
            Self::NotConnected => {
                "not connected to the broker: see the collector's log for the reason"
            }
            Self::CatchingUp => "catching up with what the broker and the agents hold",
        }
    }
}

impl Picture {
    /// Whether the collector speaks for the site's alerts.
    pub fn readiness(&self) -> Readiness {
        Readiness::judge(&self.counters, self.store_trouble.is_some())
    }
}
