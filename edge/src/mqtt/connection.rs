//! One connection: made in one bounded attempt, used, closed or lost.
//!
//! Dropping a [`Connection`] cuts it, and the broker publishes its will; [`Connection::close`]
//! says goodbye first. Absent on purpose: a second attempt.

use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::{ConnAckProperties, ConnectProperties, Packet};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use rumqttc::{NetworkOptions, TlsConfiguration, Transport};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::broker::Broker;
use super::client::{COMMANDS_MAX, Client};
use super::driver::{Driver, Forwarded, IN_FLIGHT_MAX, INCOMING_MAX, Parts, REQUESTS_MAX};
use super::error::{ConnectError, ConnectionLost};
use super::message::{Incoming, PACKET_BYTES_MAX, Will};
use super::url::BrokerUrl;
use super::watchdog::Watchdog;

/// How long the broker is given before a connection counts as failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For an attempt: name service, TCP, TLS, and the broker's answer.
    pub connect: Duration,
    /// For the answer to a message or subscription.
    pub answer: Duration,
    /// For any sign of life; twice the keep-alive without it.
    pub silence: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), answer: Duration::from_secs(15), silence: None }
    }
}

/// What is particular to one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectOptions {
    /// Unique among the broker's clients: a second client of the same name ends the first.
    pub client_id: String,
    /// What the broker publishes when the connection ends without a goodbye.
    pub will: Option<Will>,
    /// How long the broker is given.
    pub limits: Limits,
}

impl ConnectOptions {
    /// No will, and the usual limits.
    pub fn new(client_id: impl Into<String>) -> Self {
        Self { client_id: client_id.into(), will: None, limits: Limits::default() }
    }

    /// The same with a will.
    pub fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }
}

/// A connection that the broker has accepted.
#[derive(Debug)]
pub struct Connection {
    client: Client,
    incoming: mpsc::Receiver<Forwarded>,
    driver: JoinHandle<ConnectionLost>,
    lost: Option<ConnectionLost>,
}

/// How a connection was closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closing {
    /// Everything was acknowledged and goodbye said: the broker does not publish the will.
    Graceful,
    /// The time was up: the connection was cut, and the broker publishes the will.
    TimedOut,
    /// It had ended before.
    Lost(ConnectionLost),
}

impl Connection {
    /// Tries once to connect to `url`, one of `broker`'s. Session state is neither kept nor
    /// taken up.
    ///
    /// # Errors
    /// When the broker cannot be reached in time, is not to be trusted, or refuses.
    pub async fn open(
        broker: &Broker,
        url: &BrokerUrl,
        options: &ConnectOptions,
    ) -> Result<Self, ConnectError> {
        let limits = options.limits;
        let (requests, mut event_loop) =
            AsyncClient::new(mqtt_options(broker, url, options)?, REQUESTS_MAX);
        let accepted = match timeout(limits.connect, event_loop.poll()).await {
            Err(_) => {
                return Err(ConnectError::Timeout { url: url.clone(), limit: limits.connect });
            }
            Ok(Err(error)) => return Err(ConnectError::understand(broker, url, &error)),
            Ok(Ok(Event::Incoming(Packet::ConnAck(accepted)))) => {
                Granted::from(accepted.properties)
            }
            Ok(Ok(event)) => {
                let cause = format!("it began with {event:?}");
                return Err(ConnectError::NotMqtt { url: url.clone(), cause });
            }
        };
        if let Some(feature) = accepted.missing {
            return Err(ConnectError::Unsuitable { url: url.clone(), feature });
        }
        // A broker may ask for another keep-alive; 0 would mean to ping without a pause.
        if event_loop.options.keep_alive() < broker.keep_alive().min(KEEP_ALIVE_MIN) {
            event_loop.options.set_keep_alive(broker.keep_alive());
        }
        let silence = limits.silence.unwrap_or(event_loop.options.keep_alive() * 2);
        let (commands_in, commands) = mpsc::channel(COMMANDS_MAX);
        let (incoming_in, incoming) = mpsc::channel(INCOMING_MAX);
        let driver = Driver::new(Parts {
            event_loop,
            requests,
            commands,
            incoming: incoming_in,
            watchdog: Watchdog::new(Instant::now(), limits.answer, silence),
            window: accepted.window,
        });
        Ok(Self {
            client: Client::new(commands_in, accepted.packet_bytes_max),
            incoming,
            driver: tokio::spawn(driver.run()),
            lost: None,
        })
    }

