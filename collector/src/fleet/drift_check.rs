//! Checks guests of one node against a policy. Pure: nothing here changes the fleet.
//!
//! Promised: what nobody told is no difference. It is said to be untold, or to be missing yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::event::GuestKind;
use pvewatch_protocol::{Guest, GuestDisk, GuestSettings};

use super::backup_job::{BackupJob, Jobs};
use super::calendar::CalendarEvent;
use super::drift::Difference;
use super::moment::shift;
use super::policy::{BackupWants, Every, Keep, Policy};
use super::storage::Storages;

/// Runs of a guest's jobs that are compared to find the longest time between two: a year of one a
/// day, and more than a week of one every quarter of an hour.
const RUNS_COMPARED: usize = 1000;

/// For how long they are compared at most.
const COMPARED_FOR: SignedDuration = SignedDuration::from_hours(24 * 400);

const GIB: u64 = 1 << 30;

/// The controller of a virtual machine whose configuration names none.
const SCSIHW_DEFAULT: &str = "lsi";

const UNTOLD_SETTINGS: &str = "its agent does not tell descriptions, disks, controllers and \
                               protection of guests: upgrade pvewatch-agent there";

/// What is known around the guests of a node, and what was found out on the way.
pub(super) struct Checker<'a> {
    /// The node's jobs; none while no picture of them has come.
    pub(super) jobs: Option<&'a Jobs>,
    /// Its storages; none while no picture of them has come.
    pub(super) storages: Option<&'a Storages>,
    /// From when on runs are compared.
    pub(super) from: Timestamp,
    /// The longest time between two runs of some jobs, by their schedules.
    gaps: BTreeMap<Vec<&'a str>, SignedDuration>,
    /// What is asked for and nobody tells.
    pub(super) untold: BTreeSet<String>,
    /// Whether something is asked for of which the picture has not come yet.
    pub(super) is_missing: bool,
}

impl<'a> Checker<'a> {
    /// A checker that has found nothing yet.
    pub(super) fn new(
        (jobs, storages): (Option<&'a Jobs>, Option<&'a Storages>),
        from: Timestamp,
    ) -> Self {
        let (gaps, untold) = (BTreeMap::new(), BTreeSet::new());
        Self { jobs, storages, from, gaps, untold, is_missing: false }
    }

    /// What differs of a guest that the policy is about.
    pub(super) fn check(&mut self, policy: &Policy, guest: &Guest) -> Vec<Difference> {
        let mut found = Found { guest, differences: Vec::new() };
        let wants = &policy.wants;
        if let Some(wants) = &wants.backup {
            self.check_backup(wants, &mut found);
        }
        for tag in wants.tags_include.iter().filter(|tag| !guest.tags.contains(tag)) {
            let tags = guest.tags.join(", ");
            found.differs("tags", format!("with {tag}"), or_none(tags));
        }
        if let Some(onboot) = wants.onboot.filter(|onboot| *onboot != guest.onboot) {
            found.differs("onboot", on_or_off(onboot), on_or_off(guest.onboot));
        }
        let asks_for_settings = wants.description
            || wants.disks_in_gib
            || wants.protection.is_some()
            || (wants.scsihw.is_some() && guest.kind == GuestKind::Qemu);
        match &guest.settings {
            Some(settings) => found.check_settings(policy, settings),
            None if asks_for_settings => {
                self.untold.insert(UNTOLD_SETTINGS.to_owned());
            }
            None => {}
        }
        found.differences
    }

    fn check_backup(&mut self, wants: &BackupWants, found: &mut Found<'_>) {
        let Some(jobs) = self.jobs else {
            self.is_missing = true;
            return;
        };
        let vmid = found.guest.vmid;
        let named = jobs.values().filter(|job| job.plan.guests.contains(&vmid));
        for job in named.clone().filter(|job| job.plan.enabled) {
            if let Some(problem) = job.problem() {
                self.untold.insert(format!("when job {} is due: {problem}", job.id));
                return;
            }
        }
        let covering: Vec<&Arc<BackupJob>> = named.filter(|job| job.covers(vmid)).collect();
        if covering.is_empty() {
            let place = "/etc/pve/jobs.cfg".to_owned();
            let expected = "covered by a job that is on".to_owned();
            return found.differs_at(place, ("backup", expected, "in no such job".to_owned()));
        }
        if let Some(every) = &wants.every {
            self.check_rhythm(every, &covering, found);
        }
        if !wants.keep.is_empty() {
            self.check_retention(&wants.keep, &covering, found);
        }
    }

