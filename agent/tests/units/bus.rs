//! A bus for tests: a socket on which the test plays both the bus and systemd, so that it decides
//! what is said when.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use pvewatch_agent::source::{Report, Reporter};
use pvewatch_agent::units::{self, UnitsConfig, UnitsPaths};
use pvewatch_protocol::event::{SourceStatus, UnitChanged, UnitLog, UnitState};
use pvewatch_protocol::{CheckpointContent, EventData};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use zbus::message::Type;
use zbus::zvariant::{ObjectPath, Value};
use zbus::{Connection, Guid, Message, connection};

const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
pub const LONG_AGO: u64 = 1_700_000_000_000_000;

/// A running source and what it reports.
pub struct Source {
    pub reports: mpsc::Receiver<Report>,
    pub picture_wanted: watch::Sender<u64>,
    _running: JoinSet<()>,
}

impl Source {
    /// Starts it without journal lines.
    pub fn start(socket: &Path) -> Self {
        Self::start_with("log.enabled = false", paths(socket))
    }

    pub fn start_with(config: &str, paths: UnitsPaths) -> Self {
        let (reports_in, reports) = mpsc::channel(64);
        let (picture_wanted, wanted) = watch::channel(0);
        let config: UnitsConfig = toml::from_str(config).unwrap();
        let mut running = JoinSet::new();
        running.spawn(async move {
            let _ = units::run(config, paths, Reporter::new(reports_in), wanted).await;
        });
        Self { reports, picture_wanted, _running: running }
    }

    pub async fn next(&mut self) -> Report {
        self.reports.recv().await.unwrap()
    }

    pub async fn status(&mut self) -> SourceStatus {
        loop {
            if let Report::Status(status) = self.next().await {
                return status;
            }
        }
    }

    pub async fn picture(&mut self) -> Vec<UnitState> {
        loop {
            if let Report::Picture(CheckpointContent::Units(units)) = self.next().await {
                return units;
            }
        }
    }

    /// The next lines of a journal.
    pub async fn log(&mut self) -> UnitLog {
        loop {
            if let Report::Fact(fact) = self.next().await
                && let EventData::UnitLog(log) = fact.data
            {
                return log;
            }
        }
    }

    /// The next change of a unit.
    pub async fn change(&mut self) -> UnitChanged {
        loop {
            if let Report::Fact(fact) = self.next().await
                && let EventData::UnitChanged(changed) = fact.data
            {
                return *changed;
            }
        }
    }
}

pub fn paths(socket: &Path) -> UnitsPaths {
    let system_bus = Some(format!("unix:path={}", socket.display()));
    UnitsPaths { system_bus, ..UnitsPaths::default() }
}

pub fn socket_in(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("bus")
}

/// One unit of the played systemd.
#[derive(Clone)]
pub struct Played {
    pub unit: &'static str,
    pub active: &'static str,
    pub sub: &'static str,
    pub result: &'static str,
    pub changed_at: u64,
}

impl Played {
    pub fn runs(unit: &'static str) -> Self {
        Self { unit, active: "active", sub: "running", result: "success", changed_at: LONG_AGO }
    }

    pub fn failed(unit: &'static str, changed_at: u64) -> Self {
        Self { unit, active: "failed", sub: "failed", result: "exit-code", changed_at }
    }

    pub fn path(&self) -> String {
        let escaped = self.unit.replace('.', "_2e").replace('-', "_2d");
        format!("/org/freedesktop/systemd1/unit/{escaped}")
    }

    pub fn properties(&self, interface: &str) -> HashMap<&'static str, Value<'static>> {
        if interface == UNIT {
            HashMap::from([
                ("ActiveState", Value::from(self.active)),
                ("SubState", Value::from(self.sub)),
                ("LoadState", Value::from("loaded")),
                ("StateChangeTimestamp", Value::U64(self.changed_at)),
                ("InvocationID", Value::from(vec![7_u8; 16])),
                ("Job", Value::from((0_u32, ObjectPath::try_from("/").unwrap()))),
            ])
        } else {
            HashMap::from([
                ("Result", Value::from(self.result)),
                ("ExecMainCode", Value::I32(1)),
                ("ExecMainStatus", Value::I32(3)),
                ("NRestarts", Value::U32(0)),
            ])
        }
    }

