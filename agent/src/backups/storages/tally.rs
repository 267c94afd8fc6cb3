//! Sums up what each guest has in a `dump` folder.
//!
//! Whether archives are there that should be gone is judged as of the last run that removes old
//! ones, by what that run itself said it keeps: a retention that was changed since, an archive made
//! by hand since, a run that is under way make no difference. Only where the logs of the runs were
//! taken away, the configuration must do.

use std::collections::BTreeMap;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use pvewatch_protocol::{self as protocol, GuestArchives, Vmid};

use super::files::{Archive, DumpFile, dump_file};
use super::retention::{Kept, Mark, Retention};

/// What vzdump's log says before it removes old archives.
const PRUNES: &str = "prune older backups with retention: ";

/// What a guest has in the folder.
#[derive(Debug, Default)]
pub struct Heap {
    archives: Vec<(Kept, u64, Box<str>)>,
    protected: Vec<DateTime>,
    logs: Vec<(DateTime, Box<str>)>,
    unfinished: u32,
}

/// What the logs of a guest's runs say of which archives are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pruned {
    /// The run that began then kept these.
    Run(DateTime, String),
    /// No run that has left a log removed any.
    Never,
    /// There are no logs.
    Unlogged,
}

/// The guests of a folder.
pub type Heaps = BTreeMap<Vmid, Heap>;

/// Takes in a file; its size is asked for only if it is an archive.
pub fn add(heaps: &mut Heaps, name: &str, bytes: impl FnOnce() -> Option<u64>) {
    match dump_file(name) {
        DumpFile::Archive(archive) => {
            let Some(bytes) = bytes() else { return };
            let kept = Kept { began: archive.began, is_protected: false };
            heap(heaps, archive).archives.push((kept, bytes, archive.name.into()));
        }
        DumpFile::Protected(archive) => heap(heaps, archive).protected.push(archive.began),
        DumpFile::Log(run) => heap(heaps, run).logs.push((run.began, run.name.into())),
        DumpFile::Unfinished(vmid) => heaps.entry(vmid).or_default().unfinished += 1,
        DumpFile::Notes(_) | DumpFile::Other => {}
    }
}

fn heap<'a>(heaps: &'a mut Heaps, archive: Archive<'_>) -> &'a mut Heap {
    heaps.entry(archive.vmid).or_default()
}

impl Heap {
    /// Whether there is anything to tell: logs alone are what failed runs left.
    pub fn is_empty(&self) -> bool {
        self.archives.is_empty() && self.unfinished == 0
    }

    /// When the runs began that left a log, and its name, the newest first.
    pub fn logged_runs(&mut self) -> &[(DateTime, Box<str>)] {
        self.logs.sort_unstable_by(|left, right| right.cmp(left));
        &self.logs
    }

