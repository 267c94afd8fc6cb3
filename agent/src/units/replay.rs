//! Replays what systemd 252 and 257 really sent, and compares what is told of it.
//!
//! `testdata/units/systemd-*/NAME.signals.jsonl` was recorded on the bus of a booted Debian, cut
//! to what is read and a few signals of other units; beside it `NAME.facts.txt` says what is
//! told. `UPDATE_GOLDEN=1` writes these anew. systemd's part in the replay answers from the
//! signals it has sent; a ping is answered at the next pause of 3 ms, as it is in truth.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use pvewatch_protocol::event::{UnitChange, UnitChanged};
use serde::Deserialize;
use zbus::Message;
use zbus::zvariant::{ObjectPath, Value};

use super::config::UnitsConfig;
use super::exchange::{Input, Now, Output};
use super::tracker::Tracker;
use crate::systemd::{Ending, Heard, ListedUnit, Signal, UnitName, UnitProperties, signal, word};

/// systemd ends a turn of its loop, and answers, when it pauses for this long.
const PAUSE_MICROSECONDS: i64 = 3_000;

#[derive(Debug, Clone, Deserialize)]
struct Recorded {
    t: i64,
    member: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    interface: String,
    #[serde(default)]
    properties: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    unit: String,
    #[serde(default)]
    result: String,
    #[serde(default)]
    active: bool,
}

impl Recorded {
    /// The message as it came over the bus.
    fn message(&self) -> Message {
        let manager = ("/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager");
        let job = ObjectPath::try_from("/org/freedesktop/systemd1/job/1").unwrap();
        let signal = |(path, interface): (&str, &str)| {
            Message::signal(path.to_owned(), interface.to_owned(), self.member.clone()).unwrap()
        };
        match self.member.as_str() {
            "PropertiesChanged" => {
                let properties: HashMap<&str, Value<'_>> = self
                    .properties
                    .iter()
                    .map(|(name, value)| (name.as_str(), property(name, value)))
                    .collect();
                signal((&self.path, "org.freedesktop.DBus.Properties")).build(&(
                    &self.interface,
                    properties,
                    vec!["Conditions"],
                ))
            }
            "UnitRemoved" => signal(manager).build(&(&self.unit, job)),
            "JobRemoved" => signal(manager).build(&(1_u32, job, &self.unit, &self.result)),
            "Reloading" => signal(manager).build(&self.active),
            other => panic!("{other} is not recorded"),
        }
        .unwrap()
    }
}

/// A property with the type that systemd gives it.
fn property(name: &str, value: &serde_json::Value) -> Value<'static> {
    match (name, value) {
        ("ExecMainCode" | "ExecMainStatus", value) => {
            Value::I32(i32::try_from(value.as_i64().unwrap()).unwrap())
        }
        ("NRestarts", value) => Value::U32(u32::try_from(value.as_u64().unwrap()).unwrap()),
        ("StateChangeTimestamp", value) => Value::U64(value.as_u64().unwrap()),
        ("Job", value) => {
            let path = ObjectPath::try_from("/").unwrap();
            Value::from((u32::try_from(value.as_u64().unwrap()).unwrap(), path))
        }
        ("InvocationID", value) => {
            let text = value.as_str().unwrap();
            let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
            Value::from((0..text.len()).step_by(2).map(byte).collect::<Vec<u8>>())
        }
        (_, value) => Value::from(value.as_str().unwrap().to_owned()),
    }
}

/// systemd's part: what it would answer, from what it has said.
#[derive(Default)]
struct Systemd {
    units: BTreeMap<String, (Ending, Option<UnitProperties>)>,
    transient: Vec<String>,
}

impl Systemd {
    fn note(&mut self, signal: &Signal) {
        match signal {
            Signal::Unit(unit, seen) => {
                let entry = self.units.entry(unit.to_string()).or_default();
                entry.1 = Some(seen.clone());
            }
            Signal::Ending(unit, ending) => {
                self.units.entry(unit.to_string()).or_default().0 = ending.clone();
            }
            Signal::Removed(unit) => {
                self.units.remove(unit.as_str());
            }
            _ => {}
        }
    }

    fn listing(&self) -> Vec<ListedUnit> {
        self.units
            .iter()
            .filter_map(|(unit, (_, seen))| {
                let seen = seen.as_ref()?;
                Some(ListedUnit {
                    unit: UnitName::new(unit).unwrap(),
                    load_state: word("loaded"),
                    active_state: seen.active_state.clone(),
                    sub_state: seen.sub_state.clone(),
                })
            })
            .collect()
    }