    /// The two signals of a change, in systemd's order.
    pub fn signals(&self) -> [Message; 2] {
        [SERVICE, UNIT].map(|interface| {
            Message::signal(self.path(), "org.freedesktop.DBus.Properties", "PropertiesChanged")
                .unwrap()
                .build(&(interface, self.properties(interface), Vec::<&str>::new()))
                .unwrap()
        })
    }

    pub fn listed(&self) -> ListedFields {
        let path = ObjectPath::try_from(self.path()).unwrap();
        let none = ObjectPath::try_from("/").unwrap();
        let (unit, active, sub) = (self.unit, self.active, self.sub);
        (unit, "", "loaded", active, sub, "", path, 0, "", none)
    }
}

pub type ListedFields = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    ObjectPath<'static>,
    u32,
    &'static str,
    ObjectPath<'static>,
);

/// What the played bus does, apart from answering.
#[derive(Clone, Default)]
pub struct Play {
    pub version: &'static str,
    pub units: Vec<Played>,
    /// Said after the listing was asked for and before it is answered.
    pub said_before_listing: Vec<Played>,
    /// Said after the listing was answered.
    pub said_after_listing: Vec<Played>,
    /// Said before the first ping is answered.
    pub said_before_pong: Vec<Played>,
    /// A method that gets no answer.
    pub silent_on: &'static str,
    /// Hang up after so many `GetAll` were answered; 0 is never.
    pub details_until_end: usize,
}

/// Plays the bus and systemd for one connection.
pub async fn play(listener: &UnixListener, mut play: Play) {
    let (stream, _) = listener.accept().await.unwrap();
    let mut calls = connection::Builder::unix_stream(stream)
        .server(Guid::generate())
        .unwrap()
        .p2p()
        .build_message_stream()
        .await
        .unwrap();
    let bus = Connection::from(&calls);
    while let Some(Ok(call)) = calls.next().await {
        if call.message_type() != Type::MethodCall {
            continue;
        }
        let header = call.header();
        let member = header.member().unwrap().to_string();
        if member == play.silent_on {
            continue;
        }
        match member.as_str() {
            "Hello" => bus.reply(&header, &":1.7").await.unwrap(),
            "Get" => bus.reply(&header, &Value::from(play.version)).await.unwrap(),
            "ListUnitsByPatterns" => {
                say(&bus, &play.said_before_listing).await;
                let listed: Vec<ListedFields> = play.units.iter().map(Played::listed).collect();
                bus.reply(&header, &listed).await.unwrap();
                say(&bus, &std::mem::take(&mut play.said_after_listing)).await;
            }
            "GetAll" => {
                let path = header.path().unwrap().as_str();
                let unit = play.units.iter().find(|unit| unit.path() == path).unwrap();
                let (interface,): (String,) = call.body().deserialize().unwrap();
                bus.reply(&header, &unit.properties(&interface)).await.unwrap();
                play.details_until_end = play.details_until_end.wrapping_sub(1);
                if play.details_until_end == 0 {
                    return;
                }
            }
            "Ping" => {
                say(&bus, &std::mem::take(&mut play.said_before_pong)).await;
                bus.reply(&header, &()).await.unwrap();
            }
            _ => bus.reply(&header, &()).await.unwrap(),
        }
    }
}

pub async fn say(bus: &Connection, units: &[Played]) {
    for signal in units.iter().flat_map(Played::signals) {
        bus.send(&signal).await.unwrap();
    }
}

pub fn later(seconds: u64) -> u64 {
    // A failure is news if it is younger than the connection; the far future always is.
    LONG_AGO + 1_000_000_000_000_000 + seconds * 1_000_000
}

pub fn playing(folder: &tempfile::TempDir, acts: Vec<Play>) -> JoinSet<()> {
    let listener = UnixListener::bind(socket_in(folder)).unwrap();
    let mut playing = JoinSet::new();
    playing.spawn(async move {
        for act in acts {
            play(&listener, act).await;
        }
        std::future::pending::<()>().await;
    });
    playing
}