    fn check_rhythm(&mut self, every: &Every, jobs: &[&'a Arc<BackupJob>], found: &mut Found<'_>) {
        let schedules: Vec<&str> = jobs.iter().map(|job| job.plan.schedule.as_str()).collect();
        let from = self.from;
        let known = self.gaps.entry(schedules.clone());
        let gap = *known.or_insert_with(|| longest_gap(&schedules, from));
        if gap > every.duration {
            let schedules = schedules.join("; ");
            let gap = match gap {
                SignedDuration::MAX => "never again at some time".to_owned(),
                gap => format!("{} apart at most", in_words(gap)),
            };
            let (expected, is) = (format!("every {}", every.text), format!("{gap} ({schedules})"));
            found.differs_at(place_of(jobs[0]), ("backup schedule", expected, is));
        }
    }

    /// One job that keeps what is asked for is enough; otherwise the one that comes nearest is told.
    fn check_retention(
        &mut self,
        wanted: &BTreeMap<Keep, u32>,
        jobs: &[&'a Arc<BackupJob>],
        found: &mut Found<'_>,
    ) {
        let mut nearest: Option<Vec<Difference>> = None;
        let mut untold = Vec::new();
        for job in jobs {
            let (place, kept) = match self.kept_by(job) {
                Kept::Told { place, kept } => (place, kept),
                Kept::Missing => {
                    self.is_missing = true;
                    return;
                }
                Kept::Untold(why) => {
                    untold.push(why);
                    continue;
                }
            };
            let differs = |(keep, wanted): (&Keep, &u32)| {
                let is_kept = match keep {
                    Keep::All => kept.is_empty(),
                    keep => kept.get(keep) == Some(wanted),
                };
                let expected = match keep {
                    Keep::All => "that nothing is removed".to_owned(),
                    _ => wanted.to_string(),
                };
                let is = number(&kept, *keep);
                (!is_kept).then(|| found.of(place.clone(), (keep.as_str(), expected, is)))
            };
            let differing: Vec<_> = wanted.iter().filter_map(differs).collect();
            if nearest.as_ref().is_none_or(|nearest| differing.len() < nearest.len()) {
                nearest = Some(differing);
            }
        }
        match nearest {
            Some(differing) if untold.is_empty() || differing.is_empty() => {
                found.differences.extend(differing);
            }
            // What nobody tells may be what is asked for.
            _ => self.untold.extend(untold),
        }
    }

    fn kept_by(&self, job: &BackupJob) -> Kept {
        if let Some(prune) = &job.plan.prune {
            return Kept::Told { place: place_of(job), kept: Keep::read(Some(prune)) };
        }
        let Some(name) = &job.plan.storage else {
            let why = format!("what job {} keeps, which writes into a folder", job.id);
            return Kept::Untold(why);
        };
        let Some(storages) = self.storages else { return Kept::Missing };
        let Some(storage) = storages.get(&**name) else {
            let why = format!("what job {} keeps: its storage {name} is not known", job.id);
            return Kept::Untold(why);
        };
        let place = format!("/etc/pve/storage.cfg, {name}");
        Kept::Told { place, kept: Keep::read(storage.seen.prune.as_deref()) }
    }
}

/// What a job keeps.
enum Kept {
    Told {
        place: String,
        kept: BTreeMap<Keep, u32>,
    },
    /// Its storage's picture has not come yet.
    Missing,
    Untold(String),
}

/// The differences of one guest.
struct Found<'a> {
    guest: &'a Guest,
    differences: Vec<Difference>,
}

impl Found<'_> {
    fn check_settings(&mut self, policy: &Policy, settings: &GuestSettings) {
        let wants = &policy.wants;
        if wants.description && !settings.described {
            self.differs("description", "not empty", "empty");
        }
        if let Some(protection) = wants.protection.filter(|it| *it != settings.protection) {
            self.differs("protection", on_or_off(protection), on_or_off(settings.protection));
        }
        let scsihw = settings.scsihw.as_deref();
        let is_machine = self.guest.kind == GuestKind::Qemu;
        if let Some(wanted) = wants.scsihw.as_deref().filter(|_| is_machine)
            && wanted != scsihw.unwrap_or(SCSIHW_DEFAULT)
        {
            let default = || format!("{SCSIHW_DEFAULT}, since it is not set");
            self.differs("scsihw", wanted, scsihw.map_or_else(default, str::to_owned));
        }
        for disk in settings.disks.iter().filter(|disk| wants.disks_in_gib && !is_in_gib(disk)) {
            let size = match disk.size_bytes {
                Some(size) => format!("{} on {}", size_in_words(size), disk.storage),
                None => format!("not in the configuration, on {}", disk.storage),
            };
            self.differs(&format!("size of {}", disk.key), "a whole number of GiB", size);
        }
    }

