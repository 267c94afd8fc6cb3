//! The embedded broker with real clients: the connection that agent and collector use, and
//! Mosquitto's command-line programs.

#![cfg(feature = "embedded-broker")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use pvewatch_collector::broker::{
    BrokerListenSettings, BrokerStartError, EmbeddedBroker, Role, Running, TlsListenSettings,
    UserSettings,
};
use pvewatch_edge::mqtt::{
    Broker, BrokerSettings, BrokerUrl, Closing, ConnectError, ConnectOptions, Connection,
    ConnectionLost, Incoming, Message, PAYLOAD_BYTES_MAX, PublishReason, Received, Secret,
    SubscribeReason, Subscription, Will,
};
use pvewatch_protocol::Site;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(10);
const OWN: &str = "pvewatch/v1/home/node/pve1";

fn free_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

async fn start(settings: BrokerListenSettings) -> Running {
    EmbeddedBroker::start(&settings, &Site::default()).await.unwrap_or_else(|e| panic!("{e}"))
}

async fn start_open() -> Running {
    start(BrokerListenSettings { listen: free_port(), anonymous: true, ..Default::default() }).await
}

fn user(name: &str, role: Role) -> UserSettings {
    let password = Some(Secret::new(format!("{name}'s password")));
    UserSettings { name: name.to_owned(), role, password_file: None, password }
}

async fn start_with_users() -> Running {
    let users = vec![user("pve1", Role::Node), user("pve2", Role::Node), user("bot", Role::Reader)];
    start(BrokerListenSettings { listen: free_port(), users, ..Default::default() }).await
}

fn access(running: &Running, name: &str) -> Broker {
    Broker::plain(running.url(), Some((name.to_owned(), Secret::new(format!("{name}'s password")))))
}

async fn open(broker: &Broker, options: ConnectOptions) -> Result<Connection, ConnectError> {
    Connection::open(broker, &broker.urls()[0], &options).await
}

async fn connect(broker: &Broker, client_id: &str) -> Connection {
    open(broker, ConnectOptions::new(client_id)).await.unwrap_or_else(|e| panic!("{e}"))
}

fn anonymous(running: &Running) -> Broker {
    Broker::plain(running.url(), None)
}

async fn next(connection: &mut Connection) -> Incoming {
    timeout(SOON, connection.next()).await.expect("something comes in").unwrap()
}

async fn message(connection: &mut Connection) -> Received {
    loop {
        if let Incoming::Message(message) = next(connection).await {
            return message;
        }
    }
}

async fn lost(connection: &mut Connection) -> ConnectionLost {
    let end = async {
        loop {
            if let Err(lost) = connection.next().await {
                return lost;
            }
        }
    };
    timeout(SOON, end).await.expect("the connection ends")
}

async fn subscribe(connection: &mut Connection, filter: &str) -> SubscribeReason {
    let wanted = connection.client().subscribe(vec![Subscription::new(filter)]).await.unwrap();
    loop {
        if let Incoming::Subscribed { ticket, reasons } = next(connection).await {
            assert_eq!(ticket, wanted);
            return reasons[0];
        }
    }
}

async fn publish(connection: &mut Connection, message: Message) -> PublishReason {
    let wanted = connection.client().publish(message).await.unwrap();
    loop {
        if let Incoming::PublishAcked { ticket, reason } = next(connection).await {
            assert_eq!(ticket, wanted);
            return reason;
        }
    }
}

/// A will like the ones that pvewatch leaves.
fn will(topic: &str) -> Will {
    Will {
        topic: topic.to_owned(),
        payload: "gone".into(),
        retain: true,
        content_type: Some("application/json".to_owned()),
    }
}

#[tokio::test]
async fn messages_reach_subscribers_with_their_properties() {
    let running = start_open().await;
    let mut here = connect(&anonymous(&running), "here").await;
    let mut there = connect(&anonymous(&running), "there").await;
    assert_eq!(subscribe(&mut here, "a/#").await, SubscribeReason::Granted);
    let mut first = Message::new("a/b", "x").content_type("text/plain").expiry(SOON);
    first.response_topic = Some("answer".to_owned());
    first.correlation_data = Some("7".into());
    assert_eq!(publish(&mut there, first).await, PublishReason::Success);
    let large = Message::new("a/large", vec![7; PAYLOAD_BYTES_MAX]);
    assert_eq!(publish(&mut there, large).await, PublishReason::Success);

    let got = message(&mut here).await;
    assert_eq!((got.topic.as_str(), &got.payload[..], got.retained), ("a/b", &b"x"[..], false));
    assert_eq!(got.content_type.as_deref(), Some("text/plain"));
    assert_eq!(got.response_topic.as_deref(), Some("answer"));
    assert_eq!(got.correlation_data.as_deref(), Some(&b"7"[..]));
    assert_eq!(message(&mut here).await.payload.len(), PAYLOAD_BYTES_MAX);
    running.stop(SOON).await;
}

