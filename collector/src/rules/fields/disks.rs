//! The fields of filesystems and of pools of disks.

use pvewatch_protocol::sample::{Filesystem, Pool};

use super::{Field, FieldType, FieldValue, Subject, count, number, share, text};
use crate::fleet::{Origin, used_ratio};

fn filesystem<'a>(
    subject: &Subject<'a>,
    read: impl FnOnce(&'a Filesystem) -> FieldValue<'a>,
) -> FieldValue<'a> {
    subject.entity.filesystem().map_or(FieldValue::Absent, read)
}

fn pool<'a>(
    subject: &Subject<'a>,
    read: impl FnOnce(&'a Pool) -> FieldValue<'a>,
) -> FieldValue<'a> {
    subject.entity.pool().map_or(FieldValue::Absent, read)
}

/// How many of the files that a filesystem can have are there, 0 to 1.
fn inodes_used_ratio(filesystem: &Filesystem) -> Option<f64> {
    let (all, free) = (filesystem.inodes?, filesystem.inodes_free?);
    share(all.saturating_sub(free), all)
}

pub(super) static FILESYSTEM: &[Field] = fields! {
    mount: Text, Reading, "/var", "Where it is mounted; of several places the shortest.",
        |s| filesystem(s, |it| FieldValue::Text(&it.mount));
    device: Text, Reading, "/dev/mapper/pve-var", "What is mounted: a device, a dataset, a share.",
        |s| filesystem(s, |it| FieldValue::Text(&it.device));
    type: Text, Reading, "ext4", "Its type.",
        |s| filesystem(s, |it| FieldValue::Text(&it.kind));
    read_only: Flag, Reading, "true", "Whether nothing can be written.",
        |s| filesystem(s, |it| FieldValue::Flag(it.read_only));
    hanging: Flag, Reading, "true", "Whether it does not answer.",
        |s| filesystem(s, |it| FieldValue::Flag(it.hanging));
    total_bytes: Number("bytes"), Reading, "107374182400", "Its size; absent if it does not say.",
        |s| filesystem(s, |it| count(it.total_bytes));
    available_bytes: Number("bytes"), Reading, "15032385536", "What can still be written.",
        |s| filesystem(s, |it| count(it.available_bytes));
    used_ratio: Number("ratio"), Reading, "0.86", "How full it is, as df(1) reckons.",
        |s| filesystem(s, |it| number(used_ratio(it.used_bytes, it.available_bytes)));
    inodes_used_ratio: Number("ratio"), Reading, "0.95",
        "How many of the files that it can have are there; absent if there is no such limit.",
        |s| filesystem(s, |it| number(inodes_used_ratio(it)));
};

pub(super) static POOL: &[Field] = fields! {
    name: Text, Reading, "rpool", "Its name.",
        |s| pool(s, |pool| FieldValue::Text(&pool.name));
    kind: Text, Reading, "zfs", "`zfs`, or `md` for the kernel's software RAID.",
        |s| pool(s, |pool| FieldValue::Text(pool.kind.as_str()));
    state: Text, Reading, "degraded", "Its state in the words of what keeps it.",
        |s| pool(s, |pool| FieldValue::Text(&pool.state));
    unhealthy: Flag, Reading, "true", "Whether it lacks disks, or cannot be used.",
        |s| pool(s, |pool| FieldValue::Flag(!pool.healthy));
    detail: Text, Reading, "1 of 2 devices", "More of it.",
        |s| pool(s, |pool| text(pool.detail.as_deref()));
};
