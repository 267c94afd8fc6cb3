//! What a story's node says of the configuration of its guests and backup jobs.

use pvewatch_protocol::{BackupJob, Guest, GuestDisk, GuestSettings, Replication, Snapshot};

use super::runs::kind;
use super::story::at;

/// `+told`, and what is set: `+described`, `+protected`, `+cpus.NUMBER`, `+memory.MIB`,
/// `+mac.ADDRESS`, `+scsihw.NAME`, `+disk.32G`, `+disk.2252M`.
/// None of them is an agent that does not tell.
fn settings(words: &[&str]) -> Option<Box<GuestSettings>> {
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
    let mebibytes = |word: &&str| word.strip_prefix("+memory.")?.parse::<u64>().ok();
    is_told.then(|| {
        Box::new(GuestSettings {
            described: words.contains(&"+described"),
            protection: words.contains(&"+protected"),
            agent: false,
            cpus: words.iter().find_map(|it| it.strip_prefix("+cpus.")?.parse().ok()),
            memory_bytes: Some(words.iter().find_map(mebibytes).unwrap_or(512) << 20),
            uuid: None,
            macs: words
                .iter()
                .filter_map(|it| it.strip_prefix("+mac."))
                .map(str::to_owned)
                .collect(),
            scsihw: words.iter().find_map(|it| it.strip_prefix("+scsihw.")).map(str::to_owned),
            disks: words.iter().filter_map(|it| it.strip_prefix("+disk.")).map(disk).collect(),
        })
    })
}

/// `100[:TAG|:template|:SNAPSHOT@TIME|:to-NODE*TIMES|:+SETTING]`, more of them after commas; see
/// [`settings`].
pub fn guest(word: &&str) -> Guest {
    let (vmid, tags) = word.split_once(':').unwrap_or((word, ""));
    let tags: Vec<&str> = tags.split(',').filter(|tag| !tag.is_empty()).collect();
    let snapshot = |tag: &&str| {
        let (name, made) = tag.split_once('@')?;
        Some(Snapshot { name: name.to_owned(), at: at(made) })
    };
    // `to-NODE*TIMES` is a replication that failed so often.
    let replication = |tag: &&str| {
        let (target, times) = tag.strip_prefix("to-")?.split_once('*')?;
        let (target, fail_count) = (target.to_owned(), times.parse().unwrap());
        let error = (fail_count > 0).then(|| "no route to host".to_owned());
        Some(Replication { target, fail_count, error, last_sync: None })
    };
    let is_own = |tag: &&&str| {
        !matches!(**tag, "template" | "onboot")
            && !tag.contains(['@', '*'])
            && !tag.starts_with('+')
    };
    let vmid = vmid.parse().unwrap();
    Guest {
        vmid,
        kind: kind(vmid),
        name: Some("web".to_owned()),
        template: tags.contains(&"template"),
        onboot: tags.contains(&"onboot"),
        lock: None,
        tags: tags.iter().filter(is_own).map(|tag| (*tag).to_owned()).collect(),
        pool: None,
        snapshots: tags.iter().filter_map(snapshot).collect(),
        replications: tags.iter().filter_map(replication).collect(),
        ha: None,
        excluded: Vec::new(),
        settings: settings(&tags),
    }
}

/// `NAME:GUESTS:SCHEDULE[;off][;cron][;repeat][;ran@TIME][;daily:NUMBER]`, the last of what is kept,
/// with `_` for a blank.
pub fn backup_job(word: &&str) -> BackupJob {
    let mut parts = word.split(';');
    let mut fields = parts.next().unwrap().splitn(3, ':');
    let (job, guests) = (fields.next().unwrap(), fields.next().unwrap());
    let schedule = fields.next().unwrap().replace('_', " ");
    let flags: Vec<&str> = parts.collect();
    let guests = guests.split(',').filter(|guest| !guest.is_empty());
    BackupJob {
        job: job.to_owned(),
        enabled: !flags.contains(&"off"),
        schedule,
        zone: "UTC".to_owned(),
        guests: guests.map(|guest| guest.parse().unwrap()).collect(),
        storage: Some("nas".to_owned()),
        mode: None,
        prune: flags.iter().find_map(|flag| flag.strip_prefix("daily:")).map(kept),
        repeat_missed: flags.contains(&"repeat"),
        comment: None,
        notes_runs: !flags.contains(&"cron"),
        running: false,
        last_run: flags.iter().find_map(|flag| flag.strip_prefix("ran@")).map(at),
    }
}

/// What keeps so many archives, one a day.
pub fn kept(daily: &str) -> String {
    format!("keep-daily={daily}")
}
