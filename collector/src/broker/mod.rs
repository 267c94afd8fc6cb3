//! The MQTT broker inside the collector, for `pvewatch up` and small sites.
//!
//! [`EmbeddedBroker::start`] runs rmqtt on a loopback listener and, if wanted, one with TLS or
//! mutual TLS. [`access`] decides who may do what. It keeps nothing on disk: agents and
//! collectors publish again what later subscribers need. Without the feature `embedded-broker`
//! only the settings and the decisions are there.

pub mod access;
#[cfg(feature = "embedded-broker")]
mod embedded;
#[cfg(feature = "embedded-broker")]
mod front;
#[cfg(feature = "embedded-broker")]
mod gate;
#[cfg(feature = "embedded-broker")]
mod retained;
mod settings;
#[cfg(feature = "embedded-broker")]
mod users;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

pub use access::Role;
#[cfg(feature = "embedded-broker")]
pub use embedded::{CONNECTIONS_MAX, EmbeddedBroker, QUEUE_MESSAGES_MAX, Running};
pub use settings::{BrokerListenSettings, TlsListenSettings, UserSettings};

/// Why the embedded broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum BrokerStartError {
    /// Somebody else listens on the address.
    #[error(
        "broker: {address} is already in use: stop the program that listens there, or set \
         [embedded_broker] listen to another port (0 takes a free one)"
    )]
    AddressTaken {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("broker: cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
    /// Everybody who reaches the address could do everything.
    #[error(
        "broker: {address} can be reached by other machines, and [embedded_broker] anonymous \
         lets everybody do everything there: listen on 127.0.0.1, or set users"
    )]
    AnonymousForAll {
        /// The address.
        address: SocketAddr,
    },
    /// A file of the TLS listener cannot be read, or does not hold what it should.
    #[error("broker: [embedded_broker.tls] {key}: {path} cannot be used: {cause}")]
    TlsFile {
        /// The key in the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        cause: String,
    },
    /// The key is another certificate's.
    #[error(
        "broker: [embedded_broker.tls] key: {key} does not belong to the certificate in {cert}"
    )]
    KeyMismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// A user has no name.
    #[error("broker: a user in [[embedded_broker.users]] has an empty name")]
    UserWithoutName,
    /// Two users have one name.
    #[error("broker: user {name:?} is in [[embedded_broker.users]] twice, or a name of our own")]
    UserTwice {
        /// The name.
        name: String,
    },
    /// A user's password cannot be used.
    #[error("broker: the password of user {name:?} in {path} cannot be used: {cause}")]
    Password {
        /// The user.
        name: String,
        /// The file.
        path: PathBuf,
        /// The cause.
        cause: String,
    },
    /// The system gives no threads.
    #[error("broker: its threads cannot be started: {0}")]
    Threads(io::Error),
}

#[cfg(feature = "embedded-broker")]
impl BrokerStartError {
    fn bind(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::AddressTaken { address },
            _ => Self::Bind { address, source },
        }
    }
}
