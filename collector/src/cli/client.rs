//! Asks a collector over its API. Blocking: a command does one thing after the other.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use pvewatch_protocol::NodeName;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::Body;
use ureq::http::{Response, Uri};

use crate::output::http::COMMAND_HEADER;
use crate::output::http::api::alerts::ALERTS_MAX;
use crate::output::http::api::backups::BACKUPS_MAX;
use crate::output::http::api::drift::DIFFERENCES_MAX;
use crate::output::http::api::guests::GUESTS_MAX;
use crate::output::http::api::nodes::NODES_MAX;
use crate::output::http::api::storages::STORAGES_MAX;
use crate::output::http::api::{
    AlertDetails, AlertsAnswer, BackupsAnswer, DriftAnswer, GuestsAnswer, NodesAnswer, RulesAnswer,
    StatusAnswer, StoragesAnswer,
};
use crate::standards::Reloaded;

/// Where a collector is unless the command line or the environment says otherwise.
pub const URL_DEFAULT: &str = "http://127.0.0.1:8420";

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The largest answer that is read, in bytes: thousands of nodes.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Where a collector is: `http://HOST[:PORT][/PATH]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiUrl(String);

impl FromStr for ApiUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|_| wanted(text))?;
        let has_host = uri.host().is_some_and(|host| !host.is_empty());
        match uri.scheme_str() {
            _ if text.contains(['@', '?', '#']) => Err(wanted(text)),
            Some("http") if has_host => Ok(Self(text.trim_end_matches('/').to_owned())),
            Some("https") => Err(format!(
                "{text:?}: the collector speaks plain HTTP: write http://, or ask on the machine \
                 where it runs"
            )),
            _ => Err(wanted(text)),
        }
    }
}

impl fmt::Display for ApiUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn wanted(text: &str) -> String {
    format!("{text:?} is not where a collector can be: write http://HOST[:PORT]")
}

/// Why a collector gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers.
    #[error(
        "cannot reach the collector at {url}: {cause}: start it (`pvewatch up`, or `systemctl \
         start pvewatch-collector`), or say where it is with --url or PVEWATCH_URL"
    )]
    Unreachable {
        /// Where it should be.
        url: String,
        /// The cause.
        cause: String,
    },
    /// The collector cannot answer this.
    #[error("the collector at {url} answers: {message} (status {status})")]
    Refused {
        /// Where it is.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What it says.
        message: String,
    },
    /// Something else answers.
    #[error(
        "what answers at {url} is not a pvewatch collector of this version ({cause}): say where \
         it is with --url or PVEWATCH_URL"
    )]
    NotACollector {
        /// Where it should be.
        url: String,
        /// What is odd about the answer.
        cause: String,
    },
}

/// A collector's API.
#[derive(Debug)]
pub struct Api<'a> {
    url: &'a ApiUrl,
    agent: ureq::Agent,
}

impl<'a> Api<'a> {
    /// The API of the collector at `url`.
    pub fn new(url: &'a ApiUrl) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            // A collector on this machine is not reached through a proxy of the environment.
            .proxy(None)
            .build();
        Self { url, agent: config.into() }
    }

    /// Whether all is well.
    ///
    /// # Errors
    /// When the collector gives no answer.
    pub fn status(&self) -> Result<StatusAnswer, ClientError> {
        self.get("/api/v1/status")
    }

    /// All nodes.
    ///
    /// # Errors
    /// As [`Api::status`].
    pub fn nodes(&self) -> Result<NodesAnswer, ClientError> {
        self.get(&format!("/api/v1/nodes?limit={NODES_MAX}"))
    }

    /// One node.
    ///
    /// # Errors
    /// As [`Api::status`], and when the node is not known.
    pub fn node(&self, name: &NodeName) -> Result<NodesAnswer, ClientError> {
        self.get(&format!("/api/v1/nodes?node={name}"))
    }

    /// All guests.
    ///
    /// # Errors
    /// As [`Api::status`].
    pub fn guests(&self) -> Result<GuestsAnswer, ClientError> {
        self.get(&format!("/api/v1/guests?limit={GUESTS_MAX}"))
    }

    /// All storages.
    ///
    /// # Errors
    /// As [`Api::status`].
    pub fn storages(&self) -> Result<StoragesAnswer, ClientError> {
        self.get(&format!("/api/v1/storages?limit={STORAGES_MAX}"))
    }

    /// The backups of all guests.
    ///
    /// # Errors
    /// As [`Api::status`].
    pub fn backups(&self) -> Result<BackupsAnswer, ClientError> {
        self.get(&format!("/api/v1/backups?limit={BACKUPS_MAX}"))
    }

    /// What is not as policies want it.
    ///
    /// # Errors
    /// As [`Api::status`].
    pub fn drift(&self) -> Result<DriftAnswer, ClientError> {
        self.get(&format!("/api/v1/drift?limit={DIFFERENCES_MAX}"))
    }

    /// All alerts, those that ended lately included.
    ///
    /// # Errors
    /// As [`Api::status`].
    pub fn alerts(&self) -> Result<AlertsAnswer, ClientError> {
        self.get(&format!("/api/v1/alerts?limit={ALERTS_MAX}"))
    }

    /// One alert, by the first digits of its id.
    ///
    /// # Errors
    /// When the collector gives no answer, or does not know it.
    pub fn alert(&self, id: &str) -> Result<AlertDetails, ClientError> {
        // Whatever is no letter or digit is no id, and must not lead to another path.
        let id: String =
            id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        self.get(&format!("/api/v1/alerts/{id}"))
    }

    /// The rules, and how they fare.
    ///
    /// # Errors
    /// When the collector gives no answer.
    pub fn rules(&self) -> Result<RulesAnswer, ClientError> {
        self.get("/api/v1/rules")
    }

    /// Lets the collector read its rules and policies anew.
    ///
    /// # Errors
    /// When a rule is wrong, or the collector gives no answer.
    pub fn reload_rules(&self) -> Result<Reloaded, ClientError> {
        let url = format!("{}/api/v1/rules/reload", self.url);
        self.read(self.agent.post(url).header(COMMAND_HEADER, "1").send_empty())
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.read(self.agent.get(format!("{}{path}", self.url)).call())
    }

    fn read<T: DeserializeOwned>(
        &self,
        answer: Result<Response<Body>, ureq::Error>,
    ) -> Result<T, ClientError> {
        let url = || self.url.to_string();
        let mut answer = answer
            .map_err(|error| ClientError::Unreachable { url: url(), cause: cause_of(&error) })?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        let body =
            body.map_err(|error| ClientError::Unreachable { url: url(), cause: cause_of(&error) })?;
        if status == 200 {
            return serde_json::from_str(&body).map_err(|error| ClientError::NotACollector {
                url: url(),
                cause: error.to_string(),
            });
        }
        match serde_json::from_str::<ErrorBody>(&body) {
            Ok(ErrorBody { error: message }) => {
                Err(ClientError::Refused { url: url(), status, message })
            }
            Err(_) => {
                Err(ClientError::NotACollector { url: url(), cause: format!("status {status}") })
            }
        }
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    error: String,
}

fn cause_of(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::Timeout(_) => format!("no answer within {} s", TIMEOUT.as_secs()),
        ureq::Error::HostNotFound => "the host is not known".to_owned(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_checked_before_anybody_is_asked() {
        for good in ["http://127.0.0.1:8420", "http://[::1]:80/", "http://proxy/pvewatch"] {
            assert!(good.parse::<ApiUrl>().is_ok(), "{good}");
        }
        for (bad, part) in [
            ("127.0.0.1:8420", "write http://"),
            ("https://host", "plain HTTP"),
            ("mqtt://host", "write http://"),
            ("http://", "write http://"),
            ("http://me:swordfish@host", "write http://"),
            ("", "write http://"),
        ] {
            let error = bad.parse::<ApiUrl>().unwrap_err();
            assert!(error.contains(part), "{bad}: {error}");
        }
    }
}
