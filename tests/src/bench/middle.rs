//! What lies between the agent and this process: a broker with mutual TLS, and perhaps the real
//! collector. Everything listens on free ports of the loopback.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::certificates::{Authority, Validity};
use crate::process::Process;
use crate::servers::{Mosquitto, Security, free_port};
use crate::subscriber::{Access, Tls};

/// The broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// Mosquitto, as its own process.
    Mosquitto,
    /// The one in the collector.
    Embedded,
}

impl Via {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mosquitto => "Mosquitto",
            Self::Embedded => "embedded broker",
        }
    }
}

/// The collector, if it is the real one.
#[derive(Debug, Clone)]
pub struct Collector {
    /// Its program.
    pub program: PathBuf,
    /// The only rules that it has.
    pub rules: &'static str,
}

/// A broker that runs, and perhaps a collector.
#[derive(Debug)]
pub struct Middle {
    /// Who signs the certificates.
    pub authority: Authority,
    /// How to reach the broker as somebody who may do everything.
    pub access: Access,
    collector: Option<Process>,
    _broker: Option<Mosquitto>,
    _directory: TempDir,
}

impl Middle {
    /// Starts the broker and, if there is to be one, the collector.
    ///
    /// # Panics
    /// When one of them does not start, or the embedded broker is asked for without a collector.
    #[track_caller]
    pub fn start(via: Via, collector: Option<&Collector>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let authority = Authority::new(directory.path(), "authority");
        let server = authority.server(Validity::Valid);
        let observer = authority.client("observer", Validity::Valid);
        let (broker, access) = match via {
            Via::Mosquitto => {
                let broker = Mosquitto::start(Security::mutual_tls(&authority, server.clone()));
                let access = broker.access(Some(observer));
                (Some(broker), access)
            }
            Via::Embedded => {
                assert!(collector.is_some(), "the embedded broker is a part of the collector");
                let mut access = Access::plain(free_port());
                let authority = authority.certificate().to_owned();
                access.tls = Some(Tls { authority, identity: Some(observer) });
                (None, access)
            }
        };
        let broker_section = match via {
            Via::Mosquitto => {
                let identity = authority.client("collector", Validity::Valid);
                format!(
                    "[broker]\nurl = \"{}\"\nca = {:?}\ncert = {:?}\nkey = {:?}\n",
                    access.url(),
                    authority.certificate(),
                    identity.certificate,
                    identity.key
                )
            }
            Via::Embedded => format!(
                "[embedded_broker]\nlisten = \"127.0.0.1:0\"\n\
                 [embedded_broker.tls]\nlisten = \"127.0.0.1:{}\"\ncert = {:?}\nkey = {:?}\n\
                 client_ca = {:?}\n\
                 [[embedded_broker.users]]\nname = \"observer\"\nrole = \"collector\"\n",
                access.port,
                server.certificate,
                server.key,
                authority.certificate()
            ),
        };
        let collector = collector.map(|it| start_collector(it, &broker_section, directory.path()));
        Self { authority, access, collector, _broker: broker, _directory: directory }
    }

    /// Whether the collector is the real one.
    pub fn has_collector(&self) -> bool {
        self.collector.is_some()
    }

    /// The collector's process id, if it is the real one.
    pub fn collector_id(&self) -> Option<u32> {
        self.collector.as_ref().map(Process::id)
    }
}

#[track_caller]
fn start_collector(collector: &Collector, broker_section: &str, directory: &Path) -> Process {
    let write = |name: &str, content: &str| {
        let file = directory.join(name);
        fs::write(&file, content).expect("the directory can be written");
        file
    };
    let rules = write("rules.toml", collector.rules);
    let configuration = format!(
        "data = {:?}\n[http]\nlisten = \"127.0.0.1:0\"\n\
         [rules]\ncatalogue = false\nfiles = [{rules:?}]\n{broker_section}",
        directory.join("data")
    );
    let configuration = write("collector.toml", &configuration);
    Process::start(
        "pvewatch-collector",
        &directory.join("collector.log"),
        &collector.program,
        &["--config", &configuration.display().to_string()],
    )
}
