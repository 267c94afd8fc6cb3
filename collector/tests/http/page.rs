//! The page of a full example: what it says first, and that nothing breaks out of it.

use std::sync::Arc;

use pvewatch_collector::alerts::Phase;
use pvewatch_collector::core::Snapshot;
use pvewatch_collector::fleet::{Backlog, NodeView};
use pvewatch_collector::output::http::Picture;
use pvewatch_collector::output::http::page::{Input, Part, render};
use pvewatch_protocol::{AlertState, Epoch};
use uuid::Uuid;

use crate::site::{channel, check_golden, empty_snapshot, events, picture, snapshot};

fn page(picture: Picture) -> String {
    render(&Input { picture, events: events() }, Part::Whole)
}

fn headline(picture: Picture) -> String {
    let page = page(picture);
    let (_, rest) = page.split_once("<h1>").unwrap();
    rest.split_once("</h1>").unwrap().0.to_owned()
}

/// The site with only those alerts that `keep` names.
fn with_alerts(keep: impl Fn(&str) -> bool) -> Snapshot {
    let mut snapshot = snapshot();
    snapshot.alerts.retain(|alert| keep(&alert.rule));
    snapshot
}

#[test]
fn a_full_example_looks_as_it_did() {
    check_golden("page/full.html", &page(picture(snapshot())));
    let input = Input { picture: picture(empty_snapshot()), events: Vec::new() };
    check_golden("page/empty.html", &render(&input, Part::Whole));
}

#[test]
fn the_first_sentence_says_whether_all_is_well() {
    let well = with_alerts(|_| false);
    assert_eq!(headline(picture(well.clone())), "Nothing is wrong on 4 nodes");
    assert_eq!(headline(picture(snapshot())), "2 alerts are firing on pve1 and pve2");
    let one = with_alerts(|rule| rule == "HostDown");
    assert_eq!(headline(picture(one)), "1 alert is firing on pve2");
    let mut pending = with_alerts(|rule| rule == "SystemdServiceFailed");
    pending.alerts.retain(|alert| alert.state() == AlertState::Pending);
    assert_eq!(headline(picture(pending)), "No alert is firing, but 1 is pending");
    assert_eq!(headline(picture(empty_snapshot())), "No node has been heard yet");
    let unconnected = picture(well.clone());
    unconnected.counters.connected.set(false);
    assert_eq!(headline(unconnected), "The collector has no connection to the broker");
    let catching_up = picture(well.clone());
    catching_up.counters.ready.set(false);
    assert_eq!(headline(catching_up), "The collector is catching up");
    let full = Picture { store_trouble: Some("the disk is full".to_owned()), ..picture(well) };
    full.counters.connected.set(false);
    assert_eq!(headline(full.clone()), "The collector cannot store anything");
    assert!(page(full).contains("the disk is full."));
}

#[test]
fn a_channel_that_is_stuck_is_said_and_why() {
    let mut stuck = picture(with_alerts(|_| false));
    stuck.channels[1] = channel("mqtt-notices", 3, Some((7260, "the broker refuses it")));
    let said = "3 steps of alerts could not be told through mqtt-notices for 2 h 1 min: the broker \
                refuses it.";
    assert!(page(stuck).contains(said));
}

#[test]
fn alerts_on_many_nodes_are_counted_not_named() {
    let mut snapshot = with_alerts(|rule| rule == "HostDown");
    let first = snapshot.alerts[0].clone();
    snapshot.alerts = (1..=5)
        .map(|n| {
            let mut alert = (*first).clone();
            alert.entity.node = format!("pve{n}").parse().unwrap();
            Arc::new(alert)
        })
        .collect();
    assert_eq!(headline(picture(snapshot)), "5 alerts are firing on 5 nodes");
}

#[test]
fn nothing_breaks_out_of_the_page_and_nothing_comes_from_elsewhere() {
    let page = page(picture(snapshot()));
    assert!(page.contains("we&lt;i&gt;rd&quot;"), "the odd unit is not shown");
    for forbidden in ["<i>", "<b>", "<pve", "http:", "https:", "style=", " on", "javascript:"] {
        let is_there = match forbidden {
            " on" => page.split(" on").skip(1).any(|rest| {
                rest.split_once('=').is_some_and(|(name, _)| name.chars().all(char::is_alphabetic))
            }),
            text => page.contains(text),
        };
        assert!(!is_there, "{forbidden:?} is in the page");
    }
    let scripts: Vec<_> = page.match_indices("<script").collect();
    assert_eq!(scripts.len(), 1);
    assert!(page.contains("<script src=\"assets/page.js\" defer></script>"));
}

