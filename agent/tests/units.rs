//! The units source against a bus that behaves, misbehaves and goes away.
//!
//! The bus is a socket on which the test plays both the bus and systemd, so that it decides what
//! is said when. What systemd really says is replayed in the source's own tests.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use pvewatch_agent::source::{Report, Reporter};
use pvewatch_agent::units::{self, UnitsConfig, UnitsPaths};
use pvewatch_protocol::event::{SourceStatus, UnitChange, UnitChanged, UnitState};
use pvewatch_protocol::{CheckpointContent, EventData, StopReason};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use zbus::message::Type;
use zbus::zvariant::{ObjectPath, Value};
use zbus::{Connection, Guid, Message, connection};

const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
const LONG_AGO: u64 = 1_700_000_000_000_000;

/// A running source and what it reports.
struct Source {
    reports: mpsc::Receiver<Report>,
    picture_wanted: watch::Sender<u64>,
    _running: JoinSet<()>,
}

impl Source {
    fn start(socket: &Path) -> Self {
        let (reports_in, reports) = mpsc::channel(64);
        let (picture_wanted, wanted) = watch::channel(0);
        let config: UnitsConfig = toml::from_str("log.enabled = false").unwrap();
        let paths = paths(socket);
        let mut running = JoinSet::new();
        running.spawn(async move {
            let _ = units::run(config, paths, Reporter::new(reports_in), wanted).await;
        });
        Self { reports, picture_wanted, _running: running }
    }

    async fn next(&mut self) -> Report {
        self.reports.recv().await.unwrap()
    }

    async fn status(&mut self) -> SourceStatus {
        loop {
            if let Report::Status(status) = self.next().await {
                return status;
            }
        }
    }

    async fn picture(&mut self) -> Vec<UnitState> {
        loop {
            if let Report::Picture(CheckpointContent::Units(units)) = self.next().await {
                return units;
            }
        }
    }

    /// The next change of a unit; a picture before it is a mistake if there is none.
    async fn change(&mut self) -> UnitChanged {
        loop {
            if let Report::Fact(fact) = self.next().await
                && let EventData::UnitChanged(changed) = fact.data
            {
                return *changed;
            }
        }
    }
}

fn paths(socket: &Path) -> UnitsPaths {
    let system_bus = Some(format!("unix:path={}", socket.display()));
    UnitsPaths { system_bus, ..UnitsPaths::default() }
}

fn socket_in(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("bus")
}

/// One unit of the played systemd.
#[derive(Clone)]
struct Played {
    unit: &'static str,
    active: &'static str,
    sub: &'static str,
    result: &'static str,
    changed_at: u64,
}

impl Played {
    fn runs(unit: &'static str) -> Self {
        Self { unit, active: "active", sub: "running", result: "success", changed_at: LONG_AGO }
    }

    fn failed(unit: &'static str, changed_at: u64) -> Self {
        Self { unit, active: "failed", sub: "failed", result: "exit-code", changed_at }
    }

    fn path(&self) -> String {
        let escaped = self.unit.replace('.', "_2e").replace('-', "_2d");
        format!("/org/freedesktop/systemd1/unit/{escaped}")
    }

