//! Which archives of a guest stay, by `prune-backups`, with Proxmox's rules.
//!
//! One kind of `keep-` after the other, each from the newest archive on: what an earlier one keeps
//! stands for its hour, day, week, month or year, of the others the newest of each period is kept
//! until there are enough, and the rest of a period goes. Weeks are those of ISO 8601.

use std::collections::BTreeSet;

use jiff::civil::DateTime;

/// What becomes of an archive when backups are pruned next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// It stays.
    Keep,
    /// It goes.
    Remove,
    /// It stays because somebody protected it; it counts for nothing else.
    Protected,
}

/// What `prune-backups` says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    last: u32,
    hourly: u32,
    daily: u32,
    weekly: u32,
    monthly: u32,
    yearly: u32,
}

/// An archive whose time decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// When its run began, in the node's own time.
    pub began: DateTime,
    /// Whether somebody protected it.
    pub is_protected: bool,
}

/// The hour, day, week, month or year of a moment.
type Period = fn(DateTime) -> (i16, i16, i8);

impl Retention {
    /// Reads `keep-daily=7,keep-last=3`. None if it is no such list; what keeps everything
    /// (`keep-all=1`, or nothing but zeros) keeps everything.
    pub fn parse(text: &str) -> Option<Self> {
        let mut retention = Self::default();
        let mut keeps_all = false;
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let (key, count) = item.split_once('=')?;
            let count = count.parse().ok()?;
            match key.strip_prefix("keep-")? {
                "all" => keeps_all = count != 0,
                "last" => retention.last = count,
                "hourly" => retention.hourly = count,
                "daily" => retention.daily = count,
                "weekly" => retention.weekly = count,
                "monthly" => retention.monthly = count,
                "yearly" => retention.yearly = count,
                _ => return None,
            }
        }
        Some(if keeps_all { Self::default() } else { retention })
    }

    /// The marks of one guest's archives, in the order in which they come.
    pub fn marks(self, archives: &[Kept]) -> Vec<Mark> {
        if self == Self::default() {
            let mark = |kept: &Kept| if kept.is_protected { Mark::Protected } else { Mark::Keep };
            return archives.iter().map(mark).collect();
        }
        let mut marks: Vec<Option<Mark>> =
            archives.iter().map(|kept| kept.is_protected.then_some(Mark::Protected)).collect();
        let mut newest_first: Vec<usize> = (0..archives.len()).collect();
        newest_first.sort_by_key(|index| std::cmp::Reverse(archives[*index].began));
        // Two of the same second are one backup in two forms.
        keep_periods(&newest_first, self.last, |index| archives[index].began, &mut marks);
        let periods: [(u32, Period); 5] = [
            (self.hourly, |at| (at.year(), at.day_of_year(), at.hour())),
            (self.daily, |at| (at.year(), at.day_of_year(), 0)),
            (self.weekly, |at| {
                let week = at.date().iso_week_date();
                (week.year(), i16::from(week.week()), 0)
            }),
            (self.monthly, |at| (at.year(), i16::from(at.month()), 0)),
            (self.yearly, |at| (at.year(), 0, 0)),
        ];
        for (count, period) in periods {
            let of = |index: usize| period(archives[index].began);
            keep_periods(&newest_first, count, of, &mut marks);
        }
        marks.into_iter().map(|mark| mark.unwrap_or(Mark::Remove)).collect()
    }
}

