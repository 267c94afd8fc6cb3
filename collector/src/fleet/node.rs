//! A host that runs an agent: what it said of itself, its newest sample, whether it can be heard.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::event::{AgentFacts, AgentStopping};
use pvewatch_protocol::{
    Epoch, NodeName, NodePresence, Position, PresenceState, Sample, StopReason,
};
use serde::{Deserialize, Serialize};

use super::boots::Boots;
use super::delivery::{Backlog, Loss};
use super::duplicates::Duplicates;
use super::entity::{Drawn, Version};
use super::inside::Inside;
use super::moment::{Moment, shift};
use super::reading::Reading;
use super::silence::{HEARTBEATS_MISSED_MAX, Heard, Presence, Silence, Stop, epoch_time};
use super::skew::Skew;

/// The interval of heartbeats until the node has announced its own, in seconds.
const INTERVAL_SECONDS_DEFAULT: f64 = 10.0;

/// Announced intervals are held within these bounds, in seconds.
const INTERVAL_SECONDS: std::ops::RangeInclusive<f64> = 1.0..=3600.0;

/// A host that runs an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// When this collector first heard of it, by the collector's clock.
    pub first_seen: Timestamp,
    /// What the agent says of itself and its host.
    #[serde(default)]
    pub facts: Option<AgentFacts>,
    /// How new `facts` are.
    #[serde(default)]
    pub facts_version: Version,
    /// The last event that `facts` include.
    #[serde(default)]
    pub facts_position: Option<Position>,
    /// Its boots.
    #[serde(default)]
    pub boots: Boots,
    /// The newest sample.
    #[serde(default)]
    pub reading: Option<Reading>,
    /// How far the collector's clock is ahead of the node's, in seconds.
    #[serde(default)]
    pub clock_skew_seconds: Option<f64>,
    /// What that was measured from.
    #[serde(default)]
    pub skew: Skew,
    /// What its birth message or last will said last.
    #[serde(default)]
    pub presence: Presence,
    /// The newest connection that said online.
    #[serde(default)]
    pub last_online: Option<Epoch>,
    /// The newest goodbye; see [`Node::stop_reason`] for whether it still stands.
    #[serde(default)]
    pub stop: Option<Stop>,
    /// The last sign of life: a sample, or an online message.
    #[serde(default)]
    pub last_seen: Option<Moment>,
    /// Since when it cannot be heard; none while it can.
    #[serde(default)]
    pub silent: Silence,
    /// The guest that it is, if it is one of a node that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<Inside>,
    /// Whether two agents use this name, as of the last input or deadline.
    #[serde(default)]
    pub duplicate_name: bool,
    /// The streams that its samples come from.
    #[serde(default)]
    pub agents: Duplicates,
    /// The boot ids that its online messages come from.
    #[serde(default)]
    pub hosts: Duplicates,
    /// Events that its agents declared lost since this collector knows it.
    #[serde(default)]
    pub dropped_events: u64,
    /// The last loss of events.
    #[serde(default)]
    pub last_loss: Option<Loss>,
    /// What its agent has and this collector has not.
    #[serde(default)]
    pub backlog: Backlog,
    /// The newest complete checkpoint of units: older events say nothing about their state.
    #[serde(default)]
    pub units_as_of: Version,
    /// Units that were removed since, so that older descriptions do not bring them back.
    #[serde(default)]
    pub removed_units: BTreeMap<String, Version>,
    /// The newest complete picture of its guests.
    #[serde(default)]
    pub guests_as_of: Drawn,
    /// The newest complete picture of those that run.
    #[serde(default)]
    pub runs_as_of: Drawn,
    /// The newest complete picture of its backup jobs.
    #[serde(default)]
    pub jobs_as_of: Drawn,
    /// The newest complete picture of its storages.
    #[serde(default)]
    pub storages_as_of: Drawn,
    /// Whether it is known of all of these which archives are there.
    #[serde(default)]
    pub archives_known: bool,
}

impl Node {
    /// Whether it is known what it has to back up.
    pub fn has_plan(&self) -> bool {
        self.guests_as_of > Drawn::default() && self.jobs_as_of > Drawn::default()
    }

    pub(crate) fn new(name: NodeName, first_seen: Timestamp) -> Self {
        Self {
            name,
            first_seen,
            facts: None,
            facts_version: Version::default(),
            facts_position: None,
            boots: Boots::default(),
            reading: None,
            clock_skew_seconds: None,
            skew: Skew::default(),
            presence: Presence::Unknown,
            last_online: None,
            stop: None,
            last_seen: None,
            silent: None,
            inside: None,
            duplicate_name: false,
            agents: Duplicates::default(),
            hosts: Duplicates::default(),
            dropped_events: 0,
            last_loss: None,
            backlog: Backlog::default(),
            units_as_of: Version::default(),
            removed_units: BTreeMap::new(),
            guests_as_of: Drawn::default(),
            runs_as_of: Drawn::default(),
            jobs_as_of: Drawn::default(),
            storages_as_of: Drawn::default(),
            archives_known: false,
        }
    }

