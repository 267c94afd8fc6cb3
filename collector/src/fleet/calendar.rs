//! Calendar events: when a job is due, as Proxmox writes it in `schedule`.
//!
//! `[WEEKDAYS] [[YEARS-]MONTHS-DAYS] [HOURS:MINUTES[:SECONDS]] [UTC]`, each part a list of values,
//! ranges `a..b` and steps `a/n`, or `*`; a lone number is a minute, and `hourly`, `daily`, ... are
//! short forms. The grammar is a part of systemd's, with Proxmox's additions.
//!
//! Promised: a local time that a change of clocks leaves out is left out, one that comes twice is
//! due the first time, as with systemd. Absent: a clock, and what was done about it.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// Years that are searched for the next event: the 29th of February on a certain day of the week
/// comes again after 40 years at most.
const YEARS_MAX: i16 = 41;

/// The years that can be named.
const YEARS: Bounds = Bounds { from: 1970, to: 2199 };
const MONTHS: Bounds = Bounds { from: 1, to: 12 };
const DAYS: Bounds = Bounds { from: 1, to: 31 };
const HOURS: Bounds = Bounds { from: 0, to: 23 };
/// Of minutes, and of seconds.
const SIXTY: Bounds = Bounds { from: 0, to: 59 };

const WEEKDAYS: [&str; 7] =
    ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// What can be written instead of an event.
const SHORT_FORMS: &[(&str, &str)] = &[
    ("minutely", "*:*"),
    ("hourly", "*:00"),
    ("daily", "00:00"),
    ("weekly", "mon 00:00"),
    ("monthly", "*-01 00:00"),
    ("quarterly", "01,04,07,10-01 00:00"),
    ("semiannually", "01,07-01 00:00"),
    ("semi-annually", "01,07-01 00:00"),
    ("yearly", "01-01 00:00"),
    ("annually", "01-01 00:00"),
];

/// Why a text is not a calendar event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} is not a calendar event: {problem}")]
pub struct CalendarError {
    event: String,
    problem: String,
}

/// When something is due, again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalendarEvent {
    /// From Monday.
    weekdays: [bool; 7],
    years: Values,
    months: Values,
    days: Values,
    hours: Values,
    minutes: Values,
    seconds: Values,
    is_utc: bool,
}

/// The values that a part can have, and what it is called.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    from: u16,
    to: u16,
}

/// The values that one part names, in order, without doubles.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Values(Vec<u16>);

impl CalendarEvent {
    /// Reads an event.
    ///
    /// # Errors
    /// When the text is no event; the message names the part that is wrong.
    pub fn parse(text: &str) -> Result<Self, CalendarError> {
        parse(text.trim()).map_err(|problem| CalendarError { event: text.to_owned(), problem })
    }

    /// The first moment after another at which this is due; none if there is none in the next
    /// decades, as with the 30th of February.
    pub fn next_after(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let zone = if self.is_utc { &TimeZone::UTC } else { zone };
        // Due times are whole seconds.
        let local = zone.to_datetime(after + SignedDuration::from_secs(1));
        let start = DateTime::from_parts(local.date(), whole_second(local.time()));
        let last_year = start.year().saturating_add(YEARS_MAX);
        let mut date = Some(start.date());
        while let Some(day) = date.filter(|day| day.year() <= last_year) {
            date = if !self.years.has(day.year()) {
                Date::new(day.year() + 1, 1, 1).ok()
            } else if !self.months.has(i16::from(day.month())) {
                day.first_of_month().saturating_add(jiff::Span::new().months(1)).into()
            } else {
                if self.is_due_on(day) {
                    let earliest = if day == start.date() { start.time() } else { Time::MIN };
                    let due = self.on(day, earliest, after, zone);
                    if due.is_some() {
                        return due;
                    }
                }
                day.tomorrow().ok()
            };
        }
        None
    }

    fn is_due_on(&self, day: Date) -> bool {
        self.days.has(i16::from(day.day()))
            && self.weekdays[day.weekday().to_monday_zero_offset() as usize]
    }

