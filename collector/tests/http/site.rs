//! A site to look at: four nodes, something wrong on two of them, names that try to break out.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{Timestamp, ToSpan};
use pvewatch_collector::alerts::{Alert, News, Transition, Why};
use pvewatch_collector::core::{Counters, RuleError, RuleStatus, Snapshot};
use pvewatch_collector::fleet::{
    Backup, BackupJob, Drift, EntityKind, FleetCounters, Guest, Node, NodeView, Policies, Storage,
    Unit,
};
use pvewatch_collector::ingest::Reason;
use pvewatch_collector::output::channel::ChannelReading;
use pvewatch_collector::output::http::Picture;
use pvewatch_collector::policy;
use pvewatch_collector::rules::{RuleSet, Source};
use pvewatch_collector::store::EventRow;
use pvewatch_protocol::{AlertState, CollectorName, NodeName, Sequence, Site, StreamId, codec};
use serde::Deserialize;

/// The moment at which the site is looked at.
pub fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

/// A file of `testdata/`.
pub fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}

/// Compares with a file of `testdata/`; with `UPDATE` in the environment, writes it.
#[track_caller]
pub fn check_golden(name: &str, found: &str) {
    let path = testdata(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let differing = expected.lines().zip(found.lines()).find(|(a, b)| a != b);
    assert!(
        expected == found,
        "{} differs, first at {differing:?}: set UPDATE=1 if this is wanted",
        path.display()
    );
}

/// The file that describes the site.
#[derive(Deserialize)]
pub struct Written {
    nodes: Vec<Node>,
    units: Vec<Arc<Unit>>,
    backups: Vec<Arc<Backup>>,
    jobs: Vec<Arc<BackupJob>>,
    storages: Vec<Arc<Storage>>,
    guests: Vec<Arc<Guest>>,
    drifts: Vec<Arc<Drift>>,
    alerts: Vec<Arc<Alert>>,
}

/// The site of `testdata/page/site.json`.
pub fn snapshot() -> Snapshot {
    let text = std::fs::read_to_string(testdata("page/site.json")).unwrap();
    let written: Written = serde_json::from_str(&text).unwrap();
    let view = |node: Node| {
        let units = written.units.iter().filter(|unit| unit.node == node.name).cloned().collect();
        let of_node = |backup: &&Arc<Backup>| backup.node == node.name;
        let backups = written.backups.iter().filter(of_node).cloned().collect();
        let jobs = written.jobs.iter().filter(|job| job.node == node.name).cloned().collect();
        let storages = written.storages.iter();
        let storages = storages.filter(|storage| storage.node == node.name).cloned().collect();
        let guests = written.guests.iter();
        let guests = guests.filter(|guest| guest.node == node.name).cloned().collect();
        let drifts = written.drifts.iter().filter(|drift| drift.node == node.name);
        let drifts = drifts.cloned().collect();
        let node = Arc::new(node);
        Arc::new(NodeView { units, backups, jobs, storages, guests, drifts, node })
    };
    Snapshot {
        site: Site::default(),
        at: now(),
        nodes: written.nodes.into_iter().map(view).collect(),
        policies: Arc::new(policies()),
        alerts: written.alerts,
        rules: vec![
            rule("HostDown", EntityKind::Node, 4, None),
            rule("ProxmoxServiceFailed", EntityKind::Unit, 3, Some("no such key: x")),
            rule("ZfsServiceFailed", EntityKind::Unit, 0, None),
        ],
        counters: Counters {
            events: 45,
            transitions: 9,
            fleet: FleetCounters { late_events: 2, ..FleetCounters::default() },
            ..Counters::default()
        },
    }
}

/// Of three policies two are about guests of the site.
fn policies() -> Policies {
    let policy = |name: &str| format!("[[policy]]\nname = \"{name}\"\nprotection = true\n");
    policy::parse("/etc/pvewatch/policy.toml", &["prod", "lab", "idle"].map(policy).concat())
}

fn rule(name: &str, scope: EntityKind, entities_seen: u64, error: Option<&str>) -> RuleStatus {
    let text = format!(
        "[[rule]]\nname = '{name}'\nscope = '{scope}'\nwhen = 'node.silent'\nfor = '5m'\n\
         severity = 'warning'\nsummary = '{{{{ node.name }}}}: <b>'\n\
         [[override]]\nrule = '{name}'\nenvironments = ['lab']\nenabled = false\n\
         [[override]]\nrule = '{name}'\nnodes = ['pve*', 'nas']\nfor = '1h'\nseverity = 'info'\n"
    );
    let text = text
        .replace("node.silent", if scope == EntityKind::Node { "silent" } else { "node.silent" });
    let text =
        text.replace("node.name", if scope == EntityKind::Node { "name" } else { "node.name" });
    let rules = RuleSet::load(&[Source { file: "/etc/pvewatch/rules.d/own.toml", text: &text }]);
    RuleStatus {
        rule: rules.unwrap().rules()[0].clone(),
        entities_seen,
        evaluations: entities_seen * 10,
        errors: u64::from(error.is_some()),
        last_error: error.map(|message| RuleError {
            entity: "pve1/ssh.service".to_owned(),
            message: message.to_owned(),
            at: now(),
        }),
    }
}

/// What became of an alert of the site, the newest first: it was pending, fired, and is explained.
pub fn steps(alert: &Arc<Alert>) -> Vec<Transition> {
    let step = |minutes: i64, (from, to), why, news| Transition {
        fingerprint: alert.fingerprint,
        from,
        to,
        at: now() - minutes.minutes(),
        why,
        news,
        alert: Arc::clone(alert),
    };
    let (pending, firing) = (Some(AlertState::Pending), Some(AlertState::Firing));
    vec![
        step(12, (firing, firing), Why::InhibitionBegan, News::Update),
        step(20, (pending, firing), Why::ConditionLasted, News::Tell),
        step(35, (None, pending), Why::ConditionBegan, News::Update),
    ]
}

/// A site that nothing has been heard of.
pub fn empty_snapshot() -> Snapshot {
    Snapshot {
        nodes: Vec::new(),
        policies: Arc::default(),
        alerts: Vec::new(),
        rules: Vec::new(),
        counters: Counters::default(),
        ..snapshot()
    }
}

/// A picture of this site, by a collector that is ready.
pub fn picture(snapshot: Snapshot) -> Picture {
    let counters = pvewatch_collector::run::Counters::default();
    counters.connected.set(true);
    counters.ready.set(true);
    counters.connects.add(1);
    for kind in ["unit.changed", "unit.changed", "agent.started"] {
        counters.count_event(kind);
    }
    counters.count_reject(Reason::NotJson);
    counters.observe_ack_lag(0.004);
    counters.observe_commit(std::time::Duration::from_micros(800), 3);
    Picture {
        snapshot: Arc::new(snapshot),
        counters: Arc::new(counters),
        collector: CollectorName::default(),
        channels: vec![channel("mqtt-alerts", 0, None), channel("mqtt-notices", 0, None)],
        store_trouble: None,
        now: now(),
    }
}

/// A channel that has yet to take `untold` steps, for as many seconds and reason as `stuck` says.
pub fn channel(name: &'static str, untold: u64, stuck: Option<(i64, &str)>) -> ChannelReading {
    ChannelReading {
        name,
        untold,
        since: stuck.map(|(seconds, _)| now() - seconds.seconds()),
        trouble: stuck.map(|(_, trouble)| trouble.to_owned()),
    }
}

/// What happened lately, the newest first: a failure with its log, odd names, an unknown kind.
pub fn events() -> Vec<EventRow> {
    let text = std::fs::read_to_string(testdata("page/events.json")).unwrap();
    let written: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let stream: StreamId = "019a9d00-0000-7000-8000-00000000000a".parse().unwrap();
    let row = |(index, written): (usize, &serde_json::Value)| {
        let sequence = Sequence(index as u64 + 1);
        let node: NodeName = written["node"].as_str().unwrap().parse().unwrap();
        let time = written["time"].as_str().unwrap().parse().unwrap();
        let envelope = serde_json::json!({
            "specversion": "1.0",
            "id": format!("{node}/{stream}/{sequence}"),
            "source": format!("/home/{node}"),
            "type": format!("pvewatch.{}", written["kind"].as_str().unwrap()),
            "time": written["time"],
            "recordedtime": written["time"],
            "stream": stream,
            "sequence": sequence,
            "data": written["data"],
        });
        let payload = envelope.to_string().into_bytes();
        let event = codec::decode_event(&payload).unwrap();
        EventRow {
            id: i64::try_from(index).unwrap() + 1,
            stream,
            sequence,
            kind: event.data.kind().to_owned(),
            subject: event.data.subject().into_owned(),
            time,
            recorded: time,
            received: time + written["late_seconds"].as_i64().unwrap_or(0).seconds(),
            late: written["late_seconds"].is_i64(),
            payload,
            node,
        }
    };
    let mut rows: Vec<EventRow> = written.iter().enumerate().map(row).collect();
    rows.reverse();
    rows
}
