//! The source `backup_storages`: tells how the storages are, and which archives there are.
//!
//! Every minute each storage that is a folder is asked how full it is and whether its folder of
//! archives changed; these are listed when it did. Each is looked at on a thread of its own: one
//! that hangs holds up no other. What is no folder, such as a Proxmox Backup Server or a thin pool,
//! is asked for through Proxmox' API if there is a token for it.

mod contents;
mod look;
mod pieces;
mod places;
mod remote;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use pvewatch_protocol::{BackupStorage, CheckpointContent, GuestArchives, StorageState};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout_at};

use crate::backups::plan::watch::reader::PlanError;
use crate::clock::{self, instant};
use crate::patience::PatientLook;
use crate::proxmox::Api;
use crate::source::{Closed, PictureWanted, Report, Reporter, StatusTeller, wait_or_wanted};
use look::{List, Look, Order, look};
pub use places::StoragePaths;
use places::orders;

/// From one look to the next.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// From one look to the next where Proxmox has to be asked for archives.
const ASK_EVERY: Duration = Duration::from_mins(10);

/// From one look to the next where Proxmox has to be asked how full a storage is: guests stop when
/// one of their disks is.
const ASK_FOR_USE_EVERY: Duration = Duration::from_mins(2);

/// How long a look may take before the storage counts as hanging; it is waited for all the same.
const PATIENCE: Duration = Duration::from_secs(30);

/// The same where Proxmox is asked, which has to ask others for each guest.
const PATIENCE_WITH_API: Duration = Duration::from_mins(15);

/// How often everything is told although nothing changed.
const RENEW_EVERY: Duration = Duration::from_mins(15);

/// Storages that are looked at; what is beyond is left out, and the source says so.
const STORAGES_MAX: usize = 64;

/// Storages that are looked at at once, a thread each.
const LOOKS_AT_ONCE: usize = 4;

/// Looks that may be unfinished from before: a thread waits for each. What is beyond is not looked
/// at.
const UNFINISHED_MAX: usize = 8;

/// Guests in one element of a picture, which has to fit into one part of it.
const GUESTS_PER_ELEMENT: usize = 400;

/// By how much of its size the use of a storage must differ to be worth telling.
const USAGE_STEP: f64 = 0.01;

/// Tells the storages until the outbox closes.
///
/// # Errors
/// When the outbox is closed: the agent stops.
pub async fn run(
    paths: StoragePaths,
    api: Option<Api>,
    reporter: Reporter,
    mut picture_wanted: PictureWanted,
) -> Result<(), Closed> {
    let status = StatusTeller::new("backup_storages", reporter.clone());
    let mut source = Source {
        reporter,
        status,
        told: None,
        renew_at: instant(),
        places: PatientLook::default(),
        eyes: BTreeMap::new(),
        paths,
        api,
    };
    loop {
        let next_look = instant() + LOOK_EVERY;
        source.look().await?;
        if wait_or_wanted(next_look, &mut picture_wanted).await? {
            source.renew_at = instant();
        }
    }
}

struct Source {
    paths: StoragePaths,
    api: Option<Api>,
    reporter: Reporter,
    status: StatusTeller,
    told: Option<Vec<Told>>,
    renew_at: Instant,
    /// Whoever reads what is to be looked at, which can hang as well.
    places: PatientLook<Orders>,
    /// The storages, by name.
    eyes: BTreeMap<String, Eye>,
}

type Orders = Result<Vec<Order>, PlanError>;

/// What is seen of one storage.
#[derive(Default)]
struct Eye {
    /// What was seen last.
    seen: Option<Look>,
    /// The look that is not over.
    looking: Option<Looking>,
    /// Before when it is not looked at again; none if it may be at any time.
    rests_until: Option<Instant>,
}

/// A look that is not over.
struct Looking {
    look: JoinHandle<Look>,
    /// When it counts as hanging.
    hangs_at: Instant,
}

