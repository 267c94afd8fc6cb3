//! The real collector with a store on disk, without TLS, and those who look at it from outside:
//! a client that hears its acks, and a reader of its store that shares no code with it.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use pvewatch_protocol::{Ack, Position, Sequence, StreamId, codec};
use rusqlite::{Connection, OpenFlags, Row};
use rustix::process::Signal;
use tempfile::TempDir;

use super::middle::Via;
use super::usage::written_bytes;
use crate::deadline::{Deadline, GENEROUS, eventually};
use crate::process::Process;
use crate::servers::{Mosquitto, Security, free_port, get};
use crate::subscriber::{Access, Subscriber};

/// The site that the collector looks after.
pub const SITE: &str = "home";

/// The store's file in the collector's data folder.
const STORE_FILE: &str = "collector.db";

/// How long a collector may take to end: it stores and confirms what it has.
const END: Duration = Duration::from_secs(60);

/// A collector with its broker.
#[derive(Debug)]
pub struct BenchSite {
    process: Process,
    broker: Option<Mosquitto>,
    access: Access,
    http: u16,
    directory: TempDir,
}

impl BenchSite {
    /// Starts a broker and a collector with the shipped rules, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn start(program: &Path, via: Via) -> Self {
        let (broker, access, section) = match via {
            Via::Mosquitto => {
                let broker = Mosquitto::start(Security::Open);
                let access = broker.access(None);
                let section = format!("[broker]\nurl = \"{}\"\n", access.url());
                (Some(broker), access, section)
            }
            Via::Embedded => {
                let port = free_port();
                let section = format!("[embedded_broker]\nlisten = \"127.0.0.1:{port}\"\n");
                (None, Access::plain(port), section)
            }
        };
        let directory = tempfile::tempdir().expect("a temporary directory");
        let http = free_port();
        let text = format!(
            "site = \"{SITE}\"\ndata = {:?}\n[http]\nlisten = \"127.0.0.1:{http}\"\n{section}",
            directory.path().join("data"),
        );
        let file = directory.path().join("collector.toml");
        fs::write(&file, text).expect("a temporary directory can be written");
        let log = directory.path().join("collector.log");
        let arguments = ["--config", &file.display().to_string()];
        let process = Process::start("pvewatch-collector", &log, program, &arguments);
        let this = Self { process, broker, access, http, directory };
        eventually("the collector to be ready", GENEROUS, || {
            get(&this.url("/readyz")).filter(|(status, _)| *status == 200)
        });
        this
    }

    /// The broker's port.
    pub fn port(&self) -> u16 {
        self.access.port
    }

    /// How to reach the broker.
    pub fn access(&self) -> Access {
        self.access.clone()
    }

    /// The broker's address as pvewatch's configuration writes it.
    pub fn broker_url(&self) -> String {
        self.access.url()
    }

    /// The broker, if it runs apart.
    ///
    /// # Panics
    /// When it is embedded.
    #[track_caller]
    pub fn broker(&mut self) -> &mut Mosquitto {
        self.broker.as_mut().expect("a broker that can be stopped alone")
    }

    /// The collector's process id.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// The address of a path of the collector's.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.http)
    }

    /// The sum of all series of a metric; none if there is none.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = get(&self.url("/metrics"))?;
        let values: Vec<f64> = text
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
            .filter_map(|line| line.rsplit(' ').next()?.parse().ok())
            .collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// Somebody who hears all acks.
    ///
    /// # Panics
    /// When the broker refuses.
    #[track_caller]
    pub fn acks(&self) -> Acks {
        let filter = format!("pvewatch/v1/{SITE}/node/+/ack/+");
        Acks { subscriber: Subscriber::connect(&self.access, &[&filter]), through: BTreeMap::new() }
    }

    /// Bytes that the collector has caused to be written to disk since it began, as the kernel
    /// counts them; none where it does not.
    pub fn written_bytes(&self) -> Option<f64> {
        written_bytes(self.process.id()).ok().map(|bytes| bytes as f64)
    }

    /// Ends the collector in peace and gives its store, closed and complete.
    ///
    /// # Panics
    /// When it does not end, or nothing of it can be read.
    #[track_caller]
    pub fn stop(mut self) -> ClosedStore {
        self.process.signal(Signal::TERM);
        self.process.exits_within(END);
        ClosedStore { folder: self.directory.path().join("data"), _directory: self.directory }
    }
}

/// Hears the acks of a collector.
pub struct Acks {
    subscriber: Subscriber,
    through: BTreeMap<StreamId, (Sequence, Timestamp)>,
}

impl Acks {
    /// When all of `positions` were acked: the time at which the last of these acks came; none if
    /// one did not come within that time.
    pub fn wait_for(&mut self, positions: &[Position], within: Duration) -> Option<Timestamp> {
        let deadline = Deadline::after(within);
        loop {
            let acked = positions.iter().map(|position| {
                let (through, at) = self.through.get(&position.stream)?;
                (*through >= position.sequence).then_some(*at)
            });
            if let Some(times) = acked.collect::<Option<Vec<Timestamp>>>() {
                return times.into_iter().max();
            }
            if deadline.has_passed() {
                return None;
            }
            for message in self.subscriber.take_within(deadline.remaining()) {
                let Ok(ack) = codec::decode::<Ack>(&message.payload) else { continue };
                let heard =
                    self.through.entry(ack.stream).or_insert((ack.through, message.arrived));
                if ack.through > heard.0 {
                    *heard = (ack.through, message.arrived);
                }
            }
        }
    }
}

/// The store of a collector that has ended.
#[derive(Debug)]
pub struct ClosedStore {
    folder: PathBuf,
    _directory: TempDir,
}

/// What a store holds of the streams that were sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Events that are there, each counted once.
    pub events: i64,
    /// Events of the streams that are not there.
    pub lost: i64,
    /// Events that are there beside the same event.
    pub twice: i64,
}

impl ClosedStore {
    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        let files = fs::read_dir(&self.folder).expect("a store is a folder").flatten();
        files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
    }

    /// Counts what is there of streams that were sent from 1 up to these positions.
    ///
    /// # Panics
    /// When the store cannot be read.
    #[track_caller]
    pub fn applied(&self, positions: &[Position]) -> Applied {
        let file = self.folder.join(STORE_FILE);
        let database = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)
            .expect("a closed store can be read");
        let mut query = database
            .prepare(
                "SELECT stream, count(*), count(DISTINCT sequence) FROM events \
                 WHERE sequence >= 1 GROUP BY stream",
            )
            .expect("the store has events");
        let row = |row: &Row<'_>| Ok((row.get(0)?, (row.get(1)?, row.get(2)?)));
        let rows = query.query_map((), row).expect("the store can be read");
        let counts: HashMap<Vec<u8>, (i64, i64)> =
            rows.collect::<Result<_, _>>().expect("the store can be read");
        let mut applied = Applied::default();
        for position in positions {
            let stream = position.stream.0.as_bytes().as_slice();
            let (rows, distinct) = counts.get(stream).copied().unwrap_or_default();
            applied.events += distinct;
            applied.lost += position.sequence.0 as i64 - distinct;
            applied.twice += rows - distinct;
        }
        applied
    }
}