    /// A handle to publish and subscribe with.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// What comes in next. Cancel safe: nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// When the connection has ended and everything that came in before has been taken; the same
    /// error again at every further call.
    pub async fn next(&mut self) -> Result<Incoming, ConnectionLost> {
        if let Some((incoming, _share)) = self.incoming.recv().await {
            return Ok(incoming);
        }
        if self.lost.is_none() {
            let ended = (&mut self.driver).await;
            self.lost = Some(ended.unwrap_or_else(|error| ConnectionLost::Broken {
                cause: format!("its task ended: {error}"),
            }));
        }
        Err(self.lost.clone().unwrap_or(ConnectionLost::Closed))
    }

    /// Sends what was handed over before, waits for the broker's answers, says goodbye, and
    /// waits for the broker to close; `limit` bounds all of it. What still comes in is dropped.
    pub async fn close(mut self, limit: Duration) -> Closing {
        if let Some(lost) = self.lost.take() {
            return Closing::Lost(lost);
        }
        // Whoever takes nothing any more must not hold up the rest.
        let (_, nothing) = mpsc::channel(1);
        drop(std::mem::replace(&mut self.incoming, nothing));
        let goodbye = async {
            // If the queue is closed the task has ended, and says why.
            let _ = self.client.close().await;
            (&mut self.driver).await
        };
        match timeout(limit, goodbye).await {
            Err(_) => {
                // Cut it now, not when the task is next scheduled.
                self.driver.abort();
                let _ = (&mut self.driver).await;
                Closing::TimedOut
            }
            Ok(Ok(ConnectionLost::Closed)) => Closing::Graceful,
            Ok(Ok(lost)) => Closing::Lost(lost),
            Ok(Err(error)) => {
                Closing::Lost(ConnectionLost::Broken { cause: format!("its task ended: {error}") })
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// rumqttc accepts no shorter keep-alive.
const KEEP_ALIVE_MIN: Duration = Duration::from_secs(5);
/// rumqttc's own limit for an attempt, in seconds: never reached, since ours is shorter.
const RUMQTTC_CONNECT_SECONDS: u64 = 3600;

fn mqtt_options(
    broker: &Broker,
    url: &BrokerUrl,
    options: &ConnectOptions,
) -> Result<MqttOptions, ConnectError> {
    // An IPv6 address goes without brackets: rumqttc uses one text for TCP and for TLS.
    let mut mqtt = MqttOptions::new(options.client_id.clone(), url.host(), url.port());
    mqtt.set_clean_start(true)
        .set_keep_alive(broker.keep_alive().max(KEEP_ALIVE_MIN))
        .set_connection_timeout(RUMQTTC_CONNECT_SECONDS)
        .set_outgoing_inflight_upper_limit(IN_FLIGHT_MAX)
        .set_connect_properties(ConnectProperties {
            max_packet_size: Some(PACKET_BYTES_MAX),
            ..ConnectProperties::new()
        });
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    mqtt.set_network_options(network);
    if url.tls() {
        let Some(tls) = &broker.tls else {
            let cause = "it is not one of the URLs that were prepared".to_owned();
            return Err(ConnectError::Tls { url: url.clone(), cause });
        };
        let config = TlsConfiguration::Rustls(tls.config.clone());
        mqtt.set_transport(Transport::tls_with_config(config));
    }
    if let Some(login) = &broker.login {
        let password = login.password.as_ref().map_or("", |password| password.expose());
        mqtt.set_credentials(login.username.clone(), password);
    }
    if let Some(will) = &options.will {
        mqtt.set_last_will(will.clone().into_packet());
    }
    Ok(mqtt)
}

/// What the broker allows this client.
#[derive(Default)]
struct Granted {
    window: u16,
    packet_bytes_max: Option<u32>,
    missing: Option<&'static str>,
}

impl From<Option<ConnAckProperties>> for Granted {
    fn from(properties: Option<ConnAckProperties>) -> Self {
        let Some(properties) = properties else {
            return Self { window: IN_FLIGHT_MAX, ..Self::default() };
        };
        let missing = if properties.max_qos == Some(0) {
            Some("QoS 1")
        } else if properties.retain_available == Some(0) {
            Some("retained messages")
        } else if properties.wildcard_subscription_available == Some(0) {
            Some("wildcard subscriptions")
        } else {
            None
        };
        Self {
            window: properties.receive_max.unwrap_or(IN_FLIGHT_MAX).clamp(1, IN_FLIGHT_MAX),
            packet_bytes_max: properties.max_packet_size,
            missing,
        }
    }
}
