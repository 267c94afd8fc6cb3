//! An independent MQTT 5 subscriber: records every message with the time it arrived, and lets a
//! test wait for the one it wants to see.
//!
//! It shares no code with the agent or the collector except the payload types. It comes back by
//! itself when the broker does, and subscribes again.

use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use pvewatch_protocol::{Event, codec};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, Filter, Publish, PublishProperties};
use rumqttc::v5::{Client, ConnectionError, Event as Traffic, Incoming, MqttOptions};
use rumqttc::{NetworkOptions, TlsConfiguration, Transport};
use serde_json::Value;

use crate::certificates::Identity;
use crate::deadline::{Deadline, GENEROUS, now};

/// Larger than anything that a test sends, also when it is meant to be too large.
const PACKET_BYTES_MAX: u32 = 32 * 1024 * 1024;

/// The time between two attempts to connect.
const RECONNECT_DELAY: Duration = Duration::from_millis(50);

/// How to reach a broker, and as whom.
#[derive(Debug, Clone)]
pub struct Access {
    /// The port on 127.0.0.1.
    pub port: u16,
    /// User name and password, if the broker asks for them.
    pub user: Option<(String, String)>,
    /// The authority to trust and the client's own certificate, if the broker speaks TLS.
    pub tls: Option<Tls>,
}

impl Access {
    /// Without TLS, without a user.
    pub fn plain(port: u16) -> Self {
        Self { port, user: None, tls: None }
    }

    /// The broker's address as pvewatch's configuration writes it.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "mqtts" } else { "mqtt" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    fn options(&self, client_id: &str) -> MqttOptions {
        let mut options = MqttOptions::new(client_id, "127.0.0.1", self.port);
        options.set_clean_start(true);
        options.set_keep_alive(Duration::from_secs(5));
        options.set_max_packet_size(Some(PACKET_BYTES_MAX));
        options.set_outgoing_inflight_upper_limit(100);
        // An ack that waits for another would delay what comes after it.
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        if let Some((user, password)) = &self.user {
            options.set_credentials(user, password);
        }
        if let Some(tls) = &self.tls {
            // A second installation of the same provider changes nothing.
            let _ = rustls::crypto::ring::default_provider().install_default();
            options.set_transport(Transport::tls_with_config(tls.configuration()));
        }
        options
    }
}

/// The TLS side of an [`Access`].
#[derive(Debug, Clone)]
pub struct Tls {
    /// The authority's certificate.
    pub authority: std::path::PathBuf,
    /// The client's own certificate, if it shows one.
    pub identity: Option<Identity>,
}

impl Tls {
    fn configuration(&self) -> TlsConfiguration {
        let read = |path| std::fs::read(path).expect("a certificate made by this test");
        TlsConfiguration::Simple {
            ca: read(&self.authority),
            alpn: None,
            client_auth: self.identity.as_ref().map(|it| (read(&it.certificate), read(&it.key))),
        }
    }
}

/// A message as it arrived.
#[derive(Debug, Clone)]
pub struct Message {
    /// The full topic.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// Whether the broker had kept it from before the subscription.
    pub retained: bool,
    /// The MQTT 5 content type, if it has one.
    pub content_type: Option<String>,
    /// The message expiry in seconds, if it has one.
    pub expiry_seconds: Option<u32>,
    /// When it arrived.
    pub arrived: Timestamp,
}

impl Message {
    /// The payload as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap_or_default()
    }

    /// The payload as an event, if its topic is one of events and it is one.
    pub fn event(&self) -> Option<Event> {
        self.topic.contains("/event/").then(|| codec::decode_event(&self.payload).ok()).flatten()
    }

    fn from(publish: Publish) -> Self {
        let properties = publish.properties.unwrap_or_default();
        Self {
            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
            payload: publish.payload.to_vec(),
            retained: publish.retain,
            content_type: properties.content_type,
            expiry_seconds: properties.message_expiry_interval,
            arrived: now(),
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_CHARS_MAX: usize = 300;
        let text = String::from_utf8_lossy(&self.payload);
        let shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
        write!(f, "{} {} {shown}", self.arrived, self.topic)
    }
}

/// What the connection's thread tells the test.
enum News {
    Subscribed,
    Arrived(Message),
    Refused(ConnectReturnCode),
    Failed(String),
    PublishAcked,
}

/// The subscriber; its thread ends with it.
pub struct Subscriber {
    client: Client,
    news: Receiver<News>,
    messages: Vec<Message>,
    acked_publishes: usize,
}

impl Subscriber {
    /// Connects and subscribes to `filters`; returns when the broker has confirmed both.
    ///
    /// # Panics
    /// When the broker refuses, or cannot be reached in time.
    #[track_caller]
    pub fn connect(access: &Access, filters: &[&str]) -> Self {
        let deadline = Deadline::after(GENEROUS);
        loop {
            match Self::try_connect(access, filters) {
                Ok(subscriber) => return subscriber,
                Err(reason) if deadline.has_passed() => {
                    panic!("the subscriber cannot connect to {}: {reason}", access.url())
                }
                Err(_) => thread::sleep(RECONNECT_DELAY),
            }
        }
    }

