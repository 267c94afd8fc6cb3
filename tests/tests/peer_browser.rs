//! The page in a real browser: what failed is there, on a phone too, light and dark, and nothing
//! comes from elsewhere.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use played::units_that_fail;
use pvewatch_tests::browser::{Measured, Mirror, Scheme, document, measure};
use pvewatch_tests::servers::{Agent, Collector, Mosquitto, Security};

mod played;

/// What the narrowest phones have, in CSS pixels.
const PHONE: u32 = 360;
const DESK: u32 = 1280;

/// The least contrast of text that the accessibility guidelines allow.
const CONTRAST_MIN: f64 = 4.5;

#[test]
fn the_page_shows_what_failed_on_a_phone_and_at_a_desk_in_light_and_dark() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("bus");
    // As long as systemd allows, without a place to break the line.
    let long = format!("{}.service", "x".repeat(240));
    units_that_fail(&socket, vec!["pveproxy.service".to_owned(), long.clone()]);
    let broker = Mosquitto::start(Security::Open);
    let collector = Collector::on(&broker.access(None));
    let sections = format!(
        "[units.log]\nenabled = false\n[paths]\nsystem_bus = \"unix:path={}\"\n",
        socket.display()
    );
    let url = format!("url = \"mqtt://127.0.0.1:{}\"", broker.port());
    let _agent = Agent::start_with(&url, &sections, &[]);
    for unit in ["pveproxy.service", long.as_str()] {
        collector.expect_alert("firing", &[("unit", unit), ("node", "pve1")]);
    }

    // The page as it is served, with its policy.
    let served = document(&collector.url("/"), Scheme::Light);
    assert!(served.contains("pveproxy.service failed on pve1"), "{served}");
    let (_, lost) = served.split_once("id=\"lost\"").unwrap();
    assert!(lost.split('>').next().unwrap().contains("hidden"), "its script cannot refresh it");

    let mirror = Mirror::of(&collector.url(""));
    for (width, scheme) in
        [(PHONE, Scheme::Light), (PHONE, Scheme::Dark), (DESK, Scheme::Light), (DESK, Scheme::Dark)]
    {
        check(&measure(&mirror, width, scheme), &mirror, width, scheme);
    }
}

#[track_caller]
fn check(page: &Measured, mirror: &Mirror, width: u32, scheme: Scheme) {
    let case = format!("{width} px, {scheme:?}");
    assert_eq!((page.width, page.dark), (width, scheme == Scheme::Dark), "{case}");
    assert!(page.text.contains("pveproxy.service failed on pve1"), "{case}: {}", page.text);
    assert!(!page.lost, "{case}: it says that the collector does not answer");
    assert!(page.overflow <= 0, "{case}: {} px too wide: {:?}", page.overflow, page.beyond);
    let is_dark = page.background < 0.2;
    assert_eq!(is_dark, scheme == Scheme::Dark, "{case}: its ground is {}", page.background);
    assert!(page.contrast >= CONTRAST_MIN, "{case}: contrast {}", page.contrast);
    let refreshes = page.requests.iter().filter(|it| it.ends_with("/now")).count();
    assert!(refreshes > 0, "{case}: never refreshed: {:?}", page.requests);
    let here = format!("{}/", mirror.origin());
    let elsewhere: Vec<&String> =
        page.requests.iter().filter(|it| !it.starts_with(&here)).collect();
    assert!(elsewhere.is_empty(), "{case}: {elsewhere:?}");
}
