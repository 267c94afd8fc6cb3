//! Why the agent was told to stop: asks systemd whether the whole host goes down.

use std::time::Duration;

use pvewatch_protocol::StopReason;
use tokio::time::timeout;

use crate::systemd::calls;
use crate::units::config::UnitsPaths;

/// A host that goes down does not wait for long.
const PATIENCE: Duration = Duration::from_secs(1);

/// The targets that end a host, and how.
const ENDS: [(&str, StopReason); 6] = [
    ("reboot.target", StopReason::Reboot),
    ("kexec.target", StopReason::Reboot),
    ("soft-reboot.target", StopReason::Reboot),
    ("poweroff.target", StopReason::Shutdown),
    ("halt.target", StopReason::Shutdown),
    ("exit.target", StopReason::Shutdown),
];

/// Why the agent stops; takes at most a second.
///
/// `Stopped` unless systemd says that the host is going down, so also when it does not answer.
pub async fn stop_reason(paths: &UnitsPaths) -> StopReason {
    match timeout(PATIENCE, ask(paths.system_bus.as_deref())).await {
        Ok(Ok(reason)) => reason,
        Ok(Err(error)) => {
            log::info!("systemd does not say why the agent stops: {error}");
            StopReason::Stopped
        }
        Err(_) => {
            log::info!("systemd does not say within 1 s why the agent stops");
            StopReason::Stopped
        }
    }
}

async fn ask(address: Option<&str>) -> zbus::Result<StopReason> {
    let connection = calls::connect(address).await?;
    let state = calls::text(&connection, "SystemState").await?;
    if state.as_deref() != Some("stopping") {
        return Ok(StopReason::Stopped);
    }
    let jobs = calls::units_with_jobs(&connection).await?;
    let end = ENDS.iter().find(|(target, _)| jobs.iter().any(|unit| unit == target));
    Ok(end.map_or(StopReason::Shutdown, |(_, reason)| *reason))
}
