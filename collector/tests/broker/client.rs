//! Clients of a broker, and what they wait for.

use std::net::SocketAddr;
use std::time::Duration;

use pvewatch_collector::broker::{
    BrokerListenSettings, EmbeddedBroker, Role, Running, UserSettings,
};
use pvewatch_edge::mqtt::{
    Broker, ConnectError, ConnectOptions, Connection, ConnectionLost, Incoming, Message,
    PublishReason, Received, Secret, SubscribeReason, Subscription, Will,
};
use pvewatch_protocol::Site;
use tokio::time::timeout;

pub const SOON: Duration = Duration::from_secs(10);
pub const OWN: &str = "pvewatch/v1/home/node/pve1";

pub fn free_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

pub async fn start(settings: BrokerListenSettings) -> Running {
    EmbeddedBroker::start(&settings, &Site::default()).await.unwrap_or_else(|e| panic!("{e}"))
}

pub async fn start_open() -> Running {
    start(BrokerListenSettings { listen: free_port(), anonymous: true, ..Default::default() }).await
}

pub fn user(name: &str, role: Role) -> UserSettings {
    let password = Some(Secret::new(format!("{name}'s password")));
    UserSettings { name: name.to_owned(), role, password_file: None, password }
}

pub async fn start_with_users() -> Running {
    let users = vec![user("pve1", Role::Node), user("pve2", Role::Node), user("bot", Role::Reader)];
    start(BrokerListenSettings { listen: free_port(), users, ..Default::default() }).await
}

pub fn access(running: &Running, name: &str) -> Broker {
    Broker::plain(running.url(), Some((name.to_owned(), Secret::new(format!("{name}'s password")))))
}

pub async fn open(broker: &Broker, options: ConnectOptions) -> Result<Connection, ConnectError> {
    Connection::open(broker, &broker.urls()[0], &options).await
}

pub async fn connect(broker: &Broker, client_id: &str) -> Connection {
    open(broker, ConnectOptions::new(client_id)).await.unwrap_or_else(|e| panic!("{e}"))
}

pub fn anonymous(running: &Running) -> Broker {
    Broker::plain(running.url(), None)
}

pub async fn next(connection: &mut Connection) -> Incoming {
    timeout(SOON, connection.next()).await.expect("something comes in").unwrap()
}

pub async fn message(connection: &mut Connection) -> Received {
    loop {
        if let Incoming::Message(message) = next(connection).await {
            return message;
        }
    }
}

pub async fn lost(connection: &mut Connection) -> ConnectionLost {
    let end = async {
        loop {
            if let Err(lost) = connection.next().await {
                return lost;
            }
        }
    };
    timeout(SOON, end).await.expect("the connection ends")
}

pub async fn subscribe(connection: &mut Connection, filter: &str) -> SubscribeReason {
    let wanted = connection.client().subscribe(vec![Subscription::new(filter)]).await.unwrap();
    loop {
        if let Incoming::Subscribed { ticket, reasons } = next(connection).await {
            assert_eq!(ticket, wanted);
            return reasons[0];
        }
    }
}

pub async fn publish(connection: &mut Connection, message: Message) -> PublishReason {
    let wanted = connection.client().publish(message).await.unwrap();
    loop {
        if let Incoming::PublishAcked { ticket, reason } = next(connection).await {
            assert_eq!(ticket, wanted);
            return reason;
        }
    }
}

/// A will like the ones that pvewatch leaves.
pub fn will(topic: &str) -> Will {
    Will {
        topic: topic.to_owned(),
        payload: "gone".into(),
        retain: true,
        content_type: Some("application/json".to_owned()),
    }
}
