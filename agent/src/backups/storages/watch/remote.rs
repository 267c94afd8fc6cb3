//! Looks at a storage that is no folder, through Proxmox' API: how full it is, and which archives
//! are there.
//!
//! What the API says of a storage's content leaves out all that a token may not restore, without a
//! word: with the role PVEAuditor that is everything. What would be pruned it tells of every
//! archive, so that is asked, with everything to be kept; guest by guest, since Proxmox gives up on
//! an answer after 30 s.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::{Archive, GuestArchives, StorageState, Vmid};
use serde::Deserialize;

use super::look::{List, Look, Order, Usage};
use crate::backups::storages::config::ThinPool;
use crate::backups::storages::tally::count;
use crate::proxmox::{Api, ApiError, Session};

/// How old a list may be: for a new one Proxmox starts a program for each guest.
const AGE_MAX: SignedDuration = SignedDuration::from_hours(3);

/// What Proxmox says when a backup server refuses to tell.
const PRUNE_FAILS: &str = "error pruning backups";

/// How a storage is, as the API says.
#[derive(Debug, Deserialize)]
struct Status {
    #[serde(default)]
    active: Number,
    #[serde(default)]
    total: Number,
    #[serde(default)]
    used: Number,
    #[serde(default)]
    avail: Number,
}

/// A thin pool of LVM, as the API says.
#[derive(Debug, Deserialize)]
struct Pool {
    vg: String,
    lv: String,
    #[serde(default)]
    metadata_size: Number,
    #[serde(default)]
    metadata_used: Number,
}

/// An archive, as the API says.
#[derive(Debug, Deserialize)]
struct Volume {
    volid: String,
    ctime: Number,
    #[serde(default)]
    vmid: Option<Number>,
    #[serde(default)]
    mark: String,
}

/// A number, which Perl may have taken for a text.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(try_from = "serde_json::Value")]
struct Number(u64);

impl TryFrom<serde_json::Value> for Number {
    type Error = String;
    fn try_from(value: serde_json::Value) -> Result<Self, String> {
        let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
        number.map(Self).ok_or_else(|| format!("{value} is no number"))
    }
}

/// Looks at a storage as of `now`; `known` is what was seen of it before.
pub fn look(order: &Order, api: Option<&Api>, known: Option<Arc<List>>, now: Timestamp) -> Look {
    let Some(api) = api else {
        let kind = &order.storage.kind;
        let untold = match order.storage.takes_backups() {
            true => format!("archives of the type {kind} are told"),
            false => format!("the use of storages of the type {kind} is told"),
        };
        let detail = format!("{untold} by Proxmox' API alone: set [proxmox] token_file");
        return Look::blind(StorageState::NotRead, detail);
    };
    match api.session().and_then(|session| ask(order, &session, known, now)) {
        Ok(look) => look,
        Err(error) => Look::blind(StorageState::Unreadable, told(&error)),
    }
}

fn ask(
    order: &Order,
    api: &Session<'_>,
    known: Option<Arc<List>>,
    now: Timestamp,
) -> Result<Look, ApiError> {
    let path = format!("/nodes/{}/storage/{}", order.node, order.storage.id);
    let status: Status = api.get(&format!("{path}/status"))?;
    if status.active.0 == 0 {
        let detail = "Proxmox cannot reach it: it is not active";
        return Ok(Look::blind(StorageState::Unreadable, detail));
    }
    let usage = (status.total.0 > 0).then_some(Usage {
        total: status.total.0,
        used: status.used.0,
        available: status.avail.0,
    });
    let (metadata, untold) = match &order.storage.thin_pool {
        Some(pool) => metadata(pool, order, api),
        None => (None, None),
    };
    let list = match order.storage.takes_backups() {
        true => Some(renew(known, order, (api, &path), now)?),
        false => None,
    };
    let detail = untold.or_else(|| list.as_ref()?.gap.clone());
    let state = StorageState::Available;
    Ok(Look { state, detail, usage, metadata, contents: None, place: None, list })
}

