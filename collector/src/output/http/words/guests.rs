//! Guests, in words. The subject is the guest's number.

use pvewatch_protocol::event::{GuestCause, GuestRun, GuestState};

use super::{Told, Tone};

pub(super) fn tell_guest(run: &GuestRun) -> Told {
    let is_bad = run.state == GuestState::Stopped && !run.expected;
    Told { tone: if is_bad { Tone::Bad } else { Tone::Neutral }, text: what_became(run) }
}

/// What became of a guest: `was stopped by root@pam`, `crashed: killed by signal 9`.
pub fn what_became(run: &GuestRun) -> String {
    let by = |verb: &str| match &run.user {
        Some(user) => format!("was {verb} by {user}"),
        None => format!("was {verb}"),
    };
    let because = |text: &str| match &run.detail {
        Some(detail) => format!("{text}: {detail}"),
        None => text.to_owned(),
    };
    if run.state == GuestState::Running {
        return match run.cause {
            Some(GuestCause::Requested) => by("started"),
            Some(GuestCause::Backup) if run.awaited => "runs for its backup alone".to_owned(),
            Some(GuestCause::Backup) => "is back after its backup stopped it".to_owned(),
            Some(GuestCause::Migration) => "came from another node".to_owned(),
            Some(GuestCause::Ha) => "was started by high availability".to_owned(),
            Some(GuestCause::NodeBoot) => "was started with its node".to_owned(),
            Some(_) => "was started".to_owned(),
            None => "runs".to_owned(),
        };
    }
    match run.cause {
        Some(GuestCause::Requested) => by("stopped"),
        Some(GuestCause::Backup) => "was stopped for its backup".to_owned(),
        Some(GuestCause::Migration) => "moved to another node".to_owned(),
        Some(GuestCause::Ha) => "was stopped by high availability".to_owned(),
        Some(GuestCause::NodeShutdown) => "was stopped with its node".to_owned(),
        Some(GuestCause::Guest) => "was shut down from inside".to_owned(),
        Some(GuestCause::OutOfMemory) => "was killed for want of memory".to_owned(),
        Some(GuestCause::Crash) => because("crashed"),
        Some(_) => because("stopped, and nothing explains it"),
        None => "does not run".to_owned(),
    }
}