    /// Something of the guest's own configuration.
    fn differs(&mut self, what: &str, expected: impl Into<String>, found: impl Into<String>) {
        let folder = match self.guest.kind {
            GuestKind::Qemu => "qemu-server",
            GuestKind::Lxc => "lxc",
        };
        let place = format!("/etc/pve/{folder}/{}.conf", self.guest.vmid);
        self.differs_at(place, (what, expected.into(), found.into()));
    }

    fn differs_at(&mut self, place: String, differing: (&str, String, String)) {
        let difference = self.of(place, differing);
        self.differences.push(difference);
    }

    fn of(&self, place: String, (what, expected, found): (&str, String, String)) -> Difference {
        Difference {
            vmid: self.guest.vmid,
            name: self.guest.name.clone(),
            what: what.to_owned(),
            expected,
            found,
            place,
        }
    }
}

/// The longest time between two runs that any of these schedules asks for, by a clock that is never
/// put forward or back: once a day is once a day in March too.
fn longest_gap(schedules: &[&str], from: Timestamp) -> SignedDuration {
    let events = schedules.iter().filter_map(|schedule| CalendarEvent::parse(schedule).ok());
    let events: Vec<CalendarEvent> = events.collect();
    let next = |after| events.iter().filter_map(|it| it.next_after(after, &TimeZone::UTC)).min();
    let Some(mut before) = next(from) else { return SignedDuration::MAX };
    let end = shift(from, COMPARED_FOR);
    let mut longest = SignedDuration::ZERO;
    for _ in 0..RUNS_COMPARED {
        let Some(run) = next(before) else { return SignedDuration::MAX };
        longest = longest.max(run.duration_since(before));
        before = run;
        if run > end {
            break;
        }
    }
    longest
}

fn place_of(job: &BackupJob) -> String {
    match job.plan.notes_runs {
        true => format!("/etc/pve/jobs.cfg, {}", job.id),
        false => "/etc/pve/vzdump.cron".to_owned(),
    }
}

fn is_in_gib(disk: &GuestDisk) -> bool {
    disk.size_bytes.is_some_and(|size| size % GIB == 0)
}

fn number(kept: &BTreeMap<Keep, u32>, keep: Keep) -> String {
    match kept.get(&keep) {
        Some(number) => number.to_string(),
        None if kept.is_empty() => "not set: nothing is removed".to_owned(),
        None if keep == Keep::All => {
            let pairs = kept.iter().map(|(keep, number)| format!("{keep}={number}"));
            pairs.collect::<Vec<_>>().join(",")
        }
        None => "not set".to_owned(),
    }
}

fn or_none(text: String) -> String {
    if text.is_empty() { "none".to_owned() } else { text }
}

fn on_or_off(is_on: bool) -> &'static str {
    if is_on { "on" } else { "off" }
}

/// A size in the largest unit in which it is whole.
fn size_in_words(bytes: u64) -> String {
    match bytes {
        bytes if bytes % (1 << 20) == 0 => format!("{} MiB", bytes >> 20),
        bytes if bytes % (1 << 10) == 0 => format!("{} KiB", bytes >> 10),
        bytes => format!("{bytes} bytes"),
    }
}

/// A time in the largest unit in which it is whole.
fn in_words(time: SignedDuration) -> String {
    let minutes = time.as_mins();
    match (minutes / (24 * 60), minutes / 60, minutes) {
        (1, _, minutes) if minutes % (24 * 60) == 0 => "1 day".to_owned(),
        (days, _, minutes) if minutes % (24 * 60) == 0 => format!("{days} days"),
        (_, hours, minutes) if minutes % 60 == 0 => format!("{hours} h"),
        (_, _, minutes) => format!("{minutes} min"),
    }
}

#[cfg(test)]
mod tests;
