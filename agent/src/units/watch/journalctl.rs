//! Runs `journalctl` for the lines that explain a failure, and sends them after it.
//!
//! At most two children at once, each with a deadline and a bound on what is read from it. The
//! journal lags behind the bus, so it is asked again until systemd's last word is there. When the
//! journal cannot be read that is said once, in the source's status.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use pvewatch_protocol::EventData;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::source::{Fact, Report, Reporter};
use crate::systemd::{InvocationId, UnitName};
use crate::units::config::{LogConfig, UnitsPaths};
use crate::units::journal::{self, FIELDS, LogBounds, RunLog};
use crate::units::redact::Redactor;

/// Runs whose lines may wait to be read; 200 units can fail at once. Further ones go without
/// lines: the failure itself was told.
pub const REQUESTS_MAX: usize = 256;

/// Children at once.
const CHILDREN_MAX: usize = 2;

/// How long a child may take.
const CHILD_DEADLINE: Duration = Duration::from_secs(5);

/// Most bytes that are read of one child's output.
const OUTPUT_BYTES_MAX: u64 = 1024 * 1024;

/// How long the journal is given before each look.
const LOOKS: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_millis(300),
    Duration::from_millis(600),
    Duration::from_millis(1500),
];

/// Which entries a look asks for.
#[derive(Debug, Clone, Copy)]
enum Scope {
    /// All of the unit, so that lines which name no run are there too.
    Unit,
    /// Those that name the run: for when later runs have crowded it out.
    Run,
}

/// A run whose lines are wanted.
#[derive(Debug)]
pub struct Request {
    /// The unit.
    pub unit: UnitName,
    /// Its run.
    pub invocation: InvocationId,
}

/// Reads the journal for those who ask.
#[derive(Debug)]
struct Reader {
    journalctl: PathBuf,
    directory: Option<PathBuf>,
    bounds: LogBounds,
    redactor: Redactor,
}

/// Why there are no lines.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("{} cannot be run: {source}", command.display())]
    Run { command: PathBuf, source: std::io::Error },
    #[error("journalctl does not answer within {} s", CHILD_DEADLINE.as_secs())]
    Late,
    #[error("the journal is not readable: add the agent's user to the group systemd-journal")]
    NotReadable,
    #[error("journalctl says: {0}")]
    Failed(String),
}

/// Serves requests until the asking side ends. `trouble` says why lines are missing, if they are.
pub async fn serve(
    config: LogConfig,
    paths: UnitsPaths,
    mut requests: mpsc::Receiver<Request>,
    reporter: Reporter,
    trouble: watch::Sender<Option<String>>,
) {
    let reader = Arc::new(Reader {
        journalctl: paths.journalctl,
        directory: paths.journal_directory,
        bounds: LogBounds { lines_max: config.lines_max.0, bytes_max: config.bytes_max.0 },
        redactor: Redactor::new(&config.redact),
    });
    let mut reads = JoinSet::new();
    loop {
        tokio::select! {
            request = requests.recv(), if reads.len() < CHILDREN_MAX => match request {
                Some(request) => {
                    reads.spawn(follow(reader.clone(), request));
                }
                None => return,
            },
            Some(read) = reads.join_next() => match read {
                Ok(Ok((request, log))) => {
                    note(&trouble, None);
                    if log.lines.is_empty() {
                        continue;
                    }
                    let event = log.into_event(&request.unit, request.invocation);
                    let recorded_time = now();
                    let time = event.lines.last().map_or(recorded_time, |line| line.at);
                    let data = EventData::UnitLog(event);
                    if reporter.send(Report::Fact(Fact { time, recorded_time, data })).await.is_err() {
                        return;
                    }
                }
                Ok(Err(error)) => note(&trouble, Some(error.to_string())),
                Err(error) => log::warn!("reading the journal was cut short: {error}"),
            },
        }
    }
}

/// Looks until systemd's last word on the run is there, or long enough.
async fn follow(reader: Arc<Reader>, request: Request) -> Result<(Request, RunLog), ReadError> {
    let mut best = RunLog { lines: Vec::new(), truncated: false, redacted: 0, is_complete: false };
    for (index, wait) in LOOKS.iter().enumerate() {
        sleep(*wait).await;
        let was_complete = best.is_complete;
        let is_last = index + 1 == LOOKS.len();
        let scope = if is_last && !was_complete { Scope::Run } else { Scope::Unit };
        let log = reader.look(&request, scope).await?;
        if log.lines.len() >= best.lines.len() {
            best = log;
        }
        // A journal that was late with the last word may be later still with the unit's lines.
        if was_complete || (index == 0 && best.is_complete) {
            break;
        }
    }
    Ok((request, best))
}

impl Reader {
    async fn look(&self, request: &Request, scope: Scope) -> Result<RunLog, ReadError> {
        let mut command = Command::new(&self.journalctl);
        command
            .arg("--output=json")
            .arg(format!("--output-fields={FIELDS}"))
            .arg("--no-pager")
            .arg(format!("--lines={}", self.bounds.entries_max()));
        if let Some(directory) = &self.directory {
            command.arg("--directory").arg(directory);
        }
        // What the unit's processes wrote, and what systemd wrote about it.
        let Request { unit, invocation } = request;
        command.arg(format!("_SYSTEMD_INVOCATION_ID={invocation}")).args(["+", "_PID=1"]);
        match scope {
            Scope::Unit => {
                command.arg(format!("UNIT={unit}")).arg("+").arg(format!("_SYSTEMD_UNIT={unit}"))
            }
            Scope::Run => command.arg(format!("INVOCATION_ID={invocation}")),
        };
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command
            .spawn()
            .map_err(|source| ReadError::Run { command: self.journalctl.clone(), source })?;
        let stdout = child.stdout.take();
        let stderr = child.stderr.take();
        let reading = async {
            let (output, complaints) = tokio::join!(read_some(stdout), read_some(stderr));
            // A child that has more to say than is read gets a broken pipe, and ends.
            (output, complaints, child.wait().await)
        };
        let (output, complaints, status) =
            timeout(CHILD_DEADLINE, reading).await.map_err(|_| ReadError::Late)?;
        let complaints = String::from_utf8_lossy(&complaints);
        let log = journal::parse(&output, request.invocation, self.bounds, &self.redactor);
        if log.lines.is_empty() {
            if complaints.contains("insufficient permissions")
                || complaints.contains("not seeing messages")
                || complaints.contains("Permission denied")
            {
                return Err(ReadError::NotReadable);
            }
            if !status.is_ok_and(|status| status.success()) && !complaints.trim().is_empty() {
                let first = complaints.lines().next().unwrap_or_default();
                return Err(ReadError::Failed(first.to_owned()));
            }
        }
        Ok(log)
    }
}

async fn read_some(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // What was read until an error came is all there is.
        let _ = stream.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes).await;
    }
    bytes
}

fn note(trouble: &watch::Sender<Option<String>>, news: Option<String>) {
    trouble.send_if_modified(|known| {
        let is_new = *known != news;
        *known = news;
        is_new
    });
}

#[expect(clippy::disallowed_methods, reason = "the reader stamps what it learned, on arrival")]
fn now() -> Timestamp {
    Timestamp::now()
}
