//! Sums up what each guest has in a `dump` folder.
//!
//! Whether archives are there that should be gone is judged when a run has removed old ones, by
//! what that run itself said it keeps: a retention that was changed, an archive made by hand or
//! brought back, a mark that was taken away later make no difference. Machines and containers of
//! the same number are judged apart, as Proxmox does.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use pvewatch_protocol::{self as protocol, GuestArchives, Vmid};

use super::files::{DumpFile, Run, dump_file, file_name};
use super::retention::{Kept, Mark, Retention};

/// Logs of a guest that are remembered, the newest: in one of them the last run is looked for that
/// removed archives.
pub const LOGS_MAX: usize = 8;

/// What vzdump's log says before it removes old archives.
const PRUNES: &str = "prune older backups with retention: ";

/// A guest, and what it is in names.
pub type Whose = (Vmid, &'static str);

/// What a guest has in the folder. There can be tens of thousands of archives, so that little is
/// kept of each.
#[derive(Debug, Default)]
pub struct Heap {
    archives: Vec<Entry>,
    protected: Vec<DateTime>,
    logs: Vec<DateTime>,
    unfinished: u32,
}

/// An archive.
#[derive(Debug, Clone, Copy)]
struct Entry {
    kept: Kept,
    bytes: u64,
    ending: &'static str,
}

/// What a run that removed old archives left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The newest run that had left a log by then.
    pub as_of: DateTime,
    /// Which archives are kept, by the last run that removed any; none if none did.
    prune: Option<String>,
    /// What should have gone: when it began, and what it is.
    surplus: Vec<(DateTime, &'static str)>,
}

/// The guests of a folder.
#[derive(Debug, Default)]
pub struct Heaps(BTreeMap<Whose, Heap>);

impl Heaps {
    /// Takes in a file; its size is asked for only if it is an archive that counts. Others' are left
    /// out, if `only` some guests count.
    pub fn add(
        &mut self,
        name: &str,
        only: Option<&BTreeSet<Vmid>>,
        bytes: impl FnOnce() -> Option<u64>,
    ) {
        let file = dump_file(name);
        let Some(whose) = whose(&file) else { return };
        if only.is_some_and(|only| !only.contains(&whose.0)) {
            return;
        }
        let heap = self.0.entry(whose).or_default();
        match file {
            DumpFile::Archive(run, ending) => {
                let Some(bytes) = bytes() else { return };
                let kept = Kept { began: run.began, is_protected: false };
                heap.archives.push(Entry { kept, bytes, ending });
            }
            DumpFile::Protected(run) => heap.protected.push(run.began),
            DumpFile::Log(run) => heap.remember(run.began),
            DumpFile::Unfinished(_) => heap.unfinished += 1,
            DumpFile::Other => {}
        }
    }

    /// The guests of which there is anything to tell: logs alone are what failed runs left.
    pub fn into_guests(self) -> impl Iterator<Item = (Whose, Heap)> {
        let is_there = |heap: &Heap| !heap.archives.is_empty() || heap.unfinished > 0;
        self.0.into_iter().filter(move |(_, heap)| is_there(heap))
    }
}

fn whose(file: &DumpFile) -> Option<Whose> {
    match file {
        DumpFile::Archive(run, _)
        | DumpFile::Protected(run)
        | DumpFile::Log(run)
        | DumpFile::Unfinished(run) => Some((run.vmid, run.kind)),
        DumpFile::Other => None,
    }
}

impl Heap {
    fn remember(&mut self, began: DateTime) {
        let place = self.logs.partition_point(|known| *known > began);
        self.logs.insert(place, began);
        self.logs.truncate(LOGS_MAX);
    }

    /// When the runs began that left a log, the newest first.
    pub fn logged_runs(&self) -> &[DateTime] {
        &self.logs
    }

    /// Puts archives in order, and marks those that are protected.
    pub fn settle(&mut self) {
        self.archives.sort_by_key(|entry| (entry.kept.began, entry.ending));
        for entry in &mut self.archives {
            entry.kept.is_protected = self.protected.contains(&entry.kept.began);
        }
    }

    /// Judges what is there by the last run that removed any, and what its log says it keeps.
    pub fn judge(&self, as_of: DateTime, pruned: Option<(DateTime, &str)>) -> Verdict {
        let rule = pruned.and_then(|(began, rule)| Some((began, rule, Retention::parse(rule)?)));
        let Some((began, rule, retention)) = rule else {
            return Verdict { as_of, prune: None, surplus: Vec::new() };
        };
        let end = self.archives.partition_point(|entry| entry.kept.began <= began);
        let then = &self.archives[..end];
        let kept: Vec<Kept> = then.iter().map(|entry| entry.kept).collect();
        let marks = retention.marks(&kept).into_iter().zip(then);
        let surplus = marks.filter(|(mark, _)| *mark == Mark::Remove);
        let surplus = surplus.map(|(_, entry)| (entry.kept.began, entry.ending)).collect();
        Verdict { as_of, prune: Some(rule.to_owned()), surplus }
    }

    /// The sum, of archives in order.
    pub fn sum(
        &self,
        (vmid, kind): Whose,
        verdict: Option<&Verdict>,
        zone: &TimeZone,
    ) -> GuestArchives {
        let time = |kept: &Kept| zone.to_timestamp(kept.began).ok();
        let newest = self.archives.last().and_then(|Entry { kept, bytes, ending }| {
            let name = file_name(Run { kind, vmid, began: kept.began }, ending);
            Some(protocol::Archive {
                name,
                began: time(kept)?,
                bytes: Some(*bytes),
                notes: None,
                protected: kept.is_protected,
            })
        });
        let entries = || self.archives.iter().map(|entry| (entry.kept.began, entry.ending));
        let is_there = |wanted: &&(DateTime, &str)| entries().any(|entry| entry == **wanted);
        let verdict = verdict.filter(|verdict| verdict.prune.is_some());
        let surplus = verdict.map(|verdict| verdict.surplus.iter().filter(is_there).count());
        let protected = self.archives.iter().filter(|entry| entry.kept.is_protected).count();
        GuestArchives {
            vmid,
            count: count(self.archives.len()),
            bytes: Some(self.archives.iter().map(|entry| entry.bytes).sum()),
            newest,
            oldest: self.archives.first().and_then(|entry| time(&entry.kept)),
            protected: count(protected),
            surplus: surplus.map(count),
            prune: verdict.and_then(|verdict| verdict.prune.clone()),
            unfinished: self.unfinished,
        }
    }
}

/// What a machine and a container of the same number have, as one.
pub fn join(one: GuestArchives, other: GuestArchives) -> GuestArchives {
    let (older, newer) =
        match one.newest.as_ref().map(|it| it.began) <= other.newest.as_ref().map(|it| it.began) {
            true => (one, other),
            false => (other, one),
        };
    let sum = |left: Option<u64>, right: Option<u64>| Some(left? + right?);
    GuestArchives {
        vmid: newer.vmid,
        count: older.count + newer.count,
        bytes: sum(older.bytes, newer.bytes),
        oldest: older.oldest.into_iter().chain(newer.oldest).min(),
        protected: older.protected + newer.protected,
        surplus: [older.surplus, newer.surplus].into_iter().flatten().reduce(|a, b| a + b),
        prune: newer.prune.or(older.prune),
        unfinished: older.unfinished + newer.unfinished,
        newest: newer.newest.or(older.newest),
    }
}

/// How many, as it is told.
pub fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Which archives a run kept, by the end of its log; none if it removed none.
pub fn prunes(log: &str) -> Option<&str> {
    let (_, rule) = log.rsplit_once(PRUNES)?;
    // A log is written in blocks, so that it can end anywhere.
    let (rule, _) = rule.split_once('\n')?;
    Some(rule.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(day: u32) -> String {
        format!("vzdump-qemu-100-2026_11_{day:02}-21_00_04")
    }

    fn at(day: u32) -> DateTime {
        format!("2026-11-{day:02}T21:00:04").parse().unwrap()
    }

    fn vmid(number: u32) -> Vmid {
        Vmid::try_from(number).unwrap()
    }

    /// Archives of guest 100 of these days, whose logs are there, and some files more.
    fn heap(days: &[u32], others: &[String]) -> Heap {
        let mut heaps = Heaps::default();
        for day in days {
            heaps.add(&format!("{}.vma.zst", name(*day)), None, || Some(u64::from(*day)));
            heaps.add(&format!("{}.log", name(*day)), None, || None);
        }
        for other in others {
            heaps.add(other, None, || None);
        }
        let mut heap = heaps.into_guests().next().map(|(_, heap)| heap).unwrap_or_default();
        heap.settle();
        heap
    }

    fn sum(heap: &Heap, verdict: Option<&Verdict>) -> GuestArchives {
        heap.sum((vmid(100), "qemu"), verdict, &TimeZone::posix("CET-1").unwrap())
    }

    #[test]
    fn a_guests_archives_are_summed_up() {
        let protected = format!("{}.vma.zst.protected", name(2));
        let left = format!("{}.vma.dat", name(4));
        let heap = heap(&[3, 1, 2], &[protected, left, "iso".to_owned()]);
        assert_eq!(heap.logged_runs(), [at(3), at(2), at(1)]);
        let sum = sum(&heap, None);
        assert_eq!((sum.count, sum.bytes, sum.protected, sum.unfinished), (3, Some(6), 1, 1));
        let newest = sum.newest.unwrap();
        assert_eq!((newest.name, newest.bytes), (format!("{}.vma.zst", name(3)), Some(3)));
        assert_eq!(newest.began.to_string(), "2026-11-03T20:00:04Z");
        assert_eq!(sum.oldest.unwrap().to_string(), "2026-11-01T20:00:04Z");
        assert_eq!((sum.surplus, sum.prune), (None, None));
    }

    #[test]
    fn what_the_last_run_should_have_removed_is_surplus() {
        let judged = |days: &[u32], pruned| {
            let heap = heap(days, &[]);
            let sum = sum(&heap, Some(&heap.judge(at(9), pruned)));
            (sum.surplus, sum.prune.unwrap_or_default())
        };
        let by = |day, rule| Some((at(day), rule));
        assert_eq!(judged(&[1, 2, 3], by(3, "keep-last=2")), (Some(1), "keep-last=2".to_owned()));
        assert_eq!(judged(&[2, 3], by(3, "keep-last=2")).0, Some(0));
        // Made by hand since.
        assert_eq!(judged(&[2, 3, 4, 5], by(3, "keep-last=2")).0, Some(0));
        assert_eq!(judged(&[1, 2, 3], None).0, None);
        assert_eq!(judged(&[1, 2, 3], by(3, "nonsense")).0, None);
    }

    #[test]
    fn what_comes_back_after_the_judgement_is_not_surplus() {
        let (before, after) = (heap(&[2, 3], &[]), heap(&[1, 2, 3], &[]));
        let verdict = before.judge(at(3), Some((at(3), "keep-last=2")));
        assert_eq!(sum(&after, Some(&verdict)).surplus, Some(0));
        let verdict = after.judge(at(3), Some((at(3), "keep-last=2")));
        assert_eq!(sum(&after, Some(&verdict)).surplus, Some(1));
        assert_eq!(sum(&before, Some(&verdict)).surplus, Some(0), "it was removed since");
    }

    #[test]
    fn a_machine_and_a_container_of_the_same_number_are_judged_apart() {
        let mut heaps = Heaps::default();
        for (kind, ending, day) in [("qemu", "vma", 1), ("qemu", "vma", 2), ("lxc", "tar", 3)] {
            let name = format!("vzdump-{kind}-100-2026_11_{day:02}-21_00_04.{ending}");
            heaps.add(&name, None, || Some(1));
        }
        let judged = heaps.into_guests().map(|(whose, mut heap)| {
            heap.settle();
            let verdict = heap.judge(at(3), Some((at(3), "keep-last=2")));
            heap.sum(whose, Some(&verdict), &TimeZone::posix("CET-1").unwrap())
        });
        let joined = judged.reduce(join).unwrap();
        assert_eq!((joined.count, joined.bytes, joined.surplus), (3, Some(3), Some(0)));
        assert!(joined.newest.unwrap().name.contains("-lxc-"));
        assert_eq!(joined.oldest.unwrap().to_string(), "2026-11-01T20:00:04Z");
    }

    #[test]
    fn others_do_not_count_if_only_some_do() {
        let mut heaps = Heaps::default();
        let only = BTreeSet::from([vmid(101)]);
        let archive = format!("{}.vma", name(1));
        heaps.add(&archive, Some(&only), || unreachable!("nobody asks for its size"));
        assert_eq!(heaps.into_guests().count(), 0);
    }

    #[test]
    fn the_newest_logs_are_remembered() {
        let days: Vec<u32> = (1..=20).rev().collect();
        let heap = heap(&days, &[]);
        assert_eq!(heap.logged_runs(), (13..=20).rev().map(at).collect::<Vec<_>>());
    }

    #[test]
    fn a_guest_without_archives_has_none() {
        let heap = heap(&[], &[format!("{}.log", name(1)), format!("{}.vma.dat", name(2))]);
        let sum = sum(&heap, None);
        assert_eq!((sum.count, sum.newest, sum.oldest, sum.unfinished), (0, None, None, 1));
    }

    #[test]
    fn a_log_tells_what_its_run_kept() {
        let log = "2026-11-02 21:07:00 INFO: prune older backups with retention: keep-daily=7, \
                   keep-last=3\n2026-11-02 21:07:01 INFO: removing backup 'x'\n";
        assert_eq!(prunes(log), Some("keep-daily=7, keep-last=3"));
        assert_eq!(prunes("INFO: prune older backups with retention: keep-da"), None);
        assert_eq!(prunes("INFO: Finished Backup of VM 100 (00:00:01)\n"), None);
    }
}
