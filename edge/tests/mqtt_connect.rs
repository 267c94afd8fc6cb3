//! Every way in which an attempt to connect fails, against real servers, and the ways that work.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod mosquitto;

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use mosquitto::{Authority, ClientFiles, Mosquitto, TLS, free_port};
use pvewatch_edge::mqtt::{
    Broker, BrokerSettings, BrokerUrl, Closing, ConnectError, ConnectOptions, Connection,
};

const SOON: Duration = Duration::from_secs(10);

async fn attempt(broker: &Broker) -> Result<(), ConnectError> {
    let options = ConnectOptions::new("test");
    let connection = Connection::open(broker, &broker.urls()[0], &options).await?;
    assert_eq!(connection.close(SOON).await, Closing::Graceful);
    Ok(())
}

/// Tries to connect and expects the failure to have this reason and its message these parts.
async fn refused(broker: &Broker, reason: &str, parts: &[&str]) {
    let error = attempt(broker).await.unwrap_err();
    let message = error.to_string();
    assert_eq!(error.reason(), reason, "{message}");
    assert!(message.starts_with(&broker.urls()[0].to_string()), "{message}");
    for part in parts {
        assert!(message.contains(part), "{message}");
    }
}

/// A broker with TLS whose certificate is for `localhost` and the loopback addresses.
fn tls_server(ca: &Authority, more: &str) -> Mosquitto {
    let server = ca.server(&["localhost", "127.0.0.1", "::1"]);
    Mosquitto::start(
        &format!("{TLS}{more}"),
        &[("ca.pem", &ca.pem()), ("server.pem", &server.cert), ("server.key", &server.key)],
    )
}

#[tokio::test]
async fn a_broker_that_lets_everybody_in_is_reached() {
    let server = Mosquitto::open_to_all();
    attempt(&server.broker()).await.unwrap();
    attempt(&Broker::plain(server.url("mqtt", "localhost"), None)).await.unwrap();
    attempt(&Broker::plain(server.url("mqtt", "[::1]"), None)).await.unwrap();
}

#[tokio::test]
async fn a_broker_with_tls_is_reached_by_name_and_by_address() {
    let ca = Authority::new("test CA");
    let server = tls_server(&ca, "allow_anonymous true");
    for host in ["localhost", "127.0.0.1", "[::1]"] {
        let files = ClientFiles::new(server.url("mqtts", host)).ca(&ca.pem());
        attempt(&files.broker()).await.unwrap_or_else(|error| panic!("{error}"));
    }
}

#[tokio::test]
async fn a_client_certificate_lets_in_where_one_is_asked_for() {
    let ca = Authority::new("test CA");
    let server = tls_server(&ca, "require_certificate true\nuse_identity_as_username true");
    let files = ClientFiles::new(server.url("mqtts", "localhost")).ca(&ca.pem());
    attempt(&files.pair(&ca.client("pve1")).broker()).await.unwrap();
}

#[tokio::test]
async fn a_missing_client_certificate_is_named() {
    let ca = Authority::new("test CA");
    for version in ["tlsv1.2", "tlsv1.3"] {
        let server = tls_server(
            &ca,
            &format!("require_certificate true\nallow_anonymous true\ntls_version {version}"),
        );
        let files = ClientFiles::new(server.url("mqtts", "localhost")).ca(&ca.pem());
        // The broker's alert can be lost when it closes with our packet unread: then the
        // connection is only closed, and the message says what may be missing.
        let error = attempt(&files.broker()).await.unwrap_err();
        assert!(
            matches!(error.reason(), "client_certificate_required" | "closed"),
            "{version}: {error}"
        );
        assert!(error.to_string().contains("set [broker] cert and key"), "{version}: {error}");
    }
}

#[tokio::test]
async fn a_client_certificate_of_another_ca_is_named() {
    let ca = Authority::new("test CA");
    let server = tls_server(&ca, "require_certificate true\nallow_anonymous true");
    let foreign = Authority::new("another CA").client("pve1");
    let files = ClientFiles::new(server.url("mqtts", "localhost")).ca(&ca.pem()).pair(&foreign);
    let error = attempt(&files.broker()).await.unwrap_err();
    assert!(matches!(error.reason(), "client_certificate_refused" | "closed"), "{error}");
    assert!(error.to_string().contains("accept the certificate in [broker] cert"), "{error}");
}

#[tokio::test]
async fn a_wrong_password_is_named_with_its_user() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    let made = Command::new("mosquitto_passwd")
        .args(["-b", "-c", path.to_str().unwrap(), "pve1", "right"])
        .status()
        .unwrap();
    assert!(made.success());
    let users = std::fs::read_to_string(path).unwrap();
    let config = "allow_anonymous false\npassword_file {dir}/users";
    let server = Mosquitto::start(config, &[("users", &users)]);
    let url = || server.url("mqtt", "127.0.0.1");

    attempt(&ClientFiles::new(url()).login("pve1", "right\n").broker()).await.unwrap();
    let wrong = ClientFiles::new(url()).login("pve1", "swordfish");
    refused(&wrong.broker(), "not_authorized", &["user \"pve1\"", "password_file"]).await;
    let message = attempt(&wrong.broker()).await.unwrap_err();
    assert!(!format!("{message} {message:?} {:?}", wrong.broker()).contains("swordfish"));
    let nobody = ["nobody", "set [broker] username"];
    refused(&ClientFiles::new(url()).broker(), "not_authorized", &nobody).await;
}

