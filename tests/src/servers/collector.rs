//! The collector of this workspace as a child process, with a store of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::{free_port, get, get_json, wait_until_up};
use crate::deadline::{GENEROUS, eventually};
use crate::places::program;
use crate::process::Service;
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
when = '''
silent && !guest_stopped && !host_silent && stop_reason != "shutdown" && stop_reason != "reboot"'''
for = "0s"
severity = "critical"
summary = "{{ name }} is down"
"#;

/// Rules about the machine on which all nodes of a story are: how busy and how full it is makes no
/// difference to a story.
const OF_THE_MACHINE: [(&str, &str); 14] = [
    ("HighCpuUsage", "node"),
    ("HighMemoryUsage", "node"),
    ("HighLoadAverage", "node"),
    ("HighDiskUsage", "filesystem"),
    ("DiskAlmostFull", "filesystem"),
    ("NodeFilesystemAlmostOutOfInodes", "filesystem"),
    ("FilesystemHangs", "filesystem"),
    ("ZfsPoolUnhealthy", "pool"),
    ("MdArrayDegraded", "pool"),
    ("HostOomKill", "node"),
    ("ProxmoxStorageAlmostFull", "storage"),
    ("HighNetworkErrors", "interface"),
    ("HostClockNotSynchronised", "node"),
    ("HostTemperatureCritical", "node"),
];

/// The data folder's name.
const DATA: &str = "data";

/// The configuration's name.
const CONFIG: &str = "collector.toml";

/// The policy file's name.
const POLICY: &str = "policy.toml";

/// The rule file's name.
const RULES: &str = "rules.toml";

/// Puts a file system of `$0` bytes at `$1`, and becomes the rest of the arguments.
const ON_A_DISK: &str = r#"mount -t tmpfs -o "size=$0" tmpfs "$1" && shift && exec "$@""#;