    /// The node's labels from its agent's configuration, such as `environment`.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.facts.as_ref()?.labels.get(name).map(String::as_str)
    }

    /// How far the collector's clock is ahead of the node's; zero while unknown.
    pub fn clock_skew(&self) -> SignedDuration {
        let seconds = self.clock_skew_seconds.unwrap_or(0.0);
        SignedDuration::try_from_secs_f64(seconds).unwrap_or(SignedDuration::ZERO)
    }

    /// Why it went: its last goodbye if it has not been heard since, else the last will's word.
    /// None for a node that is there, or that vanished without a message.
    pub fn stop_reason(&self) -> Option<StopReason> {
        let connected = self.last_online.map_or(Timestamp::MIN, epoch_time);
        let alive_at = self.last_seen.map_or(connected, |seen| seen.fact.max(connected));
        match (&self.stop, &self.presence) {
            (Some(stop), _) if stop.at >= alive_at => Some(stop.reason),
            (_, Presence::Offline { reason, .. }) => Some(*reason),
            _ => None,
        }
    }

    /// The time from one heartbeat to the next.
    pub fn heartbeat_interval(&self) -> SignedDuration {
        let announced = match (&self.reading, &self.facts) {
            (Some(reading), _) => reading.sample.interval_seconds,
            (None, Some(facts)) => facts.sample_interval_seconds,
            (None, None) => INTERVAL_SECONDS_DEFAULT,
        };
        let finite = if announced.is_finite() { announced } else { INTERVAL_SECONDS_DEFAULT };
        let seconds = finite.clamp(*INTERVAL_SECONDS.start(), *INTERVAL_SECONDS.end());
        SignedDuration::from_secs_f64(seconds)
    }

    /// When its silence begins if no more is heard. `listening_since` is when the collector
    /// started: it cannot have heard anything before.
    pub(crate) fn overdue(&self, listening_since: Timestamp) -> Moment {
        let patience =
            self.heartbeat_interval() * i32::try_from(HEARTBEATS_MISSED_MAX).unwrap_or(3);
        match self.last_seen {
            Some(seen) if seen.judged >= listening_since => seen.after(patience),
            _ => Moment::both(self.first_seen.max(listening_since)).after(patience),
        }
    }

    pub(crate) fn learn(
        &mut self,
        facts: &AgentFacts,
        (version, position): (Version, Position),
        at: Timestamp,
    ) {
        self.boots.note(&facts.boot_id, facts.booted_at);
        self.facts = Some(facts.clone());
        self.facts_version = version;
        self.facts_position = Some(position);
        self.stop.take_if(|stop| stop.at < at);
    }

    pub(crate) fn say_goodbye(&mut self, stopping: &AgentStopping, at: Timestamp) {
        self.boots.announce(&stopping.boot_id, stopping.reason);
        self.remember_stop(stopping.reason, at);
    }

    pub(crate) fn lose(&mut self, loss: Loss) {
        self.dropped_events = self.dropped_events.saturating_add(loss.events());
        self.last_loss = Some(loss);
    }

    /// Takes a sample; says whether the node could not be heard before, and now can.
    pub(crate) fn read(
        &mut self,
        sample: &Sample,
        backlog: Backlog,
        received_at: Timestamp,
    ) -> bool {
        self.backlog = backlog;
        self.skew.note(sample.at, received_at);
        self.clock_skew_seconds = self.skew.seconds();
        self.agents.note(&sample.as_of.stream.to_string(), received_at);
        let newer = self.reading.as_ref().is_none_or(|reading| {
            sample.epoch >= reading.sample.epoch || sample.at > reading.sample.at
        });
        if newer {
            let moment = Moment { fact: sample.at, judged: received_at };
            self.reading = Some(Reading::after(self.reading.as_ref(), sample, moment));
        }
        // A last sample can come after the will of its own connection; one of another
        // connection proves that the node lives, whatever that will said.
        if let Presence::Offline { epoch, .. } = self.presence {
            if epoch == sample.epoch {
                return false;
            }
            self.presence = Presence::Online { epoch: sample.epoch };
        }
        self.show_life(sample.at, received_at)
    }

    pub(crate) fn hear(&mut self, presence: &NodePresence, received_at: Timestamp) -> Heard {
        match presence.state {
            PresenceState::Online => self.hear_online(presence, received_at),
            PresenceState::Offline => self.hear_offline(presence, received_at),
        }
    }

    fn hear_online(&mut self, presence: &NodePresence, received_at: Timestamp) -> Heard {
        let online = Presence::Online { epoch: presence.epoch };
        if self.presence == online && self.last_online == Some(presence.epoch) {
            return Heard::Known;
        }
        self.presence = online;
        self.last_online = Some(presence.epoch);
        self.hosts.note(&presence.boot_id, received_at);
        self.show_life(presence.at, received_at);
        Heard::Changed
    }

    fn hear_offline(&mut self, presence: &NodePresence, received_at: Timestamp) -> Heard {
        let reason = presence.reason.unwrap_or(StopReason::Unknown);
        let offline = Presence::Offline { epoch: presence.epoch, reason };
        if self.last_online.is_some_and(|online| presence.epoch < online) {
            return Heard::Superseded;
        }
        if self.presence == offline {
            return Heard::Known;
        }
        self.presence = offline;
        let said = !matches!(reason, StopReason::Lost | StopReason::Unknown);
        if said {
            self.boots.announce(&presence.boot_id, reason);
            self.remember_stop(reason, presence.at);
        }
        // A will cannot know when it speaks: the last sign of life is the last fact there is.
        let fact = match self.last_seen {
            _ if said => presence.at,
            Some(seen) => seen.fact,
            None => received_at,
        };
        self.silent.get_or_insert(Moment { fact, judged: received_at });
        Heard::Changed
    }

    fn remember_stop(&mut self, reason: StopReason, at: Timestamp) {
        if self.stop.as_ref().is_none_or(|stop| stop.at <= at) {
            self.stop = Some(Stop { reason, at });
        }
    }

    /// A sign of life counts from when it was heard, whatever the node's clock says.
    fn show_life(&mut self, at: Timestamp, received_at: Timestamp) -> bool {
        let fact = Moment::judge(at, received_at, self.clock_skew()).fact;
        let moment = Moment { fact, judged: received_at };
        self.last_seen = Some(self.last_seen.map_or(moment, |seen| Moment {
            fact: seen.fact.max(moment.fact),
            judged: seen.judged.max(moment.judged),
        }));
        self.silent.take().is_some()
    }

    /// Judges silence and duplicates as of `now`; says whether either changed.
    pub(crate) fn pass_time(&mut self, now: Timestamp, listening_since: Timestamp) -> bool {
        let mut changed = false;
        let overdue = self.overdue(listening_since);
        if self.silent.is_none() && overdue.judged <= now {
            self.silent = Some(overdue);
            changed = true;
        }
        let duplicate = self.agents.is_duplicate(now) || self.hosts.is_duplicate(now);
        changed |= std::mem::replace(&mut self.duplicate_name, duplicate) != duplicate;
        changed
    }

    /// When [`Node::pass_time`] has something to say next, if nothing more is heard.
    pub(crate) fn next_judgement(&self, listening_since: Timestamp) -> Option<Timestamp> {
        let overdue = self.silent.is_none().then(|| self.overdue(listening_since).judged);
        let single = self.duplicate_name.then(|| {
            let ends = [self.agents.ends_at(), self.hosts.ends_at()];
            ends.into_iter().flatten().max()
        });
        overdue.into_iter().chain(single.flatten()).min()
    }

    /// For how long this collector has lacked events that the agent has, as of its newest sample.
    pub fn events_delay(&self) -> Option<SignedDuration> {
        Some(self.backlog.age(self.reading.as_ref()?.received_at))
    }

    /// How old the oldest event is that this collector lacks, or that the agent says is not acked
    /// by every collector, as of its newest sample.
    pub fn ack_lag(&self) -> Option<SignedDuration> {
        let agent = &self.reading.as_ref()?.sample.agent;
        let unacked = agent.oldest_unacked_seconds.filter(|_| agent.outbox_events > 0);
        let unacked = unacked.and_then(|age| SignedDuration::try_from_secs_f64(age).ok());
        Some(self.events_delay()?.max(unacked.unwrap_or_default()))
    }

    /// What was noted by the collector's clock after `now` was noted by a clock that was ahead.
    pub(crate) fn hold_until(&mut self, now: Timestamp) {
        self.first_seen = self.first_seen.min(now);
        for seen in [&mut self.last_seen, &mut self.silent].into_iter().flatten() {
            seen.judged = seen.judged.min(now);
        }
        if let Some(reading) = &mut self.reading {
            reading.received_at = reading.received_at.min(now);
        }
        self.backlog.since = self.backlog.since.map(|since| since.min(now));
    }

    /// The collector's clock was set ahead by as much.
    pub(crate) fn clock_jumped(&mut self, by: SignedDuration) {
        self.first_seen = shift(self.first_seen, by);
        for seen in [&mut self.last_seen, &mut self.silent].into_iter().flatten() {
            seen.judged = shift(seen.judged, by);
        }
        if let Some(reading) = &mut self.reading {
            reading.received_at = shift(reading.received_at, by);
        }
        if let Some(since) = &mut self.backlog.since {
            *since = shift(*since, by);
        }
        self.skew.clock_jumped(by);
        self.clock_skew_seconds = self.skew.seconds();
    }

    /// When its newest reading was taken, by both clocks.
    pub fn read_at(&self) -> Option<Moment> {
        let reading = self.reading.as_ref()?;
        Some(Moment::judge(reading.sample.at, reading.received_at, self.clock_skew()))
    }

    /// The time since boot at the newest reading.
    pub fn booted_at(&self) -> Option<Timestamp> {
        self.boots.current.as_ref().map(|boot| boot.at)
    }

    /// The boot's moment by both clocks.
    pub fn booted(&self) -> Option<Moment> {
        let fact = self.booted_at()?;
        Some(Moment { fact, judged: shift(fact, self.clock_skew()) })
    }
}