impl Source {
    async fn look(&mut self) -> Result<(), Closed> {
        let paths = self.paths.clone();
        let orders = match self.places.look(PATIENCE, move || orders(&paths)).await {
            None => {
                let detail = "Proxmox' configuration cannot be read: it hangs".to_owned();
                return self.status.say(false, detail).await;
            }
            // A host that never was a Proxmox node lacks nothing.
            Some(Err(PlanError::NoProxmox(_))) if !self.status.has_spoken() => return Ok(()),
            Some(Err(error)) => return self.status.say(false, error.to_string()).await,
            Some(Ok(orders)) => orders,
        };
        let left_out = orders.len().saturating_sub(STORAGES_MAX);
        let orders = &orders[..orders.len() - left_out];
        // A thread that waits for a storage that is gone counts all the same.
        let is_told = |id: &String| orders.iter().any(|order| order.storage.id == *id);
        self.eyes.retain(|id, eye| is_told(id) || eye.looking.is_some());
        for eye in self.eyes.values_mut() {
            eye.wait(instant()).await;
        }
        for some in orders.chunks(LOOKS_AT_ONCE) {
            let deadline = instant() + PATIENCE;
            for order in some {
                self.begin(order);
            }
            for order in some {
                if let Some(eye) = self.eyes.get_mut(&order.storage.id) {
                    eye.wait(deadline).await;
                }
            }
        }
        let storages = orders.iter().map(|order| self.describe(order)).collect();
        self.tell(storages).await?;
        let for_backups = orders.iter().filter(|order| order.storage.takes_backups()).count();
        let mut detail = format!("storages: {}, {for_backups} of them for backups", orders.len());
        if left_out > 0 {
            detail += &format!("; {left_out} more are left out");
        }
        self.status.say(true, detail).await
    }

    /// Begins to look at a storage, unless the look before is not over.
    fn begin(&mut self, order: &Order) {
        let unfinished = self.eyes.values().filter(|eye| eye.looking.is_some()).count();
        let eye = self.eyes.entry(order.storage.id.clone()).or_default();
        let is_resting = eye.rests_until.is_some_and(|until| until > instant());
        let is_too_much = unfinished >= UNFINISHED_MAX + LOOKS_AT_ONCE;
        if eye.looking.is_some() || is_resting || is_too_much {
            return;
        }
        let asks_api = order.storage.folder.is_none() && self.api.is_some();
        let rest = if order.storage.takes_backups() { ASK_EVERY } else { ASK_FOR_USE_EVERY };
        eye.rests_until = asks_api.then(|| instant() + rest);
        let (order, paths, api) = (order.clone(), self.paths.clone(), self.api.clone());
        let known = eye.seen.clone();
        let look = spawn_blocking(move || {
            let now = (clock::today(), &TimeZone::system());
            look(&order, (&paths, api.as_ref()), known, now)
        });
        let patience = if asks_api { PATIENCE_WITH_API } else { PATIENCE };
        eye.looking = Some(Looking { look, hangs_at: instant() + patience });
    }

    /// A storage as it is told.
    fn describe(&self, order: &Order) -> Told {
        let hangs = Look::blind(StorageState::Hanging, "it has not answered yet");
        let look = self.eyes.get(&order.storage.id).and_then(Eye::answer).unwrap_or(&hangs);
        let storage = BackupStorage {
            storage: order.storage.id.clone(),
            kind: order.storage.kind.clone(),
            content: order.storage.content.clone(),
            shared: order.storage.is_shared,
            state: look.state,
            detail: look.detail.clone(),
            place: look.place.clone(),
            total_bytes: look.usage.map(|usage| usage.total),
            used_bytes: look.usage.map(|usage| usage.used),
            available_bytes: look.usage.map(|usage| usage.available),
            metadata_total_bytes: look.metadata.map(|(total, _)| total),
            metadata_used_bytes: look.metadata.map(|(_, used)| used),
            held_bytes: look.contents.as_ref().map(|it| it.bytes.clone()).unwrap_or_default(),
            prune: order.storage.prune.clone().filter(|_| order.storage.takes_backups()),
            listed_at: look.list.as_ref().map(|list| list.listed_at),
            guests: Vec::new(),
        };
        Told { storage, list: look.list.clone() }
    }

