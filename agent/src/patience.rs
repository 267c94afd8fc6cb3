//! Looks at what can hang: one at a time, each on a thread of its own.

use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

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
