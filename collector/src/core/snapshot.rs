//! What the core knows at one moment, immutable and cheap to share.

use std::sync::Arc;

use jiff::Timestamp;
use pvewatch_protocol::Site;
use serde::{Deserialize, Serialize, Serializer};

use crate::alerts::Alert;
use crate::fleet::{Drift, FleetCounters, NodeView, Policies, Unit};
use crate::rules::Rule;

/// Everything that outputs show. Made on demand; what did not change is shared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Snapshot {
    /// The site.
    pub site: Site,
    /// When it was made: the time of the last input.
    pub at: Timestamp,
    /// All nodes with their units, by name.
    pub nodes: Vec<Arc<NodeView>>,
    /// What should be true of guests.
    pub policies: Arc<Policies>,
    /// Pending and firing alerts, and those resolved lately, by node, entity and rule.
    pub alerts: Vec<Arc<Alert>>,
    /// All rules, in the order of their files.
    pub rules: Vec<RuleStatus>,
    /// What was counted since the start.
    pub counters: Counters,
}

impl Snapshot {
    /// All units of all nodes.
    pub fn units(&self) -> impl Iterator<Item = &Arc<Unit>> {
        self.nodes.iter().flat_map(|view| view.units.iter())
    }

    /// What policies come to on all nodes.
    pub fn drifts(&self) -> impl Iterator<Item = &Arc<Drift>> {
        self.nodes.iter().flat_map(|view| view.drifts.iter())
    }
}

/// How a rule fares.
#[derive(Debug, Clone, Serialize)]
pub struct RuleStatus {
    /// The rule.
    #[serde(serialize_with = "as_its_name")]
    pub rule: Arc<Rule>,
    /// Entities that it has to look at; 0 makes it a dead rule.
    pub entities_seen: u64,
    /// Evaluations since the start.
    pub evaluations: u64,
    /// Evaluations that failed; the alerts stayed as they were.
    pub errors: u64,
    /// The last failure.
    pub last_error: Option<RuleError>,
}

/// Of the same rule, and not of one that was read anew.
impl PartialEq for RuleStatus {
    fn eq(&self, other: &Self) -> bool {
        let rest = |it: &Self| (it.entities_seen, it.evaluations, it.errors, it.last_error.clone());
        Arc::ptr_eq(&self.rule, &other.rule) && rest(self) == rest(other)
    }
}

fn as_its_name<S: Serializer>(rule: &Rule, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rule.name)
}

impl RuleStatus {
    /// Whether the rule is in force and has nothing to look at.
    pub fn is_dead(&self) -> bool {
        self.entities_seen == 0 && self.rule.is_in_force()
    }
}

/// An evaluation that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleError {
    /// On which entity, such as `pve1/ssh.service`.
    pub entity: String,
    /// What went wrong, for people.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

/// What the core counted since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Events.
    pub events: u64,
    /// Samples.
    pub samples: u64,
    /// Parts of checkpoints.
    pub checkpoints: u64,
    /// Birth messages and last wills.
    pub presences: u64,
    /// Rules evaluated.
    pub evaluations: u64,
    /// Transitions of alerts.
    pub transitions: u64,
    /// Events of another site.
    pub foreign_site: u64,
    /// Active alerts beyond what is kept.
    pub alerts_refused: u64,
    /// Records of the store that could not be read at the start.
    pub records_unreadable: u64,
    /// What the fleet left out or doubted.
    pub fleet: FleetCounters,
}
