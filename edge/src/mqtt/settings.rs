//! The `[broker]` section of a configuration file.
//!
//! Unknown keys and impossible values are refused here; files are read by [`super::Broker`].

use std::path::PathBuf;

use serde::Deserialize;

use super::url::BrokerUrl;

/// How often a silent connection is probed unless the configuration says otherwise, in seconds.
pub const KEEP_ALIVE_SECONDS_DEFAULT: u16 = 30;
/// The shortest keep-alive that is accepted, in seconds: below it a busy broker seems dead.
const KEEP_ALIVE_SECONDS_MIN: u16 = 5;
/// The longest keep-alive that is accepted, in seconds: beyond it a dead broker goes unnoticed.
const KEEP_ALIVE_SECONDS_MAX: u16 = 3600;

/// Where the broker is and how to be let in.
///
/// ```toml
/// [broker]
/// url = "mqtts://broker.example.org"   # or urls = ["...", "..."], tried in turn
/// username = "pve1"
/// password_file = "/etc/pvewatch/password"
/// ca = "/etc/pvewatch/ca.pem"
/// cert = "/etc/pvewatch/pve1.pem"
/// key = "/etc/pvewatch/pve1.key"
/// keep_alive_seconds = 30
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawSettings")]
pub struct BrokerSettings {
    /// The brokers, in the order in which they are tried; `url = "..."` is a list of one.
    pub urls: Vec<BrokerUrl>,
    /// The user name.
    pub username: Option<String>,
    /// A file that holds the password and nothing else; a newline at its end does not count.
    pub password_file: Option<PathBuf>,
    /// The CA certificates (PEM) that may have signed the broker's; the system's without it.
    pub ca: Option<PathBuf>,
    /// This client's certificate with its chain (PEM), for brokers that ask for one.
    pub cert: Option<PathBuf>,
    /// The key of [`BrokerSettings::cert`] (PEM).
    pub key: Option<PathBuf>,
    /// How often a silent connection is probed, in seconds.
    pub keep_alive_seconds: u16,
}

impl Default for BrokerSettings {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            username: None,
            password_file: None,
            ca: None,
            cert: None,
            key: None,
            keep_alive_seconds: KEEP_ALIVE_SECONDS_DEFAULT,
        }
    }
}

/// The section as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSettings {
    url: Option<BrokerUrl>,
    urls: Option<Vec<BrokerUrl>>,
    username: Option<String>,
    password_file: Option<PathBuf>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    keep_alive_seconds: Option<u16>,
}

impl TryFrom<RawSettings> for BrokerSettings {
    type Error = String;

    fn try_from(raw: RawSettings) -> Result<Self, String> {
        let urls = match (raw.url, raw.urls) {
            (Some(_), Some(_)) => return Err("set either url or urls, not both".to_owned()),
            (Some(url), None) => vec![url],
            (None, urls) => urls.unwrap_or_default(),
        };
        let keep_alive_seconds = raw.keep_alive_seconds.unwrap_or(KEEP_ALIVE_SECONDS_DEFAULT);
        if !(KEEP_ALIVE_SECONDS_MIN..=KEEP_ALIVE_SECONDS_MAX).contains(&keep_alive_seconds) {
            return Err(format!(
                "keep_alive_seconds = {keep_alive_seconds}: use \
                 {KEEP_ALIVE_SECONDS_MIN} to {KEEP_ALIVE_SECONDS_MAX}"
            ));
        }
        match (&raw.cert, &raw.key) {
            (Some(_), None) => return Err("cert is set without key: set both".to_owned()),
            (None, Some(_)) => return Err("key is set without cert: set both".to_owned()),
            _ => {}
        }
        if raw.username.as_deref() == Some("") {
            return Err("username is empty: remove it, or name a user".to_owned());
        }
        if raw.password_file.is_some() && raw.username.is_none() {
            return Err("password_file is set without username: set both".to_owned());
        }
        Ok(Self {
            urls,
            username: raw.username,
            password_file: raw.password_file,
            ca: raw.ca,
            cert: raw.cert,
            key: raw.key,
            keep_alive_seconds,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde::Deserialize;

    use super::BrokerSettings;
    use crate::config::parse;

    #[derive(Debug, Deserialize)]
    struct File {
        #[serde(default)]
        broker: BrokerSettings,
    }

    fn read(text: &str) -> Result<BrokerSettings, String> {
        let file: Result<File, _> = parse(Path::new("agent.toml"), text);
        file.map(|file| file.broker).map_err(|error| error.to_string())
    }

    #[test]
    fn one_url_is_a_list_of_one_and_no_section_is_the_default() {
        let one = read("[broker]\nurl = \"mqtt://a\"").unwrap();
        assert_eq!(one, read("[broker]\nurls = [\"mqtt://a\"]").unwrap());
        assert_eq!(one.keep_alive_seconds, 30);
        assert_eq!(read("").unwrap(), BrokerSettings::default());
        assert_eq!(read("[broker]").unwrap(), BrokerSettings::default());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, part) in [
            ("[broker]\nurl = \"mqtt://a\"\nurls = []", "either url or urls"),
            ("[broker]\n\nurl = \"http://a\"", "line 3"),
            ("[broker]\nurl = \"mqtt://me:pw@a\"", "password_file"),
            ("[broker]\nuser = \"x\"", "unknown field `user`"),
            ("[broker]\ncert = \"a\"", "without key"),
            ("[broker]\nkey = \"a\"", "without cert"),
            ("[broker]\nusername = \"\"", "username is empty"),
            ("[broker]\npassword_file = \"p\"", "without username"),
            ("[broker]\nkeep_alive_seconds = 1", "use 5 to 3600"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part) && error.contains("agent.toml"), "{text}: {error}");
        }
    }
}
