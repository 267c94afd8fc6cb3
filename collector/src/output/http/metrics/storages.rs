//! Metrics of storages, and of the archives that guests have on them.

use std::fmt;

use pvewatch_protocol::GuestArchives;

use super::backups::GUESTS_LISTED_MAX;
use super::families::Families;
use crate::core::Snapshot;
use crate::fleet::Storage;

/// Writes the metrics of all storages. What a storage holds while it cannot be looked at is what it
/// held when it could.
pub fn write(families: &mut Families<'_>, snapshot: &Snapshot) -> fmt::Result {
    families.gauge(
        "pvewatch_storage_available",
        "Whether a storage can be used and looked at.",
        storages(snapshot, |storage| Some(f64::from(u8::from(storage.is_available())))),
    )?;
    families.gauge(
        "pvewatch_storage_size_bytes",
        "Size of a storage.",
        storages(snapshot, |storage| storage.seen.total_bytes.map(|bytes| bytes as f64)),
    )?;
    families.gauge(
        "pvewatch_storage_available_bytes",
        "What can still be written to a storage.",
        storages(snapshot, |storage| storage.seen.available_bytes.map(|bytes| bytes as f64)),
    )?;
    families.gauge(
        "pvewatch_storage_used_ratio",
        "How full a storage is, 0 to 1, as df(1) reckons.",
        storages(snapshot, Storage::used_ratio),
    )?;
    families.gauge(
        "pvewatch_storage_metadata_used_ratio",
        "How full the metadata of a thin pool of LVM is, 0 to 1.",
        storages(snapshot, Storage::metadata_used_ratio),
    )?;
    families.gauge(
        "pvewatch_storage_held_bytes",
        "What the files on a storage take, by what they are.",
        held(snapshot),
    )?;
    families.gauge(
        "pvewatch_storage_takes_backups",
        "Whether backups go to a storage.",
        storages(snapshot, |storage| Some(f64::from(u8::from(storage.seen.takes_backups())))),
    )?;
    families.gauge(
        "pvewatch_storage_counted",
        "Whether this node's series tell how full a storage is: of the nodes of a cluster that see \
         the same, one.",
        storages(snapshot, |storage| Some(f64::from(u8::from(storage.counted_here)))),
    )?;
    families.gauge(
        "pvewatch_backup_archives",
        "Archives of a guest on a storage.",
        archives(snapshot, |on| Some(f64::from(on.count))),
    )?;
    families.gauge(
        "pvewatch_backup_archives_bytes",
        "What a guest's archives on a storage take.",
        archives(snapshot, |on| on.bytes.map(|bytes| bytes as f64)),
    )?;
    families.gauge(
        "pvewatch_backup_newest_archive_timestamp_seconds",
        "When the run of a guest's newest archive on a storage began.",
        archives(snapshot, |on| Some(on.newest.as_ref()?.began.as_second() as f64)),
    )?;
    families.gauge(
        "pvewatch_backup_surplus_archives",
        "Archives of a guest on a storage that the last run that removes old ones should have \
         removed.",
        archives(snapshot, |on| on.surplus.map(f64::from)),
    )
}

/// One series for each storage, on each node, that `read` has a value for.
fn storages(
    snapshot: &Snapshot,
    read: impl Fn(&Storage) -> Option<f64> + Copy,
) -> impl Iterator<Item = ([(&str, &str); 2], f64)> {
    snapshot.nodes.iter().flat_map(move |view| {
        view.storages.iter().filter_map(move |storage| {
            let labels = [("node", view.node.name.as_str()), ("storage", &*storage.id)];
            Some((labels, read(storage)?))
        })
    })
}

/// One series for each kind of content of each storage.
fn held(snapshot: &Snapshot) -> impl Iterator<Item = ([(&str, &str); 3], f64)> {
    snapshot.nodes.iter().flat_map(|view| {
        view.storages.iter().flat_map(|storage| {
            storage.seen.held_bytes.iter().map(|(content, bytes)| {
                let node = ("node", view.node.name.as_str());
                let labels = [node, ("storage", &*storage.id), ("content", content.as_str())];
                (labels, *bytes as f64)
            })
        })
    })
}

/// One series for each guest that its node has, on each of its storages, that `read` has a value
/// for.
fn archives(
    snapshot: &Snapshot,
    read: impl Fn(&GuestArchives) -> Option<f64> + Copy,
) -> impl Iterator<Item = ([(&str, &str); 3], f64)> {
    snapshot.nodes.iter().flat_map(move |view| {
        let guests = view.backups.iter().take(GUESTS_LISTED_MAX);
        guests.flat_map(move |backup| {
            backup.archives.on.iter().filter_map(move |(storage, on)| {
                let node = ("node", view.node.name.as_str());
                let labels = [node, ("vmid", &*backup.id), ("storage", &**storage)];
                Some((labels, read(on)?))
            })
        })
    })
}
