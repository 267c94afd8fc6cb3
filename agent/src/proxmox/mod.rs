//! Proxmox on this node: the names of its tasks, the members of its cluster, what its HA manager
//! notes, and its own API for what no file tells.
//!
//! Every call of the API blocks, and can take as long as Proxmox takes: it is for a thread of its own. Nothing
//! is asked but with a token, which needs no more than the role PVEAuditor on storages.

mod active;
mod answer;
mod ha;
mod members;
mod settings;
mod upid;

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pvewatch_edge::mqtt::Secret;
use pvewatch_protocol::event::GuestKind;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde::de::DeserializeOwned;

pub use active::is_running;
use answer::{ANSWER_BYTES_MAX, Answer};
pub use ha::ManagerStatus;
pub use members::cluster;
pub use settings::{ApiUrl, ProxmoxConfig};
pub use upid::{Upid, UpidError};

/// The folder of guests' configurations, below that of a node.
pub fn config_folder(kind: GuestKind) -> &'static str {
    match kind {
        GuestKind::Qemu => "qemu-server",
        GuestKind::Lxc => "lxc",
    }
}

/// How long the API may take for a step of its answer: it asks a backup server for each guest.
const PATIENCE: Duration = Duration::from_mins(2);

/// The way to the API.
#[derive(Debug, Clone)]
pub struct Api {
    url: ApiUrl,
    token: Secret,
    ca: PathBuf,
}

/// Why the API did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// What signed the API's certificate cannot be read.
    #[error("[proxmox] ca: {} cannot be used: {cause}", path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// There is no way to it.
    #[error("Proxmox' API at {url} cannot be reached: {cause}")]
    Unreachable {
        /// Where.
        url: ApiUrl,
        /// Why.
        cause: io::Error,
    },
    /// It is not known to be it.
    #[error("Proxmox' API at {url} is not trusted: {cause}; what may sign it is in [proxmox] ca")]
    Untrusted {
        /// Where.
        url: ApiUrl,
        /// Why.
        cause: rustls::Error,
    },
    /// It does not let us.
    #[error(
        "Proxmox' API refuses the token of [proxmox] token_file: {0}; it needs the role PVEAuditor"
    )]
    Refused(String),
    /// It cannot do it.
    #[error("Proxmox' API says: {0}")]
    Failed(String),
    /// The answer makes no sense.
    #[error("Proxmox' API at {url} answers in a way that is not understood: {cause}")]
    Strange {
        /// Where.
        url: ApiUrl,
        /// What is wrong with it.
        cause: String,
    },
}

impl Api {
    /// Reads the token of a configuration; no way to the API without one.
    ///
    /// # Errors
    /// When a token is configured and cannot be read, or is none.
    pub fn prepare(config: &ProxmoxConfig) -> Result<Option<Self>, String> {
        let Some(token) = config.token()? else { return Ok(None) };
        Ok(Some(Self { url: config.url.clone(), token, ca: config.ca.clone() }))
    }

    /// A way to ask several things, one after the other.
    ///
    /// The certificate authority is read for each session: a cluster's is in its file system, which
    /// need not be there when the agent starts.
    ///
    /// # Errors
    /// When what signed the API's certificate cannot be read.
    pub fn session(&self) -> Result<Session<'_>, ApiError> {
        Ok(Session { api: self, tls: self.tls()? })
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, ApiError> {
        let wrong = |cause: String| ApiError::Ca { path: self.ca.clone(), cause };
        let text = std::fs::read(&self.ca).map_err(|error| wrong(error.to_string()))?;
        let certificates = rustls::pki_types::CertificateDer::pem_slice_iter(&text);
        let certificates: Result<Vec<_>, _> = certificates.collect();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates.map_err(|error| wrong(error.to_string()))?);
        if roots.is_empty() {
            return Err(wrong("it holds no certificate in PEM form".to_owned()));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
    }
}

/// A way to ask several things, one after the other.
#[derive(Debug)]
pub struct Session<'a> {
    api: &'a Api,
    tls: Arc<ClientConfig>,
}

impl Session<'_> {
    /// What the API has at a path below `/api2/json`.
    ///
    /// # Errors
    /// When it does not answer, or with something else.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        let strange = |cause: String| ApiError::Strange { url: self.api.url.clone(), cause };
        let bytes = self.exchange(path)?;
        let answer = Answer::parse(&bytes).map_err(strange)?;
        match answer.status {
            200 => answer.data().map_err(strange),
            401 | 403 => Err(ApiError::Refused(answer.reason)),
            _ => Err(ApiError::Failed(answer.reason)),
        }
    }

    fn exchange(&self, path: &str) -> Result<Vec<u8>, ApiError> {
        let unreachable = |cause: io::Error| {
            let url = self.api.url.clone();
            let of_tls = cause.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
            match of_tls {
                Some(cause @ rustls::Error::InvalidCertificate(_)) => {
                    ApiError::Untrusted { url, cause: cause.clone() }
                }
                _ => ApiError::Unreachable { url, cause },
            }
        };
        let mut stream = self.connect().map_err(unreachable)?;
        // The older version of HTTP: an answer in one piece, and the connection ends with it.
        let request = format!(
            "GET /api2/json{path} HTTP/1.0\r\nHost: {}\r\nAccept: application/json\r\n\
             Authorization: PVEAPIToken={}\r\n\r\n",
            self.api.url.host,
            self.api.token.expose(),
        );
        stream.write_all(request.as_bytes()).and_then(|()| stream.flush()).map_err(unreachable)?;
        let mut bytes = Vec::new();
        match stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes) {
            // Not everybody says goodbye; whether it is whole is judged by its length.
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => Err(unreachable(error)),
            _ => Ok(bytes),
        }
    }

    fn connect(&self) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let ApiUrl { host, port } = &self.api.url;
        let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
        let mut addresses = (host.as_str(), *port).to_socket_addrs()?;
        let address = addresses.next().ok_or_else(|| io::Error::from(ErrorKind::NotFound))?;
        let tcp = TcpStream::connect_timeout(&address, PATIENCE)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        tcp.set_write_timeout(Some(PATIENCE))?;
        let connection = ClientConnection::new(self.tls.clone(), name).map_err(io::Error::other)?;
        Ok(StreamOwned::new(connection, tcp))
    }
}
