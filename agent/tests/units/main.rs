//! The units source against a bus that behaves, misbehaves and goes away.
//!
//! What systemd really says is replayed in the source's own tests.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up should fail at that place")]

use std::time::Duration;

use pvewatch_agent::source::{Report, Reporter};
use pvewatch_agent::units::{self, UnitsConfig};
use pvewatch_protocol::event::UnitChange;
use pvewatch_protocol::{CheckpointContent, StopReason};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};

mod bus;
mod journal;
mod many;
mod play;

use bus::{Source, paths, playing, socket_in};
use play::{LONG_AGO, Play, Played, later};

#[tokio::test]
async fn what_has_failed_already_is_in_the_picture_and_no_fact() {
    let folder = tempfile::tempdir().unwrap();
    let units = vec![Played::runs("a.service"), Played::failed("b.service", LONG_AGO)];
    let _bus = playing(&folder, vec![Play { version: "257", units, ..Play::default() }]);
    let mut source = Source::start(&socket_in(&folder));
    let mut reports = [source.next().await, source.next().await];
    reports.sort_by_key(|report| matches!(report, Report::Status(_)));
    let [Report::Picture(CheckpointContent::Units(picture)), Report::Status(status)] = reports
    else {
        panic!("a picture and a status come first");
    };
    assert_eq!(picture.len(), 2);
    assert_eq!(picture[1].unit, "b.service");
    assert_eq!(picture[1].result.as_deref(), Some("exit-code"));
    assert_eq!(picture[1].exit.as_ref().unwrap().status, 3);
    assert!(picture[1].changed_at.is_some());
    assert!(status.active);
    assert_eq!(status.detail, "2 units of systemd 257");
}

#[tokio::test]
async fn a_failure_between_the_question_and_its_answer_is_a_fact() {
    let folder = tempfile::tempdir().unwrap();
    let failed = Played::failed("a.service", later(1));
    let act = Play {
        version: "257",
        units: vec![failed.clone()],
        said_before_listing: vec![failed],
        ..Play::default()
    };
    let _bus = playing(&folder, vec![act]);
    let mut source = Source::start(&socket_in(&folder));
    let changed = source.change().await;
    assert_eq!((changed.change, changed.state.unit.as_str()), (UnitChange::Failed, "a.service"));
    assert!(source.picture().await[0].is_failed());
}

#[tokio::test]
async fn a_failure_and_recovery_within_one_answer_are_two_facts() {
    let folder = tempfile::tempdir().unwrap();
    let up_again = Played { changed_at: later(2), ..Played::runs("a.service") };
    let act = Play {
        version: "257",
        units: vec![Played::runs("a.service")],
        said_after_listing: vec![Played::failed("a.service", later(1)), up_again],
        ..Play::default()
    };
    let _bus = playing(&folder, vec![act]);
    let mut source = Source::start(&socket_in(&folder));
    assert_eq!(source.change().await.change, UnitChange::Failed);
    assert_eq!(source.change().await.change, UnitChange::Recovered);
}

