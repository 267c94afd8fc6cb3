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
        });
        self.gone_since = None;
    }

    /// Takes in what its node's storages hold, as of `moment`. Returns whether that is news.
    pub(super) fn look(&mut self, vmid: Vmid, storages: &Storages, moment: Moment) -> bool {
        let found = storages
            .iter()
            .filter_map(|(id, storage)| Some((id.clone(), storage.archives_of(vmid)?.clone())));
        let on: BTreeMap<_, _> = found.collect();
        let gone_since = match self.is_gone(vmid, storages) {
            Some(true) => self.gone_since.or(Some(moment)),
            Some(false) => None,
            None => self.gone_since,
        };
        let is_news = (&on, gone_since) != (&self.on, self.gone_since);
        (self.on, self.gone_since) = (on, gone_since);
        is_news
    }

    /// Whether the newest run's archive is not there; none if that cannot be told now.
    ///
    /// A newer one is as good: somebody may have made it by hand, and removed the other.
    fn is_gone(&self, vmid: Vmid, storages: &Storages) -> Option<bool> {
        let Some(written) = &self.written else { return Some(false) };
        let Some(storage) = storages.get(&written.storage) else { return Some(false) };
        let is_told = storage.seen.listed_at.is_some_and(|listed| listed > written.at);
        let newest = || storage.archives_of(vmid)?.newest.as_ref();
        // Names of one guest's archives are in the order of their times.
        let is_gone = || newest().is_none_or(|newest| newest.name < written.name);
        (storage.is_available() && is_told).then(is_gone)
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
