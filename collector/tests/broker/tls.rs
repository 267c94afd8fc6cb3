//! Certificates: whose name counts, and what is wrong with settings that will not do.

use std::path::PathBuf;

use pvewatch_collector::broker::{
    BrokerListenSettings, BrokerStartError, EmbeddedBroker, Role, Running, TlsListenSettings,
    UserSettings,
};
use pvewatch_edge::mqtt::{
    Broker, BrokerSettings, BrokerUrl, ConnectOptions, Message, PublishReason, Secret,
    SubscribeReason,
};
use pvewatch_protocol::Site;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;

use crate::client::{
    OWN, SOON, connect, free_port, open, publish, start, start_open, subscribe, user,
};

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
