//! Looks at one storage. Whatever is asked of it can hang: whoever calls must expect that.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::{Archive, GuestArchives, StorageState, Vmid};
use rustix::fs::statvfs;

use super::contents::{Contents, contents};
use super::pieces::{beginning_of, end_of};
use super::places::StoragePaths;
use super::remote;
use crate::backups::storages::config::{Folder, Storage};
use crate::backups::storages::files::{Run, file_name, notes, notes_name};
use crate::backups::storages::mounts::Mounts;
use crate::backups::storages::tally::{Heap, Heaps, Verdict, Whose, join, prunes};
use crate::proxmox::Api;

/// For how long nothing may have changed in a folder before its files are listed again: runs follow
/// each other, and each changes a few files.
const QUIET: SignedDuration = SignedDuration::from_mins(1);

/// How old a list may be while something changes all the time.
const AGE_MAX: SignedDuration = SignedDuration::from_mins(10);

/// How old a list may be while its folder says that nothing changes: not every file system tells.
const AGE_AT_REST_MAX: SignedDuration = SignedDuration::from_hours(6);

/// Archives that are listed; a folder with more is unknown.
const ARCHIVES_MAX: usize = 50_000;

/// Folders that the agent's own unit hides from it.
const HIDDEN: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];

/// Bytes at the end of a log in which that stands.
const LOG_END_BYTES: u64 = 16 * 1024;

/// Bytes of notes that are read: a character takes at most four.
const NOTES_BYTES: u64 = 4 * (Archive::NOTES_CHARS_MAX as u64 + 1);

/// What is to be looked at, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The node, as Proxmox names it.
    pub node: String,
    /// The storage.
    pub storage: Storage,
    /// Whose archives count; everyone's if none.
    pub only: Option<BTreeSet<Vmid>>,
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
    /// How full the metadata of a thin pool is: its size, and what is in use, in bytes.
    pub metadata: Option<(u64, u64)>,
    /// What its files take, if it holds files.
    pub contents: Option<Contents>,
    /// What tells the medium from another one under the same name.
    pub place: Option<String>,
    /// Its archives, if they are known.
    pub list: Option<Arc<List>>,
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
    /// When they were listed.
    pub listed_at: Timestamp,
    /// The guests that have something there, by number.
    pub guests: Vec<GuestArchives>,
    /// What of it could not be told.
    pub gap: Option<String>,
    order: Order,
    /// Which folder it was and when it had changed last; none if it changes while it is listed.
    stamp: Option<Stamp>,
    verdicts: Verdicts,
}

/// What was judged of each guest.
type Verdicts = BTreeMap<Whose, Verdict>;

/// Why there is no list.
enum Trouble {
    Io(io::Error),
    TooMuch,
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

impl List {
    /// Archives that are no files.
    pub(super) fn of(
        guests: Vec<GuestArchives>,
        gap: Option<String>,
        order: &Order,
        now: Timestamp,
    ) -> Self {
        let (order, verdicts) = (order.clone(), Verdicts::new());
        Self { listed_at: now, guests, gap, order, stamp: None, verdicts }
    }
}

impl Look {
    /// Nothing can be seen of the storage.
    pub fn blind(state: StorageState, detail: impl Into<String>) -> Self {
        let detail = Some(detail.into());
        Self { state, detail, usage: None, metadata: None, contents: None, place: None, list: None }
    }
}

/// Looks at a storage as of `now`; `known` is what was seen of it before.
pub fn look(
    order: &Order,
    (paths, api): (&StoragePaths, Option<&Api>),
    known: Option<Look>,
    (now, zone): (Timestamp, &TimeZone),
) -> Look {
    let (known, summed) = known.map_or((None, None), |known| (known.list, known.contents));
    let known = known.filter(|known| known.order == *order);
    let Some(folder) = &order.storage.folder else {
        return remote::look(order, api, known, now);
    };
    if let Some(place) = not_mounted(folder, paths) {
        let detail = format!("nothing is mounted at {place}");
        return Look::blind(StorageState::NotMounted, detail);
    }
    let (usage, place) = match usage(folder) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let hidden = HIDDEN.iter().any(|hidden| folder.root.starts_with(hidden));
            let why = if hidden { ", or hidden from the agent by its unit" } else { "" };
            let detail = format!("{} is not there{why}", folder.root.display());
            return Look::blind(StorageState::NotMounted, detail);
        }
        Err(error) => return unreadable(&folder.root, &error.into()),
    };
    let contents = Some(contents(&folder.contents, summed, (usage.used, now)));
    let seen = Look {
        state: StorageState::Available,
        detail: None,
        usage: Some(usage),
        metadata: None,
        contents,
        place: Some(place),
        list: None,
    };
    if !order.storage.takes_backups() {
        return seen;
    }
    let list = match known {
        Some(known) => renew(known, &folder.dump, (now, zone)),
        None => list(order, &folder.dump, &Verdicts::new(), (now, zone)),
    };
    match list {
        Ok(list) => Look { list: Some(list), ..seen },
        Err(trouble) => Look { usage: Some(usage), ..unreadable(&folder.dump, &trouble) },
    }
}

