//! TLS in front of the broker, and who came through it.
//!
//! rmqtt's own TLS brings a second TLS library, written in C. Here rustls on ring ends TLS and
//! passes each connection on to a listener of rmqtt on the loopback interface. Who the client is
//! follows from the local port of that second connection, which is registered before it is made:
//! whatever else connects to the inner listener is unknown and refused.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::BrokerStartError;
use super::embedded::{CONNECTIONS_MAX, HANDSHAKE_LIMIT};
use super::settings::TlsListenSettings;

/// How long to wait when the system has no more sockets to give.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// A client that came through TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peer {
    /// Where it comes from.
    pub(super) address: SocketAddr,
    /// The common name in its certificate, which a trusted CA has signed; none without a
    /// certificate, or when it has no name or more than one.
    pub(super) certified: Option<Arc<str>>,
}

/// The clients that came through TLS, by the address from which they reach the inner listener.
#[derive(Debug, Clone, Default)]
pub(super) struct Peers {
    by_inner: Arc<Mutex<HashMap<SocketAddr, Peer>>>,
}

/// A client's entry in [`Peers`], for as long as its connection.
#[derive(Debug)]
struct Entry {
    peers: Peers,
    inner: SocketAddr,
}

impl Peers {
    /// Who reaches the inner listener from this address.
    pub(super) fn find(&self, inner: SocketAddr) -> Option<Peer> {
        self.lock().get(&inner).cloned()
    }

    fn enter(&self, inner: SocketAddr, peer: Peer) -> Entry {
        self.lock().insert(inner, peer);
        Entry { peers: self.clone(), inner }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SocketAddr, Peer>> {
        // Nothing panics while it is held.
        self.by_inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.peers.lock().remove(&self.inner);
    }
}

/// Reads and checks the certificates.
pub(super) fn prepare(settings: &TlsListenSettings) -> Result<TlsAcceptor, BrokerStartError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable("cert", &settings.cert, &error))?;
    let builder = match &settings.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in read_certificates("client_ca", path)? {
                roots.add(certificate).map_err(|error| unusable("client_ca", path, &error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
                .build()
                .map_err(|error| unusable("client_ca", path, &error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = read_certificates("cert", &settings.cert)?;
    let key = PrivateKeyDer::from_pem_slice(&read("key", &settings.key)?)
        .map_err(|error| unusable("key", &settings.key, &error))?;
    let config = builder.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            BrokerStartError::KeyMismatch { cert: settings.cert.clone(), key: settings.key.clone() }
        }
        error => unusable("cert", &settings.cert, &error),
    })?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Takes clients until it is aborted. At [`CONNECTIONS_MAX`] the next ones wait.
pub(super) async fn run(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    inner: SocketAddr,
    peers: Peers,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, address)) => {
                let (acceptor, peers) = (acceptor.clone(), peers.clone());
                tokio::spawn(async move {
                    if let Err(error) = pass_on(stream, address, &acceptor, inner, &peers).await {
                        log::debug!("broker: the TLS connection of {address} ended: {error}");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                log::warn!("broker: no TLS connection can be accepted: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn pass_on(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: &TlsAcceptor,
    inner: SocketAddr,
    peers: &Peers,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut outside = match timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
        Ok(Ok(outside)) => outside,
        Ok(Err(error)) => {
            log::info!("broker: {address} is not let in by TLS: {error}");
            return Ok(());
        }
        Err(_) => return Err(io::ErrorKind::TimedOut.into()),
    };
    let certificates = outside.get_ref().1.peer_certificates();
    let certified = certificates.and_then(|chain| common_name(chain.first()?));
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let _entry = peers.enter(socket.local_addr()?, Peer { address, certified });
    let mut inside = socket.connect(inner).await?;
    inside.set_nodelay(true)?;
    copy_bidirectional(&mut outside, &mut inside).await?;
    Ok(())
}

/// The one common name of a certificate.
fn common_name(certificate: &CertificateDer<'_>) -> Option<Arc<str>> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let mut names = parsed.subject().iter_common_name();
    match (names.next(), names.next()) {
        (Some(name), None) => name.as_str().ok().map(Arc::from),
        _ => None,
    }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, BrokerStartError> {
    std::fs::read(path).map_err(|error| unusable(key, path, &error))
}

fn read_certificates(
    key: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, BrokerStartError> {
    let text = read(key, path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match certificates {
        Ok(list) if list.is_empty() => Err(unusable(key, path, &"it holds no certificate (PEM)")),
        Ok(list) => Ok(list),
        Err(error) => Err(unusable(key, path, &error)),
    }
}

fn unusable(key: &'static str, path: &Path, cause: &dyn std::fmt::Display) -> BrokerStartError {
    BrokerStartError::TlsFile { key, path: path.to_owned(), cause: cause.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_known_for_as_long_as_its_connection() {
        let peers = Peers::default();
        let inner: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let peer = Peer { address: "192.0.2.1:2".parse().unwrap(), certified: Some("pve1".into()) };
        let entry = peers.enter(inner, peer.clone());
        assert_eq!(peers.find(inner), Some(peer));
        assert_eq!(peers.find("127.0.0.1:2".parse().unwrap()), None);
        drop(entry);
        assert_eq!(peers.find(inner), None);
    }
}