    fn properties(&self, interface: &str) -> HashMap<&'static str, Value<'static>> {
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
    fn signals(&self) -> [Message; 2] {
        [SERVICE, UNIT].map(|interface| {
            Message::signal(self.path(), "org.freedesktop.DBus.Properties", "PropertiesChanged")
                .unwrap()
                .build(&(interface, self.properties(interface), Vec::<&str>::new()))
                .unwrap()
        })
    }

    fn listed(&self) -> ListedFields {
        let path = ObjectPath::try_from(self.path()).unwrap();
        let none = ObjectPath::try_from("/").unwrap();
        let (unit, active, sub) = (self.unit, self.active, self.sub);
        (unit, "", "loaded", active, sub, "", path, 0, "", none)
    }
}

type ListedFields = (
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
struct Play {
    version: &'static str,
    units: Vec<Played>,
    /// Said after the listing was asked for and before it is answered.
    said_before_listing: Vec<Played>,
    /// Said after the listing was answered.
    said_after_listing: Vec<Played>,
    /// Said before the first ping is answered.
    said_before_pong: Vec<Played>,
    /// A method that gets no answer.
    silent_on: &'static str,
    /// Hang up after so many `GetAll` were answered; 0 is never.
    details_until_end: usize,
}

/// Plays the bus and systemd for one connection.
async fn play(listener: &UnixListener, mut play: Play) {
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

async fn say(bus: &Connection, units: &[Played]) {
    for signal in units.iter().flat_map(Played::signals) {
        bus.send(&signal).await.unwrap();
    }
}

fn later(seconds: u64) -> u64 {
    // A failure is news if it is younger than the connection; the far future always is.
    LONG_AGO + 1_000_000_000_000_000 + seconds * 1_000_000
}

fn playing(folder: &tempfile::TempDir, acts: Vec<Play>) -> JoinSet<()> {
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

#[tokio::test]
async fn what_has_failed_already_is_in_the_picture_and_no_fact() {
    let folder = tempfile::tempdir().unwrap();
    let units = vec![Played::runs("a.service"), Played::failed("b.service", LONG_AGO)];
    let _bus = playing(&folder, vec![Play { version: "257", units, ..Play::default() }]);
    let mut source = Source::start(&socket_in(&folder));
    let mut reports = [source.next().await, source.next().await];
    reports.sort_by_key(|report| matches!(report, Report::Status(_)));
    let [Report::Picture(CheckpointContent::Units(picture)), Report::Status(status)] = reports
    else {
        panic!("a picture and a status come first");
    };
    assert_eq!(picture.len(), 2);
    assert_eq!(picture[1].unit, "b.service");
    assert_eq!(picture[1].result.as_deref(), Some("exit-code"));
    assert_eq!(picture[1].exit.as_ref().unwrap().status, 3);
    assert!(picture[1].changed_at.is_some());
    assert!(status.active);
    assert_eq!(status.detail, "2 units of systemd 257");
}

#[tokio::test]
async fn a_failure_between_the_question_and_its_answer_is_a_fact() {
    let folder = tempfile::tempdir().unwrap();
    let failed = Played::failed("a.service", later(1));
    let act = Play {
        version: "257",
        units: vec![failed.clone()],
        said_before_listing: vec![failed],
        ..Play::default()
    };
    let _bus = playing(&folder, vec![act]);
    let mut source = Source::start(&socket_in(&folder));
    let changed = source.change().await;
    assert_eq!((changed.change, changed.state.unit.as_str()), (UnitChange::Failed, "a.service"));
    assert!(source.picture().await[0].is_failed());
}

#[tokio::test]
async fn a_failure_and_recovery_within_one_answer_are_two_facts() {
    let folder = tempfile::tempdir().unwrap();
    let up_again = Played { changed_at: later(2), ..Played::runs("a.service") };
    let act = Play {
        version: "257",
        units: vec![Played::runs("a.service")],
        said_after_listing: vec![Played::failed("a.service", later(1)), up_again],
        ..Play::default()
    };
    let _bus = playing(&folder, vec![act]);
    let mut source = Source::start(&socket_in(&folder));
    assert_eq!(source.change().await.change, UnitChange::Failed);
    assert_eq!(source.change().await.change, UnitChange::Recovered);
}

#[tokio::test]
async fn on_systemd_252_a_restart_is_known_before_the_failure_is_told() {
    let restarting = Played {
        active: "activating",
        sub: "auto-restart",
        ..Played::failed("a.service", later(2))
    };
    for (said_before_pong, will_restart) in [(vec![restarting], true), (vec![], false)] {
        let folder = tempfile::tempdir().unwrap();
        let act = Play {
            version: "252.39-1~deb12u2",
            units: vec![Played::runs("a.service")],
            said_after_listing: vec![Played::failed("a.service", later(1))],
            said_before_pong,
            ..Play::default()
        };
        let _bus = playing(&folder, vec![act]);
        let mut source = Source::start(&socket_in(&folder));
        let changed = source.change().await;
        assert_eq!(changed.change, UnitChange::Failed);
        assert_eq!(changed.state.will_restart, will_restart);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_though_systemd_never_answers_the_ping() {
    let folder = tempfile::tempdir().unwrap();
    let act = Play {
        version: "252",
        units: vec![Played::runs("a.service")],
        said_after_listing: vec![Played::failed("a.service", later(1))],
        silent_on: "Ping",
        ..Play::default()
    };
    let _bus = playing(&folder, vec![act]);
    let mut source = Source::start(&socket_in(&folder));
    let changed = source.change().await;
    assert_eq!((changed.change, changed.state.will_restart), (UnitChange::Failed, false));
}

#[tokio::test(start_paused = true)]
async fn what_failed_while_the_bus_was_away_is_told_with_its_own_time() {
    let folder = tempfile::tempdir().unwrap();
    let before = Play {
        version: "257",
        units: vec![Played::runs("a.service"), Played::failed("b.service", LONG_AGO)],
        // Those of the unit's type, and those of every unit.
        details_until_end: 2,
        ..Play::default()
    };
    let units = vec![
        Played::failed("a.service", LONG_AGO + 1_000_000),
        Played::failed("b.service", LONG_AGO + 2_000_000),
    ];
    let after = Play { units, details_until_end: 0, ..before.clone() };
    let _bus = playing(&folder, vec![before, after]);
    let mut source = Source::start(&socket_in(&folder));
    let mut changes = [source.change().await, source.change().await];
    changes.sort_by(|a, b| a.state.unit.cmp(&b.state.unit));
    for (changed, unit, second) in
        [(&changes[0], "a.service", 1_700_000_001), (&changes[1], "b.service", 1_700_000_002)]
    {
        assert_eq!(changed.change, UnitChange::Failed);
        assert_eq!(changed.state.unit, unit);
        assert_eq!(changed.state.changed_at.unwrap().as_second(), second);
    }
}

#[tokio::test(start_paused = true)]
async fn a_picture_is_shown_when_it_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let units = vec![Played::runs("a.service")];
    let _bus = playing(&folder, vec![Play { version: "257", units, ..Play::default() }]);
    let mut source = Source::start(&socket_in(&folder));
    source.picture().await;
    source.picture_wanted.send(1).unwrap();
    assert_eq!(source.picture().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_missing_bus_is_said_plainly_and_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut source = Source::start(&socket_in(&folder));
    let status = source.status().await;
    assert!(!status.active);
    assert!(status.detail.contains("the system bus cannot be reached"), "{}", status.detail);
    assert!(status.detail.contains("No such file or directory"), "{}", status.detail);
    let units = vec![Played::runs("a.service")];
    let _bus = playing(&folder, vec![Play { version: "257", units, ..Play::default() }]);
    assert!(source.status().await.active);
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_accepts_and_never_answers_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let _listener = UnixListener::bind(socket_in(&folder)).unwrap();
    let mut source = Source::start(&socket_in(&folder));
    let status = source.status().await;
    assert!(status.detail.contains("does not answer within 10 s: it hangs"), "{}", status.detail);
}

#[tokio::test(start_paused = true)]
async fn a_systemd_that_never_lists_its_units_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let act = Play { version: "257", silent_on: "ListUnitsByPatterns", ..Play::default() };
    let _bus = playing(&folder, vec![act]);
    let mut source = Source::start(&socket_in(&folder));
    let status = source.status().await;
    assert!(!status.active);
    assert!(status.detail.contains("systemd does not answer within 30 s"), "{}", status.detail);
}

#[tokio::test]
async fn the_source_ends_with_the_outbox() {
    let folder = tempfile::tempdir().unwrap();
    let (reports_in, reports) = mpsc::channel(1);
    drop(reports);
    let (_wanted_in, wanted) = watch::channel(0);
    let run = units::run(
        UnitsConfig::default(),
        paths(&socket_in(&folder)),
        Reporter::new(reports_in),
        wanted,
    );
    assert!(run.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn without_an_answer_from_systemd_the_agent_alone_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let before = tokio::time::Instant::now();
    assert_eq!(units::stop_reason(&paths(&socket_in(&folder))).await, StopReason::Stopped);
    let _listener = UnixListener::bind(socket_in(&folder)).unwrap();
    assert_eq!(units::stop_reason(&paths(&socket_in(&folder))).await, StopReason::Stopped);
    assert!(before.elapsed() <= Duration::from_secs(2));
}
