//! What happened, in words for people: one sentence an event, and how grave it is.

mod archives;
mod backups;
mod drift;
mod guests;
mod load;

pub use archives::{archives, archives_trouble, held, seen_by, storage};
pub use backups::tone_of;
pub use drift::{drift, drift_troubles};
pub use guests::what_became;
pub use load::{cpu_use, memory_use};

use jiff::Timestamp;
use pvewatch_protocol::event::{Exit, UnitChange, UnitChanged, UnitState};
use pvewatch_protocol::{EventData, StopReason};
use serde::{Deserialize, Serialize};

use crate::rules::human;

/// How an event is to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tone {
    /// Something broke.
    Bad,
    /// Something that may need a look.
    Doubtful,
    /// Something is well again.
    Good,
    /// Something happened.
    Neutral,
}

/// An event, told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Told {
    /// How it is to be seen.
    pub tone: Tone,
    /// What became of its subject: `failed: exit status 1`. Follows the subject's name.
    pub text: String,
}

/// Tells an event. The subject (a unit's name) is not part of the text, unless there is none.
pub fn tell(data: &EventData) -> Told {
    let told = |tone, text: String| Told { tone, text };
    match data {
        EventData::AgentStarted(started) => {
            told(Tone::Neutral, format!("agent {} started", started.facts.version))
        }
        EventData::AgentStopping(stopping) => {
            let text = match stopping.reason {
                StopReason::Shutdown => "the host powers off",
                StopReason::Reboot => "the host reboots",
                StopReason::Stopped => "the agent was stopped",
                StopReason::Lost | StopReason::Unknown => "the agent stops",
            };
            told(Tone::Neutral, text.to_owned())
        }
        EventData::UnitChanged(changed) => tell_change(changed),
        EventData::UnitRemoved(_) => {
            told(Tone::Neutral, "is no longer known to systemd".to_owned())
        }
        EventData::UnitLog(log) => {
            let lines = if log.lines.len() == 1 { "line" } else { "lines" };
            told(Tone::Neutral, format!("wrote {} {lines} to the journal", log.lines.len()))
        }
        EventData::BackupStarted(started) => backups::tell_started(started),
        EventData::BackupFinished(finished) => backups::tell_finished(finished),
        EventData::BackupJobFinished(job) => backups::tell_job(job),
        EventData::TaskFinished(task) => backups::tell_task(task),
        EventData::GuestChanged(run) => guests::tell_guest(run),
        EventData::OutboxDropped(dropped) => {
            let count = dropped.through.0.saturating_sub(dropped.from.0).saturating_add(1);
            let events = if count == 1 { "event was" } else { "events were" };
            told(Tone::Bad, format!("{count} {events} lost: {}", dropped.reason))
        }
        EventData::Unknown { kind, .. } => {
            told(Tone::Neutral, format!("{kind} (this version does not know what that means)"))
        }
    }
}

fn tell_change(changed: &UnitChanged) -> Told {
    let state = &changed.state;
    match changed.change {
        UnitChange::Started => Told { tone: Tone::Neutral, text: "started".to_owned() },
        UnitChange::Stopped => Told { tone: Tone::Neutral, text: "stopped".to_owned() },
        UnitChange::Recovered if state.active_state == "active" => {
            Told { tone: Tone::Good, text: "recovered: it runs again".to_owned() }
        }
        UnitChange::Recovered => Told { tone: Tone::Good, text: "is no longer failed".to_owned() },
        UnitChange::Failed if state.will_restart => Told {
            tone: Tone::Doubtful,
            text: format!("failed{}; systemd starts it again", because(state)),
        },
        UnitChange::Failed => Told { tone: Tone::Bad, text: format!("failed{}", because(state)) },
        UnitChange::CrashLooping => Told { tone: Tone::Bad, text: crash_loop(state) },
        UnitChange::Unknown => Told {
            tone: Tone::Neutral,
            text: format!("is now {} ({})", state.active_state, state.sub_state),
        },
    }
}

fn crash_loop(state: &UnitState) -> String {
    match &state.crash_loop {
        Some(looping) => format!(
            "fails and restarts again and again: {} failures since {}{}",
            looping.failures,
            human::time(looping.since),
            because(state)
        ),
        None => format!("fails and restarts again and again{}", because(state)),
    }
}

fn because(state: &UnitState) -> String {
    failure(state).map(|why| format!(": {why}")).unwrap_or_default()
}

/// Why a unit failed, as far as systemd says: `exit status 1`, `killed by SIGKILL (oom-kill)`.
pub fn failure(state: &UnitState) -> Option<String> {
    let result = state.result.as_deref().filter(|result| *result != "success");
    let exit = state.exit.as_ref().and_then(|exit| exit_words(exit, result));
    match (exit, result) {
        (Some(exit), None | Some("exit-code" | "signal" | "core-dump")) => Some(exit),
        (Some(exit), Some(result)) => Some(format!("{} ({exit})", result_words(result))),
        (None, Some(result)) => Some(result_words(result).to_owned()),
        (None, None) => None,
    }
}

