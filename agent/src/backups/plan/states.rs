//! What the scheduler of a node notes of each job's last run:
//! `/var/lib/pve-manager/jobs/vzdump-<job>.json`.

use jiff::Timestamp;
use serde::Deserialize;

use crate::proxmox::Upid;

/// The last run of a job on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobState {
    /// Its task; none if there was nothing to do, or it begins just now.
    pub upid: Option<String>,
    /// When it began; none if the job never ran.
    pub began: Option<Timestamp>,
    /// Whether it goes on, or its end has not been noted yet.
    pub is_running: bool,
}

#[derive(Deserialize)]
struct Noted {
    state: String,
    #[serde(default)]
    time: i64,
    upid: Option<String>,
}

impl JobState {
    /// Reads a note; none if it is no such note.
    pub fn parse(text: &str) -> Option<Self> {
        let noted: Noted = serde_json::from_str(text).ok()?;
        let task: Option<Upid> = noted.upid.as_deref().and_then(|upid| upid.parse().ok());
        // A job that is new has a time too, but not that of a run.
        let has_run = noted.state != "created";
        let time = Timestamp::from_second(noted.time).ok().filter(|_| has_run && noted.time > 0);
        let is_running = matches!(&*noted.state, "starting" | "started");
        Some(Self { began: task.map(|task| task.started).or(time), upid: noted.upid, is_running })
    }
}

/// The job whose state a file holds, by the file's name.
pub fn job_of(name: &str) -> Option<&str> {
    name.strip_prefix("vzdump-")?.strip_suffix(".json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_says_when_the_last_run_began() {
        let upid = "UPID:pve1:0000C0DE:00ABCDEF:6925A380:vzdump::root@pam:";
        for (note, began, has_upid, is_running) in [
            (r#"{"state":"created","time":1764000000}"#.to_owned(), None, false, false),
            (
                r#"{"state":"starting","time":1764000000}"#.to_owned(),
                Some(1_764_000_000),
                false,
                true,
            ),
            (format!(r#"{{"state":"started","upid":"{upid}"}}"#), Some(0x6925_A380), true, true),
            (
                format!(r#"{{"state":"stopped","upid":"{upid}","msg":"job errors","updated":9}}"#),
                Some(0x6925_A380),
                true,
                false,
            ),
            (
                r#"{"state":"stopped","msg":"OK","time":1764000000}"#.to_owned(),
                Some(1_764_000_000),
                false,
                false,
            ),
        ] {
            let state = JobState::parse(&note).unwrap();
            let seconds = state.began.map(Timestamp::as_second);
            let found = (seconds, state.upid.is_some(), state.is_running);
            assert_eq!(found, (began, has_upid, is_running), "{note}");
        }
    }

    #[test]
    fn what_is_no_note_says_nothing() {
        for text in ["", "{", "[]", "{}", r#"{"state":1}"#] {
            assert_eq!(JobState::parse(text), None, "{text}");
        }
        assert_eq!(job_of("vzdump-nightly.json"), Some("nightly"));
        assert_eq!(job_of("realm-sync-x.json"), None);
    }
}
