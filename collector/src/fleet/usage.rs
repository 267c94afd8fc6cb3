//! What guests use of the processors and the memory that they may use.
//!
//! Samples bring counters, about once a minute; rates follow from two of them. Time is the node's
//! own since its boot, which no clock that is set changes. A counter that falls was begun anew, when
//! its guest was started again: then no rate is known until the next.

use std::sync::Arc;

use jiff::SignedDuration;
use pvewatch_protocol::event::{GuestKind, GuestState};
use pvewatch_protocol::sample::GuestUsage;
use pvewatch_protocol::{Sample, Vmid};
use serde::{Deserialize, Serialize};

use super::guest::Guest;
use super::node::Node;
use super::reading::Reading;

/// For how long counters stand for a guest, in seconds since the node's boot: two samples that should
/// bring others can be lost. Where samples are rarer it is as many intervals between them.
const FRESH_SECONDS: f64 = 200.0;
const FRESH_INTERVALS: f64 = 2.5;

/// An interval between samples that is believed, in seconds: no agent can be told a longer one.
const INTERVAL_SECONDS_MAX: f64 = 600.0;

/// For how long the group of a guest that was stopped can still be seen.
const LINGERS: SignedDuration = SignedDuration::from_secs(60);

/// What is nearer together, in seconds, gives no rate: an agent that was started again tells at once.
const SPAN_SECONDS_MIN: f64 = 20.0;

/// What the guests of a node have used, by its newest sample that says so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// When, in seconds since the node's boot.
    uptime_seconds: f64,
    /// The guests, by number.
    guests: Vec<GuestUse>,
}

/// What a guest has used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct GuestUse {
    #[serde(flatten)]
    counted: GuestUsage,
    /// How many processors it kept busy since it was counted before; none the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cpus_busy: Option<f64>,
}

/// What a sample and the reading before it come to.
pub(super) fn follow(before: Option<&Reading>, sample: &Sample) -> Option<Arc<Usage>> {
    let now = sample.uptime_seconds;
    let before = before.and_then(|before| before.usage.as_ref());
    let before = before.filter(|before| before.age(sample).is_some());
    let Some(counted) = &sample.guests else { return before.cloned() };
    if let Some(before) = before.filter(|before| now - before.uptime_seconds < SPAN_SECONDS_MIN) {
        return Some(before.clone());
    }
    let rate = |counted: &GuestUsage| {
        let before = before?;
        let used = counted.cpu_seconds - before.of(counted.vmid)?.counted.cpu_seconds;
        (used >= 0.0).then(|| rounded(used / (now - before.uptime_seconds)))
    };
    let mut guests: Vec<GuestUse> = counted
        .iter()
        .map(|counted| GuestUse { counted: *counted, cpus_busy: rate(counted) })
        .collect();
    guests.sort_by_key(|guest| guest.counted.vmid);
    Some(Arc::new(Usage { uptime_seconds: now, guests }))
}

impl Usage {
    /// How old this is as of a sample, in seconds; none if it does not stand any more.
    fn age(&self, sample: &Sample) -> Option<f64> {
        let age = sample.uptime_seconds - self.uptime_seconds;
        let interval = sample.interval_seconds.clamp(0.0, INTERVAL_SECONDS_MAX);
        let fresh = FRESH_SECONDS.max(FRESH_INTERVALS * interval);
        (0.0..fresh).contains(&age).then_some(age)
    }

    fn of(&self, vmid: Vmid) -> Option<&GuestUse> {
        let place = self.guests.binary_search_by_key(&vmid, |guest| guest.counted.vmid);
        self.guests.get(place.ok()?)
    }
}

impl Reading {
    /// What guests used, and how old that is, in seconds; none if it does not stand any more.
    fn usage_and_age(&self) -> Option<(&Usage, f64)> {
        let usage = self.usage.as_deref()?;
        Some((usage, usage.age(&self.sample)?))
    }
}

/// To thousandths, so that what is recorded is read back to the digit.
fn rounded(rate: f64) -> f64 {
    (rate * 1000.0).round() / 1000.0
}

/// What a guest may use, and what it uses.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Load {
    /// How many processors it may use.
    pub cpus: Option<f64>,
    /// Processor time since it was started, in seconds.
    pub cpu_seconds: Option<f64>,
    /// Share of its processors that it kept busy over about a minute. A virtual machine's can be
    /// above 1: QEMU works for its disks and network as well.
    pub cpu_used_ratio: Option<f64>,
    /// How much memory it may use, in bytes.
    pub memory_bytes: Option<u64>,
    /// How much it holds on its node, in bytes.
    pub memory_used_bytes: Option<u64>,
    /// The share that this is. Not of a virtual machine, which on its node holds what it ever
    /// touched, however much is free inside.
    pub memory_used_ratio: Option<f64>,
}

impl Load {
    /// What a guest of a node may use, and what it uses: nothing, since it was stopped.
    pub fn of(node: &Node, guest: &Guest) -> Self {
        let sample = node.reading.as_ref().map(|reading| &reading.sample);
        let is_stopped = guest.state() == Some(GuestState::Stopped);
        let settings = guest.plan.as_ref().and_then(|plan| plan.settings.as_deref());
        let all_cpus =
            sample.map(|sample| f64::from(sample.cpu.count)).filter(|count| *count > 0.0);
        let cpus = settings.and_then(|settings| match (settings.cpus, all_cpus) {
            (Some(own), Some(all)) => Some(own.min(all)),
            (own, all) => own.or(all),
        });
        let memory_bytes = settings.and_then(|settings| settings.memory_bytes);
        let usage = node.reading.as_ref().and_then(|reading| {
            let (usage, age) = reading.usage_and_age()?;
            let told_at = reading.received_at - SignedDuration::from_secs_f64(age);
            let is_over = is_stopped && told_at.duration_since(guest.since.judged) < LINGERS;
            usage.of(guest.vmid).filter(|_| !is_over)
        });
        if is_stopped && usage.is_none() {
            let memory_used_ratio = (guest.kind == GuestKind::Lxc).then_some(0.0);
            return Self {
                cpus,
                cpu_seconds: None,
                cpu_used_ratio: Some(0.0),
                memory_bytes,
                memory_used_bytes: Some(0),
                memory_used_ratio,
            };
        }
        let memory_used_bytes = usage.and_then(|usage| usage.counted.memory_bytes);
        let memory = memory_used_bytes.zip(memory_bytes.filter(|bytes| *bytes > 0));
        let memory = memory.filter(|_| guest.kind == GuestKind::Lxc);
        Self {
            cpus,
            cpu_seconds: usage.map(|usage| usage.counted.cpu_seconds),
            cpu_used_ratio: usage.and_then(|usage| Some(usage.cpus_busy? / cpus?)),
            memory_bytes,
            memory_used_bytes,
            memory_used_ratio: memory.map(|(used, all)| used as f64 / all as f64),
        }
    }
}
