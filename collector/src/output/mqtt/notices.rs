//! The channel of notices: what is worth telling people, once for each step; a repeat has the
//! same key.

use std::sync::Arc;

use pvewatch_edge::mqtt::Message;
use pvewatch_protocol::{Site, Topic, codec};

use super::{ALERTS, OutputError, Voice, pause_after};
use crate::output::channel::{Channel, Step};
use crate::run::Counters;

#[derive(Debug)]
pub(super) struct Notices {
    pub channel: Channel,
    pub site: Site,
    pub counters: Arc<Counters>,
}

impl Notices {
    /// Publishes until the connection ends.
    pub(super) async fn speak(&mut self, voice: &Voice) -> OutputError {
        loop {
            let Err(error) = self.publish_steps(voice).await else { continue };
            if let Err(error) = pause_after(&self.channel, error).await {
                return error;
            }
        }
    }

    async fn publish_steps(&mut self, voice: &Voice) -> Result<(), OutputError> {
        for Step { id, transition } in self.channel.next_steps().await? {
            if let Some(notice) = transition.and_then(|transition| transition.notice()) {
                // Whoever acts on a notice finds its alert there.
                self.channel.follow(ALERTS, id).await;
                let message = Message::new(Topic::Notice.at(&self.site), codec::encode(&notice)?);
                voice.deliver(message.content_type("application/json")).await?;
                self.counters.notices.add(1);
            }
            self.channel.works();
            self.channel.took(id);
        }
        Ok(())
    }
}
