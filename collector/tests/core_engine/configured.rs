//! What a story's node says of the configuration of its guests beyond tags.

use pvewatch_protocol::{GuestDisk, GuestSettings};

/// `+told`, and what is set: `+described`, `+protected`, `+scsihw.NAME`, `+disk.GIB`. None of them is
/// an agent that does not tell.
pub fn settings(words: &[&str]) -> Option<Box<GuestSettings>> {
    let is_told = words.iter().any(|word| word.starts_with('+'));
    let disk = |gib: &str| GuestDisk {
        key: "scsi0".to_owned(),
        storage: "local-lvm".to_owned(),
        size_bytes: Some((gib.parse::<f64>().unwrap() * f64::from(1 << 30)) as u64),
    };
    is_told.then(|| {
        Box::new(GuestSettings {
            described: words.contains(&"+described"),
            protection: words.contains(&"+protected"),
            scsihw: words.iter().find_map(|it| it.strip_prefix("+scsihw.")).map(str::to_owned),
            disks: words.iter().filter_map(|it| it.strip_prefix("+disk.")).map(disk).collect(),
        })
    })
}
