//! The server as clients meet it: a real collector on a free port, without a broker.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use pvewatch_collector::core::RecordKind;
use pvewatch_collector::output::http::{CONNECTIONS_MAX, Served, serve};
use pvewatch_collector::run::{Collector, Setup, Standards};
use pvewatch_collector::store::{Batch, NewEvent, NewRecord, Retention, Store};
use pvewatch_edge::mqtt::{Broker, BrokerUrl};
use pvewatch_protocol::{CollectorName, Position, Site};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::site::{events, snapshot};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Server {
    address: SocketAddr,
    collector: Collector,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
    _data: TempDir,
}

/// A collector that remembers the site, and whose broker does not answer.
async fn start() -> Server {
    let data = tempfile::tempdir().unwrap();
    let mut store = Store::open(data.path()).unwrap();
    store.commit(&remembered()).unwrap();
    // A port that was free a moment ago: nobody listens there.
    let unused = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = BrokerUrl::new(false, "127.0.0.1", unused.local_addr().unwrap().port()).unwrap();
    drop(unused);
    let setup = Setup {
        site: Site::default(),
        collector: CollectorName::default(),
        data: data.path().to_owned(),
        retention: Retention::default(),
        standards: Standards::default(),
        broker: Broker::plain(url, None),
    };
    let collector = Collector::start(setup, store);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let stopped = async {
        stopped.await.unwrap();
    };
    let served = tokio::spawn(serve(
        listener,
        Served { queries: collector.queries(), reloader: None },
        stopped,
    ));
    Server { address, collector, stop, served, _data: data }
}

fn remembered() -> Batch {
    let snapshot = snapshot();
    let record = |kind: RecordKind, key: String, body: String| NewRecord {
        kind: kind.as_str().to_owned(),
        key,
        body: Some(body),
    };
    let mut batch = Batch::default();
    for view in &snapshot.nodes {
        let body = serde_json::to_string(&view.node).unwrap();
        batch.records.push(record(RecordKind::Node, view.node.name.to_string(), body));
        for unit in &view.units {
            let key = format!("{}/{}", unit.node, unit.id);
            let body = serde_json::to_string(unit).unwrap();
            batch.records.push(record(RecordKind::Unit, key, body));
        }
    }
    batch.events = events()
        .into_iter()
        .rev()
        .map(|row| NewEvent {
            node: row.node,
            position: Position { stream: row.stream, sequence: row.sequence },
            kind: row.kind,
            subject: row.subject,
            time: row.time,
            recorded: row.recorded,
            received: row.received,
            late: row.late,
            payload: row.payload.into(),
        })
        .collect();
    batch
}

struct Answer {
    status: u16,
    headers: ureq::http::HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

impl Server {
    async fn get(&self, path: &str) -> Answer {
        self.get_as(path, "*/*").await
    }