    fn look_up(&self, unit: &UnitName) -> ListedUnit {
        let known = self.listing().into_iter().find(|listed| listed.unit == *unit);
        known.unwrap_or_else(|| {
            let gone = self.transient.iter().any(|transient| transient == unit.as_str());
            ListedUnit {
                unit: unit.clone(),
                load_state: word(if gone { "not-found" } else { "loaded" }),
                active_state: word("inactive"),
                sub_state: word("dead"),
            }
        })
    }
}

/// Replays signals; gives a line for each thing told.
struct Replay {
    tracker: Tracker,
    systemd: Systemd,
    origin: Instant,
    start: i64,
    at: i64,
    pings: usize,
    told: Vec<String>,
}

impl Replay {
    fn new(version: u32, recorded: &[Recorded]) -> Self {
        let config = UnitsConfig::default();
        let start = recorded[0].t;
        #[expect(clippy::disallowed_methods, reason = "an origin for the replay's own timeline")]
        let origin = Instant::now();
        let mut replay = Self {
            tracker: Tracker::new(config.crash_loop.settings()),
            systemd: Systemd::default(),
            origin,
            start,
            at: start,
            pings: 0,
            told: Vec::new(),
        };
        // Units whose state is older than the recording were there when the agent came.
        for signal in signals(recorded) {
            let is_old = match &signal {
                Signal::Unit(unit, seen) => {
                    replay.systemd.units.get(unit.as_str()).is_none_or(|known| known.1.is_none())
                        && seen.changed_at.is_some_and(|at| at.as_microsecond() < start - 100_000)
                }
                _ => false,
            };
            if is_old {
                replay.systemd.note(&signal);
            }
        }
        replay.systemd.transient = vec!["t-tr.service".to_owned(), "t-trc.service".to_owned()];
        replay.feed(Input::Connected(Some(version)));
        replay
    }

    fn run(mut self, recorded: &[Recorded]) -> Vec<String> {
        let selection = UnitsConfig::default().selection();
        for signal in recorded {
            self.advance(signal.t);
            if let Some(read) = signal::read_signal(&signal.message(), &selection) {
                self.systemd.note(&read);
                self.feed(Input::Heard(Heard::Signal(read)));
            }
        }
        self.advance(self.at + 5_000_000);
        self.told
    }

    /// Lets time pass, with what falls due in it.
    fn advance(&mut self, to: i64) {
        if to - self.at >= PAUSE_MICROSECONDS {
            self.at += PAUSE_MICROSECONDS;
            for _ in 0..std::mem::take(&mut self.pings) {
                self.feed(Input::Heard(Heard::Pong));
            }
        }
        while let Some(deadline) = self.tracker.next_deadline() {
            let due = self.start
                + i64::try_from(deadline.saturating_duration_since(self.origin).as_micros())
                    .unwrap();
            if due > to {
                break;
            }
            self.at = self.at.max(due);
            self.feed(Input::Deadline);
            for _ in 0..std::mem::take(&mut self.pings) {
                self.feed(Input::Heard(Heard::Pong));
            }
        }
        self.at = self.at.max(to);
    }

    fn feed(&mut self, input: Input) {
        let passed = u64::try_from(self.at - self.start).unwrap();
        let now = Now {
            instant: self.origin + Duration::from_micros(passed),
            wall: Timestamp::from_microsecond(self.at).unwrap(),
        };
        for output in self.tracker.handle(now, input) {
            match output {
                Output::Ping => self.pings += 1,
                Output::List => self.feed(Input::Heard(Heard::Listed(self.systemd.listing()))),
                Output::LookUp(names) => {
                    let found = names.iter().map(|name| self.systemd.look_up(name)).collect();
                    self.feed(Input::Heard(Heard::LookedUp(found)));
                }
                Output::Details(unit) => {
                    let known = self.systemd.units.get(unit.as_str()).cloned();
                    let (ending, seen) = known.unwrap_or_default();
                    self.feed(Input::Heard(Heard::Ending(unit.clone(), ending)));
                    self.feed(Input::Heard(Heard::Details(unit, seen)));
                }
                Output::Tell(telling) => {
                    let at = telling.at.map_or_else(|| "?".to_owned(), |at| at.to_string());
                    let changed = serde_json::to_string(&telling.changed).unwrap();
                    self.told.push(format!("{at} {changed}"));
                }
                Output::TellRemoved(unit) => self.told.push(format!("{unit} removed")),
                Output::ReadLog(unit, invocation) => {
                    self.told.push(format!("{unit} log of {invocation}"));
                }
                Output::Show(units) => {
                    let failed = units.iter().filter(|unit| unit.is_failed()).count();
                    self.told.push(format!("picture: {} units, {failed} failed", units.len()));
                }
            }
        }
    }
}