    /// The first time of a day, from one on, that exists and lies after a moment.
    fn on(&self, day: Date, from: Time, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut times = self.times().skip_while(|time| *time < from);
        times.find_map(|time| {
            let local = zone.to_ambiguous_timestamp(DateTime::from_parts(day, time));
            let at = match local.offset() {
                AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local.datetime()),
                AmbiguousOffset::Gap { .. } => return None,
                AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local.datetime()),
            };
            at.ok().filter(|at| *at > after)
        })
    }

    fn times(&self) -> impl Iterator<Item = Time> {
        self.hours.0.iter().flat_map(move |hour| {
            self.minutes.0.iter().flat_map(move |minute| {
                self.seconds.0.iter().filter_map(move |second| {
                    Time::new(*hour as i8, *minute as i8, *second as i8, 0).ok()
                })
            })
        })
    }
}

impl Values {
    fn all(bounds: Bounds) -> Self {
        Self((bounds.from..=bounds.to).collect())
    }

    fn has(&self, value: i16) -> bool {
        u16::try_from(value).is_ok_and(|value| self.0.binary_search(&value).is_ok())
    }
}

fn whole_second(time: Time) -> Time {
    Time::new(time.hour(), time.minute(), time.second(), 0).unwrap_or(Time::MIN)
}

fn parse(text: &str) -> Result<CalendarEvent, String> {
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    let lower = text.to_ascii_lowercase();
    let short = SHORT_FORMS.iter().find(|(name, _)| lower == *name);
    let mut words: Vec<&str> =
        short.map_or(lower.as_str(), |(_, long)| long).split_ascii_whitespace().collect();
    let is_utc = words.len() > 1 && words.last() == Some(&"utc");
    if is_utc {
        words.pop();
    }
    let mut words = words.into_iter().peekable();
    let weekdays = match words.next_if(|word| word.starts_with(|c: char| c.is_ascii_alphabetic())) {
        Some(word) => weekdays(word)?,
        None => [true; 7],
    };
    let date = words.next_if(|word| word.contains('-'));
    let time = words.next();
    if let Some(word) = words.next() {
        return Err(format!("{word:?} is one part too many"));
    }
    let [years, months, days] = date.map_or_else(|| Ok(all_days()), days_of)?;
    let [hours, minutes, seconds] = time.map_or_else(|| times_of("00:00"), times_of)?;
    Ok(CalendarEvent { weekdays, years, months, days, hours, minutes, seconds, is_utc })
}

fn all_days() -> [Values; 3] {
    [Values::all(YEARS), Values::all(MONTHS), Values::all(DAYS)]
}

fn days_of(word: &str) -> Result<[Values; 3], String> {
    let parts: Vec<&str> = word.split('-').collect();
    let (years, months, days) = match parts[..] {
        [months, days] => ("*", months, days),
        [years, months, days] => (years, months, days),
        _ => return Err(format!("{word:?} is no date: write MONTH-DAY or YEAR-MONTH-DAY")),
    };
    Ok([
        values(years, YEARS, "year")?,
        values(months, MONTHS, "month")?,
        values(days, DAYS, "day")?,
    ])
}

fn times_of(word: &str) -> Result<[Values; 3], String> {
    let parts: Vec<&str> = word.split(':').collect();
    let (hours, minutes, seconds) = match parts[..] {
        [minutes] => ("*", minutes, "0"),
        [hours, minutes] => (hours, minutes, "0"),
        [hours, minutes, seconds] => (hours, minutes, seconds),
        _ => return Err(format!("{word:?} is no time: write HOUR:MINUTE[:SECOND]")),
    };
    Ok([
        values(hours, HOURS, "hour")?,
        values(minutes, SIXTY, "minute")?,
        values(seconds, SIXTY, "second")?,
    ])
}

fn weekdays(word: &str) -> Result<[bool; 7], String> {
    let day = |name: &str| {
        WEEKDAYS
            .iter()
            .position(|day| name.len() >= 3 && (*day == name || day[..3] == *name))
            .ok_or_else(|| format!("{name:?} is no day of the week"))
    };
    let mut days = [false; 7];
    for part in word.split(',') {
        let (from, to) = match part.split_once("..") {
            Some((from, to)) => (day(from)?, day(to)?),
            None => (day(part)?, day(part)?),
        };
        if from > to {
            return Err(format!("{part:?} ends before it begins: a week begins on Monday"));
        }
        days[from..=to].fill(true);
    }
    Ok(days)
}

