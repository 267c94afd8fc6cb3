//! A subscriber that throws everything away: what is left of a way through a broker when nothing
//! is done with what comes.
//!
//! It confirms what comes as any QoS 1 subscriber must, and looks at nothing but its number.

use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use rumqttc::NetworkOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, Event, EventLoop, Incoming, MqttOptions};

use crate::deadline::{GENEROUS, now};

/// As large as anything that pvewatch sends.
const PACKET_BYTES_MAX: u32 = 1 << 20;

/// The subscriber, in a thread of its own with a runtime of its own.
#[derive(Debug)]
pub struct Bare {
    done: Receiver<Timestamp>,
}

impl Bare {
    /// Subscribes to `filter`; returns when the broker has confirmed it. It ends after `count`
    /// messages.
    ///
    /// # Panics
    /// When the broker does not confirm.
    #[track_caller]
    pub fn subscribe(port: u16, filter: &str, count: usize) -> Self {
        let (tell_ready, ready) = channel();
        let (tell_done, done) = channel();
        let mut options = MqttOptions::new("bench-bare", "127.0.0.1", port);
        options.set_clean_start(true);
        options.set_max_packet_size(Some(PACKET_BYTES_MAX));
        options.set_outgoing_inflight_upper_limit(16);
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        let filter = filter.to_owned();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a thread can have a runtime").block_on(async {
                let (client, mut event_loop) = AsyncClient::new(options, 16);
                client.subscribe(filter, QoS::AtLeastOnce).await.expect("the loop runs");
                wait_for_subscription(&mut event_loop).await;
                let _ = tell_ready.send(());
                throw_away(&mut event_loop, count).await;
                let _ = tell_done.send(now());
                let _ = client.disconnect().await;
                while event_loop.poll().await.is_ok() {}
            });
        });
        ready.recv_timeout(GENEROUS).expect("the broker confirms a subscription");
        Self { done }
    }

    /// When the last message came; none if it did not within that time.
    pub fn done_within(&self, within: Duration) -> Option<Timestamp> {
        self.done.recv_timeout(within).ok()
    }
}

async fn wait_for_subscription(event_loop: &mut EventLoop) {
    loop {
        if let Event::Incoming(Incoming::SubAck(_)) = poll(event_loop).await {
            return;
        }
    }
}

async fn throw_away(event_loop: &mut EventLoop, count: usize) {
    let mut left = count;
    while left > 0 {
        if let Event::Incoming(Incoming::Publish(_)) = poll(event_loop).await {
            left -= 1;
        }
    }
}

async fn poll(event_loop: &mut EventLoop) -> Event {
    event_loop.poll().await.expect("the broker stays connected")
}