#[tokio::test]
async fn retained_messages_are_kept_replaced_and_removed() {
    let running = start_open().await;
    let broker = anonymous(&running);
    let mut there = connect(&broker, "there").await;
    for (topic, payload) in [("r/a", "1"), ("r/b", "2"), ("r/a", "3"), ("r/b", "")] {
        let kept = Message::new(topic, payload).retained();
        assert_eq!(publish(&mut there, kept).await, PublishReason::Success);
    }
    let mut here = connect(&broker, "here").await;
    assert_eq!(subscribe(&mut here, "r/+").await, SubscribeReason::Granted);
    let got = message(&mut here).await;
    assert_eq!((got.topic.as_str(), &got.payload[..], got.retained), ("r/a", &b"3"[..], true));
    // Nothing else was kept: the next message is a live one.
    publish(&mut there, Message::new("r/c", "live").retained()).await;
    let got = message(&mut here).await;
    assert_eq!((got.topic.as_str(), got.retained), ("r/c", false));
    running.stop(SOON).await;
}

#[tokio::test]
async fn a_will_comes_after_a_sudden_end_and_is_kept_but_not_after_a_goodbye() {
    let running = start_open().await;
    let broker = anonymous(&running);
    let mut here = connect(&broker, "here").await;
    subscribe(&mut here, "w/#").await;

    let polite = open(&broker, ConnectOptions::new("polite").will(will("w/polite"))).await.unwrap();
    assert_eq!(polite.close(SOON).await, Closing::Graceful);
    drop(open(&broker, ConnectOptions::new("rude").will(will("w/rude"))).await.unwrap());
    let got = message(&mut here).await;
    assert_eq!((got.topic.as_str(), &got.payload[..]), ("w/rude", &b"gone"[..]));
    assert_eq!(got.content_type.as_deref(), Some("application/json"));

    let mut late = connect(&broker, "late").await;
    subscribe(&mut late, "w/#").await;
    let got = message(&mut late).await;
    assert_eq!((got.topic.as_str(), got.retained), ("w/rude", true));
    running.stop(SOON).await;
}

#[tokio::test]
async fn a_second_client_of_the_same_name_ends_the_first() {
    let running = start_open().await;
    let broker = anonymous(&running);
    let mut here = connect(&broker, "here").await;
    subscribe(&mut here, "w").await;
    let mut first = open(&broker, ConnectOptions::new("same").will(will("w"))).await.unwrap();
    let second = connect(&broker, "same").await;
    let end = lost(&mut first).await;
    assert!(end.to_string().contains("same client identifier"), "{end:?}");
    // The first one's will comes at once, although its successor is there.
    assert_eq!(message(&mut here).await.topic, "w");
    drop(second);
    running.stop(SOON).await;
}

#[tokio::test]
async fn a_node_speaks_for_itself_alone_and_is_told_so() {
    let running = start_with_users().await;
    let mut node = connect(&access(&running, "pve1"), "pvewatch-agent-home-pve1").await;
    for (topic, expected) in [
        (format!("{OWN}/event/unit.changed"), PublishReason::Success),
        (format!("{OWN}/presence"), PublishReason::Success),
        ("pvewatch/v1/home/node/pve2/presence".to_owned(), PublishReason::NotAuthorized),
        (format!("{OWN}/ack/main"), PublishReason::NotAuthorized),
        ("pvewatch/v1/home/notice".to_owned(), PublishReason::NotAuthorized),
        (format!("{OWN}/sample"), PublishReason::Success),
    ] {
        assert_eq!(
            publish(&mut node, Message::new(&topic, "x").retained()).await,
            expected,
            "{topic}"
        );
    }
    for (filter, expected) in [
        (format!("{OWN}/ack/+"), SubscribeReason::Granted),
        ("pvewatch/v1/home/collector/+/presence".to_owned(), SubscribeReason::Granted),
        ("pvewatch/v1/home/node/pve2/ack/+".to_owned(), SubscribeReason::NotAuthorized),
        ("#".to_owned(), SubscribeReason::NotAuthorized),
    ] {
        assert_eq!(subscribe(&mut node, &filter).await, expected, "{filter}");
    }
    assert_eq!(running.denials(), 5);

    // Of what it tried to leave behind only its own is there; a reader sees it and is mute.
    let mut reader = connect(&access(&running, "bot"), "telegram").await;
    assert_eq!(subscribe(&mut reader, "pvewatch/#").await, SubscribeReason::Granted);
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let got = message(&mut reader).await;
        assert!(got.retained);
        seen.push(got.topic);
    }
    seen.sort();
    assert!(seen.iter().all(|topic| topic.starts_with(OWN)), "{seen:?}");
    let spoken = Message::new("pvewatch/v1/home/command", "x");
    assert_eq!(publish(&mut reader, spoken).await, PublishReason::NotAuthorized);

    // The collector itself may do all.
    let mut own = connect(&running.own_access(), "pvewatch-collector-home-main").await;
    assert_eq!(
        publish(&mut own, Message::new(format!("{OWN}/ack/main"), "1")).await,
        PublishReason::Success
    );
    let got = message(&mut node).await;
    assert_eq!((got.topic, &got.payload[..]), (format!("{OWN}/ack/main"), &b"1"[..]));
    running.stop(SOON).await;
}