    async fn tell(&mut self, storages: Vec<Told>) -> Result<(), Closed> {
        let must_renew = self.renew_at <= instant();
        if !must_renew && self.told.as_ref().is_some_and(|told| is_same(told, &storages)) {
            return Ok(());
        }
        self.renew_at = instant() + RENEW_EVERY;
        let elements = storages.iter().flat_map(Told::elements).collect();
        self.told = Some(storages);
        self.reporter.send(Report::Picture(CheckpointContent::BackupStorages(elements))).await
    }
}

/// A storage as it is told, with its archives beside it: they can be many.
struct Told {
    storage: BackupStorage,
    list: Option<Arc<List>>,
}

impl Told {
    fn guests(&self) -> &[GuestArchives] {
        self.list.as_ref().map_or(&[], |list| &list.guests)
    }

    fn elements(&self) -> Vec<BackupStorage> {
        let element = |guests: &[GuestArchives]| BackupStorage {
            guests: guests.to_vec(),
            ..self.storage.clone()
        };
        match self.guests() {
            [] => vec![element(&[])],
            guests => guests.chunks(GUESTS_PER_ELEMENT).map(element).collect(),
        }
    }
}

impl Eye {
    /// What is known of the storage; none while it hangs.
    fn answer(&self) -> Option<&Look> {
        let hangs = self.looking.as_ref().is_some_and(|looking| looking.hangs_at <= instant());
        self.seen.as_ref().filter(|_| !hangs)
    }

    /// Waits for the look that is not over, but not for one that hangs.
    async fn wait(&mut self, deadline: Instant) {
        let Some(looking) = &mut self.looking else { return };
        let deadline = if looking.hangs_at <= instant() { instant() } else { deadline };
        let Ok(looked) = timeout_at(deadline, &mut looking.look).await else { return };
        self.looking = None;
        let broken = || Look::blind(StorageState::Unreadable, "its reader broke down");
        self.seen = Some(looked.unwrap_or_else(|_| broken()));
    }
}

/// Whether there is nothing in the storages that is worth telling anew.
fn is_same(told: &[Told], now: &[Told]) -> bool {
    let is_same = |(told, now): (&Told, &Told)| {
        let (then, now_is) = (&told.storage, &now.storage);
        let rest = BackupStorage {
            total_bytes: now_is.total_bytes,
            used_bytes: now_is.used_bytes,
            available_bytes: now_is.available_bytes,
            metadata_used_bytes: now_is.metadata_used_bytes,
            held_bytes: now_is.held_bytes.clone(),
            listed_at: now_is.listed_at.filter(|_| then.listed_at.is_some()),
            ..then.clone()
        };
        rest == *now_is && told.guests() == now.guests() && is_about_as_full(then, now_is)
    };
    told.len() == now.len() && told.iter().zip(now).all(is_same)
}

/// Whether the use of a storage is what it was, but for what is not worth telling.
fn is_about_as_full(told: &BackupStorage, now: &BackupStorage) -> bool {
    let is_close = |told: Option<u64>, now: Option<u64>, total: Option<u64>| {
        let (Some(told), Some(now), Some(total)) = (told, now, total) else { return told == now };
        (told.abs_diff(now) as f64) < total as f64 * USAGE_STEP
    };
    let is_held = |(kind, held): (&String, &u64)| {
        is_close(told.held_bytes.get(kind).copied(), Some(*held), now.total_bytes)
    };
    told.total_bytes == now.total_bytes
        && is_close(told.used_bytes, now.used_bytes, now.total_bytes)
        && is_close(told.metadata_used_bytes, now.metadata_used_bytes, now.metadata_total_bytes)
        && told.held_bytes.keys().eq(now.held_bytes.keys())
        && now.held_bytes.iter().all(is_held)
}