#[tokio::test]
async fn a_broker_certificate_of_another_ca_is_named_with_the_ca_file() {
    let ca = Authority::new("test CA");
    let server = tls_server(&ca, "allow_anonymous true");
    let files =
        ClientFiles::new(server.url("mqtts", "localhost")).ca(&Authority::new("another CA").pem());
    let path = files.settings.ca.clone().unwrap();
    let parts = ["is not signed by a CA in", path.to_str().unwrap(), "set [broker] ca"];
    refused(&files.broker(), "unknown_ca", &parts).await;
}

#[tokio::test]
async fn an_expired_broker_certificate_is_named() {
    let ca = Authority::new("test CA");
    let server = ca.expired_server(&["localhost"]);
    let server = Mosquitto::start(
        &format!("{TLS}allow_anonymous true"),
        &[("ca.pem", &ca.pem()), ("server.pem", &server.cert), ("server.key", &server.key)],
    );
    let files = ClientFiles::new(server.url("mqtts", "localhost")).ca(&ca.pem());
    refused(&files.broker(), "certificate_expired", &["has expired"]).await;
}

#[tokio::test]
async fn a_certificate_for_another_name_is_named_with_its_names() {
    let ca = Authority::new("test CA");
    let server = ca.server(&["broker.example.org"]);
    let server = Mosquitto::start(
        &format!("{TLS}allow_anonymous true"),
        &[("ca.pem", &ca.pem()), ("server.pem", &server.cert), ("server.key", &server.key)],
    );
    for host in ["localhost", "127.0.0.1"] {
        let files = ClientFiles::new(server.url("mqtts", host)).ca(&ca.pem());
        refused(&files.broker(), "name_mismatch", &["broker.example.org"]).await;
    }
}

#[tokio::test]
async fn tls_and_plain_ports_are_told_apart() {
    let ca = Authority::new("test CA");
    let server = tls_server(&ca, "allow_anonymous true");
    let error = attempt(&Broker::plain(server.url("mqtt", "localhost"), None)).await.unwrap_err();
    assert!(error.to_string().contains("write mqtts://"), "{error:?}: {error}");

    let server = Mosquitto::open_to_all();
    let files = ClientFiles::new(server.url("mqtts", "localhost")).ca(&ca.pem());
    let error = attempt(&files.broker()).await.unwrap_err();
    assert!(error.to_string().contains("write mqtt://"), "{error:?}: {error}");
}

#[tokio::test]
async fn a_port_where_nothing_listens_is_named() {
    let url = BrokerUrl::new(false, "127.0.0.1", free_port()).unwrap();
    refused(&Broker::plain(url, None), "refused", &["nothing listens there"]).await;
}

#[tokio::test]
async fn a_host_without_an_address_is_named() {
    let broker = Broker::plain("mqtt://nowhere.invalid".parse().unwrap(), None);
    refused(&broker, "unresolved", &["the host cannot be found"]).await;
}

#[tokio::test]
async fn a_listener_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let ca = Authority::new("test CA");
    let plain = Broker::plain(BrokerUrl::new(false, "127.0.0.1", port).unwrap(), None);
    let tls = ClientFiles::new(BrokerUrl::new(true, "127.0.0.1", port).unwrap()).ca(&ca.pem());
    for broker in [plain, tls.broker()] {
        let mut options = ConnectOptions::new("test");
        options.limits.connect = Duration::from_millis(100);
        let error = Connection::open(&broker, &broker.urls()[0], &options).await.unwrap_err();
        assert!(matches!(error, ConnectError::Timeout { .. }), "{error}");
        assert!(error.to_string().contains("no answer within 100ms"), "{error}");
    }
}

#[test]
fn settings_that_cannot_work_are_refused_before_the_first_attempt() {
    let ca = Authority::new("test CA");
    let url: BrokerUrl = "mqtts://localhost".parse().unwrap();
    let files = || ClientFiles::new(url.clone()).ca(&ca.pem());
    let (one, other) = (ca.client("one"), ca.client("other"));
    let cases: Vec<(&str, ClientFiles)> = vec![
        ("holds no certificate", files().ca("nothing\n")),
        ("is not valid", files().ca("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n")),
        (
            "is not valid",
            files().ca("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ),
        (
            "holds no private key",
            files().pair(&mosquitto::Pair { cert: one.cert.clone(), key: one.cert.clone() }),
        ),
        (
            "does not belong to the certificate",
            files().pair(&mosquitto::Pair { cert: one.cert.clone(), key: other.key }),
        ),
        ("is empty", files().login("me", "\n")),
        ("more than one line", files().login("me", "a\nb\n")),
        ("cannot be read", {
            let mut files = files();
            files.settings.ca = Some("/nowhere/ca.pem".into());
            files
        }),
        ("cert is set without key", {
            let mut files = files().pair(&one);
            files.settings.key = None;
            files
        }),
        ("is not encrypted", {
            let mut files = files();
            files.settings.urls = vec!["mqtt://localhost".parse().unwrap()];
            files
        }),
    ];
    for (part, files) in cases {
        let error = Broker::prepare_with(&files.settings, None).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("[broker]"), "{part}: {error}");
    }
    let none = Broker::prepare_with(&BrokerSettings::default(), None).unwrap_err();
    assert!(none.to_string().contains("set [broker] url"), "{none}");
}