#[tokio::test]
async fn strangers_and_impostors_are_not_let_in() {
    let running = start_with_users().await;
    let wrong = Broker::plain(running.url(), Some(("pve1".to_owned(), Secret::new("wrong"))));
    let unknown = Broker::plain(running.url(), Some(("pve9".to_owned(), Secret::new(""))));
    let nobody = Broker::plain(running.url(), None);
    let pve1 = access(&running, "pve1");
    let own_id = ConnectOptions::new("pvewatch-agent-home-pve1");
    let foreign_id = ConnectOptions::new("pvewatch-agent-home-pve2");
    let foreign_will = own_id.clone().will(will("pvewatch/v1/home/node/pve2/presence"));
    for (broker, options, reason) in [
        (&wrong, &own_id, "bad_user_name_or_password"),
        (&unknown, &own_id, "bad_user_name_or_password"),
        (&nobody, &own_id, "not_authorized"),
        (&pve1, &foreign_id, "not_authorized"),
        (&pve1, &foreign_will, "not_authorized"),
    ] {
        let error = open(broker, options.clone()).await.unwrap_err();
        assert_eq!(error.reason(), reason, "{error}");
    }
    let own_will = own_id.will(will(&format!("{OWN}/presence")));
    drop(open(&pve1, own_will).await.unwrap());
    running.stop(SOON).await;
}

struct Certificates {
    folder: TempDir,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Certificates {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "test CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), ca.pem()).unwrap();
        Self { folder, ca }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn server(&self) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params, "server");
    }

    fn client(&self, name: Option<&str>, file: &str) {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        match name {
            Some(name) => params.distinguished_name.push(DnType::CommonName, name),
            None => params.distinguished_name.push(DnType::OrganizationName, "nameless"),
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, file);
    }

    fn sign(&self, params: CertificateParams, file: &str) {
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.ca).unwrap();
        std::fs::write(self.path(&format!("{file}.pem")), cert.pem()).unwrap();
        std::fs::write(self.path(&format!("{file}.key")), key.serialize_pem()).unwrap();
    }

    fn settings(&self, mutual: bool) -> BrokerListenSettings {
        let tls = TlsListenSettings {
            listen: free_port(),
            cert: self.path("server.pem"),
            key: self.path("server.key"),
            client_ca: mutual.then(|| self.path("ca.pem")),
        };
        BrokerListenSettings { listen: free_port(), tls: Some(tls), ..Default::default() }
    }

    fn access(&self, running: &Running, client: Option<&str>) -> BrokerSettings {
        let port = running.tls_address().unwrap().port();
        BrokerSettings {
            urls: vec![BrokerUrl::new(true, "localhost", port).unwrap()],
            ca: Some(self.path("ca.pem")),
            cert: client.map(|client| self.path(&format!("{client}.pem"))),
            key: client.map(|client| self.path(&format!("{client}.key"))),
            ..Default::default()
        }
    }
}