#[test]
fn a_failure_has_its_log_lines_folded_in() {
    let page = page(picture(snapshot()));
    assert!(page.contains("cannot read &lt;pve-ssl.key&gt; &amp; &quot;more&quot;"));
    assert!(page.contains("<summary>1 log line</summary>"));
    assert!(page.contains("<summary>2 log lines</summary>"));
    assert!(!page.contains("wrote 1 line to the journal"), "the log has a row of its own");
}

#[test]
fn lists_have_bounds_and_say_what_they_leave_out() {
    let mut snapshot = snapshot();
    let (node, alert) = (snapshot.nodes[1].clone(), snapshot.alerts[0].clone());
    assert!(matches!(alert.phase, Phase::Firing { .. }));
    snapshot.nodes = (0..500)
        .map(|n| {
            let mut view = (*node).clone();
            Arc::make_mut(&mut view.node).name = format!("n{n:03}").parse().unwrap();
            Arc::new(view)
        })
        .collect();
    snapshot.alerts = vec![alert; 300];
    let page = page(picture(snapshot));
    assert!(page.contains("200 more: <a href=\"api/v1/alerts?state=firing\">"));
    assert!(page.contains("300 more: <a href=\"api/v1/nodes\">"));
    assert_eq!(page.matches("<li class=\"node ").count(), 200);
}

#[test]
fn a_heartbeat_without_an_answer_and_what_a_node_that_is_gone_kept_are_said() {
    let snapshot = snapshot();
    let place = snapshot.nodes.iter().position(|view| view.node.reading.is_some()).unwrap();
    let mut view = (*snapshot.nodes[place]).clone();
    let node = Arc::make_mut(&mut view.node);
    node.silent = None;
    node.backlog = Backlog::default();
    let sample = &mut node.reading.as_mut().unwrap().sample;
    let connected_ms = u128::try_from(sample.at.as_millisecond()).unwrap() - 240_000;
    sample.epoch = Epoch(Uuid::from_u128(connected_ms << 80 | 7 << 76 | 2 << 62));
    sample.agent.oldest_unacked_seconds = Some(0.0);
    sample.agent.ack_round_trip_seconds = None;
    let said = |node: &NodeView| {
        let mut picture = picture(snapshot.clone());
        Arc::make_mut(&mut picture.snapshot).nodes[place] = Arc::new(node.clone());
        page(picture)
    };
    let unanswered = "No heartbeat of its agent was answered for 4 min: acks do not reach it.";
    assert!(said(&view).contains(unanswered));
    Arc::make_mut(&mut view.node).reading.as_mut().unwrap().sample.agent.ack_round_trip_seconds =
        Some(0.1);
    assert!(!said(&view).contains(unanswered));
    let node = Arc::make_mut(&mut view.node);
    node.silent = node.last_seen;
    node.backlog.events = 7;
    let gone = "7 events of its agent had not arrived when it was heard last.";
    assert!(said(&view).contains(gone));
}

#[test]
fn a_cluster_is_one_thing_with_what_is_wrong_with_it() {
    let with = |change: fn(&mut pvewatch_protocol::sample::Cluster)| {
        let mut snapshot = with_alerts(|_| false);
        for view in &mut snapshot.nodes {
            let node = Arc::make_mut(&mut Arc::make_mut(view).node);
            let cluster = node.reading.as_mut().and_then(|it| it.sample.cluster.as_mut());
            cluster.into_iter().for_each(|cluster| change(cluster));
        }
        let page = page(picture(snapshot));
        let (_, rest) = page.split_once("<ul class=\"clusters\">").unwrap();
        let text = rest.split_once("</ul>").unwrap().0.to_owned();
        assert_eq!(text.matches("<h3>").count(), 1, "{text}");
        text
    };
    let some = with(|_| {});
    for part in
        ["doubtful", "1 of 2 nodes online, without pve2", "led by pve1", "1 of 3 guests run"]
    {
        assert!(some.contains(part), "{some}");
    }
    let all = with(|cluster| {
        cluster.members.iter_mut().for_each(|member| member.online = true);
        cluster.ha = None;
    });
    assert!(all.contains("good") && all.contains("2 nodes online<"), "{all}");
    assert!(!all.contains("led by"), "{all}");
    let none = with(|cluster| cluster.quorate = false);
    assert!(none.contains("bad") && none.contains("no quorum"), "{none}");
}