/// A running collector; it can be restarted with its store and its addresses.
#[derive(Debug)]
pub struct Collector {
    service: Service,
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
        Self::start(Access::plain(port), &broker, None)
    }

    /// Starts one on a broker that runs elsewhere, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn on(broker: &Access) -> Self {
        let mut this = Self::prepare_on(broker);
        this.start_again();
        this
    }

    /// One on a broker that runs elsewhere, which is started by [`Collector::start_again`], or by
    /// [`Collector::start_without_waiting`] where it is not going to be ready.
    ///
    /// # Panics
    /// When its files cannot be written.
    #[track_caller]
    pub fn prepare_on(broker: &Access) -> Self {
        Self::prepare(broker.clone(), &broker_section(broker), None)
    }

    /// One on the first of these brokers that will do; waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn on_any(brokers: &[&Access]) -> Self {
        let urls: Vec<String> = brokers.iter().map(|broker| broker.url()).collect();
        let mut this =
            Self::prepare(brokers[0].clone(), &format!("[broker]\nurls = {urls:?}\n"), None);
        this.start_again();
        this
    }

    /// As [`Collector::on`], with another name than `main` and rules of its own beside the usual.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn named_on(name: &str, broker: &Access, rules: &str) -> Self {
        let top = format!("name = \"{name}\"\n{}", broker_section(broker));
        let mut this = Self::prepare(broker.clone(), &top, None);
        let file = this.directory.path().join(RULES);
        fs::write(file, usual_rules() + rules).expect("a temporary directory can be written");
        this.start_again();
        this
    }

    /// As [`Collector::named_on`], called `main` and with a policy file.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn with_policy(broker: &Access, rules: &str, policy: &str) -> Self {
        let mut this = Self::prepare(broker.clone(), &broker_section(broker), None);
        let path = |name: &str| this.directory.path().join(name);
        let mut config = fs::read_to_string(path(CONFIG)).expect("it was written just now");
        config += &format!("[policy]\nfile = \"{}\"\n", path(POLICY).display());
        for (name, text) in
            [(CONFIG, config), (POLICY, policy.to_owned()), (RULES, usual_rules() + rules)]
        {
            fs::write(path(name), text).expect("a temporary directory can be written");
        }
        this.start_again();
        this
    }

    /// Runs the operator's command against it: what it prints, and its exit code.
    ///
    /// # Panics
    /// When it cannot be run.
    #[track_caller]
    pub fn asked_by_operator(&self, arguments: &[&str]) -> (String, Option<i32>) {
        let mut command = Command::new(program("pvewatch"));
        command.args(arguments).args(["--url", &format!("http://127.0.0.1:{}", self.http)]);
        let output = command.output().expect("pvewatch can be run");
        (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code())
    }

    /// As [`Collector::on`], with a disk of so many bytes of its own for its data, which is gone
    /// with the process. Needs root.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn on_a_small_disk(broker: &Access, bytes: u64) -> Self {
        Self::start(broker.clone(), &broker_section(broker), Some(bytes))
    }

    #[track_caller]
    fn start(access: Access, broker: &str, disk_bytes: Option<u64>) -> Self {
        let mut this = Self::prepare(access, broker, disk_bytes);
        this.start_again();
        this
    }

    #[track_caller]
    fn prepare(access: Access, broker: &str, disk_bytes: Option<u64>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| directory.path().join(name).display().to_string();
        let http = free_port();
        let (data, rules) = (path(DATA), path(RULES));
        let text = format!(
            "data = \"{data}\"\n{broker}[http]\nlisten = \"127.0.0.1:{http}\"\n\
             [rules]\nfiles = [\"{rules}\"]\n"
        );
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text);
        write(RULES, &usual_rules()).expect("a temporary directory can be written");
        write(CONFIG, &text).expect("a temporary directory can be written");
        let mut command = match disk_bytes {
            None => Command::new(program("pvewatch-collector")),
            Some(bytes) => {
                fs::create_dir(&data).expect("a temporary directory can be written");
                // The mount is in a namespace of the collector alone: nothing to clean up.
                let mut command = Command::new("unshare");
                command.args(["--mount", "sh", "-c", ON_A_DISK, &bytes.to_string(), &data]);
                command.arg(program("pvewatch-collector"));
                command
            }
        };
        command.arg("--config").arg(path(CONFIG));
        let service = Service::new("collector", &directory.path().join("collector.log"), command);
        Self { service, http, access, directory }
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
        self.service.stop(signal);
    }

    /// Starts it again with its store, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready.
    #[track_caller]
    pub fn start_again(&mut self) {
        let ready = self.url("/readyz");
        wait_until_up(self.service.start(), || {
            get(&ready).is_some_and(|(status, _)| status == 200)
        });
    }

    /// Starts it where it is not going to be ready.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn start_without_waiting(&mut self) {
        self.service.start();
    }

    /// Its data folder as it sees it itself; another one for everybody else if it has a disk of
    /// its own.
    pub fn data_as_it_sees_it(&self) -> PathBuf {
        let data = self.directory.path().join(DATA);
        let inner = data.strip_prefix("/").expect("a temporary directory has an absolute path");
        Path::new("/proc").join(self.service.process().id().to_string()).join("root").join(inner)
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.service.log()
    }

    /// Waits until it has logged that.
    ///
    /// # Panics
    /// When it does not within the usual time.
    #[track_caller]
    pub fn says(&self, text: &str) {
        eventually(&format!("the collector to say {text:?}"), GENEROUS, || {
            self.log().contains(text).then_some(())
        });
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

    /// Everything in its log of events, the newest first.
    ///
    /// # Panics
    /// When it does not answer.
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        let mut events = Vec::new();
        let mut page = String::new();
        loop {
            let url = self.url(&format!("/api/v1/events?limit=500{page}"));
            let answer = get_json(&url).unwrap_or_else(|| panic!("{url}: no answer"));
            events.extend(answer["events"].as_array().cloned().unwrap_or_default());
            match answer["next_before"].as_i64() {
                Some(before) => page = format!("&before={before}"),
                None => return events,
            }
        }
    }

    /// Waits until an alert with these labels is in that state, and gives it.
    ///
    /// # Panics
    /// When it is not within the usual time; shows the alerts that there are.
    #[track_caller]
    pub fn expect_alert(&self, state: &str, labels: &[(&str, &str)]) -> Value {
        self.expect_alert_within(GENEROUS, state, labels)
    }

    /// As [`Collector::expect_alert`], for what takes its time.
    ///
    /// # Panics
    /// When it is not within that time; shows the alerts that there are.
    #[track_caller]
    pub fn expect_alert_within(
        &self,
        patience: Duration,
        state: &str,
        labels: &[(&str, &str)],
    ) -> Value {
        let matches = |alert: &Value| {
            alert["state"] == state
                && labels.iter().all(|(name, value)| alert["labels"][name] == *value)
        };
        let found = crate::deadline::look_until(patience, || {
            self.alerts().into_iter().find(|alert| matches(alert))
        });
        found.unwrap_or_else(|| {
            panic!("no alert {labels:?} became {state}; there are: {:#?}", self.alerts())
        })
    }

    /// The value of a series without labels; 0 if there is none.
    ///
    /// # Panics
    /// When the metrics cannot be had.
    #[track_caller]
    pub fn metric(&self, name: &str) -> f64 {
        let (_, text) = get(&self.url("/metrics")).expect("the collector answers");
        let values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        values.filter_map(|value| value.parse().ok()).next().unwrap_or_default()
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

fn usual_rules() -> String {
    let never = |(name, scope)| {
        format!(
            "\n[[rule]]\nname = \"{name}\"\nscope = \"{scope}\"\nwhen = \"false\"\n\
             severity = \"warning\"\nsummary = \"-\"\n"
        )
    };
    AT_ONCE.to_owned() + &OF_THE_MACHINE.map(never).concat()
}

fn broker_section(broker: &Access) -> String {
    let mut text = format!("[broker]\nurl = \"{}\"\n", broker.url());
    if let Some(tls) = &broker.tls {
        text += &format!("ca = \"{}\"\n", tls.authority.display());
        if let Some(identity) = &tls.identity {
            text += &format!("cert = \"{}\"\n", identity.certificate.display());
            text += &format!("key = \"{}\"\n", identity.key.display());
        }
    }
    text
}
