//! The answers of the API for a full example, and for what cannot be answered.

use pvewatch_collector::output::http::api::{
    AlertDetails, AlertsAnswer, AlertsQuery, BackupsAnswer, BackupsQuery, DriftAnswer, DriftQuery,
    EventsAnswer, EventsQuery, NodesAnswer, NodesQuery, RulesAnswer, StatusAnswer, StoragesAnswer,
    StoragesQuery, find_alert,
};
use pvewatch_protocol::AlertState;
use serde::Serialize;

use crate::site::{check_golden, events, picture, snapshot, steps};

#[track_caller]
fn check(name: &str, answer: &impl Serialize) {
    let mut text = serde_json::to_string_pretty(answer).unwrap();
    text.push('\n');
    check_golden(name, &text);
}

#[test]
fn a_full_example_is_answered_as_it_was() {
    let picture = picture(snapshot());
    check("page/nodes.json", &NodesAnswer::of(&picture, &NodesQuery::default()).unwrap());
    check("page/alerts.json", &AlertsAnswer::of(&picture, &AlertsQuery::default()).unwrap());
    let alert = &picture.snapshot.alerts[3];
    let details = AlertDetails::of(&picture, alert.fingerprint, &steps(alert)).unwrap();
    check("page/alert.json", &details);
    check("page/backups.json", &BackupsAnswer::of(&picture, &BackupsQuery::default()).unwrap());
    check("page/storages.json", &StoragesAnswer::of(&picture, &StoragesQuery::default()).unwrap());
    check("page/drift.json", &DriftAnswer::of(&picture, &DriftQuery::default()).unwrap());
    check("page/status.json", &StatusAnswer::of(&picture));
    check("page/rules.json", &RulesAnswer::of(&picture));
    let all = EventsAnswer::of(&picture.snapshot.site, &EventsQuery::default(), events());
    check("page/events-answer.json", &all.unwrap());
}

#[test]
fn alerts_can_be_asked_for_by_node_and_state() {
    let picture = picture(snapshot());
    let names = |node: Option<&str>, state| {
        let node = node.map(|name| name.parse().unwrap());
        let query = AlertsQuery { node, state, limit: None };
        let answer = AlertsAnswer::of(&picture, &query).unwrap();
        let names = answer.alerts.iter().map(|alert| alert.label("alertname").to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(Some("pve1"), None), ["ProxmoxServiceFailed", "SystemdServiceFailed"]);
    assert_eq!(names(None, Some(AlertState::Resolved)), ["SystemdServiceFailed"]);
    assert_eq!(names(Some("pve1"), Some(AlertState::Resolved)), [""; 0]);
}

#[test]
fn an_alert_is_found_by_the_first_digits_of_its_id() {
    let picture = picture(snapshot());
    let found = |id: &str| find_alert(&picture, id).map(|found| found.to_string());
    assert_eq!(found("00000000000000a4").unwrap(), "00000000000000a4");
    assert_eq!(found("00000000000000A4").unwrap(), "00000000000000a4");
    assert_eq!(found("0123456789abcdef").unwrap(), "0123456789abcdef", "it can be stored");
    for (id, part) in [
        ("000000000", "5 alerts are meant by 000000000: 00000000000000a1, "),
        ("abcd", "no alert has an id that begins with abcd"),
        ("000", "give its first digits, 4 at least"),
        ("HostDown", "is no alert's id"),
        ("", "is no alert's id"),
    ] {
        let error = format!("{:?}", found(id).unwrap_err());
        assert!(error.contains(part), "{id}: {error}");
    }
    let unknown = "0123456789abcdef".parse().unwrap();
    assert!(AlertDetails::of(&picture, unknown, &[]).is_err());
}

#[test]
fn a_limit_shows_less_and_says_how_much_there_is() {
    let picture = picture(snapshot());
    let answer = |limit| {
        let query = NodesQuery { limit: Some(limit), ..NodesQuery::default() };
        NodesAnswer::of(&picture, &query)
    };
    let two = answer(2).unwrap();
    assert_eq!((two.nodes.len(), two.total), (2, 4));
    assert!(answer(0).is_err() && answer(1_000_000).is_err());
}

#[test]
fn a_shared_storage_comes_once_with_all_that_see_it() {
    let picture = picture(snapshot());
    let answer = |node: Option<&str>, limit| {
        let query = StoragesQuery { node: node.map(|name| name.parse().unwrap()), limit };
        StoragesAnswer::of(&picture, &query)
    };
    let all = answer(None, None).unwrap();
    let rows: Vec<_> = all
        .storages
        .iter()
        .map(|it| {
            let seen_by: Vec<_> = it.seen_by.iter().map(|seen| seen.node.as_str()).collect();
            (&*it.storage.storage, it.storage.node.as_str(), seen_by.join(","), it.is_wrong())
        })
        .collect();
    let expected = [
        ("local", "pve2", "pve2".to_owned(), true),
        ("nas", "pve1", "pve1,pve2".to_owned(), true),
        ("usb", "pve1", "pve1".to_owned(), true),
        ("local-lvm", "pve1", "pve1".to_owned(), false),
        ("pbs", "pve2", "pve2".to_owned(), false),
    ];
    assert_eq!(rows, expected);
    assert!(all.is_anything_wrong());
    let of_pve2 = answer(Some("pve2"), Some(2)).unwrap();
    assert_eq!((of_pve2.total, of_pve2.storages.len()), (3, 2));
    assert!(of_pve2.storages.iter().all(|it| it.storage.node.as_str() == "pve2"));
    assert!(answer(None, Some(0)).is_err());
}

#[test]
fn drift_can_be_asked_for_by_node_and_policy_and_with_a_limit() {
    let picture = picture(snapshot());
    let query = |node: Option<&str>, policy: Option<&str>, limit| DriftQuery {
        node: node.map(|name| name.parse().unwrap()),
        policy: policy.map(str::to_owned),
        limit,
    };
    let answer = |query: DriftQuery| DriftAnswer::of(&picture, &query);
    let all = answer(query(None, None, Some(1))).unwrap();
    assert_eq!((all.total, all.differences.len(), all.policies.len()), (7, 1, 3));
    let lab = answer(query(None, Some("lab"), None)).unwrap();
    assert_eq!((lab.total, lab.policies.len(), lab.failed().count()), (0, 1, 1));
    let elsewhere = answer(query(Some("pve2"), None, None)).unwrap();
    assert_eq!((elsewhere.total, elsewhere.idle().count()), (0, 3));
    assert!(answer(query(None, Some("prd"), None)).is_err());
    assert!(answer(query(None, None, Some(0))).is_err());
}

#[test]
fn events_come_page_by_page() {
    let picture = picture(snapshot());
    let rows = events();
    let query = EventsQuery { limit: Some(3), ..EventsQuery::default() };
    assert_eq!(query.filter().unwrap().limit, 4);
    let page = |rows: &[_]| EventsAnswer::of(&picture.snapshot.site, &query, rows.to_vec());
    let first = page(&rows[..4]).unwrap();
    assert_eq!(first.events.len(), 3);
    assert_eq!(first.next_before, Some(rows[2].id));
    let last = page(&rows[4..]).unwrap();
    assert_eq!((last.events.len(), last.next_before), (3, None));
}