    /// The sum. `configured` is what the jobs keep here that cover the guest.
    pub fn sum(
        mut self,
        vmid: Vmid,
        (pruned, configured): (&Pruned, &[String]),
        zone: &TimeZone,
    ) -> GuestArchives {
        self.archives.sort_by_key(|(kept, ..)| kept.began);
        for (kept, ..) in &mut self.archives {
            kept.is_protected = self.protected.contains(&kept.began);
        }
        let time = |kept: &Kept| zone.to_timestamp(kept.began).ok();
        let newest = self.archives.last().and_then(|(kept, bytes, name)| {
            Some(protocol::Archive {
                name: name.to_string(),
                began: time(kept)?,
                bytes: Some(*bytes),
            })
        });
        let is_protected = |archive: &&(Kept, u64, Box<str>)| archive.0.is_protected;
        let kept: Vec<Kept> = self.archives.iter().map(|(kept, ..)| *kept).collect();
        let (surplus, prune) = surplus(&kept, pruned, configured);
        GuestArchives {
            vmid,
            count: count(self.archives.len()),
            bytes: Some(self.archives.iter().map(|(_, bytes, _)| bytes).sum()),
            newest,
            oldest: kept.first().and_then(time),
            protected: count(self.archives.iter().filter(is_protected).count()),
            surplus,
            prune,
            unfinished: self.unfinished,
        }
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// How many archives should be gone, and by what.
fn surplus(
    archives: &[Kept],
    pruned: &Pruned,
    configured: &[String],
) -> (Option<u32>, Option<String>) {
    let (until, rules) = match pruned {
        Pruned::Run(began, rule) => (*began, std::slice::from_ref(rule)),
        Pruned::Never => return (None, None),
        Pruned::Unlogged => (DateTime::MAX, configured),
    };
    let then: Vec<Kept> = archives.iter().filter(|kept| kept.began <= until).copied().collect();
    let rules: Vec<_> =
        rules.iter().filter_map(|rule| Some((rule, Retention::parse(rule)?))).collect();
    if rules.is_empty() || rules.iter().any(|(_, rule)| rule.keeps_all()) {
        return (None, None);
    }
    let marks: Vec<Vec<Mark>> = rules.iter().map(|(_, rule)| rule.marks(&then)).collect();
    let is_surplus = |place: &usize| marks.iter().all(|marks| marks[*place] == Mark::Remove);
    let words: Vec<&str> = rules.iter().map(|(rule, _)| rule.as_str()).collect();
    (Some(count((0..then.len()).filter(is_surplus).count())), Some(words.join("; ")))
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

    /// Archives of these days, whose logs are there, and some files more.
    fn heap(days: &[u32], others: &[String]) -> Heap {
        let mut heaps = Heaps::new();
        for day in days {
            add(&mut heaps, &format!("{}.vma.zst", name(*day)), || Some(u64::from(*day)));
            add(&mut heaps, &format!("{}.log", name(*day)), || None);
        }
        for other in others {
            add(&mut heaps, other, || None);
        }
        heaps.remove(&vmid()).unwrap_or_default()
    }

    fn vmid() -> Vmid {
        Vmid::try_from(100).unwrap()
    }

    fn sum(heap: Heap, pruned: Pruned, configured: &[&str]) -> GuestArchives {
        let configured: Vec<String> = configured.iter().map(|rule| (*rule).to_owned()).collect();
        let zone = TimeZone::posix("CET-1").unwrap();
        heap.sum(vmid(), (&pruned, &configured), &zone)
    }

    #[test]
    fn a_guests_archives_are_summed_up() {
        let protected = format!("{}.vma.zst.protected", name(2));
        let left = format!("{}.vma.dat", name(4));
        let mut heap = heap(&[3, 1, 2], &[protected, left, "iso".to_owned()]);
        let runs: Vec<_> = heap.logged_runs().iter().map(|(began, _)| *began).collect();
        assert_eq!(runs, [at(3), at(2), at(1)]);
        let sum = sum(heap, Pruned::Never, &[]);
        assert_eq!((sum.count, sum.bytes, sum.protected, sum.unfinished), (3, Some(6), 1, 1));
        let newest = sum.newest.unwrap();
        assert_eq!((newest.name, newest.bytes), (format!("{}.vma.zst", name(3)), Some(3)));
        assert_eq!(newest.began.to_string(), "2026-11-03T20:00:04Z");
        assert_eq!(sum.oldest.unwrap().to_string(), "2026-11-01T20:00:04Z");
        assert_eq!((sum.surplus, sum.prune), (None, None));
    }

    #[test]
    fn what_the_last_run_should_have_removed_is_surplus() {
        let kept = |days: &[u32], pruned| {
            let sum = sum(heap(days, &[]), pruned, &["keep-last=9"]);
            (sum.surplus, sum.prune.unwrap_or_default())
        };
        let by = |day, rule: &str| Pruned::Run(at(day), rule.to_owned());
        assert_eq!(kept(&[1, 2, 3], by(3, "keep-last=2")), (Some(1), "keep-last=2".to_owned()));
        assert_eq!(kept(&[2, 3], by(3, "keep-last=2")).0, Some(0));
        // Made by hand since.
        assert_eq!(kept(&[2, 3, 4, 5], by(3, "keep-last=2")).0, Some(0));
        assert_eq!(kept(&[1, 2, 3], Pruned::Never).0, None);
    }

    #[test]
    fn without_logs_the_configuration_must_do() {
        let kept = |rules: &[&str]| sum(heap(&[1, 2, 3], &[]), Pruned::Unlogged, rules).surplus;
        assert_eq!(kept(&["keep-last=1"]), Some(2));
        // What one job keeps is not surplus.
        assert_eq!(kept(&["keep-last=1", "keep-daily=2"]), Some(1));
        assert_eq!(kept(&["keep-last=1", "keep-all=1"]), None);
        assert_eq!((kept(&[]), kept(&["nonsense"])), (None, None));
    }

    #[test]
    fn a_guest_without_archives_has_none() {
        let heap = heap(&[], &[format!("{}.log", name(1)), format!("{}.tar.dat", name(2))]);
        assert!(!heap.is_empty());
        let sum = sum(heap, Pruned::Unlogged, &["keep-last=1"]);
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
