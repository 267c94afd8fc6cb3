//! The channels as the owner sees them: what they took is stored, what waits for them is shown.

use jiff::Timestamp;
use tokio::sync::watch;

use crate::output::channel::{ChannelReading, Progress};

/// Every channel's position, in the store and in fact.
pub(in crate::run) struct Channels {
    progress: watch::Receiver<Vec<Progress>>,
    /// What the store has, in the order of the channels.
    stored: Vec<i64>,
    /// Since when each has taken nothing although there is something.
    since: Vec<Option<Timestamp>>,
    shown: watch::Sender<Vec<ChannelReading>>,
}

impl Channels {
    /// Channels whose present positions are those of the store.
    pub(in crate::run) fn new(
        progress: watch::Receiver<Vec<Progress>>,
        shown: watch::Sender<Vec<ChannelReading>>,
    ) -> Self {
        let stored: Vec<i64> = progress.borrow().iter().map(|channel| channel.through).collect();
        let since = vec![None; stored.len()];
        Self { progress, stored, since, shown }
    }

    /// Waits until a channel came further, or is stuck. Cancel safe.
    pub(super) async fn changed(&mut self) {
        if self.progress.changed().await.is_err() {
            // Whoever writes it is gone: the collector stops.
            std::future::pending::<()>().await;
        }
    }

    /// What is to be stored: channels that came further. It counts as stored from now on; if that
    /// fails, the owner ends and the next one asks the store.
    pub(super) fn take_positions(&mut self) -> Vec<(String, i64)> {
        // By its value: to wait for a change counts as having seen it.
        let progress = self.progress.borrow();
        let moved = progress.iter().zip(&mut self.stored).filter_map(|(channel, stored)| {
            let has_moved = std::mem::replace(stored, channel.through) != channel.through;
            has_moved.then(|| (channel.name.to_owned(), channel.through))
        });
        moved.collect()
    }

    /// Shows what the channels have yet to take; `newest` is the newest transition.
    pub(super) fn show(&mut self, newest: i64, moved: &[(String, i64)], now: Timestamp) {
        let progress = self.progress.borrow();
        let readings = progress.iter().zip(&mut self.since).map(|(channel, since)| {
            let untold = u64::try_from(newest.saturating_sub(channel.through)).unwrap_or(0);
            let came_further = moved.iter().any(|(name, _)| name == channel.name);
            *since = match *since {
                _ if untold == 0 => None,
                Some(since) if !came_further => Some(since),
                _ => Some(now),
            };
            let trouble = channel.trouble.clone();
            ChannelReading { name: channel.name, untold, since: *since, trouble }
        });
        let readings: Vec<ChannelReading> = readings.collect();
        self.shown.send_if_modified(|shown| {
            let differs = *shown != readings;
            *shown = readings;
            differs
        });
    }
}
