//! `pvewatch up` as a child process, with what it says.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program, without anything of the environment that could change what it does.
pub fn pvewatch() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvewatch"));
    for variable in ["PVEWATCH_URL", "PVEWATCH_NODE", "PVEWATCH_LOG", "NO_COLOR", "NOTIFY_SOCKET"] {
        command.env_remove(variable);
    }
    command
}

/// What the program does with these arguments.
#[track_caller]
pub fn outcome(arguments: &[&str]) -> Output {
    pvewatch().args(arguments).output().unwrap()
}

/// What a program said on standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `pvewatch up` that runs; killed when dropped.
pub struct Up {
    child: Child,
    lines: Receiver<String>,
    /// Everything that it said on standard output so far.
    pub said: String,
}

impl Up {
    /// Starts it on free ports as node `test1`.
    pub fn start(data: &Path) -> Self {
        let mut child = pvewatch()
            .args(["up", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--node", "test1"])
            .arg("--data")
            .arg(data)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, said: String::new() }
    }

    /// Waits for a line that holds `part`, and gives it.
    #[track_caller]
    pub fn line_with(&mut self, part: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let wait = until.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(wait) else {
                let _ = self.child.kill();
                let mut error = String::new();
                self.child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
                panic!("no line with {part:?}; said: {}\nand: {error}", self.said);
            };
            self.said.push_str(&line);
            self.said.push('\n');
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Its page's address, without the slash at the end.
    #[track_caller]
    pub fn url(&mut self) -> String {
        let line = self.line_with("  page ");
        line.split_whitespace().last().unwrap().trim_end_matches('/').to_owned()
    }

    /// The arguments that every other user of the machine can see.
    pub fn command_line(&self) -> String {
        let bytes = std::fs::read(format!("/proc/{}/cmdline", self.child.id())).unwrap();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    }

    /// Sends a signal and waits for the end; gives the status and standard error.
    #[track_caller]
    pub fn end(mut self, signal: Signal) -> (ExitStatus, String) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        let until = Instant::now() + PATIENCE;
        // The pipe closes when the process ends, so this wakes at once.
        loop {
            let wait = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(wait) {
                Ok(_) => {}
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("it does not end"),
            }
        }
        let status = self.child.wait().unwrap();
        let mut error = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
        (status, error)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // It has ended already after `end`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
