//! Looks at one storage. Whatever is asked of it can hang: whoever calls must expect that.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::{GuestArchives, StorageState, Vmid};
use rustix::fs::statvfs;

use super::places::StoragePaths;
use super::remote;
use crate::backups::storages::config::{Folder, Storage};
use crate::backups::storages::mounts::Mounts;
use crate::backups::storages::tally::{Heap, Heaps, Pruned, add, prunes};
use crate::proxmox::Api;

/// For how long nothing may have changed in a folder before its files are listed again: runs follow
/// each other, and each changes a few files.
const QUIET: SignedDuration = SignedDuration::from_mins(1);

/// How old a list may be while something changes all the time.
const LIST_AGE_MAX: SignedDuration = SignedDuration::from_mins(10);

/// Logs of a guest in which the last run is looked for that removed archives.
const LOGS_READ_MAX: usize = 8;

/// Bytes at the end of a log in which that stands.
const LOG_END_BYTES: u64 = 16 * 1024;

/// What is to be looked at, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The node, as Proxmox names it.
    pub node: String,
    /// The storage.
    pub storage: Storage,
    /// Whose archives count; everyone's if none.
    pub only: Option<BTreeSet<Vmid>>,
    /// What the jobs keep here that cover a guest.
    pub configured: BTreeMap<Vmid, Vec<String>>,
}

/// What was seen.
#[derive(Debug, Clone)]
pub struct Look {
    /// How the storage is.
    pub state: StorageState,
    /// Why it is not available.
    pub detail: Option<String>,
    /// How full it is.
    pub usage: Option<Usage>,
    /// Its archives, if they are known.
    pub list: Option<List>,
}

/// How full a file system is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// All of it.
    pub total: u64,
    /// What is in use.
    pub used: u64,
    /// What can still be written.
    pub available: u64,
}

/// The archives of a storage, as of a moment.
#[derive(Debug, Clone)]
pub struct List {
    /// As of when this is known.
    pub at: Timestamp,
    /// The guests that have something there, by number.
    pub guests: Vec<GuestArchives>,
    /// When the files were listed.
    pub(super) listed_at: Timestamp,
    order: Order,
    /// Which folder it was and when it had changed last; none if it changes while it is listed.
    stamp: Option<Stamp>,
    /// What logs say, beside the newest log there was.
    pruned: BTreeMap<Vmid, (DateTime, Pruned)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

impl List {
    /// Archives that are no files.
    pub(super) fn of(guests: Vec<GuestArchives>, order: &Order, now: Timestamp) -> Self {
        let (order, pruned) = (order.clone(), BTreeMap::new());
        Self { at: now, guests, listed_at: now, order, stamp: None, pruned }
    }
}

impl Look {
    /// Nothing can be seen of the storage.
    pub fn blind(state: StorageState, detail: impl Into<String>) -> Self {
        Self { state, detail: Some(detail.into()), usage: None, list: None }
    }
}

/// Looks at a storage as of `now`; `known` is what was seen of it before.
pub fn look(
    order: &Order,
    (paths, api): (&StoragePaths, Option<&Api>),
    known: Option<List>,
    (now, zone): (Timestamp, &TimeZone),
) -> Look {
    let known = known.filter(|known| known.order == *order);
    let Some(folder) = &order.storage.folder else {
        return remote::look(order, api, known, now);
    };
    if let Some(place) = not_mounted(folder, paths) {
        let detail = format!("nothing is mounted at {place}");
        return Look::blind(StorageState::NotMounted, detail);
    }
    let usage = match usage(&folder.root) {
        Ok(usage) => usage,
        Err(error) => return blind(&folder.root, &error),
    };
    let list = match known {
        Some(known) => renew(known, (now, zone)),
        None => list(order, BTreeMap::new(), (now, zone)),
    };
    match list {
        Ok(list) => {
            let (state, detail) = (StorageState::Available, None);
            Look { state, detail, usage: Some(usage), list: Some(list) }
        }
        Err(error) => Look { usage: Some(usage), ..blind(&folder.dump, &error) },
    }
}

fn blind(path: &Path, error: &io::Error) -> Look {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => {
            Look::blind(StorageState::NotMounted, format!("{path} is not there"))
        }
        _ => Look::blind(StorageState::Unreadable, format!("{path} cannot be read: {error}")),
    }
}