#[tokio::test]
async fn on_systemd_252_a_restart_is_known_before_the_failure_is_told() {
    let restarting = Played {
        active: "activating",
        sub: "auto-restart",
        ..Played::failed("a.service", later(2))
    };
    for (said_before_pong, will_restart) in [(vec![restarting], true), (vec![], false)] {
        let folder = tempfile::tempdir().unwrap();
        let act = Play {
            version: "252.39-1~deb12u2",
            units: vec![Played::runs("a.service")],
            said_after_listing: vec![Played::failed("a.service", later(1))],
            said_before_pong,
            ..Play::default()
        };
        let _bus = playing(&folder, vec![act]);
        let mut source = Source::start(&socket_in(&folder));
        let changed = source.change().await;
        assert_eq!(changed.change, UnitChange::Failed);
        assert_eq!(changed.state.will_restart, will_restart);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_though_systemd_never_answers_the_ping() {
    let folder = tempfile::tempdir().unwrap();
    let act = Play {
        version: "252",
        units: vec![Played::runs("a.service")],
        said_after_listing: vec![Played::failed("a.service", later(1))],
        silent_on: "Ping",
        ..Play::default()
    };
    let _bus = playing(&folder, vec![act]);
    let mut source = Source::start(&socket_in(&folder));
    let changed = source.change().await;
    assert_eq!((changed.change, changed.state.will_restart), (UnitChange::Failed, false));
}

#[tokio::test(start_paused = true)]
async fn what_failed_while_the_bus_was_away_is_told_with_its_own_time() {
    let folder = tempfile::tempdir().unwrap();
    let before = Play {
        version: "257",
        units: vec![Played::runs("a.service"), Played::failed("b.service", LONG_AGO)],
        // Those of the unit's type, and those of every unit.
        details_until_end: 2,
        ..Play::default()
    };
    let units = vec![
        Played::failed("a.service", LONG_AGO + 1_000_000),
        Played::failed("b.service", LONG_AGO + 2_000_000),
    ];
    let after = Play { units, details_until_end: 0, ..before.clone() };
    let _bus = playing(&folder, vec![before, after]);
    let mut source = Source::start(&socket_in(&folder));
    let mut changes = [source.change().await, source.change().await];
    changes.sort_by(|a, b| a.state.unit.cmp(&b.state.unit));
    for (changed, unit, second) in
        [(&changes[0], "a.service", 1_700_000_001), (&changes[1], "b.service", 1_700_000_002)]
    {
        assert_eq!(changed.change, UnitChange::Failed);
        assert_eq!(changed.state.unit, unit);
        assert_eq!(changed.state.changed_at.unwrap().as_second(), second);
    }
}

#[tokio::test(start_paused = true)]
async fn a_picture_is_shown_when_it_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let units = vec![Played::runs("a.service")];
    let _bus = playing(&folder, vec![Play { version: "257", units, ..Play::default() }]);
    let mut source = Source::start(&socket_in(&folder));
    source.picture().await;
    source.picture_wanted.send(1).unwrap();
    assert_eq!(source.picture().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_missing_bus_is_said_plainly_and_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut source = Source::start(&socket_in(&folder));
    let status = source.status().await;
    assert!(!status.active);
    assert!(status.detail.contains("the system bus cannot be reached"), "{}", status.detail);
    assert!(status.detail.contains("No such file or directory"), "{}", status.detail);
    let units = vec![Played::runs("a.service")];
    let _bus = playing(&folder, vec![Play { version: "257", units, ..Play::default() }]);
    assert!(source.status().await.active);
}

#[tokio::test(start_paused = true)]
async fn a_bus_that_accepts_and_never_answers_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let _listener = UnixListener::bind(socket_in(&folder)).unwrap();
    let mut source = Source::start(&socket_in(&folder));
    let status = source.status().await;
    assert!(status.detail.contains("does not answer within 10 s: it hangs"), "{}", status.detail);
}

#[tokio::test(start_paused = true)]
async fn a_systemd_that_never_lists_its_units_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let act = Play { version: "257", silent_on: "ListUnitsByPatterns", ..Play::default() };
    let _bus = playing(&folder, vec![act]);
    let mut source = Source::start(&socket_in(&folder));
    let status = source.status().await;
    assert!(!status.active);
    assert!(status.detail.contains("systemd does not answer within 30 s"), "{}", status.detail);
}

#[tokio::test]
async fn the_source_ends_with_the_outbox() {
    let folder = tempfile::tempdir().unwrap();
    let (reports_in, reports) = mpsc::channel(1);
    drop(reports);
    let (_wanted_in, wanted) = watch::channel(0);
    let run = units::run(
        UnitsConfig::default(),
        paths(&socket_in(&folder)),
        Reporter::new(reports_in),
        wanted,
    );
    assert!(run.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn without_an_answer_from_systemd_the_agent_alone_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let before = tokio::time::Instant::now();
    assert_eq!(units::stop_reason(&paths(&socket_in(&folder))).await, StopReason::Stopped);
    let _listener = UnixListener::bind(socket_in(&folder)).unwrap();
    assert_eq!(units::stop_reason(&paths(&socket_in(&folder))).await, StopReason::Stopped);
    assert!(before.elapsed() <= Duration::from_secs(2));
}
