//! The channel of notices: what is worth telling people, once for each step; a repeat has the
//! same key.

use std::sync::Arc;

use pvewatch_edge::mqtt::Message;
use pvewatch_protocol::{Site, Topic, codec};

use super::{ALERTS, OutputError, Voice, pause_after};
use crate::output::channel::Channel;
use crate::output::page::{Manner, Next, Page};
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
        let mut page = Page::new(Manner::Notices, self.channel.next_steps().await?);
        loop {
            match page.what_next() {
                Next::Send { id, transition } => {
                    if let Some(notice) = transition.notice() {
                        // Whoever acts on a notice finds its alert there.
                        self.channel.follow(ALERTS, id).await;
                        let payload = codec::encode(&notice)?;
                        let message = Message::new(Topic::Notice.at(&self.site), payload);
                        voice.deliver(message.content_type("application/json")).await?;
                        self.counters.notices.add(1);
                    }
                    page.taken();
                }
                Next::Prove => page.proved(),
                Next::Move(through) => {
                    self.channel.works();
                    self.channel.took(through);
                }
                Next::Nothing => return Ok(()),
            }
        }
    }
}