fn keep_periods<Of: Ord>(
    newest_first: &[usize],
    count: u32,
    of: impl Fn(usize) -> Of,
    marks: &mut [Option<Mark>],
) {
    if count == 0 {
        return;
    }
    let is_kept = |index: &&usize| marks[**index] == Some(Mark::Keep);
    let covered: BTreeSet<Of> =
        newest_first.iter().filter(is_kept).map(|index| of(*index)).collect();
    let mut new = BTreeSet::new();
    for index in newest_first.iter().copied() {
        let period = of(index);
        if marks[index].is_some() || covered.contains(&period) {
            continue;
        }
        if new.contains(&period) {
            marks[index] = Some(Mark::Remove);
        } else if new.len() < count as usize {
            new.insert(period);
            marks[index] = Some(Mark::Keep);
        } else {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(began: &str) -> Kept {
        Kept { began: began.parse().unwrap(), is_protected: false }
    }

    /// The archives that stay, as their times.
    fn stay<'a>(retention: &str, archives: &[&'a str]) -> Vec<&'a str> {
        let marks = Retention::parse(retention).unwrap();
        let marks = marks.marks(&archives.iter().map(|began| kept(began)).collect::<Vec<_>>());
        let pairs = archives.iter().zip(marks).filter(|(_, mark)| *mark == Mark::Keep);
        pairs.map(|(began, _)| *began).collect()
    }

    #[test]
    fn the_newest_of_each_period_stays() {
        let archives =
            ["2026-11-01T01:00", "2026-11-01T21:00", "2026-11-02T21:00", "2026-11-03T21:00"];
        assert_eq!(stay("keep-daily=2", &archives), ["2026-11-02T21:00", "2026-11-03T21:00"]);
        assert_eq!(stay("keep-daily=3", &archives), archives[1..]);
        assert_eq!(stay("keep-last=1", &archives), ["2026-11-03T21:00"]);
        assert_eq!(stay("keep-yearly=5", &archives), ["2026-11-03T21:00"]);
    }

    #[test]
    fn what_one_kind_keeps_stands_for_its_period_in_the_next() {
        let archives =
            ["2026-09-30T21:00", "2026-10-31T21:00", "2026-11-02T21:00", "2026-11-03T21:00"];
        let stays = stay("keep-last=1,keep-monthly=1", &archives);
        assert_eq!(stays, ["2026-10-31T21:00", "2026-11-03T21:00"]);
        let stays = stay("keep-last=1,keep-daily=1,keep-monthly=1", &archives);
        assert_eq!(stays, archives[1..]);
    }

    #[test]
    fn weeks_are_those_of_iso() {
        let archives =
            ["2026-12-31T21:00", "2027-01-01T21:00", "2027-01-03T21:00", "2027-01-04T21:00"];
        assert_eq!(stay("keep-weekly=2", &archives), ["2027-01-03T21:00", "2027-01-04T21:00"]);
    }

    #[test]
    fn the_order_of_files_is_of_no_meaning() {
        let archives = ["2026-11-03T21:00", "2026-11-01T21:00", "2026-11-02T21:00"];
        assert_eq!(stay("keep-last=2", &archives), ["2026-11-03T21:00", "2026-11-02T21:00"]);
    }

    #[test]
    fn what_is_protected_stays_and_counts_for_nothing() {
        let protected = Kept { is_protected: true, ..kept("2026-11-03T21:00") };
        let archives = [protected, kept("2026-11-02T21:00"), kept("2026-11-01T21:00")];
        let marks = Retention::parse("keep-last=1").unwrap().marks(&archives);
        assert_eq!(marks, [Mark::Protected, Mark::Keep, Mark::Remove]);
    }

    #[test]
    fn an_archive_that_was_unpacked_beside_itself_is_one_of_two() {
        let archives = ["2026-11-02T21:00", "2026-11-02T21:00", "2026-11-01T21:00"];
        let marks = Retention::parse("keep-last=2").unwrap();
        let marks = marks.marks(&archives.map(kept));
        assert_eq!(marks, [Mark::Keep, Mark::Remove, Mark::Keep]);
    }

    #[test]
    fn nothing_but_zeros_keeps_everything() {
        let archives = ["2026-11-01T21:00", "2026-11-02T21:00"];
        for retention in ["keep-all=1", "keep-all=1,keep-last=1", "keep-last=0", ""] {
            assert_eq!(stay(retention, &archives), archives, "{retention}");
        }
    }

    #[test]
    fn what_is_no_retention_is_none() {
        for text in ["3", "keep-last", "keep-last=x", "keep-fortnightly=1", "last=1"] {
            assert_eq!(Retention::parse(text), None, "{text}");
        }
    }
}
