//! What guests use, in words.

use pvewatch_protocol::event::GuestState;

use super::Tone;
use crate::output::http::api::GuestAnswer;
use crate::rules::human;

/// From what share on it is much, as the rules ProxmoxHighCpuUsage and ProxmoxHighMemoryUsage count.
const MUCH: f64 = 0.9;

/// How busy a guest keeps its processors: `83 % of 4`; none if that is not known, or it does not run.
pub fn cpu_use(guest: &GuestAnswer) -> Option<(Tone, String)> {
    if !runs(guest) {
        return None;
    }
    let (used, cpus) = guest.cpu_used_ratio.zip(guest.cpus)?;
    let text = format!("{} of {}", human::percent(used), human::number(cpus));
    Some((tone(Some(used)), text))
}

/// How much of its memory a guest holds: `1.2 GiB of 4 GiB`; none if that is not known, or it does
/// not run.
pub fn memory_use(guest: &GuestAnswer) -> Option<(Tone, String)> {
    if !runs(guest) {
        return None;
    }
    let (used, all) = guest.memory_used_bytes.zip(guest.memory_bytes)?;
    let text = format!("{} of {}", human::bytes(used as f64), human::bytes(all as f64));
    Some((tone(guest.memory_used_ratio), text))
}

fn runs(guest: &GuestAnswer) -> bool {
    guest.run.as_ref().is_some_and(|run| run.state == GuestState::Running)
}

fn tone(ratio: Option<f64>) -> Tone {
    match ratio {
        Some(ratio) if ratio > MUCH => Tone::Doubtful,
        _ => Tone::Neutral,
    }
}
