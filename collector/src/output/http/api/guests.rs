//! `/api/v1/guests`: every guest, whether it runs, and why not.

use jiff::Timestamp;
use pvewatch_protocol::event::{GuestKind, GuestRun};
use pvewatch_protocol::{NodeName, Site, Vmid};
use serde::{Deserialize, Serialize};

use super::checked_limit;
use crate::fleet::{Guest, Load, Node};
use crate::output::http::error::ApiError;
use crate::output::http::picture::Picture;

/// Guests in one answer, unless a limit is given.
pub const GUESTS_DEFAULT: usize = 1000;

/// Guests in one answer at most.
pub const GUESTS_MAX: usize = 10_000;

/// The parameters of `/api/v1/guests`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestsQuery {
    /// Of this node only.
    pub node: Option<NodeName>,
    /// At most so many.
    pub limit: Option<usize>,
}

/// The answer of `/api/v1/guests`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuestsAnswer {
    /// The site.
    pub site: Site,
    /// When the answer was made, by the collector's clock.
    pub at: Timestamp,
    /// Guests that the question is about; more than are listed if there is a limit.
    pub total: usize,
    /// Those of them that run.
    pub running: usize,
    /// The guests: those that do not run and should first, then the others that do not, then by
    /// number.
    pub guests: Vec<GuestAnswer>,
}

/// A guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuestAnswer {
    /// Its number.
    pub vmid: Vmid,
    /// `qemu` or `lxc`.
    pub kind: GuestKind,
    /// Its name.
    pub name: Option<String>,
    /// The node that has it.
    pub node: NodeName,
    /// Whether it runs and why; none as long as nobody has said.
    pub run: Option<GuestRun>,
    /// Since when it is known to run, or not to.
    pub since: Timestamp,
    /// Whether it does not run although it should.
    pub unexpectedly_stopped: bool,
    /// Since when it should run again; can lie ahead.
    pub awaited_since: Option<Timestamp>,
    /// Whether its node starts it when it boots.
    pub onboot: bool,
    /// Whether it is a template.
    pub template: bool,
    /// Whether Proxmox talks to an agent (QEMU's) in it.
    #[serde(default)]
    pub agent: bool,
    /// How the manager of high availability has it; none if that does not keep it.
    #[serde(default)]
    pub ha: Option<String>,
    /// How many processors it may use.
    #[serde(default)]
    pub cpus: Option<f64>,
    /// The share of them that it kept busy over the last minute.
    #[serde(default)]
    pub cpu_used_ratio: Option<f64>,
    /// How much memory it may use.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// How much it holds on its node.
    #[serde(default)]
    pub memory_used_bytes: Option<u64>,
    /// The share that a container uses of its memory.
    #[serde(default)]
    pub memory_used_ratio: Option<f64>,
    /// What holds it.
    pub lock: Option<String>,
    /// Its pool.
    pub pool: Option<String>,
    /// Its tags.
    pub tags: Vec<String>,
}

impl GuestsAnswer {
    /// Answers a question.
    ///
    /// # Errors
    /// When the limit is not possible.
    pub fn of(picture: &Picture, query: &GuestsQuery) -> Result<Self, ApiError> {
        let limit = checked_limit(query.limit, GUESTS_DEFAULT, GUESTS_MAX)?;
        let at = picture.now;
        let is_asked_for = |node: &NodeName| query.node.as_ref().is_none_or(|asked| asked == node);
        let nodes = picture.snapshot.nodes.iter().filter(|view| is_asked_for(&view.node.name));
        let mut guests: Vec<(&Node, &Guest)> = nodes
            .flat_map(|view| view.guests.iter().map(|guest| (&*view.node, &**guest)))
            .collect();
        guests.sort_by_cached_key(|(_, guest)| {
            let is_wrong = is_wrong(guest, at);
            (!is_wrong, guest.is_running(), guest.vmid, guest.node.clone())
        });
        let total = guests.len();
        let running = guests.iter().filter(|(_, guest)| guest.is_running()).count();
        let guests = guests
            .into_iter()
            .take(limit)
            .map(|(node, guest)| GuestAnswer::of(node, guest))
            .collect();
        Ok(Self { site: picture.snapshot.site.clone(), at, total, running, guests })
    }
}

impl GuestAnswer {
    /// Whether it does not run although it should.
    pub fn is_wrong(&self, now: Timestamp) -> bool {
        self.unexpectedly_stopped || self.awaited_since.is_some_and(|since| since <= now)
    }

    fn of(node: &Node, guest: &Guest) -> Self {
        let load = Load::of(node, guest);
        let plan = guest.plan.as_ref();
        let settings = plan.and_then(|plan| plan.settings.as_deref());
        Self {
            vmid: guest.vmid,
            kind: guest.kind,
            name: guest.name().map(str::to_owned),
            node: guest.node.clone(),
            run: guest.run.clone(),
            since: guest.since.fact,
            unexpectedly_stopped: guest.is_unexpectedly_stopped(),
            awaited_since: guest.awaited_since.map(|since| since.fact),
            onboot: plan.is_some_and(|plan| plan.onboot),
            template: plan.is_some_and(|plan| plan.template),
            agent: settings.is_some_and(|settings| settings.agent),
            ha: plan.and_then(|plan| plan.ha.clone()),
            cpus: load.cpus,
            cpu_used_ratio: load.cpu_used_ratio,
            memory_bytes: load.memory_bytes,
            memory_used_bytes: load.memory_used_bytes,
            memory_used_ratio: load.memory_used_ratio,
            lock: plan.and_then(|plan| plan.lock.clone()),
            pool: plan.and_then(|plan| plan.pool.clone()),
            tags: plan.map(|plan| plan.tags.clone()).unwrap_or_default(),
        }
    }
}

fn is_wrong(guest: &Guest, now: Timestamp) -> bool {
    guest.is_unexpectedly_stopped() || guest.awaited_since.is_some_and(|since| since.fact <= now)
}
