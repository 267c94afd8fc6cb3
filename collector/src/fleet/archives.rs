//! Which archives of a guest exist, and whether the one that its last run made is among them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use pvewatch_protocol::event::BackupFinished;
use pvewatch_protocol::{GuestArchives, Vmid};
use serde::{Deserialize, Serialize};

use super::moment::Moment;
use super::storage::Storages;

/// The archives of a guest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Archives {
    /// What it has on each storage of its node, as of when that could be looked at last.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub on: BTreeMap<Arc<str>, GuestArchives>,
    /// What the newest run that succeeded made, if that is a file on a storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Written>,
    /// Since when that is known not to be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_since: Option<Moment>,
}

/// An archive that a run made on the guest's node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Where.
    pub storage: Arc<str>,
    /// The file's name, which begins with the guest and the time.
    pub name: String,
    /// When the run ended, by the node's clock.
    pub at: Timestamp,
    /// The medium on which it was seen; none if it was not, or nothing tells one from another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

impl Archives {
    /// A run succeeded, the newest of all.
    pub(super) fn write(&mut self, finished: &BackupFinished, at: Timestamp) {
        let name = finished.archive.as_deref().and_then(|archive| archive.rsplit('/').next());
        let name = name.filter(|name| name.starts_with("vzdump-"));
        self.written = finished.storage.as_deref().zip(name).map(|(storage, name)| Written {
            storage: storage.into(),
            name: name.to_owned(),
            at,
            place: None,
        });
        self.gone_since = None;
    }

    /// A run succeeded, the newest of all, on a node where the guest is not any more: a storage of
    /// the same name can be another one here.
    pub(super) fn write_elsewhere(&mut self) {
        (self.written, self.gone_since) = (None, None);
    }

    /// Takes in what its node's storages hold, as of `moment`. Returns whether that is news.
    pub(super) fn look(&mut self, vmid: Vmid, storages: &Storages, moment: Moment) -> bool {
        let found = storages
            .iter()
            .filter_map(|(id, storage)| Some((id.clone(), storage.archives_of(vmid)?.clone())));
        let before = self.clone();
        self.on = found.collect();
        match self.is_there(vmid, storages) {
            Some(Seen::There(place)) => {
                self.gone_since = None;
                if let Some(written) = self.written.as_mut().filter(|_| place.is_some()) {
                    written.place = place;
                }
            }
            Some(Seen::Gone) => self.gone_since = self.gone_since.or(Some(moment)),
            None => {}
        }
        *self != before
    }

    /// Whether the newest run's archive is there; none if that cannot be told now.
    ///
    /// A newer one is as good: somebody may have made it by hand, and removed the other. On another
    /// medium under the same name it is not to be expected.
    fn is_there(&self, vmid: Vmid, storages: &Storages) -> Option<Seen> {
        let written = self.written.as_ref()?;
        let storage = storages.get(&written.storage).filter(|it| it.is_available())?;
        let place = &storage.seen.place;
        let newest = storage.archives_of(vmid).and_then(|on| on.newest.as_ref());
        // Names of one guest's archives are in the order of their times.
        if newest.is_some_and(|newest| newest.name >= written.name) {
            return Some(Seen::There(place.clone()));
        }
        let is_told = storage.seen.listed_at.is_some_and(|listed| listed > written.at);
        let is_the_same = written.place.as_ref().is_none_or(|known| place.as_ref() == Some(known));
        (is_told && is_the_same).then_some(Seen::Gone)
    }

    /// How many archives there are.
    pub fn count(&self) -> u64 {
        self.on.values().map(|on| u64::from(on.count)).sum()
    }

    /// What they take, in bytes, as far as that is known.
    pub fn bytes(&self) -> u64 {
        self.on.values().filter_map(|on| on.bytes).sum()
    }

    /// When the run of the newest began.
    pub fn newest(&self) -> Option<Timestamp> {
        self.on.values().filter_map(|on| Some(on.newest.as_ref()?.began)).max()
    }

    /// How many should have been removed; none if that is not known of any storage.
    pub fn surplus(&self) -> Option<u64> {
        let known = self.on.values().filter_map(|on| on.surplus.map(u64::from));
        known.reduce(|left, right| left + right)
    }
}

/// What was seen of an archive.
enum Seen {
    /// It is there, on this medium.
    There(Option<String>),
    Gone,
}
