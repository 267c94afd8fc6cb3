//! Calendar events beside `systemd-analyze calendar`, over generated schedules, in several zones
//! and around their changes of clocks.
//!
//! What only Proxmox writes is translated: a step to the list of its values (systemd 252 goes
//! wrong behind the end of one that does not divide its span), a lone number to a minute.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up should fail at that place")]

use std::collections::BTreeMap;
use std::process::Command;

use fastrand::Rng;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use pvewatch_collector::fleet::CalendarEvent;

const SCHEDULES: usize = 2_000;
const ITERATIONS: usize = 6;

/// Zones with and without changes of clocks, by an hour, by half of one, and by a whole day.
const ZONES: &[&str] = &[
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "America/Sao_Paulo",
    "Pacific/Apia",
];

/// Moments near which clocks change somewhere, and some near which none does.
const MOMENTS: &[&str] = &[
    "2026-03-29T01:00:00Z",
    "2026-10-25T01:00:00Z",
    "2026-03-08T07:00:00Z",
    "2026-11-01T06:00:00Z",
    "2026-04-04T15:00:00Z",
    "2018-11-04T03:00:00Z",
    "2011-12-30T10:00:00Z",
    "2024-02-29T00:00:00Z",
    "2026-09-21T14:13:20Z",
];

const SHORT_FORMS: &[&str] =
    &["minutely", "hourly", "daily", "weekly", "monthly", "quarterly", "semiannually", "yearly"];

/// The same schedule in two spellings, and what it is made of.
#[derive(Default)]
struct Schedule {
    proxmox: String,
    systemd: String,
    constructs: Vec<&'static str>,
}

impl Schedule {
    fn both(&mut self, text: &str) {
        self.proxmox.push_str(text);
        self.systemd.push_str(text);
    }

    fn values(&mut self, rng: &mut Rng, least: u32, most: u32) {
        let (one, other) = (rng.u32(least..=most), rng.u32(least..=most));
        let (low, high) = (one.min(other), one.max(other));
        let every = rng.u32(1..=9);
        let steps = |from: u32| {
            let values: Vec<String> =
                (from..=most).step_by(every as usize).map(|value| value.to_string()).collect();
            values.join(",")
        };
        let (construct, proxmox, systemd) = match rng.u8(0..6) {
            0 => ("any", "*".to_owned(), "*".to_owned()),
            // systemd refuses a range of one second.
            1 if low < high => ("range", format!("{low}..{high}"), format!("{low}..{high}")),
            2 => ("list", format!("{one},{other}"), format!("{one},{other}")),
            3 => ("step", format!("{one}/{every}"), steps(one)),
            4 => ("step of any", format!("*/{every}"), steps(least)),
            _ => ("value", format!("{one:02}"), format!("{one:02}")),
        };
        self.constructs.push(construct);
        self.proxmox.push_str(&proxmox);
        self.systemd.push_str(&systemd);
    }

    fn weekdays(&mut self, rng: &mut Rng) {
        let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let (one, other) = (rng.usize(..7), rng.usize(..7));
        let text = match rng.u8(0..3) {
            0 => days[one].to_owned(),
            1 => format!("{}..{}", days[one.min(other)], days[one.max(other)]),
            _ => format!("{},{}", days[one], days[other]),
        };
        self.constructs.push("days of the week");
        self.both(&format!("{text} "));
    }

    fn date(&mut self, rng: &mut Rng) {
        if rng.u8(0..4) == 0 {
            self.both("*-");
        }
        self.values(rng, 1, 12);
        self.both("-");
        self.values(rng, 1, 31);
        self.both(" ");
        self.constructs.push("date");
    }

    fn time(&mut self, rng: &mut Rng) {
        if rng.u8(0..8) == 0 {
            self.systemd.push_str("*:");
            self.constructs.push("minutes alone");
        } else {
            self.values(rng, 0, 23);
            self.both(":");
        }
        self.values(rng, 0, 59);
        if self.proxmox.contains(':') && rng.u8(0..5) == 0 {
            self.both(":");
            self.values(rng, 0, 59);
            self.constructs.push("seconds");
        }
    }

    fn draw(rng: &mut Rng) -> Self {
        let mut schedule = Self::default();
        if rng.u8(0..15) == 0 {
            schedule.both(SHORT_FORMS[rng.usize(..SHORT_FORMS.len())]);
            schedule.constructs.push("short form");
            return schedule;
        }
        if rng.bool() {
            schedule.weekdays(rng);
        }
        if rng.u8(0..3) == 0 {
            schedule.date(rng);
        }
        if schedule.proxmox.is_empty() || rng.u8(0..8) > 0 {
            schedule.time(rng);
        }
        if rng.u8(0..10) == 0 {
            schedule.both(" UTC");
            schedule.constructs.push("utc");
        }
        schedule
    }
}

fn systemd_says(schedule: &str, zone: &str, after: Timestamp) -> Vec<Timestamp> {
    let output = Command::new("systemd-analyze")
        .env("TZ", zone)
        .env("LC_ALL", "C")
        .arg("calendar")
        .arg(format!("--iterations={ITERATIONS}"))
        .arg(format!("--base-time=@{}", after.as_second()))
        .arg(schedule)
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{schedule}: {error}");
    let text = String::from_utf8_lossy(&output.stdout);
    // In UTC the line `(in UTC)` is left out.
    let lines = text.lines().filter_map(|line| {
        let (label, time) = line.trim().split_once(": ")?;
        let is_local = label == "Next elapse" || label.starts_with("Iter.");
        let is_wanted = if zone == "UTC" { is_local } else { label == "(in UTC)" };
        is_wanted.then(|| time.trim())
    });
    lines
        .filter(|time| *time != "never")
        .map(|time| {
            let time = time.split_once(' ').unwrap().1.strip_suffix(" UTC").unwrap();
            format!("{}Z", time.replace(' ', "T")).parse().unwrap()
        })
        .collect()
}

fn ours(schedule: &str, zone: &str, after: Timestamp) -> Vec<Timestamp> {
    let event = CalendarEvent::parse(schedule).unwrap();
    let zone = TimeZone::get(zone).unwrap();
    let mut times = Vec::new();
    while times.len() < ITERATIONS {
        let last = times.last().copied().unwrap_or(after);
        match event.next_after(last, &zone) {
            Some(next) => times.push(next),
            None => break,
        }
    }
    times
}

#[test]
fn schedules_are_due_when_systemd_says() {
    let mut rng = Rng::with_seed(1);
    let mut cases: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..SCHEDULES {
        let schedule = Schedule::draw(&mut rng);
        let zone = ZONES[rng.usize(..ZONES.len())];
        let near: Timestamp = MOMENTS[rng.usize(..MOMENTS.len())].parse().unwrap();
        let after = Timestamp::from_second(near.as_second() + rng.i64(-200_000..200_000)).unwrap();
        let expected = systemd_says(&schedule.systemd, zone, after);
        let Schedule { proxmox, systemd, constructs } = schedule;
        assert_eq!(
            ours(&proxmox, zone, after),
            expected,
            "{proxmox} ({systemd}) in {zone}, {after}"
        );
        for construct in constructs {
            *cases.entry(construct).or_default() += 1;
        }
        *cases.entry(zone).or_default() += 1;
    }
    for (what, count) in &cases {
        println!("{count:>6}  {what}");
    }
    assert!(ZONES.iter().all(|zone| cases[zone] > SCHEDULES / 20), "{cases:?}");
}
