//! A program that is kept running, as a service manager would, until it is killed on purpose.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::deadline::Deadline;
use crate::process::Service;

/// How long a program that ended by itself is left alone: systemd's `RestartSec` of the shipped
/// units is of this order.
const RESTART_DELAY: Duration = Duration::from_secs(1);

/// A program and whether it is to run.
#[derive(Debug)]
pub struct Keeper {
    name: String,
    service: Service,
    state: State,
    ended_by_itself: u64,
}

#[derive(Debug)]
enum State {
    /// It was killed on purpose, or never started.
    Off,
    /// It runs, as far as anybody knows.
    On,
    /// It ended by itself and is started again then.
    Waits(Deadline),
}

impl Keeper {
    /// One that is off.
    pub fn new(name: &str, folder: &Path, command: Command) -> Self {
        let log = folder.join(format!("{name}.log"));
        let service = Service::new(name, &log, command);
        Self { name: name.to_owned(), service, state: State::Off, ended_by_itself: 0 }
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn start(&mut self) {
        self.service.start();
        self.state = State::On;
    }

    /// Kills it with -9; it stays off.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn kill(&mut self) {
        self.stop(Signal::KILL);
    }

    /// Ends it by that signal; it stays off.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn stop(&mut self, signal: Signal) {
        self.service.stop(signal);
        self.state = State::Off;
    }

    /// Whether it is meant to run and does.
    pub fn is_on(&self) -> bool {
        matches!(self.state, State::On)
    }

    /// Starts it again if it ended by itself a while ago. Says so, when it just has.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn look_after(&mut self) -> Option<String> {
        match &self.state {
            State::On => {
                let status = self.service.exited()?;
                self.ended_by_itself += 1;
                self.state = State::Waits(Deadline::after(RESTART_DELAY));
                let log = self.service.log();
                let last = log.lines().next_back().unwrap_or_default();
                return Some(format!("{} ended by itself: {status}: {last}", self.name));
            }
            State::Waits(until) if until.has_passed() => self.start(),
            State::Off | State::Waits(_) => {}
        }
        None
    }

    /// How often it ended without being asked to.
    pub fn ended_by_itself(&self) -> u64 {
        self.ended_by_itself
    }

    /// How often its log has that.
    pub fn says(&self, text: &str) -> u64 {
        self.service.log().matches(text).count() as u64
    }
}
