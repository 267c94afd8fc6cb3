//! What other collectors say of alerts, and what becomes of it here.
//!
//! Two collectors that saw the same say the same by themselves. One that was away did not see
//! everything: of what it knows from a picture, from the first sample after its absence, or from
//! silence alone, it takes over since when the other says it is so, unless it knows that it was
//! not. Then both speak of one and the same alert, and a notice has one key.
//!
//! Absent on purpose: who says it. What has ended here is forgotten here.

use jiff::Timestamp;
use pvewatch_protocol::Fingerprint;

use super::alert::{Alert, Phase};
use super::book::{ACTIVE_MAX, Book, Touched, seen_anew};
use super::transition::{News, Transition, Why};

/// Alerts of others that are remembered: as many as are kept of one's own. More are not.
const PEERS_MAX: usize = ACTIVE_MAX;

impl Book {
    /// Another collector says that an alert fires since then; none if it does not fire there.
    pub fn hear_peer(
        &mut self,
        fingerprint: Fingerprint,
        starts_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Transition> {
        let Some(starts_at) = starts_at else {
            self.peers.remove(&fingerprint);
            return None;
        };
        if self.peers.len() < PEERS_MAX || self.peers.contains_key(&fingerprint) {
            self.peers.insert(fingerprint, starts_at);
        }
        let (node, key) = self.places.get(&fingerprint)?;
        let alert = self.active.get_mut(node)?.get_mut(key)?;
        let mut agreed = Alert::clone(alert);
        if !agreed.agree(starts_at) {
            return None;
        }
        agreed.changed_at = now;
        *alert = agreed.into();
        self.touched.push((fingerprint, Touched::State));
        let is_told = matches!(alert.phase, Phase::Firing { .. });
        is_told.then(|| seen_anew(alert, starts_at, Why::BeganEarlier, News::Update))
    }

    /// A new alert begins: what others say of it counts from its beginning.
    pub(super) fn ask_peers(&self, alert: &mut Alert) {
        let ended_at = self.resolved.get(&alert.fingerprint).and_then(|ended| ended.ends_at());
        if let (Some(unseen), Some(ended)) = (&mut alert.unseen_since, ended_at) {
            *unseen = (*unseen).max(ended);
        }
        if let Some(starts_at) = self.peers.get(&alert.fingerprint) {
            alert.agree(*starts_at);
        }
    }
}
