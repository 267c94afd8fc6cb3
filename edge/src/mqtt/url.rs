//! A broker's address: `mqtt://host[:port]`, or `mqtts://host[:port]` for TLS.
//!
//! Parsed and validated once. It cannot hold a user or password, so it can be shown anywhere.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::Deserialize;

/// Where an `mqtt://` URL without a port points.
const PORT_PLAIN: u16 = 1883;
/// Where an `mqtts://` URL without a port points.
const PORT_TLS: u16 = 8883;
/// Longest host name that DNS allows, in bytes.
const HOST_BYTES_MAX: usize = 253;

/// Where a broker listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct BrokerUrl {
    tls: bool,
    host: String,
    port: u16,
}

/// Why a text is not a broker's URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Another scheme than `mqtt` or `mqtts`, or none.
    #[error(
        "{0:?} is not a broker's URL: write mqtt://HOST[:PORT], or mqtts://HOST[:PORT] for TLS"
    )]
    Scheme(String),
    /// A user or password is in the URL, where logs and process lists would show it.
    #[error(
        "a broker's URL must not hold a user or password: set [broker] username, and \
         password_file or the environment variable PVEWATCH_MQTT_PASSWORD"
    )]
    Credentials,
    /// A path, query or fragment follows the address.
    #[error("{0:?}: a broker's URL ends after the port: remove {1:?}")]
    Trailing(String, String),
    /// The host is empty or has a character that no host name or address has.
    #[error("{0:?}: {1:?} is not a host name or an address (IPv6 goes in brackets: [::1])")]
    Host(String, String),
    /// The port is not a number from 1 to 65535.
    #[error("{0:?}: {1:?} is not a port: use a number from 1 to 65535")]
    Port(String, String),
}

impl BrokerUrl {
    /// A URL from its parts, `host` being a name or an address without brackets.
    ///
    /// # Errors
    /// When the host is not valid, or the port is 0.
    pub fn new(tls: bool, host: &str, port: u16) -> Result<Self, UrlError> {
        let shown = || format!("{host}:{port}");
        if !is_host(host) {
            return Err(UrlError::Host(shown(), host.to_owned()));
        }
        if port == 0 {
            return Err(UrlError::Port(shown(), port.to_string()));
        }
        Ok(Self { tls, host: host.to_owned(), port })
    }

    /// Whether the connection is encrypted.
    pub fn tls(&self) -> bool {
        self.tls
    }

    /// The host name or address; an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for BrokerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        // Checked first, so that no other message repeats a password.
        if text.contains('@') {
            return Err(UrlError::Credentials);
        }
        let (tls, rest) = match text.split_once("://") {
            Some(("mqtt", rest)) => (false, rest),
            Some(("mqtts", rest)) => (true, rest),
            _ => return Err(UrlError::Scheme(text.to_owned())),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if let Some(at) = rest.find(['/', '?', '#']) {
            return Err(UrlError::Trailing(text.to_owned(), rest[at..].to_owned()));
        }
        let (host, port) = split_port(rest);
        if !is_host(host) || (host.contains(':') && !rest.starts_with('[')) {
            return Err(UrlError::Host(text.to_owned(), host.to_owned()));
        }
        let default = if tls { PORT_TLS } else { PORT_PLAIN };
        let port = match port {
            None => default,
            Some(port) => match port.parse() {
                Ok(number) if number > 0 && !port.starts_with('+') => number,
                _ => return Err(UrlError::Port(text.to_owned(), port.to_owned())),
            },
        };
        Ok(Self { tls, host: host.to_owned(), port })
    }
}

impl TryFrom<String> for BrokerUrl {
    type Error = UrlError;
    fn try_from(text: String) -> Result<Self, UrlError> {
        text.parse()
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

/// Splits the host, without brackets, from the port.
fn split_port(text: &str) -> (&str, Option<&str>) {
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']'))
        && (rest.is_empty() || rest.starts_with(':'))
    {
        return (host, rest.strip_prefix(':'));
    }
    match text.rsplit_once(':') {
        // More than one colon without brackets: an IPv6 address, refused by the caller.
        Some((host, _)) if host.contains(':') => (text, None),
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    }
}

fn is_host(host: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    let name = (1..=HOST_BYTES_MAX).contains(&host.len()) && host.bytes().all(plain);
    name || host.parse::<Ipv6Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::{BrokerUrl, UrlError};

    #[test]
    fn good_urls_are_shown_in_full() {
        for (text, shown) in [
            ("mqtt://localhost", "mqtt://localhost:1883"),
            ("mqtts://pve1.example.org", "mqtts://pve1.example.org:8883"),
            ("mqtts://pve1:1234/", "mqtts://pve1:1234"),
            ("mqtt://192.0.2.1:1", "mqtt://192.0.2.1:1"),
            ("mqtt://[::1]", "mqtt://[::1]:1883"),
            ("mqtts://[fe80::1]:8883", "mqtts://[fe80::1]:8883"),
        ] {
            let url: BrokerUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(shown.parse(), Ok(url));
        }
    }

    #[test]
    fn bad_urls_say_what_would_be_right() {
        for (text, part) in [
            ("localhost:1883", "mqtt://HOST"),
            ("tcp://localhost", "mqtt://HOST"),
            ("mqtt://", "not a host name"),
            ("mqtt://a b", "not a host name"),
            ("mqtt://::1", "brackets"),
            ("mqtt://[::1", "brackets"),
            ("mqtt://host:", "not a port"),
            ("mqtt://host:0", "not a port"),
            ("mqtt://host:+1", "not a port"),
            ("mqtt://host:65536", "not a port"),
            ("mqtt://host/path", "remove \"/path\""),
            ("mqtt://host?a=b", "remove \"?a=b\""),
        ] {
            let error = text.parse::<BrokerUrl>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_repeated() {
        for text in ["mqtt://me:swordfish@host", "me:swordfish@host", "x://swordfish@"] {
            let error = text.parse::<BrokerUrl>().unwrap_err();
            assert_eq!(error, UrlError::Credentials);
            assert!(!error.to_string().contains("swordfish"));
        }
    }
}
