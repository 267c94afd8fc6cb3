//! Somebody else on the broker: publishes what an agent would, and waits for answers.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use pvewatch_collector::app::{self, Running};
use pvewatch_collector::config::Config;
use pvewatch_edge::mqtt::{
    Broker, BrokerSettings, ConnectOptions, Connection, Incoming, Message, Received, Subscription,
};
use pvewatch_protocol::event::{UnitChange, UnitChanged, UnitState};
use pvewatch_protocol::{
    Ack, AckMessage, AlertMessage, CollectorPresence, Event, EventData, NodeName, Notice, Position,
    PresenceState, Sequence, Site, StreamId, Topic, codec,
};
use tokio::time::timeout;
use uuid::Uuid;

/// Far beyond anything that happens here: reaching it is a failure.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub const RULES: &str = r#"
[[rule]]
name = "Failed"
scope = "unit"
when = 'active_state == "failed"'
severity = "critical"
summary = "{{ name }} failed on {{ node.name }}"
"#;

pub fn config(dir: &Path) -> Config {
    config_with(dir, "[embedded_broker]\nlisten = \"127.0.0.1:0\"")
}

pub fn config_with(dir: &Path, broker: &str) -> Config {
    let rules = dir.join("rules.toml");
    std::fs::write(&rules, RULES).unwrap();
    let text = format!(
        "data = \"{}/data\"\n{broker}\n\
         [http]\nlisten = \"127.0.0.1:0\"\n[rules]\ncatalogue = false\nfiles = [{rules:?}]",
        dir.display()
    );
    Config::parse(Path::new("test.toml"), &text).unwrap()
}

pub fn node() -> NodeName {
    // A name that is also a level of other topics.
    "alert".parse().unwrap()
}

pub fn stream() -> StreamId {
    StreamId(Uuid::now_v7())
}

#[expect(clippy::disallowed_methods, reason = "an agent tells the time")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

pub fn unit_event(stream: StreamId, sequence: u64, active_state: &str) -> Event {
    let failed = active_state == "failed";
    let state = UnitState {
        unit: "ssh.service".into(),
        load_state: "loaded".into(),
        active_state: active_state.into(),
        sub_state: active_state.into(),
        result: None,
        exit: None,
        restarts: 0,
        will_restart: false,
        invocation_id: None,
        changed_at: Some(now()),
        crash_loop: None,
    };
    let change = if failed { UnitChange::Failed } else { UnitChange::Recovered };
    Event {
        site: Site::default(),
        node: node(),
        position: Position { stream, sequence: Sequence(sequence) },
        time: now(),
        recorded_time: now(),
        data: EventData::UnitChanged(Box::new(UnitChanged { change, state })),
        extensions: serde_json::Map::new(),
    }
}

/// A collector with its embedded broker, and somebody on it; the collector is ready.
pub async fn started(config: Config) -> (Running, Peer) {
    let running = app::start(config).await.unwrap();
    let mut peer = Peer::connect(&running).await;
    peer.wait_ready().await;
    (running, peer)
}

/// An agent, or anyone else on the broker.
pub struct Peer {
    pub connection: Connection,
    skipped: Vec<Received>,
}

impl Peer {
    pub async fn connect(running: &Running) -> Self {
        Self::connect_to(running.mqtt_addr.unwrap()).await
    }

    pub async fn connect_to(address: SocketAddr) -> Self {
        let url = format!("mqtt://{address}");
        let settings = BrokerSettings { urls: vec![url.parse().unwrap()], ..Default::default() };
        let broker = Broker::prepare_with(&settings, None).unwrap();
        let options = ConnectOptions::new(format!("peer-{}", Uuid::now_v7()));
        let connection = Connection::open(&broker, &broker.urls()[0], &options).await.unwrap();
        let everything = vec![Subscription::new("pvewatch/v1/#")];
        connection.client().subscribe(everything).await.unwrap();
        Self { connection, skipped: Vec::new() }
    }

    pub async fn publish(&self, event: &Event) {
        let kind = event.data.kind().to_owned();
        let topic = Topic::Event { node: event.node.clone(), kind }.at(&event.site);
        self.publish_raw(&topic, codec::encode_event(event).unwrap()).await;
    }

    pub async fn publish_raw(&self, topic: &str, payload: Vec<u8>) {
        self.connection.client().publish(Message::new(topic, payload)).await.unwrap();
    }

    /// The first message that `pick` makes something of and nobody waited for yet: acks, alerts
    /// and presence have no order among each other.
    pub async fn wait<T>(&mut self, what: &str, pick: impl Fn(&Received) -> Option<T>) -> T {
        let waiting = self.skipped.iter().enumerate();
        let found = waiting.filter_map(|(at, received)| Some((at, pick(received)?))).next();
        if let Some((at, found)) = found {
            self.skipped.remove(at);
            return found;
        }
        let found = async {
            loop {
                if let Incoming::Message(received) = self.connection.next().await.unwrap() {
                    match pick(&received) {
                        Some(found) => return found,
                        None => self.skipped.push(received),
                    }
                }
            }
        };
        timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("never came: {what}"))
    }

    pub async fn wait_ready(&mut self) {
        let is_ready = |received: &Received| {
            let presence = presence(received)?;
            (presence.ready && presence.state == PresenceState::Online).then_some(())
        };
        self.wait("the collector is ready", is_ready).await;
    }

    /// Waits until the stream is acked up to at least `through`.
    pub async fn wait_acked_beyond(&mut self, stream: StreamId, through: u64) {
        self.wait(&format!("an ack of {through} or more"), |received| {
            let ack = ack(received)?;
            (ack.stream == stream && ack.through >= Sequence(through)).then_some(())
        })
        .await;
    }

    pub async fn wait_ack(&mut self, stream: StreamId, through: u64) -> Ack {
        self.wait(&format!("ack {through}"), |received| {
            let ack = ack(received)?;
            (ack.stream == stream && ack.through == Sequence(through)).then_some(ack)
        })
        .await
    }
}

pub fn presence(received: &Received) -> Option<CollectorPresence> {
    let (_, topic) = Topic::parse(&received.topic).ok()?;
    matches!(topic, Topic::CollectorPresence { .. })
        .then(|| codec::decode(&received.payload).unwrap())
}

pub fn ack(received: &Received) -> Option<Ack> {
    let (_, topic) = Topic::parse(&received.topic).ok()?;
    matches!(topic, Topic::Ack { .. }).then(|| codec::decode(&received.payload).unwrap())
}

pub fn ack_message(received: &Received) -> Option<AckMessage> {
    let (_, topic) = Topic::parse(&received.topic).ok()?;
    matches!(topic, Topic::Ack { .. }).then(|| codec::decode(&received.payload).unwrap())
}

pub fn alert(received: &Received) -> Option<AlertMessage> {
    let (_, topic) = Topic::parse(&received.topic).ok()?;
    let is_alert = matches!(topic, Topic::Alert { .. }) && !received.payload.is_empty();
    is_alert.then(|| codec::decode(&received.payload).unwrap())
}

pub fn notice(received: &Received) -> Option<Notice> {
    let (_, topic) = Topic::parse(&received.topic).ok()?;
    matches!(topic, Topic::Notice).then(|| codec::decode(&received.payload).unwrap())
}
