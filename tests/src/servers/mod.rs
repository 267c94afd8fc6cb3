//! Servers as child processes, on free ports of the loopback, each with a directory of its own:
//! Mosquitto, Prometheus, Alertmanager, and this workspace's collector and agent.

pub mod agent;
pub mod alertmanager;
pub mod collector;
pub mod mosquitto;
pub mod prometheus;

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

pub use agent::Agent;
pub use alertmanager::Alertmanager;
pub use collector::Collector;
pub use mosquitto::{MUTE, Mosquitto, Security};
pub use prometheus::{Prometheus, promtool};

use crate::deadline::look_until;
use crate::process::Process;

/// How long a server may take from its start until it listens.
const START: Duration = Duration::from_secs(60);

/// The largest page that is read: the metrics of 10,000 nodes have some 20 MB.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// A port of 127.0.0.1 on which nobody listens.
///
/// # Panics
/// When the machine has none left.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// Whether somebody accepts connections on a port of 127.0.0.1.
pub fn listens(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Fetches a page; none if nobody answers.
///
/// # Panics
/// When the answer is not text.
pub fn get(url: &str) -> Option<(u16, String)> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(10)))
        .build()
        .into();
    let mut answer = agent.get(url).call().ok()?;
    let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX);
    let text = body.read_to_string().expect("the answer is text");
    Some((answer.status().as_u16(), text))
}

/// Fetches JSON; none if nobody answers with 200 and JSON.
pub fn get_json(url: &str) -> Option<Value> {
    let (status, text) = get(url)?;
    (status == 200).then(|| serde_json::from_str(&text).ok()).flatten()
}

/// Waits until a server that was just started answers.
#[track_caller]
fn wait_until_up(process: &mut Process, is_up: impl Fn() -> bool) {
    let outcome = look_until(START, || match process.exited() {
        Some(status) => Some(Err(status)),
        None => is_up().then_some(Ok(())),
    });
    match outcome {
        Some(Ok(())) => {}
        Some(Err(status)) => panic!("it exited at once with {status}\n{}", process.tail()),
        None => panic!("it did not listen within {START:?}\n{}", process.tail()),
    }
}

/// A program of the distribution; it may lie where a user's `PATH` does not look.
pub(crate) fn system_program(name: &str) -> io::Result<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/usr/local/bin"]
        .iter()
        .map(|directory| PathBuf::from(directory).join(name))
        .find(|path| path.exists())
        .ok_or_else(|| {
            io::Error::other(format!("{name} is not installed: ./tests/run installs it"))
        })
}
