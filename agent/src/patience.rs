//! Looks at what can hang: one at a time, each on a thread of its own.

use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout};

use crate::clock::instant;

/// Whoever looks. While a look hangs no other begins, so that no threads pile up.
#[derive(Debug)]
pub struct PatientLook<T> {
    unfinished: Option<JoinHandle<T>>,
}

impl<T> Default for PatientLook<T> {
    fn default() -> Self {
        Self { unfinished: None }
    }
}

impl<T: Send + 'static> PatientLook<T> {
    /// What `look` gives; none if it takes longer, or if the one before is not over.
    pub async fn look(
        &mut self,
        patience: Duration,
        look: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        if self.unfinished.as_ref().is_some_and(|unfinished| !unfinished.is_finished()) {
            return None;
        }
        let mut looking = spawn_blocking(look);
        match timeout(patience, &mut looking).await {
            // A panic is a defect, and was logged as one.
            Ok(looked) => looked.ok(),
            Err(_) => {
                self.unfinished = Some(looking);
                None
            }
        }
    }
}

/// Looks now and then, at what need not be looked at each time that somebody asks.
#[derive(Debug)]
pub struct SeldomLook<T> {
    every: Duration,
    eye: PatientLook<T>,
    next_look: Option<Instant>,
}

impl<T: Send + 'static> SeldomLook<T> {
    /// Has not looked yet, and looks no more often than that.
    pub fn new(every: Duration) -> Self {
        Self { every, eye: PatientLook::default(), next_look: None }
    }

    /// What `look` gives, as [`PatientLook::look`] does, if it is time to look; none if it is not.
    pub async fn look_if_due(
        &mut self,
        patience: Duration,
        look: impl FnOnce() -> T + Send + 'static,
    ) -> Option<Option<T>> {
        let now = instant();
        if self.next_look.is_some_and(|at| at > now) {
            return None;
        }
        self.next_look = Some(now + self.every);
        Some(self.eye.look(patience, look).await)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[tokio::test]
    async fn while_a_look_hangs_no_other_begins() {
        const SHORT: Duration = Duration::from_millis(10);
        let mut eye = PatientLook::default();
        let (release, hold) = channel::<()>();
        let hangs = move || hold.recv().is_ok();
        assert_eq!(eye.look(SHORT, hangs).await, None);
        assert_eq!(eye.look(SHORT, || true).await, None, "the first is not over");
        drop(release);
        while eye.look(Duration::from_secs(60), || true).await != Some(true) {
            tokio::task::yield_now().await;
        }
    }
}
