//! The `[embedded_broker]` section of the collector's configuration, and its users.
//!
//! Unknown keys are refused here; what needs files or the network is checked when the broker
//! starts.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use pvewatch_edge::mqtt::Secret;
use serde::Deserialize;

use super::access::Role;

/// Where MQTT without TLS is offered unless the configuration says otherwise.
const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1883);

/// Where the broker listens and whom it lets in.
///
/// ```toml
/// [embedded_broker]
/// listen = "127.0.0.1:1883"   # without TLS; port 0 takes a free one
/// anonymous = false           # clients without a user may do everything; loopback only
///
/// [embedded_broker.tls]
/// listen = "0.0.0.0:8883"
/// cert = "/etc/pvewatch/broker.pem"
/// key = "/etc/pvewatch/broker.key"
/// client_ca = "/etc/pvewatch/ca.pem"  # then every client must show a certificate: its CN is
///                                     # its user name, and a node's name unless listed below
///
/// [[embedded_broker.users]]
/// name = "pve1"
/// role = "node"               # or "collector" or "reader"
/// password_file = "/etc/pvewatch/pve1.password"
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BrokerListenSettings {
    /// Where MQTT without TLS is offered.
    pub listen: SocketAddr,
    /// Whether clients without a user are let in where there is no TLS, with all rights. Only
    /// for an address that other machines cannot reach.
    pub anonymous: bool,
    /// Where MQTT with TLS is offered; nowhere without it.
    pub tls: Option<TlsListenSettings>,
    /// Who is let in by password, and what roles certificates have that are not a node's.
    pub users: Vec<UserSettings>,
}

impl Default for BrokerListenSettings {
    fn default() -> Self {
        Self { listen: LISTEN_DEFAULT, anonymous: false, tls: None, users: Vec::new() }
    }
}

/// The listener with TLS.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsListenSettings {
    /// The address.
    pub listen: SocketAddr,
    /// The broker's certificate with its chain (PEM).
    pub cert: PathBuf,
    /// The key of the certificate (PEM).
    pub key: PathBuf,
    /// The CA certificates (PEM) that sign the clients'. With it every client must have one.
    pub client_ca: Option<PathBuf>,
}

/// One user.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserSettings {
    /// The user name; for a node its name.
    pub name: String,
    /// What the user may do.
    pub role: Role,
    /// A file that holds the password and nothing else. Without it the user is let in by
    /// certificate only.
    pub password_file: Option<PathBuf>,
    /// The password itself, for users that exist for one run.
    #[serde(skip)]
    pub password: Option<Secret>,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct File {
        #[serde(default)]
        embedded_broker: BrokerListenSettings,
    }

    fn read(text: &str) -> Result<BrokerListenSettings, String> {
        let file: Result<File, _> = pvewatch_edge::config::parse(Path::new("collector.toml"), text);
        file.map(|file| file.embedded_broker).map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_section_only_this_machine_is_served() {
        let settings = read("").unwrap();
        assert!(settings.listen.ip().is_loopback() && settings.listen.port() == 1883);
        assert!(!settings.anonymous && settings.tls.is_none() && settings.users.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("[embedded_broker]\nport = 1", "unknown field `port`"),
            ("[embedded_broker]\nlisten = \"localhost\"", "invalid socket address"),
            ("[[embedded_broker.users]]\nname = \"a\"\nrole = \"god\"", "unknown variant `god`"),
            (
                "[[embedded_broker.users]]\nname = \"a\"\nrole = \"node\"\npassword = \"x\"",
                "unknown field",
            ),
            ("[embedded_broker.tls]\nlisten = \"0.0.0.0:1\"", "missing field `cert`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