    async fn get_as(&self, path: &str, accept: &'static str) -> Answer {
        let url = format!("http://{}{path}", self.address);
        let ask = move || {
            let agent: ureq::Agent =
                ureq::Agent::config_builder().http_status_as_error(false).build().into();
            let mut answer = agent.get(&url).header("accept", accept).call().unwrap();
            Answer {
                status: answer.status().as_u16(),
                headers: answer.headers().clone(),
                body: answer.body_mut().read_to_string().unwrap(),
            }
        };
        tokio::task::spawn_blocking(ask).await.unwrap()
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.served.await.unwrap();
        self.collector.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_collector_remembers_is_shown_before_it_is_ready() {
    let server = start().await;
    assert_eq!(server.get("/healthz").await.status, 200);
    let ready = server.get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(ready.body.contains("not connected to the broker"), "{}", ready.body);
    let nodes = server.get("/api/v1/nodes").await.json();
    assert_eq!((&nodes["total"], &nodes["nodes"][1]["name"]), (&4.into(), &"pve1".into()));
    let page = server.get("/").await;
    assert!(page.body.contains("The collector has no connection to the broker"), "{}", page.body);
    assert!(page.body.contains("we&lt;i&gt;rd"), "{}", page.body);
    let live = server.get("/now").await;
    assert!(live.body.trim_start().starts_with("<main id=\"live\""), "{}", live.body);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_found_by_node_kind_and_subject_and_paged() {
    let server = start().await;
    let count = async |query: &str| {
        let answer = server.get(&format!("/api/v1/events{query}")).await.json();
        answer["events"].as_array().map(Vec::len)
    };
    assert_eq!(count("").await, Some(7));
    assert_eq!(count("?node=pve2").await, Some(1));
    assert_eq!(count("?kind=unit.changed").await, Some(3));
    assert_eq!(count("?kind=unit.changed&subject=smbd.service").await, Some(1));
    let first = server.get("/api/v1/events?limit=5").await.json();
    assert_eq!(first["events"][0]["text"], "failed: killed by SIGKILL; systemd starts it again");
    assert_eq!(count(&format!("?limit=5&before={}", first["next_before"])).await, Some(2));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_answered_is_said_with_the_status_that_fits() {
    let server = start().await;
    for (path, status, part) in [
        ("/api/v1/nodes?limit=0", 400, "use 1 to 20000"),
        ("/api/v1/nodes?limit=many", 400, "limit"),
        ("/api/v1/nodes?nodes=pve1", 400, "unknown field `nodes`"),
        ("/api/v1/nodes?node=a%20b", 400, "is not a valid node name"),
        ("/api/v1/nodes?node=nobody", 404, "node nobody is not known"),
        ("/api/v1/alerts?state=burning", 400, "unknown variant `burning`"),
        ("/api/v1/events?limit=501", 400, "use 1 to 500"),
        ("/api/v2/nodes", 404, "/api/v1/nodes"),
        ("/favicon.ico", 404, "is not here"),
    ] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        let error = answer.json()["error"].as_str().unwrap_or_default().to_owned();
        assert!(error.contains(part), "{path}: {error}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_something_needs_a_header_that_no_other_site_can_send() {
    let server = start().await;
    let url = format!("http://{}/api/v1/rules/reload", server.address);
    let post = async |header: Option<&'static str>| {
        let url = url.clone();
        let ask = move || {
            let agent: ureq::Agent =
                ureq::Agent::config_builder().http_status_as_error(false).build().into();
            let request = agent.post(&url);
            let request = match header {
                Some(header) => request.header(header, "1"),
                None => request,
            };
            request.send_empty().unwrap().status().as_u16()
        };
        tokio::task::spawn_blocking(ask).await.unwrap()
    };
    assert_eq!(post(None).await, 403);
    assert_eq!(post(Some("x-pvewatch-command")).await, 503, "this one has no files");
    assert_eq!(server.get("/api/v1/rules/reload").await.status, 405);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_a_strict_policy_and_its_content_type() {
    let server = start().await;
    for (path, content_type, cached) in [
        ("/", "text/html; charset=utf-8", "no-store"),
        ("/now", "text/html; charset=utf-8", "no-store"),
        ("/assets/page.css", "text/css; charset=utf-8", "max-age=300"),
        ("/assets/page.js", "text/javascript; charset=utf-8", "max-age=300"),
        ("/assets/icon.svg", "image/svg+xml", "max-age=300"),
        ("/api/v1/alerts", "application/json", "no-store"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8", "no-store"),
        ("/nothing", "application/json", "no-store"),
    ] {
        let answer = server.get(path).await;
        assert_eq!(answer.header("content-type"), content_type, "{path}");
        assert_eq!(answer.header("cache-control"), cached, "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_gets_open_metrics() {
    let server = start().await;
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    let answer = server.get_as("/metrics", accept).await;
    let expected = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.header("content-type"), expected);
    assert!(answer.body.ends_with("# EOF\n"));
    assert!(answer.body.contains("pvewatch_node_up{node=\"pve1\"} 1"), "{}", answer.body);
    server.stop().await;
}

/// One more than there are places for: the last one is let in when others have gone.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_never_finish_their_request_are_let_go_and_others_are_answered() {
    let server = start().await;
    let mut halves = Vec::new();
    for said in 0..CONNECTIONS_MAX {
        let mut half = TcpStream::connect(server.address).await.unwrap();
        // Nothing, and half a head, in turns.
        let text: &[u8] = if said % 2 == 0 { b"" } else { b"GET / HTTP/1.1\r\nhost: x" };
        half.write_all(text).await.unwrap();
        halves.push(half);
    }
    let answered = timeout(PATIENCE, server.get("/healthz")).await.expect("a place is free again");
    assert_eq!(answered.status, 200);
    for mut half in halves {
        let mut rest = Vec::new();
        // A connection that is reset has ended as well.
        let ended = timeout(PATIENCE, half.read_to_end(&mut rest)).await.expect("it is let go");
        let said = String::from_utf8_lossy(&rest);
        assert!(ended.is_err() || !said.contains("200 OK"), "{said}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_keeps_its_connection_open_does_not_hold_up_the_end() {
    let server = start().await;
    let idle = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(server.get("/healthz").await.status, 200);
    timeout(PATIENCE, server.stop()).await.unwrap();
    drop(idle);
}
