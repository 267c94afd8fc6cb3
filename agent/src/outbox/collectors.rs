//! What each collector has acked, and what an ack means for sending.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pvewatch_protocol::{Ack, CollectorName, Epoch, Sequence, StreamId};

/// How long an ack may stand still before events are sent again.
pub const RESEND_DELAY_MIN: Duration = Duration::from_secs(30);

/// Resends back off up to this.
pub const RESEND_DELAY_MAX: Duration = Duration::from_secs(300);

/// What an ack told the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckOutcome {
    /// The collector has stored more than before.
    Advanced,
    /// Nothing new, and nothing to do.
    Unchanged,
    /// The collector says the same again because it sees a gap: send again.
    Repeated,
    /// The collector has less than it had: it was restored. Send again.
    FellBack,
    /// A store that never spoke before: it needs everything again, and pictures.
    NewEpoch,
    /// It speaks of another stream than the current one.
    OtherStream,
    /// It covers more than was ever sent: this agent was rolled back and must begin a new stream.
    BeyondSent,
    /// The configuration does not name this collector.
    NotConfigured,
}

/// The state of one collector, as far as this agent knows it.
#[derive(Debug, Clone, Copy, Default)]
struct Collector {
    epoch: Option<Epoch>,
    through: Sequence,
    resend: Option<Resend>,
}

#[derive(Debug, Clone, Copy)]
struct Resend {
    due: Instant,
    delay: Duration,
}

/// The collectors that the configuration names.
#[derive(Debug)]
pub(super) struct Collectors {
    by_name: BTreeMap<CollectorName, Collector>,
}

impl Collectors {
    pub(super) fn new(names: &[CollectorName]) -> Self {
        let by_name = names.iter().map(|name| (name.clone(), Collector::default())).collect();
        Self { by_name }
    }

    /// What every collector has stored: events up to here may be deleted.
    pub(super) fn stored_by_all(&self) -> Sequence {
        self.by_name.values().map(|collector| collector.through).min().unwrap_or_default()
    }

    /// What the furthest collector has stored: new events are sent from here.
    pub(super) fn stored_by_furthest(&self) -> Sequence {
        self.by_name.values().map(|collector| collector.through).max().unwrap_or_default()
    }

    pub(super) fn stored_by(&self, name: &CollectorName) -> Sequence {
        self.by_name.get(name).map(|collector| collector.through).unwrap_or_default()
    }

    /// Whether any collector ever acked anything, of whatever stream.
    pub(super) fn any_spoke(&self) -> bool {
        self.by_name.values().any(|collector| collector.epoch.is_some())
    }

    /// A new stream begins: nobody has stored anything of it.
    pub(super) fn begin_stream(&mut self) {
        for collector in self.by_name.values_mut() {
            collector.through = Sequence(0);
            collector.resend = None;
        }
    }

    /// Takes in an ack. `retained` tells one that the broker kept from one sent just now.
    pub(super) fn on_ack(
        &mut self,
        now: Instant,
        name: &CollectorName,
        ack: Ack,
        retained: bool,
        stream: StreamId,
        last: Sequence,
    ) -> AckOutcome {
        let Some(collector) = self.by_name.get_mut(name) else {
            return AckOutcome::NotConfigured;
        };
        let known_epoch = collector.epoch.replace(ack.collector_epoch);
        let new_epoch = known_epoch.is_some_and(|epoch| epoch != ack.collector_epoch);
        if ack.stream != stream {
            if new_epoch {
                collector.through = Sequence(0);
            }
            return if new_epoch { AckOutcome::NewEpoch } else { AckOutcome::OtherStream };
        }
        if ack.through > last {
            return AckOutcome::BeyondSent;
        }
        let before = std::mem::replace(&mut collector.through, ack.through);
        let outcome = if new_epoch {
            AckOutcome::NewEpoch
        } else if ack.through > before {
            AckOutcome::Advanced
        } else if ack.through < before {
            AckOutcome::FellBack
        } else if retained || ack.through == last {
            AckOutcome::Unchanged
        } else {
            AckOutcome::Repeated
        };
        if outcome != AckOutcome::Unchanged {
            collector.wait_for_ack(now, last, RESEND_DELAY_MIN);
        }
        outcome
    }

    /// Events were sent: those who have not stored them are expected to say so.
    pub(super) fn on_sent(&mut self, now: Instant, last: Sequence) {
        for collector in self.by_name.values_mut() {
            if collector.resend.is_none() {
                collector.wait_for_ack(now, last, RESEND_DELAY_MIN);
            }
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.by_name.values().filter_map(|c| c.resend.map(|resend| resend.due)).min()
    }

    /// The first position that a collector whose time is up still lacks, if there is one.
    ///
    /// Only collectors that ever spoke are waited for, unless none ever did: one that is
    /// named but absent must not make the others receive everything twice.
    pub(super) fn on_deadline(&mut self, now: Instant, last: Sequence) -> Option<Sequence> {
        let any_spoke = self.any_spoke();
        let mut send_from = None;
        for collector in self.by_name.values_mut() {
            let Some(resend) = collector.resend.filter(|resend| resend.due <= now) else {
                continue;
            };
            collector.wait_for_ack(now, last, (resend.delay * 2).min(RESEND_DELAY_MAX));
            if collector.resend.is_some() && (collector.epoch.is_some() || !any_spoke) {
                let from = collector.through.next();
                send_from = Some(send_from.map_or(from, |other: Sequence| other.min(from)));
            }
        }
        send_from
    }
}

impl Collector {
    fn wait_for_ack(&mut self, now: Instant, last: Sequence, delay: Duration) {
        self.resend = (self.through < last).then(|| Resend { due: now + delay, delay });
    }
}
