//! The collector beside a real Mosquitto: by mutual TLS, with certificates that will not do, and
//! with two agents of one name.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use pvewatch_tests::certificates::{Authority, Validity};
use pvewatch_tests::deadline::{GENEROUS, eventually};
use pvewatch_tests::servers::{Agent, Collector, Mosquitto, Security, get, get_json};
use pvewatch_tests::subscriber::{Access, Tls};

#[test]
fn a_broker_that_asks_for_certificates_lets_the_collector_in_by_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path(), "ca");
    let server = authority.server(Validity::Valid);
    let broker = Mosquitto::start(Security::mutual_tls(&authority, server));
    let own = authority.client("collector", Validity::Valid);
    let collector = Collector::on(&broker.access(Some(own)));
    let node = authority.client("pve1", Validity::Valid);
    let section = format!(
        "url = \"mqtts://127.0.0.1:{}\"\nca = {:?}\ncert = {:?}\nkey = {:?}",
        broker.port(),
        authority.certificate(),
        node.certificate,
        node.key
    );
    let _agent = Agent::start(&section);
    eventually("the node in the API", GENEROUS, || {
        let nodes = get_json(&collector.url("/api/v1/nodes"))?;
        (nodes["nodes"][0]["name"] == "pve1" && nodes["nodes"][0]["state"] == "online")
            .then_some(())
    });
    let (_, events) = get(&collector.url("/api/v1/events?kind=agent.started")).unwrap();
    assert!(events.contains("agent.started"), "{events}");
}

#[test]
fn certificates_that_will_not_do_are_named_and_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(&directory.path().join("right"), "ca");
    let other = Authority::new(&directory.path().join("wrong"), "ca");
    let valid =
        Mosquitto::start(Security::mutual_tls(&authority, authority.server(Validity::Valid)));
    let expired_server = Authority::new(&directory.path().join("expired"), "ca");
    let expired = expired_server.server(Validity::Expired);
    let expired = Mosquitto::start(Security::mutual_tls(&expired_server, expired));

    let trusting = |broker: &Mosquitto, authority: &Authority, identity| {
        let authority = authority.certificate().to_owned();
        let tls = Some(Tls { authority, identity });
        Access { tls, ..Access::plain(broker.port()) }
    };
    let own = || Some(authority.client("collector", Validity::Valid));
    for (access, name, parts) in [
        (
            trusting(&valid, &other, own()),
            "the wrong CA",
            ["is not signed by a CA in", "wrong/ca.pem", "set [broker] ca"],
        ),
        (
            trusting(&expired, &expired_server, own()),
            "an expired certificate of the broker",
            ["the broker's certificate has expired", "renew it", "clock"],
        ),
        (
            trusting(&valid, &authority, Some(authority.client("late", Validity::Expired))),
            "an expired certificate of its own",
            ["does not accept the certificate in [broker] cert", "it must", "127.0.0.1"],
        ),
        (
            trusting(&valid, &authority, None),
            "no certificate",
            ["asks for a client certificate", "set [broker] cert and key", "127.0.0.1"],
        ),
    ] {
        let mut collector = Collector::prepare_on(&access);
        collector.start_without_waiting();
        for part in parts {
            collector.says(part);
        }
        // The page is there all the same, and says that there is no connection.
        let (status, said) =
            eventually("the answer of /readyz", GENEROUS, || get(&collector.url("/readyz")));
        assert_eq!(status, 503, "{name}: {said}");
    }
}

#[test]
fn two_agents_of_one_name_are_told_of_everywhere() {
    let broker = Mosquitto::start(Security::Open);
    let collector = Collector::on(&broker.access(None));
    let url = format!("url = \"mqtt://127.0.0.1:{}\"", broker.port());
    let first = Agent::start(&url);
    collector.expect_metric("pvewatch_node_up{node=\"pve1\"}", "1");
    collector.expect_metric("pvewatch_node_name_duplicated{node=\"pve1\"}", "0");
    let second = Agent::start(&url);
    collector.expect_metric("pvewatch_node_name_duplicated{node=\"pve1\"}", "1");
    let nodes = get_json(&collector.url("/api/v1/nodes")).unwrap();
    assert_eq!(nodes["nodes"][0]["duplicate_name"], true, "{nodes}");
    let (_, page) = get(&collector.url("/")).unwrap();
    assert!(page.contains("Two agents use this name: rename one of them."), "{page}");
    first.says("another agent goes by the name pve1");
    second.says("another agent goes by the name pve1");
}
