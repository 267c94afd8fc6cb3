//! The connection to the broker, shared by agent and collector.
//!
//! An MQTT session carries nothing: every connection starts clean, with a new client and a new
//! event loop, and whoever publishes keeps what is not yet acknowledged. One [`Connection`] is
//! one attempt at one URL; when it ends, [`backoff`] says how long to wait before the next.
//! Absent on purpose: reconnecting (the owner decides where and when), topics, and payloads.

mod backoff;
mod broker;
mod client;
mod connection;
mod diagnose;
mod driver;
mod error;
mod message;
mod secret;
mod settings;
mod url;
mod watchdog;

pub use backoff::{Backoff, DELAY_MAX, DELAY_MIN, backoff};
pub use broker::{Broker, BrokerError, PASSWORD_VARIABLE};
pub use client::{COMMANDS_MAX, Client, PublishError};
pub use connection::{Closing, ConnectOptions, Connection, Limits};
pub use driver::{IN_FLIGHT_MAX, INCOMING_BYTES_MAX, INCOMING_MAX};
pub use error::{ConnectError, ConnectionLost};
pub use message::{
    Incoming, Message, PACKET_BYTES_MAX, PAYLOAD_BYTES_MAX, PublishReason, PublishRefusal, Qos,
    Received, SubscribeReason, Subscription, Ticket, Will,
};
pub use secret::Secret;
pub use settings::{BrokerSettings, KEEP_ALIVE_SECONDS_DEFAULT};
pub use url::{BrokerUrl, UrlError};
