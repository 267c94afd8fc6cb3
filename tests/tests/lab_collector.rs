//! Stories through all parts: a unit on a real node, the broker, the collector, and what people
//! and Prometheus see of it.

use pvewatch_tests::deadline::GENEROUS;
use pvewatch_tests::lab::Suite;
use pvewatch_tests::on_both_releases;
use pvewatch_tests::servers::{Collector, Mosquitto, Prometheus, Security, get, promtool};
use pvewatch_tests::story::Site;
use rustix::process::Signal;

on_both_releases!(
    a_failed_unit_is_an_alert_until_it_recovers,
    an_external_mosquitto_takes_the_place_of_the_embedded_broker,
    a_collector_that_was_killed_knows_everything_again,
    a_node_without_power_is_down_and_comes_back,
    a_reboot_is_nobodys_trouble,
    prometheus_scrapes_the_collector,
);

const RUNS: &str = "ExecStart=sleep infinity";

/// The labels of the alert that `demo.service` of `pve1` makes.
const DEMO_FAILED: [(&str, &str); 4] = [
    ("alertname", "SystemdServiceFailed"),
    ("node", "pve1"),
    ("unit", "demo.service"),
    ("environment", "lab"),
];

fn a_failed_unit_is_an_alert_until_it_recovers(suite: Suite) {
    let collector = Collector::with_embedded_broker();
    let mut site = Site::on(collector.broker().clone());
    tell_of_a_failed_unit(&mut site, &collector, suite);
}

fn an_external_mosquitto_takes_the_place_of_the_embedded_broker(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let collector = Collector::on(site.access());
    tell_of_a_failed_unit(&mut site, &collector, suite);
}

fn tell_of_a_failed_unit(site: &mut Site, collector: &Collector, suite: Suite) {
    let pve1 = site.node("pve1", suite);
    pve1.has_service("demo.service", RUNS);
    pve1.starts("demo.service");
    site.hears(&pve1, "demo.service").start();

    pve1.fails("demo.service");
    let failed = site.hears(&pve1, "demo.service").fail_for_good();
    let firing = collector.expect_alert("firing", &DEMO_FAILED);
    assert_eq!(firing["annotations"]["summary"], "demo.service failed on pve1");
    let since = failed.state.changed_at.expect("a failure has a time").to_string();
    assert_eq!(firing["starts_at"], since.as_str(), "an alert begins when its cause did");

    let fingerprint = firing["fingerprint"].as_str().expect("a fingerprint").to_owned();
    let topic = format!("alert/{fingerprint}");
    site.expect_message("the firing alert", &topic, |it| it.json()["state"] == "firing");
    site.expect_message("a notice of it", "notice", |it| {
        it.json()["status"] == "firing" && it.json()["alerts"][0] == fingerprint.as_str()
    });

    pve1.starts("demo.service");
    site.hears(&pve1, "demo.service").recover();
    collector.expect_alert("resolved", &DEMO_FAILED);
    let resolved =
        site.expect_message("the resolved alert", &topic, |it| it.json()["state"] == "resolved");
    assert!(resolved.expiry_seconds.is_some_and(|seconds| (1..=3600).contains(&seconds)));
    site.expect_message("a notice of its end", "notice", |it| it.json()["status"] == "resolved");
    site.expect_no_gaps(&pve1);
}

fn a_collector_that_was_killed_knows_everything_again(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let mut collector = Collector::on(site.access());
    let pve1 = site.node("pve1", suite);
    pve1.has_service("demo.service", RUNS);
    pve1.has_service("other.service", RUNS);
    pve1.shell("systemctl start demo other");
    site.hears(&pve1, "demo.service").start();
    pve1.fails("demo.service");
    let before = collector.expect_alert("firing", &DEMO_FAILED);

    collector.stop(Signal::KILL);
    pve1.fails("other.service");
    pve1.starts("demo.service");
    site.hears(&pve1, "demo.service").recover();
    collector.start_again();

    let other = [("alertname", "SystemdServiceFailed"), ("unit", "other.service")];
    collector.expect_alert("firing", &other);
    let after = collector.expect_alert("resolved", &DEMO_FAILED);
    assert_eq!(after["fingerprint"], before["fingerprint"]);
    assert_eq!(after["starts_at"], before["starts_at"]);
    site.expect_no_gaps(&pve1);
}

fn a_node_without_power_is_down_and_comes_back(suite: Suite) {
    let collector = Collector::with_embedded_broker();
    let mut site = Site::on(collector.broker().clone());
    let mut pve1 = site.node("pve1", suite);
    pve1.power_loss();
    let host_down = [("alertname", "HostDown"), ("node", "pve1")];
    collector.expect_alert("firing", &host_down);
    pve1.boot();
    collector.expect_alert("resolved", &host_down);
}

fn a_reboot_is_nobodys_trouble(suite: Suite) {
    let collector = Collector::with_embedded_broker();
    let mut site = Site::on(collector.broker().clone());
    let mut pve1 = site.node("pve1", suite);
    pve1.reboot();
    site.expect_online(&pve1);
    // An alert for something else comes after anything that the reboot could have caused.
    pve1.has_service("demo.service", RUNS);
    pve1.starts("demo.service");
    pve1.fails("demo.service");
    collector.expect_alert("firing", &DEMO_FAILED);
    let alerts = collector.alerts();
    let about_the_node = alerts.iter().filter(|it| it["labels"]["alertname"] == "HostDown");
    assert_eq!(about_the_node.count(), 0, "{alerts:#?}");
}

fn prometheus_scrapes_the_collector(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let collector = Collector::on(site.access());
    let pve1 = site.node("pve1", suite);
    pve1.has_service("demo.service", RUNS);
    pve1.starts("demo.service");
    pve1.fails("demo.service");
    collector.expect_alert("firing", &DEMO_FAILED);

    let (status, metrics) = get(&collector.url("/metrics")).expect("an answer");
    assert_eq!(status, 200);
    let judged = promtool(&["check", "metrics"], &metrics);
    let said = [judged.stdout, judged.stderr].concat();
    assert!(judged.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));

    let prometheus = Prometheus::scraping("pvewatch", collector.http_port());
    prometheus.wait_for("up{job=\"pvewatch\"} == 1", GENEROUS);
    let firing = "pvewatch_alerts{alertname=\"SystemdServiceFailed\",state=\"firing\"} == 1";
    prometheus.wait_for(firing, GENEROUS);
}

#[test]
fn a_broker_with_certificates_serves_a_node_that_shows_its_own() {
    use pvewatch_tests::certificates::{Authority, Validity};

    let directory = tempfile::tempdir().expect("a temporary directory");
    let authority = Authority::new(directory.path(), "authority");
    let server = authority.server(Validity::Valid);
    let broker = Mosquitto::start(Security::mutual_tls(&authority, server));
    let client = |name| broker.access(Some(authority.client(name, Validity::Valid)));
    let collector = Collector::on(&client("collector"));
    let mut site = Site::on(client("observer"));
    let pve1 = site.node_as("pve1", Suite::Trixie, &client("pve1"));
    pve1.has_service("demo.service", RUNS);
    pve1.starts("demo.service");
    site.hears(&pve1, "demo.service").start();
    pve1.fails("demo.service");
    site.hears(&pve1, "demo.service").fail_for_good();
    collector.expect_alert("firing", &DEMO_FAILED);
}