fn signals(recorded: &[Recorded]) -> Vec<Signal> {
    let selection = UnitsConfig::default().selection();
    recorded
        .iter()
        .filter_map(|signal| signal::read_signal(&signal.message(), &selection))
        .collect()
}

fn goldens() -> Vec<(u32, PathBuf, Vec<Recorded>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/units");
    let mut goldens = Vec::new();
    for version in [252, 257] {
        let files = std::fs::read_dir(folder.join(format!("systemd-{version}"))).unwrap();
        for file in files.map(|file| file.unwrap().path()) {
            if file.to_string_lossy().ends_with(".signals.jsonl") {
                let text = std::fs::read_to_string(&file).unwrap();
                let recorded =
                    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
                goldens.push((version, file, recorded));
            }
        }
    }
    assert!(goldens.len() >= 30, "the recordings are missing");
    goldens.sort_by(|a, b| a.1.cmp(&b.1));
    goldens
}

fn facts_beside(file: &Path) -> PathBuf {
    PathBuf::from(file.to_string_lossy().replace(".signals.jsonl", ".facts.txt"))
}

/// What was told of failures, without how they ended: when, which unit, and whether it restarts.
fn failures(told: &[String]) -> Vec<(&str, String, bool)> {
    told.iter()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(at, changed)| {
            let changed: UnitChanged = serde_json::from_str(changed).ok()?;
            (changed.change == UnitChange::Failed).then_some((
                at,
                changed.state.unit,
                changed.state.will_restart,
            ))
        })
        .collect()
}

#[test]
fn what_systemd_really_sent_is_told_as_written_beside_it() {
    for (version, file, recorded) in goldens() {
        let told = Replay::new(version, &recorded).run(&recorded).join("\n") + "\n";
        let beside = facts_beside(&file);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&beside, &told).unwrap();
        }
        let expected = std::fs::read_to_string(&beside).unwrap_or_default();
        assert_eq!(told, expected, "{}", file.display());
    }
}

#[test]
fn a_signal_that_comes_twice_is_one_fact() {
    for (version, file, recorded) in goldens() {
        let once = Replay::new(version, &recorded).run(&recorded);
        let doubled: Vec<Recorded> =
            recorded.iter().flat_map(|signal| [signal.clone(), signal.clone()]).collect();
        let twice = Replay::new(version, &doubled).run(&doubled);
        assert_eq!(once, twice, "{}", file.display());
    }
}

#[test]
fn the_two_halves_of_a_change_may_come_in_either_order() {
    for (version, file, recorded) in goldens() {
        if file.to_string_lossy().contains("restart-mode-direct") {
            // Only the first half says here that it was a failure; systemd sends it first.
            continue;
        }
        let mut swapped = recorded.clone();
        let mut at = 0;
        while at + 1 < swapped.len() {
            let (first, second) = (&swapped[at], &swapped[at + 1]);
            if first.path == second.path
                && first.member == "PropertiesChanged"
                && second.interface == signal::UNIT_INTERFACE
            {
                let (first_t, second_t) = (first.t, second.t);
                swapped.swap(at, at + 1);
                (swapped[at].t, swapped[at + 1].t) = (first_t, second_t);
                at += 1;
            }
            at += 1;
        }
        let in_order = Replay::new(version, &recorded).run(&recorded);
        let reversed = Replay::new(version, &swapped).run(&swapped);
        assert_eq!(failures(&in_order), failures(&reversed), "{}", file.display());
    }
}

#[test]
fn what_nobody_watches_is_not_read() {
    let (_, _, recorded) = goldens().remove(0);
    let mut other = recorded[0].clone();
    other.member = "PropertiesChanged".to_owned();
    other.path = "/org/freedesktop/systemd1/unit/system_2eslice".to_owned();
    other.interface = signal::UNIT_INTERFACE.to_owned();
    assert_eq!(signals(&[other]), []);
}