fn values(list: &str, bounds: Bounds, what: &str) -> Result<Values, String> {
    let Bounds { from: least, to: most } = bounds;
    let value = |text: &str| {
        text.parse::<u16>()
            .ok()
            .filter(|value| (least..=most).contains(value) && !text.starts_with('+'))
            .ok_or_else(|| format!("{text:?} is no {what}: {least} to {most}"))
    };
    let mut values = Vec::new();
    for part in list.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        let (from, to) = match range.split_once("..") {
            Some((from, to)) => (value(from)?, value(to)?),
            None if range == "*" => (least, most),
            None => (value(range)?, if step.is_some() { most } else { value(range)? }),
        };
        if from > to {
            return Err(format!("{part:?} ends before it begins"));
        }
        let step = match step {
            Some(step) => step.parse::<u16>().ok().filter(|step| *step > 0),
            None => Some(1),
        };
        let step = step.ok_or_else(|| format!("{part:?} has no step that is a number"))?;
        values.extend((from..=to).step_by(usize::from(step)));
    }
    values.sort_unstable();
    values.dedup();
    Ok(Values(values))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(event: &str, after: &str) -> Option<String> {
        let event = CalendarEvent::parse(event).unwrap();
        let next = event.next_after(after.parse().unwrap(), &TimeZone::UTC);
        next.map(|next| next.strftime("%a %F %T").to_string())
    }

    #[test]
    fn events_are_due_when_proxmox_says() {
        for (event, due) in [
            ("21:00", "Thu 2026-11-26 21:00:00"),
            ("mon..fri 21:00", "Thu 2026-11-26 21:00:00"),
            ("sat", "Sat 2026-11-28 00:00:00"),
            ("30", "Thu 2026-11-26 12:30:00"),
            ("*/5", "Thu 2026-11-26 12:05:00"),
            ("8..17,22:0/15", "Thu 2026-11-26 12:15:00"),
            ("sat *-1..7 15:00", "Sat 2026-12-05 15:00:00"),
            ("Sunday *-12-* 1:30", "Sun 2026-12-06 01:30:00"),
            ("2027-02-03 04:05:06", "Wed 2027-02-03 04:05:06"),
            ("thu 02-29", "Thu 2052-02-29 00:00:00"),
            ("monthly", "Tue 2026-12-01 00:00:00"),
            ("Hourly", "Thu 2026-11-26 13:00:00"),
            ("12:00 UTC", "Fri 2026-11-27 12:00:00"),
        ] {
            assert_eq!(next(event, "2026-11-26T12:00:00Z").as_deref(), Some(due), "{event}");
        }
    }

    #[test]
    fn what_never_comes_is_never_due() {
        assert_eq!(next("02-30", "2026-11-26T12:00:00Z"), None);
        assert_eq!(next("2020-01-01", "2026-11-26T12:00:00Z"), None);
    }

    #[test]
    fn the_next_event_lies_after_its_moment_to_the_second() {
        let due = |after| next("12:00", after).unwrap();
        assert_eq!(due("2026-11-26T11:59:59.9Z"), "Thu 2026-11-26 12:00:00");
        assert_eq!(due("2026-11-26T12:00:00Z"), "Fri 2026-11-27 12:00:00");
    }

    #[test]
    fn what_is_no_event_is_refused_with_the_part_that_is_wrong() {
        for (event, problem) in [
            ("", "it is empty"),
            ("24:00", "\"24\" is no hour: 0 to 23"),
            ("fri..mon 1:00", "\"fri..mon\" ends before it begins: a week begins on Monday"),
            ("moonday", "\"moonday\" is no day of the week"),
            ("13-01", "\"13\" is no month: 1 to 12"),
            ("1-2-3-4", "\"1-2-3-4\" is no date: write MONTH-DAY or YEAR-MONTH-DAY"),
            ("1:2:3:4", "\"1:2:3:4\" is no time: write HOUR:MINUTE[:SECOND]"),
            ("*/0", "\"*/0\" has no step that is a number"),
            ("9..8:00", "\"9..8\" ends before it begins"),
            ("1:00 2:00", "\"2:00\" is one part too many"),
            ("+1:00", "\"+1\" is no hour: 0 to 23"),
        ] {
            let error = CalendarEvent::parse(event).unwrap_err().to_string();
            assert_eq!(error, format!("{event:?} is not a calendar event: {problem}"));
        }
    }
}
