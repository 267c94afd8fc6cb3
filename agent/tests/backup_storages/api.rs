//! Plays Proxmox' API, as pveproxy answers: TLS with a certificate of the cluster's own authority,
//! the reason of a refusal in the status line, a length, and the connection's end.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use pvewatch_agent::proxmox::{Api, ApiUrl, ProxmoxConfig};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The token that the API knows.
const TOKEN: &str = "pvewatch@pve!agent=11111111-2222-3333-4444-555555555555";

/// What the API answers, by the path that is asked for: a status line without the version, and a
/// body.
pub type Answers = Vec<(&'static str, (&'static str, String))>;

/// The API of a node.
pub struct PlayedApi {
    /// How an agent is told of it.
    pub config: ProxmoxConfig,
    answers: Arc<Mutex<Answers>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl PlayedApi {
    /// Answers like this; what it needs lies in a folder.
    pub fn start(folder: &Path, answers: Answers) -> Self {
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_certificate = authority.self_signed(&authority_key).unwrap();
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().unwrap();
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        let ca = folder.join("pve-root-ca.pem");
        std::fs::write(&ca, authority_certificate.pem()).unwrap();
        let token_file = folder.join("token");
        std::fs::write(&token_file, format!("{TOKEN}\n")).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = ApiUrl { host: "127.0.0.1".to_owned(), port };
        let config = ProxmoxConfig { url, token_file: Some(token_file), ca };
        let (answers, asked) = (Arc::new(Mutex::new(answers)), Arc::default());
        let api = Self { config, answers: Arc::clone(&answers), asked: Arc::clone(&asked) };
        let tls = Arc::new(tls);
        // It ends with the test.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let connection = ServerConnection::new(Arc::clone(&tls)).unwrap();
                let stream = StreamOwned::new(connection, stream.unwrap());
                // A client that does not trust this one breaks off.
                let _ = answer(BufReader::new(stream), &answers, &asked);
            }
        });
        api
    }

    /// The way to it.
    pub fn api(&self) -> Option<Api> {
        Api::prepare(&self.config).unwrap()
    }

    /// Answers like this from now on.
    pub fn answers(&self, answers: Answers) {
        *self.answers.lock().unwrap() = answers;
    }

    /// How often a path was asked for.
    pub fn asked(&self, path: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| asked.contains(path)).count()
    }
}

fn answer(
    mut stream: BufReader<StreamOwned<ServerConnection, std::net::TcpStream>>,
    answers: &Mutex<Answers>,
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let (mut path, mut token) = (String::new(), String::new());
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        if let Some(rest) = line.strip_prefix("GET /api2/json") {
            path = rest.split(' ').next().unwrap_or_default().to_owned();
        } else if let Some(rest) = line.strip_prefix("Authorization: PVEAPIToken=") {
            token = rest.trim().to_owned();
        } else if line.trim().is_empty() {
            break;
        }
    }
    asked.lock().unwrap().push(path.clone());
    let known = answers.lock().unwrap();
    let found = known.iter().find(|(of, _)| *of == path).map(|(_, answer)| answer.clone());
    let missing = || ("501 Method 'GET' not implemented", String::new());
    let (status, body) = match token == TOKEN {
        true => found.unwrap_or_else(missing),
        false => ("401 No ticket", String::new()),
    };
    let length = body.len();
    let stream = stream.get_mut();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nServer: pve-api-daemon/3.0\r\n"
    )?;
    write!(stream, "Connection: close\r\n\r\n{body}")?;
    stream.flush()
}
