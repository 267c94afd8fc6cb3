//! Alertmanager, receiving alerts.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use super::{free_port, get, get_json, system_program, wait_until_up};
use crate::process::Process;

/// A running Alertmanager that notifies nobody.
#[derive(Debug)]
pub struct Alertmanager {
    process: Process,
    port: u16,
    directory: TempDir,
}

impl Alertmanager {
    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    #[track_caller]
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("alertmanager.yml");
        let configuration = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n";
        fs::write(&file, configuration).expect("the directory can be written");
        let port = free_port();
        let mut process = Process::start(
            "alertmanager",
            &directory.path().join("alertmanager.log"),
            &system_program("prometheus-alertmanager").expect("prometheus-alertmanager"),
            &[
                &format!("--config.file={}", file.display()),
                &format!("--storage.path={}", directory.path().join("data").display()),
                &format!("--web.listen-address=127.0.0.1:{port}"),
                "--cluster.listen-address=",
            ],
        );
        let ready = format!("http://127.0.0.1:{port}/-/ready");
        wait_until_up(&mut process, || get(&ready).is_some_and(|(status, _)| status == 200));
        Self { process, port, directory }
    }

    /// Where alerts are posted to.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The alerts it holds, as its API gives them.
    pub fn alerts(&self) -> Vec<Value> {
        let answer = get_json(&format!("{}/api/v2/alerts", self.url())).unwrap_or_default();
        answer.as_array().cloned().unwrap_or_default()
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
