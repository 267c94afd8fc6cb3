//! What `pvewatch status`, `pvewatch alerts` and `pvewatch backups` print of a full example.

use pvewatch_collector::cli::{Paint, Status, render_alerts, render_backups, render_status};
use pvewatch_collector::output::http::Picture;
use pvewatch_collector::output::http::api::{
    AlertsAnswer, AlertsQuery, BackupsAnswer, BackupsQuery, NodesAnswer, NodesQuery, StatusAnswer,
};

use crate::site::{check_golden, empty_snapshot, picture, snapshot};

fn status(picture: &Picture) -> Status {
    let nodes = NodesAnswer::of(picture, &NodesQuery::default()).unwrap().nodes;
    Status { status: StatusAnswer::of(picture), nodes }
}

fn alerts(picture: &Picture, width: Option<usize>) -> String {
    let answer = AlertsAnswer::of(picture, &AlertsQuery::default()).unwrap();
    render_alerts(&answer, &StatusAnswer::of(picture), Paint::Plain, width)
}

#[test]
fn a_full_example_is_printed_as_it_was() {
    let picture = picture(snapshot());
    check_golden("page/status.txt", &render_status(&status(&picture), Paint::Plain, None));
    check_golden("page/alerts.txt", &alerts(&picture, None));
    let backups = BackupsAnswer::of(&picture, &BackupsQuery::default()).unwrap();
    assert!(backups.is_anything_wrong());
    check_golden("page/backups.txt", &render_backups(&backups, Paint::Plain, None));
}

#[test]
fn a_narrow_terminal_gets_narrow_lines() {
    let text = alerts(&picture(snapshot()), Some(110));
    assert!(text.lines().all(|line| line.chars().count() <= 110), "{text}");
}

#[test]
fn no_alerts_are_said_plainly_and_doubt_is_said_too() {
    let picture = picture(empty_snapshot());
    assert_eq!(alerts(&picture, None), "No alert is firing or pending.\n");
    picture.counters.connected.set(false);
    let text = alerts(&picture, None);
    assert!(text.starts_with("The collector is not ready: not connected"), "{text}");
}

#[test]
fn nothing_of_a_node_controls_the_terminal() {
    let picture = picture(snapshot());
    let text = render_status(&status(&picture), Paint::Plain, None) + &alerts(&picture, None);
    assert!(text.contains("{name}\\n.service"), "{text}");
    assert!(text.chars().all(|character| character == '\n' || !character.is_control()));
}
