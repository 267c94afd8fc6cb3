//! A child process with a log file, ended by its process id when it is dropped.
//!
//! The kernel ends it too when the thread that started it ends (`setpriv --pdeathsig`), so a
//! test that is killed leaves nothing running. Start processes from the test's own thread.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::deadline::{GENEROUS, look_until};

/// How much of a log a failing test shows, in bytes.
const TAIL_BYTES: usize = 3 * 1024;

/// A running process, or one that has exited.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `program` with `arguments`; both its outputs are appended to `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn start(name: &str, log: &Path, program: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments);
        Self::start_command(name, log, &command)
    }

    /// Starts a command with its arguments and environment, as [`Process::start`].
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn start_command(name: &str, log: &Path, command: &Command) -> Self {
        let open = || File::options().create(true).append(true).open(log);
        let (out, err) = open()
            .and_then(|out| Ok((out.try_clone()?, out)))
            .unwrap_or_else(|error| panic!("{name}: {}: {error}", log.display()));
        let mut tied = Command::new("setpriv");
        tied.args(["--pdeathsig", "KILL"]).arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => tied.env(key, value),
                None => tied.env_remove(key),
            };
        }
        let child = tied
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: setpriv cannot be started: {error}"));
        Self { name: name.to_owned(), child, log: log.to_owned() }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where its outputs go.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Sends a signal; one that has exited does not mind.
    pub fn signal(&mut self, signal: Signal) {
        if self.exited().is_none() {
            let pid = Pid::from_child(&self.child);
            let _ = kill_process(pid, signal);
        }
    }

    /// How it exited, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits until it exits.
    ///
    /// # Panics
    /// When it has not within that time.
    #[track_caller]
    pub fn exits_within(&mut self, within: Duration) -> ExitStatus {
        match look_until(within, || self.exited()) {
            Some(status) => status,
            None => panic!("{} did not exit within {within:?}\n{}", self.name, self.tail()),
        }
    }

    /// The end of its log, for people.
    pub fn tail(&self) -> String {
        tail(&self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exited().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("{}", self.tail());
        }
    }
}

/// A command that can be run again after its process was ended; at most one runs at a time.
#[derive(Debug)]
pub struct Service {
    name: String,
    command: Command,
    log: PathBuf,
    process: Option<Process>,
}

impl Service {
    /// One that does not run yet; its outputs will be appended to `log`.
    pub fn new(name: &str, log: &Path, command: Command) -> Self {
        Self { name: name.to_owned(), command, log: log.to_owned(), process: None }
    }

    /// Starts it; one that ran before is ended first.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn start(&mut self) -> &mut Process {
        self.process = None;
        let process = Process::start_command(&self.name, &self.log, &self.command);
        self.process.insert(process)
    }

    /// Ends it by that signal, if it runs.
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

    /// Sends a signal, if it runs.
    pub fn signal(&mut self, signal: Signal) {
        if let Some(process) = &mut self.process {
            process.signal(signal);
        }
    }

    /// How it exited, if it was started and has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.process.as_mut().and_then(Process::exited)
    }

    /// The process, while it runs.
    ///
    /// # Panics
    /// While it is stopped.
    #[track_caller]
    pub fn process(&self) -> &Process {
        self.process.as_ref().unwrap_or_else(|| panic!("{} is stopped", self.name))
    }

    /// What it has logged so far, also before it was started again.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// The end of a log file, with a heading; for people who read why a test failed.
pub fn tail(log: &Path) -> String {
    let text = match fs::read(log) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => format!("(not readable: {error})"),
    };
    let start = text.len().saturating_sub(TAIL_BYTES);
    let start = (start..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(start);
    format!("--- end of {}\n{}\n---", log.display(), text[start..].trim_end())
}
