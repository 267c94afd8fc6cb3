//! A systemd on which units fail and recover at a given rate, as the node's bus: the agent's
//! source of events. A program of its own, so that it goes when its node does.
//!
//! Every change has a time that no other change of the node has, and is written down before it
//! is told. Absent: changes while nobody listens.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{MissedTickBehavior, interval};
use zbus::message::Type;
use zbus::zvariant::Value;
use zbus::{Connection, Guid, connection};

use self::play::{ListedFields, Played};
use super::checker::told::Told;
use crate::deadline::{moment, now};

#[path = "../../../agent/tests/units/play.rs"]
#[allow(
    missing_docs,
    dead_code,
    clippy::unwrap_used,
    reason = "shared with the tests of the agent, which need more of it"
)]
mod play;

/// Units of a node.
const UNITS: usize = 200;

/// How often changes are told.
const TICK: Duration = Duration::from_millis(10);

/// Changes that are told at once, also by a bus that is behind: less than an agent's queue.
const AT_ONCE_MAX: u64 = 500;

/// The files of a bus.
#[derive(Debug, Clone)]
pub struct BusFolder(pub PathBuf);

impl BusFolder {
    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.0.join("bus")
    }

    /// What it told.
    pub fn told(&self) -> PathBuf {
        self.0.join("told")
    }

    /// While this is there, nothing changes.
    pub fn silence(&self) -> PathBuf {
        self.0.join("silence")
    }
}

/// Plays until the process is ended: so many changes a second, to one listener at a time.
///
/// # Errors
/// When the socket or the file cannot be made.
pub fn run(folder: &Path, rate: u32) -> io::Result<()> {
    let files = BusFolder(folder.to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // One that was killed left its socket behind.
        let _ = fs::remove_file(files.socket());
        let listener = UnixListener::bind(files.socket())?;
        let told = File::options().create(true).append(true).open(files.told())?;
        let units = (0..UNITS).map(|number| Played::runs(format!("u{number:03}.service")));
        let mut systemd = Systemd { units: units.collect(), turn: 0, told, told_at: 0 };
        loop {
            let (stream, _) = listener.accept().await?;
            // Whatever ends a connection, the next one is played to.
            if let Err(error) = systemd.play(stream, rate, &files.silence()).await {
                eprintln!("the bus lost its listener: {error}");
            }
        }
    })
}

struct Systemd {
    units: Vec<Played>,
    turn: usize,
    told: File,
    told_at: u64,
}

impl Systemd {
    async fn play(&mut self, stream: UnixStream, rate: u32, silence: &Path) -> zbus::Result<()> {
        let mut calls = connection::Builder::unix_stream(stream)
            .server(Guid::generate())?
            .p2p()
            .build_message_stream()
            .await?;
        let bus = Connection::from(&calls);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pace: Option<Pace> = None;
        loop {
            tokio::select! {
                call = calls.next() => match call {
                    Some(call) => {
                        if self.answer(&bus, &call?).await? == Asked::Listing {
                            pace.get_or_insert_with(|| Pace::new(rate));
                        }
                    }
                    None => return Ok(()),
                },
                _ = ticks.tick() => {
                    let Some(pace) = &mut pace else { continue };
                    let due = pace.due(moment(), silence.exists());
                    self.change(&bus, due).await?;
                }
            }
        }
    }

    async fn answer(&self, bus: &Connection, call: &zbus::Message) -> zbus::Result<Asked> {
        if call.message_type() != Type::MethodCall {
            return Ok(Asked::Other);
        }
        let header = call.header();
        let member = header.member().map(ToString::to_string).unwrap_or_default();
        match member.as_str() {
            "Hello" => bus.reply(&header, &":1.7").await?,
            "Get" => bus.reply(&header, &Value::from("257")).await?,
            "ListUnitsByPatterns" => {
                let listed: Vec<ListedFields> = self.units.iter().map(Played::listed).collect();
                bus.reply(&header, &listed).await?;
                return Ok(Asked::Listing);
            }
            "GetAll" => {
                let path = header.path().map(ToString::to_string).unwrap_or_default();
                let (interface,): (String,) = call.body().deserialize()?;
                match self.units.iter().find(|unit| unit.path() == path) {
                    Some(unit) => bus.reply(&header, &unit.properties(&interface)).await?,
                    None => bus.reply(&header, &()).await?,
                }
            }
            _ => bus.reply(&header, &()).await?,
        }
        Ok(Asked::Other)
    }

    /// Lets so many units change, one after another, and tells it.
    async fn change(&mut self, bus: &Connection, count: u64) -> zbus::Result<()> {
        let mut lines = String::new();
        let mut changed = Vec::new();
        for _ in 0..count {
            let today = u64::try_from(now().as_microsecond()).unwrap_or_default();
            self.told_at = today.max(self.told_at + 1);
            self.turn = (self.turn + 1) % self.units.len();
            let unit = &mut self.units[self.turn];
            let fails = unit.active == "active";
            *unit = if fails {
                Played::failed(unit.unit.clone(), self.told_at)
            } else {
                Played { changed_at: self.told_at, ..Played::runs(unit.unit.clone()) }
            };
            lines += &Told::line(unit.changed_at.cast_signed(), fails);
            changed.push((unit.signals(), fails));
        }
        self.told
            .write_all(lines.as_bytes())
            .map_err(|error| zbus::Error::InputOutput(error.into()))?;
        for ([ending, state], fails) in changed {
            // How a run ended is news only if it ended.
            if fails {
                bus.send(&ending).await?;
            }
            bus.send(&state).await?;
        }
        Ok(())
    }
}

#[derive(PartialEq, Eq)]
enum Asked {
    Listing,
    Other,
}

/// How many changes are due.
struct Pace {
    rate: u32,
    since: Instant,
    told: u64,
}

impl Pace {
    fn new(rate: u32) -> Self {
        Self { rate, since: moment(), told: 0 }
    }

    fn due(&mut self, now: Instant, is_silent: bool) -> u64 {
        let elapsed = now.saturating_duration_since(self.since);
        let by_now = (elapsed.as_secs_f64() * f64::from(self.rate)) as u64;
        let due = by_now - self.told.min(by_now);
        let told = if is_silent { 0 } else { due.min(AT_ONCE_MAX) };
        // What is missed in silence is not made up for.
        self.told += if is_silent { due } else { told };
        told
    }
}