    /// Connects and subscribes in one attempt, for tests in which the broker is meant to refuse.
    ///
    /// # Errors
    /// What the broker or TLS said.
    pub fn try_connect(access: &Access, filters: &[&str]) -> Result<Self, String> {
        let client_id = format!("observer-{}", client_number());
        let (client, mut connection) = Client::new(access.options(&client_id), 64);
        let (tell, news) = channel();
        let again = client.clone();
        let filters: Vec<String> = filters.iter().map(|&filter| filter.to_owned()).collect();
        thread::spawn(move || {
            for traffic in connection.iter() {
                if on_traffic(traffic, &again, &filters, &tell).is_none() {
                    return;
                }
            }
        });
        let mut this = Self { client, news, messages: Vec::new(), acked_publishes: 0 };
        loop {
            match this.news.recv_timeout(GENEROUS) {
                Ok(News::Subscribed) => return Ok(this),
                Ok(News::Refused(code)) => return Err(format!("{code:?}")),
                Ok(News::Failed(reason)) => return Err(reason),
                Ok(News::Arrived(message)) => this.messages.push(message),
                Ok(News::PublishAcked) => {}
                Err(_) => return Err("the broker does not answer".to_owned()),
            }
        }
    }

    /// Publishes with QoS 1 and waits until the broker has it.
    ///
    /// # Panics
    /// When the broker does not confirm in time.
    #[track_caller]
    pub fn publish(&mut self, topic: &str, payload: impl Into<Vec<u8>>, retain: bool) {
        let properties = PublishProperties::default();
        let before = self.acked_publishes;
        self.client
            .publish_with_properties(topic, QoS::AtLeastOnce, retain, payload.into(), properties)
            .expect("the connection's thread runs");
        let deadline = Deadline::after(GENEROUS);
        while self.acked_publishes == before {
            assert!(self.wait_for_news(deadline), "the broker did not confirm {topic}");
        }
    }

    /// Waits until a message is there for which `wanted` is true; earlier ones count too.
    ///
    /// # Panics
    /// When none came within that time; shows what did come.
    #[track_caller]
    pub fn wait_for(
        &mut self,
        what: &str,
        within: Duration,
        wanted: impl Fn(&Message) -> bool,
    ) -> Message {
        match self.find(within, wanted) {
            Some(message) => message,
            None => panic!("waited {within:?} for {what}; what came:\n{}", self.summary()),
        }
    }

    /// As [`Subscriber::wait_for`], without the panic.
    pub fn find(&mut self, within: Duration, wanted: impl Fn(&Message) -> bool) -> Option<Message> {
        let deadline = Deadline::after(within);
        let mut looked_at = 0;
        loop {
            let found = self.messages[looked_at..].iter().find(|message| wanted(message)).cloned();
            if found.is_some() {
                return found;
            }
            looked_at = self.messages.len();
            if !self.wait_for_news(deadline) {
                return None;
            }
        }
    }

    /// Everything that has arrived so far, in order.
    pub fn messages(&mut self) -> &[Message] {
        while let Ok(news) = self.news.try_recv() {
            self.note(news);
        }
        &self.messages
    }

    /// Forgets what has arrived so far, so that a test can speak of what comes after.
    pub fn forget(&mut self) {
        self.messages();
        self.messages.clear();
    }

    /// Takes out everything that has arrived; if nothing has, waits for the first.
    pub fn take_within(&mut self, within: Duration) -> Vec<Message> {
        if self.messages().is_empty() {
            self.find(within, |_| true);
        }
        std::mem::take(&mut self.messages)
    }

    /// The last messages, one a line.
    pub fn summary(&mut self) -> String {
        const SHOWN_MAX: usize = 40;
        let messages = self.messages();
        let skipped = messages.len().saturating_sub(SHOWN_MAX);
        let lines = messages[skipped..].iter().map(|message| format!("  {message}"));
        std::iter::once(format!("  ({} messages)", messages.len()))
            .chain(lines)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Waits until something happened, be it a message or not; false when the deadline passed.
    pub fn wait_for_news(&mut self, deadline: Deadline) -> bool {
        match self.news.recv_timeout(deadline.remaining()) {
            Ok(news) => {
                self.note(news);
                true
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => false,
        }
    }

    fn note(&mut self, news: News) {
        match news {
            News::Arrived(message) => self.messages.push(message),
            News::PublishAcked => self.acked_publishes += 1,
            News::Subscribed | News::Refused(_) | News::Failed(_) => {}
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.client.try_disconnect();
    }
}

/// One step of the connection's thread; none when nobody listens any more.
fn on_traffic(
    traffic: Result<Traffic, ConnectionError>,
    client: &Client,
    filters: &[String],
    tell: &Sender<News>,
) -> Option<()> {
    match traffic {
        Ok(Traffic::Incoming(Incoming::ConnAck(_))) if filters.is_empty() => {
            tell.send(News::Subscribed).ok()
        }
        Ok(Traffic::Incoming(Incoming::ConnAck(_))) => {
            let filters = filters.iter().map(|it| Filter::new(it, QoS::AtLeastOnce));
            client.try_subscribe_many(filters).ok()
        }
        Ok(Traffic::Incoming(Incoming::SubAck(_))) => tell.send(News::Subscribed).ok(),
        Ok(Traffic::Incoming(Incoming::PubAck(_))) => tell.send(News::PublishAcked).ok(),
        Ok(Traffic::Incoming(Incoming::Publish(publish))) => {
            tell.send(News::Arrived(Message::from(publish))).ok()
        }
        Ok(_) => Some(()),
        Err(ConnectionError::RequestsDone) => None,
        Err(ConnectionError::ConnectionRefused(code)) => {
            let _ = tell.send(News::Refused(code));
            None
        }
        Err(error) => {
            tell.send(News::Failed(error.to_string())).ok()?;
            thread::sleep(RECONNECT_DELAY);
            Some(())
        }
    }
}

/// Enough to tell the clients of one test run apart.
fn client_number() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static CLIENTS: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), CLIENTS.fetch_add(1, Ordering::Relaxed))
}
