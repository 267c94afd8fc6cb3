//! What systemd is told: ready, what it is doing, that it is alive, that it stops.
//!
//! Outside systemd every call does nothing.

use std::time::Duration;

use sd_notify::NotifyState;

/// Tells systemd something; a failure is logged, since nothing depends on it.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::debug!("systemd could not be notified: {error}");
    }
}

/// The service is up.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// One line for `systemctl status`.
pub fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

/// The service is draining.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// The service is alive.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often [`alive`] should be called: half of what systemd allows; none without a watchdog.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}
