//! A real Mosquitto as a child process, and certificates for it.
//!
//! Each broker has its own folder and port and is killed with its handle. Ready means that its
//! log says so: nothing here sleeps.

#![allow(dead_code, reason = "each test program uses a part of this")]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use pvewatch_edge::mqtt::{Broker, BrokerSettings, BrokerUrl};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use tempfile::TempDir;

/// Ports that may be taken by others between choosing and listening before the test gives up.
const PORT_ATTEMPTS: usize = 10;

pub struct Mosquitto {
    child: Child,
    pub port: u16,
    pub folder: TempDir,
}

impl Mosquitto {
    /// Starts a broker with `config` after its listener line; `{dir}` becomes its folder, into
    /// which `files` are written.
    pub fn start(config: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let config = config.replace("{dir}", folder.path().to_str().unwrap());
        for _ in 0..PORT_ATTEMPTS {
            let port = free_port();
            if let Some(child) = spawn(folder.path(), port, &config) {
                return Self { child, port, folder };
            }
        }
        panic!("mosquitto could not listen on any of {PORT_ATTEMPTS} ports");
    }

    /// One without TLS that lets everybody in.
    pub fn open_to_all() -> Self {
        Self::start("allow_anonymous true", &[])
    }

    pub fn url(&self, scheme: &str, host: &str) -> BrokerUrl {
        format!("{scheme}://{host}:{}", self.port).parse().unwrap()
    }

    /// This broker without TLS and user.
    pub fn broker(&self) -> Broker {
        Broker::plain(self.url("mqtt", "127.0.0.1"), None)
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// None if the port is taken.
fn spawn(folder: &Path, port: u16, config: &str) -> Option<Child> {
    let path = folder.join("mosquitto.conf");
    let head = format!("user root\nlog_dest stderr\nlog_type all\nlistener {port}\n");
    std::fs::write(&path, format!("{head}{config}\n")).unwrap();
    let mut child = Command::new("/usr/sbin/mosquitto")
        .arg("-c")
        .arg(&path)
        .stderr(Stdio::piped())
        .spawn()
        .expect("mosquitto is needed for this test: apt-get install mosquitto");
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut seen = String::new();
    while log.read_line(&mut seen).unwrap() > 0 {
        if seen.trim_end().ends_with(" running") {
            // Its log must be read on, or it would wait when the pipe is full.
            std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
            return Some(child);
        }
    }
    child.wait().unwrap();
    assert!(seen.contains("Address already in use"), "mosquitto does not start:\n{seen}");
    None
}

/// A certificate authority of a test.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// Certificate and key in PEM form.
pub struct Pair {
    pub cert: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().unwrap();
        Self { issuer: CertifiedIssuer::self_signed(params, key).unwrap() }
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for these names or addresses.
    pub fn server(&self, names: &[&str]) -> Pair {
        self.sign(server_params(names))
    }

    /// One that was valid once.
    pub fn expired_server(&self, names: &[&str]) -> Pair {
        let mut params = server_params(names);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        self.sign(params)
    }

    /// A client's certificate with this common name.
    pub fn client(&self, name: &str) -> Pair {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Pair { cert: cert.pem(), key: key.serialize_pem() }
    }
}

fn server_params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

/// The files of a client, and settings that name them.
pub struct ClientFiles {
    folder: TempDir,
    pub settings: BrokerSettings,
}

impl ClientFiles {
    pub fn new(url: BrokerUrl) -> Self {
        let settings = BrokerSettings { urls: vec![url], ..BrokerSettings::default() };
        Self { folder: tempfile::tempdir().unwrap(), settings }
    }

    pub fn ca(mut self, text: &str) -> Self {
        self.settings.ca = Some(self.write("ca.pem", text));
        self
    }

    pub fn pair(mut self, pair: &Pair) -> Self {
        self.settings.cert = Some(self.write("client.pem", &pair.cert));
        self.settings.key = Some(self.write("client.key", &pair.key));
        self
    }

    pub fn login(mut self, user: &str, password: &str) -> Self {
        self.settings.username = Some(user.to_owned());
        self.settings.password_file = Some(self.write("password", password));
        self
    }

    pub fn broker(&self) -> Broker {
        Broker::prepare_with(&self.settings, None).unwrap()
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

/// A TLS listener's lines; the files are `ca.pem`, `server.pem` and `server.key`.
pub const TLS: &str = "cafile {dir}/ca.pem\ncertfile {dir}/server.pem\nkeyfile {dir}/server.key\n";