/// What is known of the archives, if it is new enough; else they are asked for.
fn renew(
    known: Option<Arc<List>>,
    order: &Order,
    way: (&Session<'_>, &str),
    now: Timestamp,
) -> Result<Arc<List>, ApiError> {
    let age = known.as_ref().map(|known| now.duration_since(known.listed_at));
    let is_new = age.is_some_and(|age| !age.is_negative() && age < AGE_MAX);
    match known {
        Some(known) if is_new => Ok(known),
        known => list(order, way, known.as_deref(), now),
    }
}

/// The size of a thin pool's metadata and what of it is in use, or why that is not known.
fn metadata(
    pool: &ThinPool,
    order: &Order,
    api: &Session<'_>,
) -> (Option<(u64, u64)>, Option<String>) {
    let untold = |why: String| (None, Some(format!("its metadata is not told: {why}")));
    match api.get::<Vec<Pool>>(&format!("/nodes/{}/disks/lvmthin", order.node)) {
        Ok(pools) => {
            let is_it = |found: &&Pool| (&found.vg, &found.lv) == (&pool.group, &pool.volume);
            match pools.iter().find(is_it).filter(|found| found.metadata_size.0 > 0) {
                Some(found) => (Some((found.metadata_size.0, found.metadata_used.0)), None),
                None => untold(format!("Proxmox knows no pool {}/{}", pool.group, pool.volume)),
            }
        }
        // Its own place in Proxmox' tree is the root.
        Err(ApiError::Refused(_)) => {
            untold("the token needs the role PVEAuditor on /, not on storages alone".to_owned())
        }
        Err(error) => untold(error.to_string()),
    }
}

/// The archives of each guest. What cannot be told stays as it was known before.
fn list(
    order: &Order,
    (api, path): (&Session<'_>, &str),
    known: Option<&List>,
    now: Timestamp,
) -> Result<Arc<List>, ApiError> {
    let ask = |more: &str| {
        api.get::<Vec<Volume>>(&format!("{path}/prunebackups?prune-backups=keep-all%3D1{more}"))
    };
    let Some(only) = &order.only else {
        return Ok(Arc::new(List::of(sums(ask("")?), None, order, now)));
    };
    let (mut guests, mut failures) = (Vec::new(), Vec::new());
    for vmid in only {
        match ask(&format!("&vmid={vmid}")) {
            Ok(volumes) => guests.extend(sums(volumes)),
            Err(error) => {
                let before = known.iter().flat_map(|known| &known.guests);
                guests.extend(before.filter(|guest| guest.vmid == *vmid).cloned());
                failures.push(error);
            }
        }
    }
    let (failed, all) = (failures.len(), only.len());
    let gap = match failures.pop() {
        Some(error) if failed == all => return Err(error),
        error => error.map(|error| format!("{failed} of {all} guests: {}", told(&error))),
    };
    Ok(Arc::new(List::of(guests, gap, order, now)))
}

/// The error, and what to do if Proxmox does not say it.
fn told(error: &ApiError) -> String {
    match error {
        ApiError::Failed(reason) if reason.contains(PRUNE_FAILS) => format!(
            "{error}; on the backup server, the storage's user needs the privilege Datastore.Prune"
        ),
        error => error.to_string(),
    }
}

/// The archives of each guest. Their sizes are not told: archives share most of what they hold.
fn sums(volumes: Vec<Volume>) -> Vec<GuestArchives> {
    let mut guests: BTreeMap<Vmid, Vec<Archive>> = BTreeMap::new();
    for volume in volumes {
        let vmid = volume.vmid.and_then(|vmid| Vmid::try_from(u32::try_from(vmid.0).ok()?).ok());
        let began =
            i64::try_from(volume.ctime.0).ok().and_then(|at| Timestamp::from_second(at).ok());
        let (Some(vmid), Some(began)) = (vmid, began) else { continue };
        let name = volume.volid.split_once(":backup/").map_or(&*volume.volid, |(_, name)| name);
        let protected = volume.mark == "protected";
        let archive = Archive { name: name.to_owned(), began, bytes: None, notes: None, protected };
        guests.entry(vmid).or_default().push(archive);
    }
    guests.into_iter().map(|(vmid, archives)| sum(vmid, archives)).collect()
}

fn sum(vmid: Vmid, mut archives: Vec<Archive>) -> GuestArchives {
    archives.sort_by_key(|archive| archive.began);
    GuestArchives {
        vmid,
        count: count(archives.len()),
        bytes: None,
        oldest: archives.first().map(|archive| archive.began),
        protected: count(archives.iter().filter(|archive| archive.protected).count()),
        newest: archives.pop(),
        surplus: None,
        prune: None,
        unfinished: 0,
    }
}
