//! What is done to the site, where, and when: a schedule that a seed determines.
//!
//! Pure. Kinds are dealt like cards, so that each comes as often as any other; where and how
//! long is drawn. Two faults never meet in the same part of the same place, since mending one
//! would mend the other; anything else may be broken at once.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;

/// Nodes of the site.
pub const NODES: usize = 3;

/// Before this nothing is broken: everybody has met.
const CALM: Duration = Duration::from_secs(2);

/// The time from one fault to the next, in milliseconds.
const PAUSE_MS: (u64, u64) = (500, 3_500);

/// Part of the run that a fault takes at most.
const SHARE_MAX: u32 = 4;

/// Of each period things break for the first part, and are whole for the rest.
const PERIOD: Duration = Duration::from_secs(60);
const BURST: Duration = Duration::from_secs(45);

/// Tries to find a place for a fault, before it is left out.
const TRIES: usize = 8;

/// Who can be hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A node, counted from 0.
    Node(usize),
    /// Where the collector runs, and the embedded broker with it.
    Collector,
    /// Where Mosquitto runs.
    Broker,
}

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The agent is killed with -9.
    KillAgent,
    /// The collector is killed with -9, and the broker in it, if it is there.
    KillCollector,
    /// Mosquitto is killed with -9.
    KillMosquitto,
    /// Everything on a node is killed at once; it comes back as another boot.
    Reboot,
    /// Some packets are lost, in both directions.
    Loss,
    /// All packets of one direction are lost, and nobody is told.
    HalfOpen,
    /// The link is down.
    Cut,
    /// The file system of an agent's spool is full.
    AgentDiskFull,
    /// The file system of the collector's store is full.
    CollectorDiskFull,
    /// The clock is an hour ahead for a while, and is set back.
    ClockForward,
    /// The clock is an hour behind for a while, and is set forward.
    ClockBack,
}

/// The part of a place that a fault is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Process,
    Link,
    Disk,
    Clock,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::KillAgent,
        Self::KillCollector,
        Self::KillMosquitto,
        Self::Reboot,
        Self::Loss,
        Self::HalfOpen,
        Self::Cut,
        Self::AgentDiskFull,
        Self::CollectorDiskFull,
        Self::ClockForward,
        Self::ClockBack,
    ];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::KillAgent => "kill -9 of an agent",
            Self::KillCollector => "kill -9 of the collector",
            Self::KillMosquitto => "kill -9 of Mosquitto",
            Self::Reboot => "reboot of a node",
            Self::Loss => "loss of packets",
            Self::HalfOpen => "half-open link",
            Self::Cut => "link down",
            Self::AgentDiskFull => "full disk of an agent",
            Self::CollectorDiskFull => "full disk of the collector",
            Self::ClockForward => "clock an hour ahead",
            Self::ClockBack => "clock an hour behind",
        }
    }

    fn part(self) -> Part {
        match self {
            Self::KillAgent | Self::KillCollector | Self::KillMosquitto | Self::Reboot => {
                Part::Process
            }
            Self::Loss | Self::HalfOpen | Self::Cut => Part::Link,
            Self::AgentDiskFull | Self::CollectorDiskFull => Part::Disk,
            Self::ClockForward | Self::ClockBack => Part::Clock,
        }
    }

    /// How long it lasts, in milliseconds.
    fn lasts_ms(self) -> (u64, u64) {
        match self {
            Self::KillAgent | Self::KillCollector | Self::KillMosquitto => (100, 3_000),
            Self::Reboot => (1_000, 5_000),
            Self::Loss | Self::HalfOpen => (3_000, 25_000),
            Self::Cut => (1_000, 15_000),
            Self::AgentDiskFull | Self::CollectorDiskFull => (2_000, 15_000),
            Self::ClockForward | Self::ClockBack => (4_000, 20_000),
        }
    }

    fn place(self, with_mosquitto: bool, rng: &mut Rng) -> Option<Place> {
        let node = Place::Node(rng.usize(..NODES));
        let anywhere = match rng.usize(..NODES + 1 + usize::from(with_mosquitto)) {
            number if number < NODES => Place::Node(number),
            NODES => Place::Collector,
            _ => Place::Broker,
        };
        match self {
            Self::KillAgent | Self::Reboot | Self::AgentDiskFull => Some(node),
            Self::KillCollector | Self::CollectorDiskFull => Some(Place::Collector),
            Self::KillMosquitto => with_mosquitto.then_some(Place::Broker),
            Self::Loss | Self::HalfOpen | Self::Cut => Some(anywhere),
            // A broker does not look at the clock.
            Self::ClockForward | Self::ClockBack if anywhere == Place::Broker => Some(node),
            Self::ClockForward | Self::ClockBack => Some(anywhere),
        }
    }
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// When it begins, from the beginning of the run.
    pub at: Duration,
    /// When it is mended.
    pub until: Duration,
    /// What it is.
    pub kind: Kind,
    /// Where.
    pub place: Place,
    /// Of a hundred: how many packets are lost; for a half-open link below 50 those that the
    /// place sends, otherwise those that are sent to it.
    pub percent: u32,
}