fn not_mounted(folder: &Folder, paths: &StoragePaths) -> Option<String> {
    // Without these files there is nothing to doubt.
    let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let mounts = Mounts::parse(&text(&paths.mountinfo), &text(&paths.fstab));
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let must_be = folder.mount.as_deref().filter(|mount| !mounts.is_mounted(&real(mount)));
    let root = real(&folder.root);
    let missing = must_be.or_else(|| mounts.missing(&root));
    missing.map(|place| place.display().to_string())
}

fn usage(root: &Path) -> io::Result<Usage> {
    let found = statvfs(root)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(Usage {
        total: bytes(found.f_blocks),
        used: bytes(found.f_blocks.saturating_sub(found.f_bfree)),
        available: bytes(found.f_bavail),
    })
}

/// A list is as good as new while its folder has not changed, and good enough while things go on.
/// A folder that rests is only asked when it changed: its disk can sleep on.
fn renew(known: List, (now, zone): (Timestamp, &TimeZone)) -> io::Result<List> {
    let Some(folder) = &known.order.storage.folder else { return Ok(known) };
    let (stamp, changed_at) = stamp(&folder.dump)?;
    if known.stamp == Some(stamp) {
        return Ok(List { at: now, ..known });
    }
    let is_quiet = now.duration_since(changed_at) >= QUIET;
    let age = now.duration_since(known.listed_at);
    if !is_quiet && !age.is_negative() && age < LIST_AGE_MAX {
        return Ok(known);
    }
    list(&known.order, known.pruned, (now, zone))
}

fn stamp(dump: &Path) -> io::Result<(Stamp, Timestamp)> {
    let found = fs::metadata(dump)?;
    let changed = (found.mtime(), found.mtime_nsec());
    let changed_at = Timestamp::from_second(changed.0).unwrap_or(Timestamp::MAX);
    Ok((Stamp { device: found.dev(), inode: found.ino(), changed }, changed_at))
}

fn list(
    order: &Order,
    mut pruned: BTreeMap<Vmid, (DateTime, Pruned)>,
    (now, zone): (Timestamp, &TimeZone),
) -> io::Result<List> {
    let nowhere = || io::Error::from(io::ErrorKind::NotFound);
    let dump = &order.storage.folder.as_ref().ok_or_else(nowhere)?.dump;
    let (stamp, changed_at) = stamp(dump)?;
    let mut heaps = Heaps::new();
    for file in fs::read_dir(dump)? {
        let file = file?;
        if let Some(name) = file.file_name().to_str() {
            // One that was removed meanwhile is none.
            add(&mut heaps, name, || Some(file.metadata().ok()?.len()));
        }
    }
    heaps.retain(|vmid, heap| {
        !heap.is_empty() && order.only.as_ref().is_none_or(|only| only.contains(vmid))
    });
    pruned.retain(|vmid, _| heaps.contains_key(vmid));
    let mut guests = Vec::with_capacity(heaps.len());
    for (vmid, mut heap) in heaps {
        let pruned = pruned_by(dump, (vmid, &mut heap), &mut pruned);
        let configured = order.configured.get(&vmid).map_or(&[][..], Vec::as_slice);
        guests.push(heap.sum(vmid, (&pruned, configured), zone));
    }
    let is_settled = now.duration_since(changed_at) >= QUIET;
    let stamp = is_settled.then_some(stamp);
    Ok(List { at: now, guests, listed_at: now, order: order.clone(), stamp, pruned })
}

/// What the logs of a guest's runs say; they are read when there is a new one.
fn pruned_by(
    dump: &Path,
    (vmid, heap): (Vmid, &mut Heap),
    known: &mut BTreeMap<Vmid, (DateTime, Pruned)>,
) -> Pruned {
    let runs = heap.logged_runs();
    let Some((newest, _)) = runs.first() else { return Pruned::Unlogged };
    if let Some((_, pruned)) = known.get(&vmid).filter(|(of, _)| of == newest) {
        return pruned.clone();
    }
    let rule_of = |(began, name): &(DateTime, Box<str>)| {
        let end = end_of(&dump.join(&**name)).ok()?;
        Some(Pruned::Run(*began, prunes(&end)?.to_owned()))
    };
    let pruned = runs.iter().take(LOGS_READ_MAX).find_map(rule_of).unwrap_or(Pruned::Never);
    known.insert(vmid, (*newest, pruned.clone()));
    pruned
}

fn end_of(log: &Path) -> io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_END_BYTES)))?;
    let mut end = Vec::new();
    file.take(LOG_END_BYTES).read_to_end(&mut end)?;
    Ok(String::from_utf8_lossy(&end).into_owned())
}
