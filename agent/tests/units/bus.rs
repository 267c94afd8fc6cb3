//! The source `units` on a bus that the test plays, and what the source reports.

use std::path::{Path, PathBuf};

use pvewatch_agent::source::{Report, Reporter};
use pvewatch_agent::units::{self, UnitsConfig, UnitsPaths};
use pvewatch_protocol::event::{SourceStatus, UnitChanged, UnitLog, UnitState};
use pvewatch_protocol::{CheckpointContent, EventData};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::play::{Play, play};

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
