//! `pvewatch status`, `alerts` and `drift`, against a running site and against none.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;

use crate::running::{PATIENCE, Up, outcome, pvewatch, stderr};

fn json(arguments: &[&str]) -> Value {
    let output = outcome(arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_running_site_is_shown_as_a_table_and_as_json() {
    let data = tempfile::tempdir().unwrap();
    let mut up = Up::start(data.path());
    let url = up.url();
    up.line_with("Stop with Ctrl-C");
    let until = Instant::now() + PATIENCE;
    let status = loop {
        let status = json(&["status", "--json", "--url", &url]);
        if status["ready"] == true && status["nodes_online"] == 1 {
            break status;
        }
        assert!(Instant::now() < until, "not ready: {status}");
    };
    assert_eq!(status["nodes"][0]["name"], "test1");
    assert_eq!(status["nodes"][0]["state"], "online");
    let table = outcome(&["status", "--url", &url]);
    let table = String::from_utf8(table.stdout).unwrap();
    let row = table.lines().find(|line| line.starts_with("test1 ")).unwrap_or_default();
    assert!(row.contains("online"), "{table}");
    assert!(!table.contains('\x1b'), "colour without a terminal: {table}");

    let alerts = json(&["alerts", "--json", "--url", &url]);
    assert_eq!(alerts["site"], "home");
    let by_environment = pvewatch().arg("alerts").env("PVEWATCH_URL", &url).output().unwrap();
    assert_eq!(by_environment.status.code(), Some(0));
    let text = String::from_utf8(by_environment.stdout).unwrap();
    let is_plain = text.contains("No alert is firing") || text.contains("firing");
    assert!(is_plain, "{text}");

    let (status, _) = up.end(Signal::INT);
    assert_eq!(status.code(), Some(0));
    let gone = outcome(&["alerts", "--url", &url]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(stderr(&gone).contains(&url), "{}", stderr(&gone));
}

fn answer_once(listener: &TcpListener, body: &str) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut request = [0; 1024];
    let _ = stream.read(&mut request).unwrap();
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    stream.write_all((head + body).as_bytes()).unwrap();
}

#[test]
fn drift_that_there_is_is_an_exit_code() {
    let with_drift = include_str!("../../testdata/page/drift.json");
    let without = r#"{"site": "home", "at": "2026-11-20T12:00:00Z", "file": null, "problem": null,
                      "policies": [], "total": 0, "differences": []}"#;
    let broken = without.replace("\"problem\": null", "\"problem\": \"policy.toml:7: x\"");
    for (answer, code, part) in [
        (with_drift, 1, "prod    100    web"),
        (without, 0, "There is no policy"),
        (&broken, 1, "policy.toml:7: x"),
    ] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let output = std::thread::scope(|scope| {
            scope.spawn(|| answer_once(&listener, answer));
            outcome(&["drift", "--url", &url])
        });
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{text}{}", stderr(&output));
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn where_nobody_listens_the_url_the_cause_and_the_way_out_are_said() {
    let unused = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", unused.local_addr().unwrap());
    drop(unused);
    for command in ["status", "alerts"] {
        let output = outcome(&[command, "--url", &url]);
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{error}");
        for part in [url.as_str(), "refused", "pvewatch up", "--url"] {
            assert!(error.contains(part), "{part:?} is not in: {error}");
        }
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn something_else_that_answers_is_told_apart() {
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", other.local_addr().unwrap());
    let server = std::thread::spawn(move || answer_once(&other, "hello"));
    let output = outcome(&["status", "--url", &url]);
    server.join().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("is not a pvewatch collector"), "{}", stderr(&output));
}