#[tokio::test]
async fn with_certificates_the_common_name_is_the_node() {
    let files = Certificates::new();
    files.server();
    for (name, file) in
        [(Some("pve1"), "pve1"), (Some("ops"), "ops"), (Some("+"), "plus"), (None, "nameless")]
    {
        files.client(name, file);
    }
    let mut settings = files.settings(true);
    let listed = UserSettings { password: None, ..user("ops", Role::Reader) };
    settings.users.push(listed);
    let running = start(settings).await;

    let prepared = |client| Broker::prepare_with(&files.access(&running, client), None).unwrap();
    let mut node = connect(&prepared(Some("pve1")), "pvewatch-agent-home-pve1").await;
    assert_eq!(
        publish(&mut node, Message::new(format!("{OWN}/sample"), "x")).await,
        PublishReason::Success
    );
    let foreign = Message::new("pvewatch/v1/home/node/pve2/sample", "x");
    assert_eq!(publish(&mut node, foreign).await, PublishReason::NotAuthorized);

    // The name that a client claims beside its certificate does not count.
    let mut claiming = files.access(&running, Some("pve1"));
    claiming.username = Some("pvewatch-collector".to_owned());
    let claiming = Broker::prepare_with(&claiming, Some(Secret::new("x"))).unwrap();
    let mut claiming = connect(&claiming, "other").await;
    let foreign = Message::new("pvewatch/v1/home/notice", "x");
    assert_eq!(publish(&mut claiming, foreign).await, PublishReason::NotAuthorized);

    let mut reader = connect(&prepared(Some("ops")), "ops").await;
    assert_eq!(subscribe(&mut reader, "#").await, SubscribeReason::Granted);
    let mut plus = connect(&prepared(Some("plus")), "plus").await;
    let all_acks = "pvewatch/v1/home/node/+/ack/+";
    assert_eq!(subscribe(&mut plus, all_acks).await, SubscribeReason::NotAuthorized);

    // Without a name in the certificate the claimed one would be all there is.
    let mut nameless = files.access(&running, Some("nameless"));
    nameless.username = Some("pve1".to_owned());
    let nameless = Broker::prepare_with(&nameless, None).unwrap();
    let error = open(&nameless, ConnectOptions::new("x")).await.unwrap_err();
    assert_eq!(error.reason(), "not_authorized", "{error}");
    let error = open(&prepared(None), ConnectOptions::new("x")).await.unwrap_err();
    assert!(error.to_string().contains("set [broker] cert and key"), "{error}");

    // A certificate opens the TLS listener only, a password the other one only.
    let plain = Broker::plain(running.url(), Some(("pve1".to_owned(), Secret::new(""))));
    let error = open(&plain, ConnectOptions::new("x")).await.unwrap_err();
    assert_eq!(error.reason(), "bad_user_name_or_password", "{error}");
    running.stop(SOON).await;
}

#[tokio::test]
async fn with_tls_alone_users_come_by_password() {
    let files = Certificates::new();
    files.server();
    let mut settings = files.settings(false);
    settings.users.push(user("pve1", Role::Node));
    let running = start(settings).await;
    let mut access = files.access(&running, None);
    access.username = Some("pve1".to_owned());
    let right = Broker::prepare_with(&access, Some(Secret::new("pve1's password"))).unwrap();
    connect(&right, "pvewatch-agent-home-pve1").await;
    let wrong = Broker::prepare_with(&access, Some(Secret::new("x"))).unwrap();
    let error = open(&wrong, ConnectOptions::new("x")).await.unwrap_err();
    assert_eq!(error.reason(), "bad_user_name_or_password", "{error}");
    running.stop(SOON).await;
}

#[tokio::test]
async fn what_prevents_the_start_is_named() {
    let running = start_open().await;
    let start = async |settings: BrokerListenSettings| {
        EmbeddedBroker::start(&settings, &Site::default()).await.unwrap_err()
    };
    let taken = BrokerListenSettings { listen: running.address(), ..Default::default() };
    let error = start(taken).await;
    assert!(matches!(error, BrokerStartError::AddressTaken { .. }), "{error}");
    assert!(error.to_string().contains(&running.address().to_string()), "{error}");

    let files = Certificates::new();
    files.server();
    let mut other_key = files.settings(true);
    files.client(Some("x"), "x");
    other_key.tls.as_mut().unwrap().key = files.path("x.key");
    let mut no_cert = files.settings(true);
    no_cert.tls.as_mut().unwrap().cert = files.path("nowhere.pem");
    let mut twice = BrokerListenSettings { listen: free_port(), ..Default::default() };
    twice.users = vec![user("a", Role::Node), user("a", Role::Reader)];
    let mut no_password = BrokerListenSettings { listen: free_port(), ..Default::default() };
    no_password.users = vec![UserSettings {
        password: None,
        password_file: Some(files.path("nowhere")),
        ..user("a", Role::Node)
    }];
    let everywhere = BrokerListenSettings {
        listen: "0.0.0.0:0".parse().unwrap(),
        anonymous: true,
        ..Default::default()
    };
    for (settings, part) in [
        (other_key, "x.key does not belong to the certificate in"),
        (no_cert, "nowhere.pem cannot be used: No such file"),
        (twice, "user \"a\" is in [[embedded_broker.users]] twice"),
        (no_password, "the password of user \"a\""),
        (everywhere, "lets everybody do everything"),
    ] {
        let error = start(settings).await.to_string();
        assert!(error.contains(part), "{part}: {error}");
    }
    running.stop(SOON).await;
}