fn exit_words(exit: &Exit, result: Option<&str>) -> Option<String> {
    match exit.code.as_str() {
        "exited" if exit.status == 0 && result != Some("exit-code") => None,
        "exited" => Some(format!("exit status {}", exit.status)),
        "killed" => Some(format!("killed by {}", signal(exit.status))),
        "dumped" => Some(format!("killed by {}, core dumped", signal(exit.status))),
        code => Some(format!("{code} {}", exit.status)),
    }
}

/// systemd's `Result` in words; what is not known stays as it is.
fn result_words(result: &str) -> &str {
    match result {
        "exit-code" => "it exited with an error",
        "signal" => "it was killed by a signal",
        "core-dump" => "it crashed and dumped core",
        "timeout" => "it took too long",
        "watchdog" => "it did not answer the watchdog in time",
        "oom-kill" => "the system ran out of memory",
        "start-limit-hit" => "it was started too often",
        "resources" => "systemd lacked what it needed to start it",
        "protocol" => "it did not behave as its type asks",
        "exec-condition" => "a condition to start it was not met",
        other => other,
    }
}

fn signal(number: i32) -> String {
    let name = match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        31 => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

/// How long ago something was: `12 s ago`, `3 h 12 min ago`; `just now` below a second.
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs_f64();
    if seconds < 1.0 { "just now".to_owned() } else { format!("{} ago", lasted(at, now)) }
}

/// How long something has lasted, as exactly as people want to know it: `9 min 5 s`, `12 min`.
pub fn lasted(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs().max(0);
    let step = match seconds {
        0..600 => 1,
        600..36_000 => 60,
        _ => 3600,
    };
    human::duration((seconds / step * step) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(result: &str, exit: Option<(&str, i32)>) -> UnitState {
        UnitState {
            unit: "a.service".to_owned(),
            load_state: "loaded".to_owned(),
            active_state: "failed".to_owned(),
            sub_state: "failed".to_owned(),
            result: (!result.is_empty()).then(|| result.to_owned()),
            exit: exit.map(|(code, status)| Exit { code: code.to_owned(), status }),
            restarts: 0,
            will_restart: false,
            invocation_id: None,
            changed_at: None,
            crash_loop: None,
        }
    }

    #[test]
    fn a_failure_says_why() {
        for (result, exit, expected) in [
            ("exit-code", Some(("exited", 203)), Some("exit status 203")),
            ("signal", Some(("killed", 11)), Some("killed by SIGSEGV")),
            ("signal", Some(("killed", 60)), Some("killed by signal 60")),
            ("core-dump", Some(("dumped", 6)), Some("killed by SIGABRT, core dumped")),
            ("timeout", Some(("killed", 15)), Some("it took too long (killed by SIGTERM)")),
            (
                "oom-kill",
                Some(("killed", 9)),
                Some("the system ran out of memory (killed by SIGKILL)"),
            ),
            ("start-limit-hit", Some(("exited", 0)), Some("it was started too often")),
            ("resources", None, Some("systemd lacked what it needed to start it")),
            ("new-in-300", None, Some("new-in-300")),
            ("success", None, None),
            ("", None, None),
        ] {
            assert_eq!(failure(&unit(result, exit)).as_deref(), expected, "{result} {exit:?}");
        }
    }

    #[test]
    fn a_change_is_one_sentence_after_the_units_name() {
        let change = |change, will_restart| {
            let state = UnitState { will_restart, ..unit("exit-code", Some(("exited", 1))) };
            let told = tell(&EventData::UnitChanged(Box::new(UnitChanged { change, state })));
            (told.tone, told.text)
        };
        let failed = "failed: exit status 1".to_owned();
        assert_eq!(change(UnitChange::Failed, false), (Tone::Bad, failed.clone()));
        let again = failed + "; systemd starts it again";
        assert_eq!(change(UnitChange::Failed, true), (Tone::Doubtful, again));
        let reset = "is no longer failed".to_owned();
        assert_eq!(change(UnitChange::Recovered, false), (Tone::Good, reset));
    }

    #[test]
    fn times_are_told_from_now() {
        let now: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        for (at, expected) in [
            ("2026-11-20T12:00:00Z", "just now"),
            ("2026-11-20T12:00:05Z", "just now"),
            ("2026-11-20T11:59:48Z", "12 s ago"),
            ("2026-11-20T11:50:55Z", "9 min 5 s ago"),
            ("2026-11-20T11:47:10Z", "12 min ago"),
            ("2026-11-20T08:48:00Z", "3 h 12 min ago"),
            ("2026-11-18T08:48:00Z", "2 d 3 h ago"),
        ] {
            assert_eq!(ago(at.parse().unwrap(), now), expected, "{at}");
        }
    }
}
