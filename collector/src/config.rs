//! The collector's configuration: `/etc/pvewatch/collector.toml`.
//!
//! Every key has a default, so an empty file is a working collector for this machine. What is
//! impossible is refused when the file is read, with its line; nothing is checked again later.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pvewatch_edge::config::ConfigError;
use pvewatch_edge::mqtt::BrokerSettings;
use pvewatch_protocol::{CollectorName, Site};
use serde::Deserialize;

use crate::broker::BrokerListenSettings;
use crate::rules::parse_duration;
use crate::store::Retention;

/// Where the configuration lies unless `--config` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/pvewatch/collector.toml";

/// Where the page, the API and the metrics are offered unless the configuration says otherwise.
pub const HTTP_LISTEN_DEFAULT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8420);

/// Where the store is unless the configuration says otherwise.
pub const DATA_DEFAULT: &str = "/var/lib/pvewatch-collector";

/// Where policies are read from, if they are there, unless the configuration says otherwise.
pub const POLICY_DEFAULT: &str = "/etc/pvewatch/policy.toml";

/// The whole file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The installation that this collector looks after.
    pub site: Site,
    /// This collector's name; agents have it in their `collectors`.
    pub name: CollectorName,
    /// The folder of the store.
    pub data: PathBuf,
    /// A broker that runs elsewhere. Without a URL the embedded one is started.
    pub broker: BrokerSettings,
    /// Where the embedded broker listens and whom it lets in; see [`Config::embedded_broker`].
    pub embedded_broker: Option<BrokerListenSettings>,
    /// The page, the API and the metrics.
    pub http: HttpConfig,
    /// What is worth an alert.
    pub rules: RulesConfig,
    /// What should be true of guests.
    pub policy: PolicyConfig,
    /// How long things are kept.
    pub retention: RetentionConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            site: Site::default(),
            name: CollectorName::default(),
            data: PathBuf::from(DATA_DEFAULT),
            broker: BrokerSettings::default(),
            embedded_broker: None,
            http: HttpConfig::default(),
            rules: RulesConfig::default(),
            policy: PolicyConfig::default(),
            retention: RetentionConfig::default(),
        }
    }
}

/// `[http]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// The address; port 0 takes a free one.
    pub listen: SocketAddr,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { listen: HTTP_LISTEN_DEFAULT }
    }
}

/// Where rule files are looked for unless the configuration says otherwise.
pub const RULES_DEFAULT: &str = "/etc/pvewatch/rules.d";

/// `[rules]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RulesConfig {
    /// Whether the shipped catalogue is in force.
    pub catalogue: bool,
    /// A folder with rule files, which need not be there: those named `*.toml` count, in the order
    /// of their names.
    pub folder: PathBuf,
    /// Further rule files. A rule takes the place of one of the same name in the catalogue or in an
    /// earlier file.
    pub files: Vec<PathBuf>,
}

impl Default for RulesConfig {
    fn default() -> Self {
        Self { catalogue: true, folder: RULES_DEFAULT.into(), files: Vec::new() }
    }
}

/// `[policy]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyConfig {
    /// The policy file. None is [`POLICY_DEFAULT`], which need not be there.
    pub file: Option<PathBuf>,
}

/// `[retention]`: whichever bound is reached first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// How long events are kept.
    pub events: Age,
    /// How many events are kept.
    pub events_max: Rows,
    /// How long samples are kept, one a minute of each node.
    pub samples: Age,
    /// How many samples are kept.
    pub samples_max: Rows,
    /// How much the store may hold, in bytes.
    pub size_max: Size,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        let kept = Retention::default();
        Self {
            events: Age(kept.events_age_max),
            events_max: Rows(kept.events_max),
            samples: Age(kept.samples_age_max),
            samples_max: Rows(kept.samples_max),
            size_max: Size(kept.size_max),
        }
    }
}

impl From<RetentionConfig> for Retention {
    fn from(config: RetentionConfig) -> Self {
        Self {
            events_age_max: config.events.0,
            events_max: config.events_max.0,
            samples_age_max: config.samples.0,
            samples_max: config.samples_max.0,
            size_max: config.size_max.0,
        }
    }
}

/// A time that things are kept: an hour at least, a year at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Age(Duration);

impl TryFrom<String> for Age {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        const SHORTEST: Duration = Duration::from_secs(3600);
        let age = parse_duration(&text).map_err(|error| error.to_string())?;
        match Duration::try_from(age) {
            Ok(age) if age >= SHORTEST => Ok(Self(age)),
            _ => Err(format!("{text:?} is too short: use \"1h\" to \"366d\"")),
        }
    }
}

/// A number of rows that are kept: 1,000 to 100,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub struct Rows(u64);

impl TryFrom<u64> for Rows {
    type Error = String;

    fn try_from(rows: u64) -> Result<Self, String> {
        if (1_000..=100_000_000).contains(&rows) {
            Ok(Self(rows))
        } else {
            Err(format!("{rows}: use 1000 to 100000000"))
        }
    }
}

/// A size on the disk: 64 MiB at least, 1 TiB at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(u64);

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        const MIB: u64 = 1 << 20;
        let wrong = || format!("{text:?} is no size: use \"64MiB\" to \"1024GiB\"");
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = match &text[digits.len()..] {
            "MiB" => MIB,
            "GiB" => 1024 * MIB,
            _ => return Err(wrong()),
        };
        let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
        bytes.filter(|bytes| (64 * MIB..=1 << 40).contains(bytes)).map(Self).ok_or_else(wrong)
    }
}

/// Why a file that can be read is no configuration all the same.
#[derive(Debug, thiserror::Error)]
pub enum InvalidConfig {
    /// Not a valid file.
    #[error(transparent)]
    File(#[from] ConfigError),
    /// Two brokers.
    #[error(
        "{0}: [broker] names a broker elsewhere and [embedded_broker] starts one here: remove \
         one of them"
    )]
    TwoBrokers(PathBuf),
    /// A broker is described but its address is missing.
    #[error("{0}: [broker] has no url: add url = \"mqtts://broker.example.org\", or remove it")]
    NoUrl(PathBuf),
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// When the file cannot be read, has an unknown key or an impossible value, or contradicts
    /// itself.
    pub fn load(path: &Path) -> Result<Self, InvalidConfig> {
        pvewatch_edge::config::load::<Self>(path)?.checked(path)
    }

    /// Reads the text of a configuration file that came from `path`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, InvalidConfig> {
        pvewatch_edge::config::parse::<Self>(path, text)?.checked(path)
    }

    /// The embedded broker's settings; none when the broker is elsewhere.
    ///
    /// Without users and without TLS only this machine is served, and its programs need no
    /// password: otherwise nobody at all could connect.
    pub fn embedded_broker(&self) -> Option<BrokerListenSettings> {
        if !self.broker.urls.is_empty() {
            return None;
        }
        let mut settings = self.embedded_broker.clone().unwrap_or_default();
        if settings.users.is_empty() && settings.tls.is_none() {
            settings.anonymous = true;
        }
        Some(settings)
    }

    fn checked(self, path: &Path) -> Result<Self, InvalidConfig> {
        let has_url = !self.broker.urls.is_empty();
        if has_url && self.embedded_broker.is_some() {
            return Err(InvalidConfig::TwoBrokers(path.to_owned()));
        }
        if !has_url && self.broker != BrokerSettings::default() {
            return Err(InvalidConfig::NoUrl(path.to_owned()));
        }
        Ok(self)
    }
}
