//! What `pvewatch status`, `alerts`, `nodes`, `guests`, `storages`, `backups`, `drift` and `rules`
//! print of a full example.

use std::sync::Arc;

use pvewatch_collector::cli::{
    Paint, Status, render_alert, render_alerts, render_backups, render_drift, render_guests,
    render_node, render_nodes, render_rules, render_status, render_storages,
};
use pvewatch_collector::core::Snapshot;
use pvewatch_collector::fleet::Policies;
use pvewatch_collector::output::http::Picture;
use pvewatch_collector::output::http::api::{
    AlertDetails, AlertsAnswer, AlertsQuery, BackupsAnswer, BackupsQuery, DriftAnswer, DriftQuery,
    GuestsAnswer, GuestsQuery, NodesAnswer, NodesQuery, RulesAnswer, StatusAnswer, StoragesAnswer,
    StoragesQuery,
};

use crate::site::{check_golden, empty_snapshot, picture, snapshot, steps};

fn status(picture: &Picture) -> Status {
    let nodes = NodesAnswer::of(picture, &NodesQuery::default()).unwrap().nodes;
    Status { status: StatusAnswer::of(picture), nodes }
}

fn alerts(picture: &Picture, width: Option<usize>) -> String {
    let answer = AlertsAnswer::of(picture, &AlertsQuery::default()).unwrap();
    render_alerts(&answer, &StatusAnswer::of(picture), Paint::Plain, width)
}

fn drift(snapshot: Snapshot) -> (String, bool) {
    let answer = DriftAnswer::of(&picture(snapshot), &DriftQuery::default()).unwrap();
    (render_drift(&answer, Paint::Plain, None), answer.is_anything_wrong())
}

#[test]
fn a_full_example_is_printed_as_it_was() {
    let picture = picture(snapshot());
    check_golden("page/status.txt", &render_status(&status(&picture), Paint::Plain, None));
    check_golden("page/alerts.txt", &alerts(&picture, None));
    let alert = &picture.snapshot.alerts[3];
    let details = AlertDetails::of(&picture, alert.fingerprint, &steps(alert)).unwrap();
    check_golden("page/alert.txt", &render_alert(&details, Paint::Plain, None));
    let nodes = NodesAnswer::of(&picture, &NodesQuery::default()).unwrap();
    check_golden("page/nodes.txt", &render_nodes(&nodes, Paint::Plain, None));
    let query = NodesQuery { node: Some("pve1".parse().unwrap()), limit: None };
    let node = NodesAnswer::of(&picture, &query).unwrap();
    check_golden("page/node.txt", &render_node(&node, Paint::Plain, None));
    let guests = GuestsAnswer::of(&picture, &GuestsQuery::default()).unwrap();
    check_golden("page/guests.txt", &render_guests(&guests, Paint::Plain, None));
    let backups = BackupsAnswer::of(&picture, &BackupsQuery::default()).unwrap();
    assert!(backups.is_anything_wrong());
    check_golden("page/backups.txt", &render_backups(&backups, Paint::Plain, None));
    let storages = StoragesAnswer::of(&picture, &StoragesQuery::default()).unwrap();
    check_golden("page/storages.txt", &render_storages(&storages, Paint::Plain, None));
    check_golden("page/rules.txt", &render_rules(&RulesAnswer::of(&picture), Paint::Plain, None));
    let (text, is_wrong) = drift(snapshot());
    assert!(is_wrong);
    check_golden("page/drift.txt", &text);
}

#[test]
fn without_a_policy_that_is_said_and_nothing_is_wrong() {
    let (text, is_wrong) = drift(empty_snapshot());
    assert!(text.starts_with("There is no policy") && !is_wrong, "{text}");
}

#[test]
fn drift_is_wrong_if_anything_differs_or_could_not_be_checked() {
    let with = |id: &str| {
        let mut snapshot = snapshot();
        for view in &mut snapshot.nodes {
            Arc::make_mut(view).drifts.retain(|drift| &*drift.id == id);
        }
        drift(snapshot)
    };
    let (text, is_wrong) = with("none");
    assert!(!is_wrong, "{text}");
    assert!(text.starts_with("Nothing differs from 3 policies, about 0 guests."), "{text}");
    assert!(with("prod").1 && with("lab").1);
    let problem = "policy.toml:7: unknown key \"x\"\npolicy.toml:9: and more".to_owned();
    let policies = Policies::unreadable("policy.toml", problem);
    let (text, is_wrong) = drift(Snapshot { policies: Arc::new(policies), ..empty_snapshot() });
    assert!(is_wrong);
    assert!(
        text.contains("policy.toml:7: unknown key") && text.contains("\npolicy.toml:9"),
        "{text}"
    );
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
fn a_node_is_wrong_when_an_alert_fires_or_when_nobody_knows_why_it_is_silent() {
    let nodes = NodesAnswer::of(&picture(snapshot()), &NodesQuery::default()).unwrap().nodes;
    let told: Vec<_> =
        nodes.iter().map(|it| (it.name.as_str(), &*it.state, it.is_wrong())).collect();
    let expected = [
        ("nas", "stopped", false),
        ("pve1", "online", true),
        ("pve2", "silent", true),
        ("vm-mail", "unheard", false),
    ];
    assert_eq!(told, expected);
    let empty = NodesAnswer::of(&picture(empty_snapshot()), &NodesQuery::default()).unwrap();
    assert_eq!(render_nodes(&empty, Paint::Plain, None), "No node is known.\n");
}

#[test]
fn nothing_of_a_node_controls_the_terminal() {
    let picture = picture(snapshot());
    let text = render_status(&status(&picture), Paint::Plain, None) + &alerts(&picture, None);
    let text = text + &drift(snapshot()).0;
    assert!(text.contains("{name}\\n.service"), "{text}");
    assert!(text.chars().all(|character| character == '\n' || !character.is_control()));
}
