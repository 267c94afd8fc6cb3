//! The peers of the harness themselves: brokers with each kind of security, Prometheus,
//! Alertmanager, and the subscriber that all other tests rely on.

use pvewatch_tests::certificates::{Authority, Validity};
use pvewatch_tests::deadline::GENEROUS;
use pvewatch_tests::servers::{Alertmanager, Mosquitto, Prometheus, Security, get_json, promtool};
use pvewatch_tests::subscriber::{Access, Subscriber};
use rustix::process::Signal;

#[test]
fn a_message_reaches_a_subscriber_and_a_retained_one_reaches_a_later_subscriber() {
    let broker = Mosquitto::start(Security::Open);
    let mut early = Subscriber::connect(&broker.access(None), &["a/#", "b"]);
    early.publish("a/1", "one", true);
    early.publish("b", "two", false);
    assert!(!early.wait_for("a/1", GENEROUS, |it| it.topic == "a/1").retained);
    assert_eq!(early.wait_for("b", GENEROUS, |it| it.topic == "b").payload, b"two");
    let mut late = Subscriber::connect(&broker.access(None), &["#"]);
    assert!(late.wait_for("a/1", GENEROUS, |it| it.topic == "a/1").retained);
    assert!(late.messages().iter().all(|message| message.topic != "b"));
}

#[test]
fn a_subscriber_comes_back_when_its_broker_does() {
    for signal in [Signal::TERM, Signal::KILL] {
        let mut broker = Mosquitto::start(Security::Open);
        let mut subscriber = Subscriber::connect(&broker.access(None), &["a"]);
        broker.stop(signal);
        broker.start_again();
        let mut sender = Subscriber::connect(&broker.access(None), &[]);
        // It cannot be seen from outside when it has subscribed again, so the message is retained.
        sender.publish("a", "after", true);
        subscriber.wait_for("the message after the restart", GENEROUS, |it| it.topic == "a");
    }
}

#[test]
fn a_broker_with_passwords_refuses_the_wrong_one() {
    let security = Security::Password { user: "pve1".into(), password: "right".into() };
    let broker = Mosquitto::start(security);
    Subscriber::connect(&broker.access(None), &["#"]);
    let wrong = Access { user: Some(("pve1".into(), "wrong".into())), ..broker.access(None) };
    for access in [wrong, Access::plain(broker.port())] {
        let refused = Subscriber::try_connect(&access, &["#"]).err();
        assert_eq!(refused.as_deref(), Some("NotAuthorized"));
    }
}

#[test]
fn a_broker_with_certificates_takes_the_common_name_as_the_user_and_keeps_nodes_apart() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let authority = Authority::new(directory.path(), "authority");
    let server = authority.server(Validity::Valid);
    let broker = Mosquitto::start(Security::mutual_tls(&authority, server));
    let client = |name, validity| broker.access(Some(authority.client(name, validity)));
    let everything = ["pvewatch/v1/#"];
    let mut observer = Subscriber::connect(&client("observer", Validity::Valid), &everything);
    let mut node = Subscriber::connect(&client("pve1", Validity::Valid), &[]);
    node.publish("pvewatch/v1/home/node/pve2/sample", "forged", false);
    node.publish("pvewatch/v1/home/node/pve1/sample", "own", false);
    observer.wait_for("its own sample", GENEROUS, |message| message.payload == b"own");
    assert!(observer.messages().iter().all(|message| message.payload != b"forged"));

    let other = Authority::new(&directory.path().join("other"), "other");
    let strangers = [
        ("an expired certificate", client("pve1", Validity::Expired)),
        ("no certificate", broker.access(None)),
        ("a certificate of another authority", {
            broker.access(Some(other.client("pve1", Validity::Valid)))
        }),
    ];
    for (what, access) in strangers {
        assert!(Subscriber::try_connect(&access, &["#"]).is_err(), "{what} was accepted");
    }
}

#[test]
fn a_server_with_an_expired_certificate_is_refused_by_its_clients() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let authority = Authority::new(directory.path(), "authority");
    let server = authority.server(Validity::Expired);
    let broker = Mosquitto::start(Security::mutual_tls(&authority, server));
    let access = broker.access(Some(authority.client("pve1", Validity::Valid)));
    let refused = Subscriber::try_connect(&access, &["#"]).err().unwrap_or_default();
    assert!(refused.contains("certificate"), "{refused}");
}

#[test]
fn prometheus_scrapes_and_promtool_judges() {
    let scraped = Alertmanager::start();
    let port = scraped.url().rsplit(':').next().and_then(|port| port.parse().ok());
    let prometheus = Prometheus::scraping("peer", port.expect("the URL ends with the port"));
    let up = prometheus.wait_for("up{job=\"peer\"} == 1", GENEROUS);
    assert_eq!(up[0]["metric"]["job"], "peer");
    assert!(scraped.alerts().is_empty());
    assert!(get_json(&format!("{}/api/v2/status", scraped.url())).is_some());
    let good = "# HELP a_bytes Size.\n# TYPE a_bytes gauge\na_bytes 1\n";
    assert!(promtool(&["check", "metrics"], good).status.success());
    let bad = "# HELP a_total Size.\n# TYPE a_total gauge\na_total 1\n";
    assert!(!promtool(&["check", "metrics"], bad).status.success());
}
