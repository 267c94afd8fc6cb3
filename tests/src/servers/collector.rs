//! The collector of this workspace as a child process, with a store of its own.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::{free_port, get, get_json, wait_until_up};
use crate::deadline::{GENEROUS, eventually};
use crate::places::program;
use crate::process::Process;
use crate::subscriber::Access;

/// A rule file in which a failed unit is an alert at once, so that a story need not wait.
const AT_ONCE: &str = r#"
[[rule]]
name = "SystemdServiceFailed"
scope = "unit"
when = 'active_state == "failed"'
for = "0s"
severity = "warning"
summary = "{{ name }} failed on {{ node.name }}"

[[rule]]
name = "HostDown"
scope = "node"
when = 'silent && stop_reason != "shutdown" && stop_reason != "reboot"'
for = "0s"
severity = "critical"
summary = "{{ name }} is down"
"#;

/// A running collector; it can be restarted with its store and its addresses.
#[derive(Debug)]
pub struct Collector {
    process: Option<Process>,
    http: u16,
    access: Access,
    directory: TempDir,
}

impl Collector {
    /// Starts one with the broker embedded, for this machine alone, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn with_embedded_broker() -> Self {
        let port = free_port();
        let broker = format!("[embedded_broker]\nlisten = \"127.0.0.1:{port}\"\n");
        Self::start(Access::plain(port), &broker)
    }

    /// Starts one on a broker that runs elsewhere, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn on(broker: &Access) -> Self {
        let mut text = format!("[broker]\nurl = \"{}\"\n", broker.url());
        if let Some(tls) = &broker.tls {
            text += &format!("ca = \"{}\"\n", tls.authority.display());
            if let Some(identity) = &tls.identity {
                text += &format!("cert = \"{}\"\n", identity.certificate.display());
                text += &format!("key = \"{}\"\n", identity.key.display());
            }
        }
        Self::start(broker.clone(), &text)
    }

    #[track_caller]
    fn start(access: Access, broker: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| directory.path().join(name).display().to_string();
        let http = free_port();
        let (data, rules) = (path("data"), path("rules.toml"));
        let text = format!(
            "data = \"{data}\"\n{broker}[http]\nlisten = \"127.0.0.1:{http}\"\n\
             [rules]\nfiles = [\"{rules}\"]\n"
        );
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text);
        write("rules.toml", AT_ONCE).expect("a temporary directory can be written");
        write("collector.toml", &text).expect("a temporary directory can be written");
        let mut this = Self { process: None, http, access, directory };
        this.start_again();
        this
    }

    /// How to reach its broker.
    pub fn broker(&self) -> &Access {
        &self.access
    }

    /// The port of the page, the API and the metrics.
    pub fn http_port(&self) -> u16 {
        self.http
    }

    /// Its folder.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Ends it by that signal.
    ///
    /// # Panics
    /// When it does not exit.
    #[track_caller]
    pub fn stop(&mut self, signal: Signal) {
        if let Some(mut process) = self.process.take() {
            process.signal(signal);
            process.exits_within(GENEROUS);
        }
    }

    /// Starts it again with its store, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn start_again(&mut self) {
        let log = self.directory.path().join("collector.log");
        let configuration = self.directory.path().join("collector.toml").display().to_string();
        let collector = program("pvewatch-collector");
        let arguments = ["--config", configuration.as_str()];
        let mut process = Process::start("collector", &log, &collector, &arguments);
        let ready = self.url("/readyz");
        wait_until_up(&mut process, || get(&ready).is_some_and(|(status, _)| status == 200));
        self.process = Some(process);
    }

    /// The address of a path of its.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.http)
    }

    /// The alerts that it lists now.
    pub fn alerts(&self) -> Vec<Value> {
        let answer = get_json(&self.url("/api/v1/alerts")).unwrap_or_default();
        answer["alerts"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until an alert with these labels is in that state, and gives it.
    ///
    /// # Panics
    /// When it is not within the usual time; shows the alerts that there are.
    #[track_caller]
    pub fn expect_alert(&self, state: &str, labels: &[(&str, &str)]) -> Value {
        let matches = |alert: &Value| {
            alert["state"] == state
                && labels.iter().all(|(name, value)| alert["labels"][name] == *value)
        };
        let found = crate::deadline::look_until(GENEROUS, || {
            self.alerts().into_iter().find(|alert| matches(alert))
        });
        found.unwrap_or_else(|| {
            panic!("no alert {labels:?} became {state}; there are: {:#?}", self.alerts())
        })
    }

    /// Waits until the metrics have a line that begins with `series` and has that value.
    ///
    /// # Panics
    /// When they do not within the usual time.
    #[track_caller]
    pub fn expect_metric(&self, series: &str, value: &str) {
        eventually(&format!("{series} {value} in /metrics"), GENEROUS, || {
            let (_, text) = get(&self.url("/metrics"))?;
            text.lines()
                .any(|line| line.starts_with(series) && line.ends_with(&format!(" {value}")))
                .then_some(())
        });
    }
}
