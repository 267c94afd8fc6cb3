//! What a story's node says of the configuration of its guests beyond tags.

use pvewatch_protocol::{GuestDisk, GuestSettings};

/// `+told`, and what is set: `+described`, `+protected`, `+scsihw.NAME`, `+disk.32G`, `+disk.2252M`. None of them is
/// an agent that does not tell.
pub fn settings(words: &[&str]) -> Option<Box<GuestSettings>> {
    let is_told = words.iter().any(|word| word.starts_with('+'));
    let disk = |size: &str| {
        let (digits, unit) = size.split_at(size.len() - 1);
        let size: u64 = digits.parse().unwrap();
        GuestDisk {
            key: "scsi0".to_owned(),
            storage: "local-lvm".to_owned(),
            size_bytes: Some(if unit == "G" { size << 30 } else { size << 20 }),
        }
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
