//! `[proxmox]` of the configuration: where the API is, and who may ask it.

use std::fmt;
use std::path::PathBuf;

use pvewatch_edge::mqtt::Secret;
use serde::Deserialize;

/// The port of Proxmox' API.
const PORT: u16 = 8006;

/// `[proxmox]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProxmoxConfig {
    /// Where the API is.
    pub url: ApiUrl,
    /// A file that holds an API token, `USER@REALM!NAME=SECRET`, and nothing else; without one the
    /// API is not asked.
    pub token_file: Option<PathBuf>,
    /// The certificates (PEM) that may have signed the API's.
    pub ca: PathBuf,
}

impl Default for ProxmoxConfig {
    fn default() -> Self {
        Self {
            url: ApiUrl { host: "127.0.0.1".to_owned(), port: PORT },
            token_file: None,
            ca: "/etc/pve/pve-root-ca.pem".into(),
        }
    }
}

impl ProxmoxConfig {
    /// The token, if one is configured.
    pub(super) fn token(&self) -> Result<Option<Secret>, String> {
        let Some(path) = &self.token_file else { return Ok(None) };
        let wrong = |cause: &str| format!("[proxmox] token_file: {} {cause}", path.display());
        let text = std::fs::read_to_string(path)
            .map_err(|error| wrong(&format!("cannot be read: {error}")))?;
        let token = text.trim();
        let user = token.split_once('=').map(|(user, _)| user);
        let is_token = user.is_some_and(|user| user.contains('@') && user.contains('!'))
            && token.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_token {
            return Err(wrong(
                "holds no API token: it is one line, USER@REALM!NAME=SECRET, as in \
                 pvewatch@pve!agent=12345678-...",
            ));
        }
        Ok(Some(Secret::new(token)))
    }
}

/// `https://HOST[:PORT]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ApiUrl {
    /// A name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl TryFrom<String> for ApiUrl {
    type Error = String;
    fn try_from(url: String) -> Result<Self, String> {
        let wrong = || format!("{url:?} is not https://HOST[:PORT], as in https://127.0.0.1:8006");
        let rest = url.strip_prefix("https://").ok_or_else(wrong)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.rsplit_once(':') {
            // The colons of an address stand in brackets.
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| wrong())?)
            }
            _ => (rest, PORT),
        };
        let host = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-:".contains(&byte);
        if host.is_empty() || !host.bytes().all(is_host) {
            return Err(wrong());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for ApiUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "https://[{}]:{}", self.host, self.port),
            false => write!(f, "https://{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_a_host_and_perhaps_a_port() {
        for (url, host, port) in [
            ("https://127.0.0.1", "127.0.0.1", 8006),
            ("https://pve1.example.org/", "pve1.example.org", 8006),
            ("https://pve1:443", "pve1", 443),
            ("https://[::1]", "::1", 8006),
            ("https://[::1]:8007", "::1", 8007),
        ] {
            let parsed = ApiUrl::try_from(url.to_owned());
            assert_eq!(parsed, Ok(ApiUrl { host: host.to_owned(), port }), "{url}");
        }
        for url in ["http://127.0.0.1", "127.0.0.1", "https://", "https://a:b", "https://a/b"] {
            let error = ApiUrl::try_from(url.to_owned()).expect_err(url);
            assert!(error.contains("https://127.0.0.1:8006"), "{error}");
        }
    }

    #[test]
    fn a_token_is_one_line_and_is_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let config = ProxmoxConfig { token_file: Some(path.clone()), ..ProxmoxConfig::default() };
        let error = config.token().unwrap_err();
        assert!(error.contains("token_file") && error.contains("cannot be read"), "{error}");
        std::fs::write(&path, "pvewatch@pve!agent=s-e-c\n").unwrap();
        let token = config.token().unwrap().unwrap();
        assert_eq!(token.expose(), "pvewatch@pve!agent=s-e-c");
        for text in ["", "s-e-c\n", "a@pve!b=c\nd", "a@pve=c", "a@pve!b=c\r\nX: y"] {
            std::fs::write(&path, text).unwrap();
            let error = config.token().expect_err(text);
            assert!(
                error.contains("USER@REALM!NAME=SECRET") && !error.contains("s-e-c"),
                "{error}"
            );
        }
        assert!(ProxmoxConfig::default().token().unwrap().is_none());
    }
}