#[tokio::test]
async fn a_stop_frees_the_port_ends_the_connections_and_publishes_no_wills() {
    let running = start_open().await;
    let (address, broker) = (running.address(), anonymous(&running));
    let mut here = connect(&broker, "here").await;
    subscribe(&mut here, "#").await;
    let there = open(&broker, ConnectOptions::new("there").will(will("w"))).await.unwrap();
    for count in 0..100 {
        there.client().publish(Message::new("a", count.to_string())).await.unwrap();
    }
    // Acknowledged means that the broker has them.
    let mut there = there;
    for _ in 0..100 {
        next(&mut there).await;
    }
    running.stop(SOON).await;
    let mut seen = Vec::new();
    while let Ok(incoming) = timeout(SOON, here.next()).await.unwrap() {
        if let Incoming::Message(message) = incoming {
            seen.push(message.topic);
        }
    }
    assert_eq!(seen, vec!["a"; 100]);
    lost(&mut there).await;
    let again = BrokerListenSettings { listen: address, anonymous: true, ..Default::default() };
    let running = start(again).await;
    assert_eq!(running.address(), address);
    running.stop(SOON).await;
}

#[tokio::test]
async fn other_programs_are_served() {
    let running = start_open().await;
    let port = running.address().port().to_string();
    let mosquitto = |program: &str| {
        let mut command = Command::new(program);
        command.args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", "m/1"]);
        command
    };
    for version in ["mqttv311", "mqttv5"] {
        let sent = mosquitto("mosquitto_pub").args(["-V", version, "-r", "-m", version]).status();
        assert!(sent.unwrap().success());
        let got = tokio::task::spawn_blocking({
            let mut command = mosquitto("mosquitto_sub");
            command.args(["-V", version, "-C", "1", "-W", "10", "-F", "%r %p"]);
            command.stdout(Stdio::piped());
            move || command.output().unwrap()
        });
        let got = got.await.unwrap();
        assert_eq!(String::from_utf8(got.stdout).unwrap(), format!("1 {version}\n"));
    }
    running.stop(SOON).await;
}

/// A payload that is larger than the contract is the sender's fault and nobody else's.
#[tokio::test]
async fn a_message_that_is_too_large_ends_its_senders_connection_only() {
    let running = start_open().await;
    let port = running.address().port().to_string();
    let mut here = connect(&anonymous(&running), "here").await;
    subscribe(&mut here, "a").await;
    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("large");
    std::fs::write(&large, vec![b'x'; 10_000_000]).unwrap();
    let sent = tokio::task::spawn_blocking(move || {
        Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &port, "-q", "1", "-V", "mqttv311", "-t", "a", "-f"])
            .arg(large)
            .stderr(Stdio::null())
            .status()
            .unwrap()
    });
    assert!(!sent.await.unwrap().success());
    let mut there = connect(&anonymous(&running), "there").await;
    publish(&mut there, Message::new("a", "small")).await;
    assert_eq!(&message(&mut here).await.payload[..], b"small");
    running.stop(SOON).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_messages_arrive_in_order() {
    const COUNT: u32 = 100_000;
    let running = start_open().await;
    let broker = anonymous(&running);
    let mut here = connect(&broker, "here").await;
    subscribe(&mut here, "a").await;
    let mut there = connect(&broker, "there").await;
    let client = there.client();
    let sending = tokio::spawn(async move {
        for count in 0..COUNT {
            client.publish(Message::new("a", format!("{count:0400}"))).await.unwrap();
        }
    });
    let acknowledged = tokio::spawn(async move {
        for _ in 0..COUNT {
            let incoming = there.next().await.unwrap();
            assert!(matches!(
                incoming,
                Incoming::PublishAcked { reason: PublishReason::Success, .. }
            ));
        }
    });
    for count in 0..COUNT {
        let got = message(&mut here).await;
        assert_eq!(got.payload, format!("{count:0400}"));
    }
    sending.await.unwrap();
    acknowledged.await.unwrap();
    running.stop(SOON).await;
}
