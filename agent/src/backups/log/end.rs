//! The last line of a task's log.

use pvewatch_protocol::event::Outcome;

use super::guest::kept;

/// How a task ended, by the last line of its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskEnd {
    /// `TASK OK`
    Ok,
    /// `TASK WARNINGS: n`
    Warnings(u64),
    /// `TASK ERROR: why`
    Error(String),
}

impl TaskEnd {
    /// Understands a line; none if it ends no task.
    pub fn parse(line: &str) -> Option<Self> {
        let end = line.strip_prefix("TASK ")?;
        if end == "OK" {
            Some(Self::Ok)
        } else if let Some(why) = end.strip_prefix("ERROR: ") {
            Some(Self::Error(kept(why)))
        } else {
            end.strip_prefix("WARNINGS: ")?.parse().ok().map(Self::Warnings)
        }
    }

    /// What it means, and what it says of a failure. A log without such a line belongs to a
    /// worker that died.
    pub fn verdict(end: Option<Self>) -> (Outcome, Option<String>) {
        match end {
            Some(Self::Ok) => (Outcome::Ok, None),
            Some(Self::Warnings(_)) => (Outcome::Warnings, None),
            Some(Self::Error(why)) => {
                let is_signal = matches!(&*why, "interrupted by signal" | "received interrupt");
                let outcome = if is_signal { Outcome::Interrupted } else { Outcome::Failed };
                (outcome, Some(why))
            }
            None => (Outcome::Unknown, Some("the worker ended without a word".to_owned())),
        }
    }
}
