//! The messages that the embedded broker keeps for later subscribers, in memory.
//!
//! rmqtt's own store forgets a retained message after its default expiry, five minutes, and
//! refuses even a replacement once it is full; here only the sender's expiry counts, and what is
//! kept can always be replaced. A restart forgets all: agents and collectors publish again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rmqtt::retain::{DefaultRetainStorage, RetainStorage};
use rmqtt::types::{Retain, TopicFilter, TopicName};

/// Topics with a retained message. A node has some ten of them and each alert one, so this is
/// enough for thousands of nodes. Beyond it messages for new topics are not kept (subscribers
/// that are there still get them), which is logged once.
pub(super) const RETAINED_MAX: isize = 200_000;
/// How often expired messages are removed. They are not given out even before.
pub(super) const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);

/// The store; clones share it.
#[derive(Clone)]
pub(super) struct Retained {
    tree: Arc<DefaultRetainStorage>,
    max: isize,
    full_was_logged: Arc<AtomicBool>,
}

impl Retained {
    pub(super) fn new(max: isize) -> Self {
        Self { tree: Arc::new(DefaultRetainStorage::new()), max, full_was_logged: Arc::default() }
    }

    pub(super) async fn remove_expired(&self) {
        self.tree.remove_expired_messages().await;
    }
}

#[async_trait]
impl RetainStorage for Retained {
    fn enable(&self) -> bool {
        true
    }

    fn need_sync(&self) -> bool {
        false
    }

    async fn set(
        &self,
        topic: &TopicName,
        message: Retain,
        _broker_expiry: Option<Duration>,
    ) -> rmqtt::Result<()> {
        let removes = message.publish.payload.is_empty();
        if !removes
            && self.tree.count().await >= self.max
            && self.tree.get_message(topic).await?.is_empty()
        {
            if !self.full_was_logged.swap(true, Ordering::Relaxed) {
                log::warn!(
                    "broker: {} retained messages are kept already: no new topic is, from {topic} on",
                    self.max
                );
            }
            return Ok(());
        }
        let properties = message.publish.properties.as_ref();
        let seconds = properties.and_then(|properties| properties.message_expiry_interval);
        let expiry = seconds.map(|seconds| Duration::from_secs(u64::from(seconds.get())));
        self.tree.set_with_timeout(topic, message, expiry).await
    }

    async fn get(&self, filter: &TopicFilter) -> rmqtt::Result<Vec<(TopicName, Retain)>> {
        self.tree.get_message(filter).await
    }

    async fn count(&self) -> isize {
        self.tree.count().await
    }

    async fn max(&self) -> isize {
        self.tree.max().await
    }
}
