//! The way back to an earlier broker of the list.
//!
//! When a broker fails, everybody moves on; when it is back, some are there again and others are
//! not. So that all meet, a collector goes back to the first broker of its list that works, and
//! agents follow the collectors. A broker works if a message comes back from it, several times
//! in a row; one that was left again soon has to prove itself for longer.

use std::time::Duration;

use pvewatch_edge::mqtt::{
    Broker, BrokerUrl, ConnectOptions, Connection, Incoming, Message, Subscription,
};
use pvewatch_protocol::{CollectorPresence, codec};
use tokio::time::{Instant, sleep, timeout};

use super::{Says, Speaker, wall_clock};

/// How often the earlier brokers are tried.
const TRY_EVERY: Duration = Duration::from_secs(15);

/// How often in a row a broker must work before it is gone back to: with [`TRY_EVERY`] less than
/// a minute, since nodes that are on another broker count as down 150 s after their last word.
const PROOFS_MIN: u32 = 3;

/// Proofs at most: six minutes.
const PROOFS_MAX: u32 = 24;

/// A broker that was left within this time after a return needs twice the proofs.
const SOON: Duration = Duration::from_secs(60 * 60);

/// How long one trial may take.
const TRIAL_MAX: Duration = Duration::from_secs(10);

/// When to go back, and where to.
#[derive(Debug, Default)]
pub(super) struct Homecoming {
    /// The broker that worked last, and how often in a row.
    proofs: Option<(usize, u32)>,
    needed: Option<u32>,
    returned_at: Option<Instant>,
}

impl Homecoming {
    /// A broker other than the first is used from now on.
    fn begin(&mut self, now: Instant) {
        self.proofs = None;
        let was_soon = self.returned_at.is_some_and(|at| now.duration_since(at) < SOON);
        let needed = self.needed.filter(|_| was_soon);
        self.needed = Some(needed.map_or(PROOFS_MIN, |needed| (needed * 2).min(PROOFS_MAX)));
    }

    /// The first of the earlier brokers that works now, if any does. Returns whether it is time
    /// to go there.
    fn note(&mut self, works: Option<usize>, now: Instant) -> Option<usize> {
        let Some(place) = works else {
            self.proofs = None;
            return None;
        };
        let count = match self.proofs {
            Some((before, count)) if before == place => count + 1,
            _ => 1,
        };
        self.proofs = Some((place, count));
        if count < self.needed.unwrap_or(PROOFS_MIN) {
            return None;
        }
        self.returned_at = Some(now);
        Some(place)
    }

    /// Waits until it is time to go back to one of the URLs before the one in use; for ever if
    /// there is none.
    pub(super) async fn wait(
        &mut self,
        broker: &Broker,
        speaker: &Speaker,
        in_use: usize,
    ) -> usize {
        if in_use == 0 {
            return std::future::pending().await;
        }
        self.begin(Instant::now());
        loop {
            sleep(TRY_EVERY).await;
            let mut works = None;
            for (place, url) in broker.urls().iter().take(in_use).enumerate() {
                if timeout(TRIAL_MAX, answers(broker, url, speaker)).await.unwrap_or(false) {
                    works = Some(place);
                    break;
                }
            }
            if let Some(place) = self.note(works, Instant::now()) {
                return place;
            }
        }
    }
}

/// Whether a broker passes on what it takes: this collector's own word, that it is not there.
async fn answers(broker: &Broker, url: &BrokerUrl, speaker: &Speaker) -> bool {
    let options = ConnectOptions::new(format!("{}-trial", speaker.client_id()));
    let Ok(mut connection) = Connection::open(broker, url, &options).await else { return false };
    let word = speaker.presence(Says::Offline, wall_clock());
    let heard = async {
        let client = connection.client();
        client.subscribe(vec![Subscription::new(speaker.topic())]).await.ok()?;
        // Not retained: what the broker keeps of this collector stays as it is.
        let payload = codec::encode(&word).unwrap_or_default();
        client.publish(Message::new(speaker.topic(), payload)).await.ok()?;
        loop {
            if let Incoming::Message(received) = connection.next().await.ok()?
                && codec::decode::<CollectorPresence>(&received.payload).ok().as_ref()
                    == Some(&word)
            {
                return Some(());
            }
        }
    };
    let works = heard.await.is_some();
    connection.close(TRIAL_MAX).await;
    works
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Option<usize> = Some(0);

    #[test]
    fn a_broker_that_works_three_times_in_a_row_is_gone_back_to() {
        let mut home = Homecoming::default();
        let now = Instant::now();
        home.begin(now);
        let trials = [FIRST, FIRST, None, FIRST, Some(1), FIRST, FIRST];
        for works in trials {
            assert_eq!(home.note(works, now), None);
        }
        assert_eq!(home.note(FIRST, now), Some(0));
    }

    #[test]
    fn a_broker_that_is_left_again_and_again_has_to_work_for_longer() {
        let mut home = Homecoming::default();
        let mut now = Instant::now();
        let mut trials = |pause: Duration| {
            now += pause;
            home.begin(now);
            (1..).find(|_| home.note(FIRST, now).is_some()).unwrap()
        };
        let minute = Duration::from_secs(60);
        let needed: Vec<u32> = (0..5).map(|_| trials(minute)).collect();
        assert_eq!(needed, [3, 6, 12, 24, 24]);
        assert_eq!(trials(2 * SOON), 3, "long ago is forgotten");
    }
}