/// The faults of a run that lasts so long, in order of their beginnings.
pub fn schedule(seed: u64, duration: Duration, with_mosquitto: bool) -> Vec<Fault> {
    let mut rng = Rng::with_seed(seed);
    let mut faults = Vec::new();
    let mut deck: Vec<Kind> = Vec::new();
    let mut free_from: BTreeMap<(Place, Part), Duration> = BTreeMap::new();
    let mut at = CALM;
    loop {
        at += Duration::from_millis(rng.u64(PAUSE_MS.0..PAUSE_MS.1));
        let began = PERIOD * u32::try_from(at.as_millis() / PERIOD.as_millis()).unwrap_or(u32::MAX);
        let ends = (began + BURST).min(duration);
        if at >= duration {
            return faults;
        }
        if at >= ends {
            at = began + PERIOD;
            continue;
        }
        if deck.is_empty() {
            deck = Kind::ALL.to_vec();
            rng.shuffle(&mut deck);
        }
        let Some(kind) = deck.pop() else { continue };
        let (shortest, longest) = kind.lasts_ms();
        let lasts = Duration::from_millis(rng.u64(shortest..longest)).min(duration / SHARE_MAX);
        let percent = rng.u32(10..60);
        let place = (0..TRIES).find_map(|_| {
            let place = kind.place(with_mosquitto, &mut rng)?;
            let free = free_from.get(&(place, kind.part())).copied().unwrap_or_default();
            (free < at).then_some(place)
        });
        let Some(place) = place else { continue };
        let until = (at + lasts).min(ends);
        free_from.insert((place, kind.part()), until + CALM);
        faults.push(Fault { at, until, kind, place, percent });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: Duration = Duration::from_secs(600);

    #[test]
    fn the_same_seed_is_the_same_schedule_and_another_one_another() {
        assert_eq!(schedule(7, RUN, true), schedule(7, RUN, true));
        assert_ne!(schedule(7, RUN, true), schedule(8, RUN, true));
    }

    #[test]
    fn every_kind_is_tried_and_all_is_mended_in_time() {
        for seed in 0..50 {
            let faults = schedule(seed, RUN, true);
            for kind in Kind::ALL {
                let count = faults.iter().filter(|fault| fault.kind == kind).count();
                assert!(count >= 5, "seed {seed}: {} {count} times", kind.name());
            }
            assert!(faults.iter().all(|fault| fault.at < fault.until && fault.until <= RUN));
            assert!(faults.is_sorted_by_key(|fault| fault.at));
        }
    }

    #[test]
    fn there_is_calm_between_bursts() {
        for fault in (0..50).flat_map(|seed| schedule(seed, RUN, true)) {
            let phase = |at: Duration| Duration::from_millis((at.as_millis() % 60_000) as u64);
            assert!(phase(fault.at) < BURST && phase(fault.until) <= BURST, "{fault:?}");
        }
    }

    #[test]
    fn no_two_faults_meet_in_one_part_of_one_place() {
        for seed in 0..50 {
            let faults = schedule(seed, RUN, true);
            for (index, one) in faults.iter().enumerate() {
                let meets = faults[index + 1..].iter().find(|other| {
                    other.place == one.place
                        && other.kind.part() == one.kind.part()
                        && other.at < one.until
                });
                assert_eq!(meets, None, "seed {seed}: {one:?}");
            }
        }
    }

    #[test]
    fn without_mosquitto_nothing_happens_to_it() {
        for seed in 0..50 {
            let faults = schedule(seed, RUN, false);
            assert!(faults.iter().all(|fault| fault.place != Place::Broker), "seed {seed}");
        }
    }
}
