//! The fields of storages.

use super::{Field, FieldType, FieldValue, Subject, count, number, text};
use crate::fleet::{Origin, Storage};

fn storage<'a>(
    subject: &Subject<'a>,
    read: impl FnOnce(&'a Storage) -> FieldValue<'a>,
) -> FieldValue<'a> {
    subject.entity.storage().map_or(FieldValue::Absent, read)
}

pub(super) static STORAGE: &[Field] = fields! {
    id: Text, Facts, "nas", "The storage's name in `storage.cfg`.",
        |s| storage(s, |storage| FieldValue::Text(&storage.id));
    type: Text, Facts, "nfs", "Its type: `dir`, `nfs`, `cifs`, `pbs`, ...",
        |s| storage(s, |storage| FieldValue::Text(&storage.seen.kind));
    takes_backups: Flag, Facts, "true", "Whether backups go there.",
        |s| storage(s, |storage| FieldValue::Flag(storage.seen.takes_backups()));
    shared: Flag, Facts, "true", "Whether other nodes see the same.",
        |s| storage(s, |storage| FieldValue::Flag(storage.seen.shared));
    state: Text, Facts, "available",
        "`available`, `not_mounted`, `hanging`, `unreadable`, or `not_read` if its type is not \
         looked at, or not without a token for Proxmox' API.",
        |s| storage(s, |storage| FieldValue::Text(storage.seen.state.as_str()));
    detail: Text, Facts, "nothing is mounted at /mnt/usb", "Why it is not available.",
        |s| storage(s, |storage| text(storage.seen.detail.as_deref()));
    counted_here: Flag, Facts, "true",
        "Whether this node tells how full it is: of the nodes of a cluster that see the same, one.",
        |s| storage(s, |storage| FieldValue::Flag(storage.counted_here));
    total_bytes: Number("bytes"), Facts, "4000787030016", "Its size; absent if that is not known.",
        |s| storage(s, |storage| count(storage.seen.total_bytes));
    available_bytes: Number("bytes"), Facts, "680133795840", "What can still be written.",
        |s| storage(s, |storage| count(storage.seen.available_bytes));
    used_ratio: Number("ratio"), Facts, "0.83", "How full it is, as df(1) reckons.",
        |s| storage(s, |storage| number(storage.used_ratio()));
    metadata_used_ratio: Number("ratio"), Facts, "0.92",
        "How full the metadata of a thin pool of LVM is; absent of others.",
        |s| storage(s, |storage| number(storage.metadata_used_ratio()));
};
