//! What the broker retains of alerts, beside what is so: what has to be published or cleared.
//!
//! Pure. Two collectors share the topic of an alert. What the other one says stands while it is
//! there; what nobody stands for any more is cleared, or Home Assistant would show it for ever.

use std::collections::{HashMap, HashSet};

use pvewatch_protocol::{AlertMessage, AlertState, CollectorName, Fingerprint};

/// What the broker retained when this connection began.
#[derive(Debug, Clone, Default)]
pub struct Retained {
    /// Alerts of whatever collector.
    pub alerts: HashMap<Fingerprint, AlertMessage>,
    /// Collectors that said they are online.
    pub online: HashSet<CollectorName>,
}

/// What this collector knows.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// All alerts, as they are to be published.
    pub alerts: HashMap<Fingerprint, AlertMessage>,
    /// Those whose end is only to be told.
    pub ended: HashSet<Fingerprint>,
    /// The nodes that it looks after.
    pub nodes: HashSet<String>,
}

/// A correction.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Wanted {
    Published(Box<AlertMessage>),
    Cleared(Fingerprint),
}

impl Known {
    /// Whether an alert fires and goes on.
    pub(super) fn fires(&self, fingerprint: Fingerprint) -> bool {
        let alert = self.alerts.get(&fingerprint);
        alert.is_some_and(|alert| alert.state == AlertState::Firing)
            && !self.ended.contains(&fingerprint)
    }
}

impl Retained {
    /// What has to change for the broker to have what `own`, a collector, knows.
    pub(super) fn corrections(&self, known: &Known, own: &CollectorName) -> Vec<Wanted> {
        let to_publish = known.alerts.iter().filter(|(fingerprint, message)| match message.state {
            AlertState::Firing => known.fires(**fingerprint) && !self.has(message, own),
            // What expired, or never was there, needs not be resolved again.
            AlertState::Resolved => self.fires(**fingerprint),
            AlertState::Pending => false,
        });
        let to_publish =
            to_publish.map(|(_, message)| Wanted::Published(Box::new(message.clone())));
        let is_over = |fingerprint: &Fingerprint| {
            let known = known.alerts.get(fingerprint);
            known.is_none_or(|known| known.state == AlertState::Pending)
        };
        let to_clear = self.alerts.values().filter(|message| {
            message.state == AlertState::Firing
                && is_over(&message.fingerprint)
                && (message.collector == *own || self.is_nobodys(message, known))
        });
        let to_clear = to_clear.map(|message| Wanted::Cleared(message.fingerprint));
        to_publish.chain(to_clear).collect()
    }

    /// Whether the broker has an alert in these words, by this collector or one that is there.
    fn has(&self, message: &AlertMessage, own: &CollectorName) -> bool {
        self.alerts.get(&message.fingerprint).is_some_and(|before| {
            let stands = before.collector == *own || self.online.contains(&before.collector);
            stands && AlertMessage { collector: own.clone(), ..before.clone() } == *message
        })
    }

    fn fires(&self, fingerprint: Fingerprint) -> bool {
        self.alerts.get(&fingerprint).is_some_and(|alert| alert.state == AlertState::Firing)
    }

    /// Whether the collector that said it is gone, and this one looks after the same node.
    fn is_nobodys(&self, message: &AlertMessage, known: &Known) -> bool {
        let node = message.labels.get("node");
        !self.online.contains(&message.collector)
            && node.is_some_and(|node| known.nodes.contains(node))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;

    use super::*;

    fn name(name: &str) -> CollectorName {
        name.parse().unwrap()
    }

    fn alert(collector: &str, state: AlertState) -> AlertMessage {
        AlertMessage {
            fingerprint: "00000000000000ff".parse().unwrap(),
            state,
            labels: BTreeMap::from([("node".to_owned(), "pve1".to_owned())]),
            annotations: BTreeMap::new(),
            starts_at: Timestamp::UNIX_EPOCH,
            ends_at: None,
            value: None,
            stale: false,
            as_of: None,
            collector: name(collector),
        }
    }

    fn known(alerts: &[AlertMessage]) -> Known {
        let alerts = alerts.iter().map(|alert| (alert.fingerprint, alert.clone())).collect();
        Known { alerts, ended: HashSet::new(), nodes: HashSet::from(["pve1".to_owned()]) }
    }

    fn retained(alerts: &[AlertMessage], online: &[&str]) -> Retained {
        let alerts = alerts.iter().map(|alert| (alert.fingerprint, alert.clone())).collect();
        Retained { alerts, online: online.iter().map(|online| name(online)).collect() }
    }

    /// What `main` corrects, in a word.
    fn check(retained: &Retained, known: &Known) -> &'static str {
        match retained.corrections(known, &name("main")).as_slice() {
            [] => "nothing",
            [Wanted::Published(message)] => message.state.as_str(),
            [Wanted::Cleared(_)] => "cleared",
            _ => "several",
        }
    }

    #[test]
    fn the_broker_gets_what_it_lacks_and_nothing_twice() {
        use AlertState::{Firing, Pending, Resolved};
        let fires = known(&[alert("main", Firing)]);
        let nothing = known(&[]);
        assert_eq!(check(&retained(&[], &[]), &fires), "firing");
        assert_eq!(check(&retained(&[alert("main", Firing)], &[]), &fires), "nothing");
        assert_eq!(check(&retained(&[alert("main", Resolved)], &[]), &fires), "firing");
        let resolved = known(&[alert("main", Resolved)]);
        assert_eq!(check(&retained(&[alert("main", Firing)], &[]), &resolved), "resolved");
        assert_eq!(check(&retained(&[], &[]), &resolved), "nothing");
        assert_eq!(check(&retained(&[alert("main", Firing)], &[]), &nothing), "cleared");
        let pending = known(&[alert("main", Pending)]);
        assert_eq!(check(&retained(&[alert("main", Firing)], &[]), &pending), "cleared");
        let ending = Known { ended: fires.alerts.keys().copied().collect(), ..fires };
        assert_eq!(check(&retained(&[alert("main", Firing)], &[]), &ending), "nothing");
    }

    #[test]
    fn what_the_other_collector_says_stands_while_it_is_there() {
        let others = [alert("second", AlertState::Firing)];
        let fires = known(&[alert("main", AlertState::Firing)]);
        assert_eq!(check(&retained(&others, &["second"]), &fires), "nothing");
        assert_eq!(check(&retained(&others, &[]), &fires), "firing");
        let nothing = known(&[]);
        assert_eq!(check(&retained(&others, &["second"]), &nothing), "nothing");
        assert_eq!(check(&retained(&others, &[]), &nothing), "cleared");
        let elsewhere = Known { nodes: HashSet::new(), ..nothing };
        assert_eq!(check(&retained(&others, &[]), &elsewhere), "nothing", "not its node");
    }
}