fn unreadable(path: &Path, trouble: &Trouble) -> Look {
    let path = path.display();
    let detail = match trouble {
        Trouble::Io(error) if error.kind() == io::ErrorKind::NotFound => {
            format!("{path} is not there")
        }
        Trouble::Io(error) => format!("{path} cannot be read: {error}"),
        Trouble::TooMuch => format!("{path} has more than {ARCHIVES_MAX} archives"),
    };
    Look::blind(StorageState::Unreadable, detail)
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

/// How full the storage's file system is, and which one it is: by its own id, as far as it has one.
fn usage(folder: &Folder) -> io::Result<(Usage, String)> {
    let found = statvfs(&folder.root)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    let usage = Usage {
        total: bytes(found.f_blocks),
        used: bytes(found.f_blocks.saturating_sub(found.f_bfree)),
        available: bytes(found.f_bavail),
    };
    Ok((usage, format!("{:x} {}", found.f_fsid, folder.dump.display())))
}

/// A list is good enough while its folder has not changed, and while things go on. A folder that
/// rests is hardly ever listed again: its disk can sleep.
fn renew(
    known: Arc<List>,
    dump: &Path,
    (now, zone): (Timestamp, &TimeZone),
) -> Result<Arc<List>, Trouble> {
    let (stamp, changed_at) = stamp(dump)?;
    let age = now.duration_since(known.listed_at);
    let age_max = if known.stamp == Some(stamp) {
        AGE_AT_REST_MAX
    } else if now.duration_since(changed_at) < QUIET {
        AGE_MAX
    } else {
        SignedDuration::ZERO
    };
    if !age.is_negative() && age < age_max {
        return Ok(known);
    }
    list(&known.order, dump, &known.verdicts, (now, zone))
}

fn stamp(dump: &Path) -> io::Result<(Stamp, Timestamp)> {
    let found = fs::metadata(dump)?;
    let changed = (found.mtime(), found.mtime_nsec());
    let changed_at = Timestamp::from_second(changed.0).unwrap_or(Timestamp::MAX);
    Ok((Stamp { device: found.dev(), inode: found.ino(), changed }, changed_at))
}

fn list(
    order: &Order,
    dump: &Path,
    known: &Verdicts,
    (now, zone): (Timestamp, &TimeZone),
) -> Result<Arc<List>, Trouble> {
    let (stamp, changed_at) = stamp(dump)?;
    let mut heaps = Heaps::default();
    let mut archives = 0;
    for file in fs::read_dir(dump)? {
        let file = file?;
        let Some(name) = file.file_name().to_str().map(str::to_owned) else { continue };
        heaps.add(&name, order.only.as_ref(), || {
            archives += 1;
            // One that was removed meanwhile is none.
            Some(file.metadata().ok()?.len())
        });
        if archives > ARCHIVES_MAX {
            return Err(Trouble::TooMuch);
        }
    }
    let mut verdicts = Verdicts::new();
    let mut guests: Vec<GuestArchives> = Vec::new();
    for (whose, mut heap) in heaps.into_guests() {
        heap.settle();
        let verdict = verdict(dump, (whose, &heap), known.get(&whose));
        let mut sum = heap.sum(whose, verdict.as_ref(), zone);
        if let Some(newest) = &mut sum.newest {
            newest.notes = beginning_of(&dump.join(notes_name(&newest.name)), NOTES_BYTES)
                .ok()
                .and_then(|notes_on_it| notes(&notes_on_it));
        }
        verdicts.extend(verdict.map(|verdict| (whose, verdict)));
        match guests.pop_if(|guest| guest.vmid == whose.0) {
            Some(other) => guests.push(join(other, sum)),
            None => guests.push(sum),
        }
    }
    let is_settled = now.duration_since(changed_at) >= QUIET;
    let stamp = is_settled.then_some(stamp);
    Ok(Arc::new(List { listed_at: now, guests, gap: None, order: order.clone(), stamp, verdicts }))
}

/// What the last run that removed archives left; its log is read when there is a new one.
fn verdict(
    dump: &Path,
    ((vmid, kind), heap): (Whose, &Heap),
    known: Option<&Verdict>,
) -> Option<Verdict> {
    let runs = heap.logged_runs();
    let newest = *runs.first()?;
    if let Some(known) = known.filter(|known| known.as_of == newest) {
        return Some(known.clone());
    }
    let rule_of = |began: &DateTime| {
        let log = file_name(Run { kind, vmid, began: *began }, ".log");
        let end = end_of(&dump.join(log), LOG_END_BYTES).ok()?;
        Some((*began, prunes(&end)?.to_owned()))
    };
    let pruned = runs.iter().find_map(rule_of);
    let pruned = pruned.as_ref().map(|(began, rule)| (*began, rule.as_str()));
    Some(heap.judge(newest, pruned))
}
