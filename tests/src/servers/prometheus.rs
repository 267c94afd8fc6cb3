//! Prometheus, scraping what a test gives it, and its tool that checks metrics and rules.

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::{free_port, get, get_json, system_program, wait_until_up};
use crate::deadline::eventually;
use crate::process::Process;

/// A running Prometheus that scrapes every second.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    port: u16,
    directory: TempDir,
}

impl Prometheus {
    /// Starts it with one scrape job and waits until it is ready.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    #[track_caller]
    pub fn scraping(job: &str, port: u16) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let configuration = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             scrape_configs: [{{job_name: {job}, \
             static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n"
        );
        let file = directory.path().join("prometheus.yml");
        fs::write(&file, configuration).expect("the directory can be written");
        let port = free_port();
        let mut process = Process::start(
            "prometheus",
            &directory.path().join("prometheus.log"),
            &system_program("prometheus").expect("prometheus"),
            &[
                &format!("--config.file={}", file.display()),
                &format!("--storage.tsdb.path={}", directory.path().join("data").display()),
                &format!("--web.listen-address=127.0.0.1:{port}"),
            ],
        );
        let ready = format!("http://127.0.0.1:{port}/-/ready");
        wait_until_up(&mut process, || get(&ready).is_some_and(|(status, _)| status == 200));
        Self { process, port, directory }
    }

    /// The result of an instant query, as the API gives it: a list of `metric` and `value`.
    pub fn query(&self, expression: &str) -> Vec<Value> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let url = format!("http://127.0.0.1:{}/api/v1/query?query={encoded}", self.port);
        let answer = get_json(&url).unwrap_or_default();
        answer["data"]["result"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until a query has a result, and gives it.
    ///
    /// # Panics
    /// When it has none within that time.
    #[track_caller]
    pub fn wait_for(&self, expression: &str, within: Duration) -> Vec<Value> {
        eventually(&format!("Prometheus to answer {expression}"), within, || {
            Some(self.query(expression)).filter(|result| !result.is_empty())
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The directory of its data and configuration.
    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }
}

/// Runs `promtool` with an input.
///
/// # Panics
/// When it is not installed.
pub fn promtool(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(system_program("promtool").expect("promtool"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool can be started");
    let mut stdin = child.stdin.take().expect("its input is a pipe");
    // It may exit before it has read everything, when the first lines are wrong already.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("promtool exits")
}
