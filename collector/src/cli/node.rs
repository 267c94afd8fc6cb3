//! `pvewatch nodes NAME`: one node, what is wrong with it, and all that it reads of itself.

use jiff::Timestamp;
use pvewatch_protocol::sample::{Filesystem, Pool, Temperature};

use super::nodes;
use super::paint::Paint;
use super::table::{self, Cell, printable};
use crate::fleet::{overheated, used_ratio};
use crate::output::http::api::{InterfaceAnswer, NodeAnswer, NodesAnswer, ReadingAnswer};
use crate::output::http::{Tone, ago};
use crate::rules::human;

/// Writes the node for people.
pub fn render(answer: &NodesAnswer, paint: Paint, width: Option<usize>) -> String {
    let mut text = nodes::render(answer, paint, width);
    for node in &answer.nodes {
        let mut parts = vec![lines(node, answer.at, paint)];
        if let Some(reading) = &node.reading {
            parts.extend(tables(reading, paint, width));
        }
        for part in parts {
            text.push_str(&format!("\n{part}"));
        }
    }
    text
}

/// What there is one of, a line each.
fn lines(node: &NodeAnswer, now: Timestamp, paint: Paint) -> String {
    let bad = |line: &String| paint.tone(Tone::Bad, &printable(line));
    let mut lines: Vec<String> = node.wrong.iter().map(bad).collect();
    lines.push(match node.last_heard_at {
        Some(at) => format!("heard {}", ago(at, now)),
        None => "never heard".to_owned(),
    });
    let ha = node.reading.as_ref().and_then(|it| it.cluster.as_ref()?.ha.as_ref());
    lines.extend(ha.map(|ha| {
        let (master, state) = (printable(&ha.master), printable(&ha.node_state));
        format!("high availability is led by {master}, which has this node as {state}")
    }));
    lines.extend(node.guest.as_ref().map(|it| format!("guest {} of {}", it.vmid, it.node)));
    if let Some(certificate) = node.reading.as_ref().and_then(|it| it.certificate.as_ref()) {
        let file = printable(&certificate.file);
        lines.push(match certificate.ends_at.duration_since(now).as_secs_f64() {
            left if left < 0.0 => format!("{file} ended {}", ago(certificate.ends_at, now)),
            left => format!("{file} ends in {}", human::duration(left)),
        });
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// What there can be several of, a table each.
fn tables(reading: &ReadingAnswer, paint: Paint, width: Option<usize>) -> Vec<String> {
    let mut tables = Vec::new();
    if !reading.filesystems.is_empty() {
        let rows: Vec<_> = reading.filesystems.iter().map(filesystem).collect();
        let headings = ["FILESYSTEM", "USED", "FREE", "TYPE", "DEVICE"];
        tables.push(table::write(headings, &rows, paint, width));
    }
    if !reading.pools.is_empty() {
        let rows: Vec<_> = reading.pools.iter().map(pool).collect();
        tables.push(table::write(["POOL", "TYPE", "STATE", "MORE"], &rows, paint, width));
    }
    if !reading.interfaces.is_empty() {
        let rows: Vec<_> = reading.interfaces.iter().map(interface).collect();
        let headings = ["INTERFACE", "IN", "OUT", "ERRORS", "DROPPED", "ERRORS NOW"];
        tables.push(table::write(headings, &rows, paint, width));
    }
    if !reading.temperatures.is_empty() {
        let rows: Vec<_> = reading.temperatures.iter().map(chip).collect();
        tables.push(table::write(["CHIP", "HEAT", "CRITICAL", "SENSOR"], &rows, paint, width));
    }
    tables
}

fn filesystem(it: &Filesystem) -> [Cell; 5] {
    let used = match used_ratio(it.used_bytes, it.available_bytes) {
        _ if it.hanging => Cell::toned("does not answer", Tone::Bad),
        Some(ratio) if it.read_only => Cell::plain(format!("{}, read-only", human::percent(ratio))),
        Some(ratio) => Cell::plain(human::percent(ratio)),
        None => Cell::plain("-"),
    };
    let free = it.available_bytes.map(|bytes| human::bytes(bytes as f64));
    [Cell::plain(&it.mount), used, or_none(free), Cell::plain(&it.kind), Cell::plain(&it.device)]
}

fn pool(it: &Pool) -> [Cell; 4] {
    let tone = if it.healthy { Tone::Neutral } else { Tone::Bad };
    let state = Cell::toned(&it.state, tone);
    [Cell::plain(&it.name), Cell::plain(it.kind.as_str()), state, or_none(it.detail.clone())]
}

fn interface(it: &InterfaceAnswer) -> [Cell; 6] {
    let counted = &it.counted;
    let name = match counted.folded {
        0 => counted.name.clone(),
        folded => format!("{} ({folded})", counted.name),
    };
    let rate = |bytes: Option<f64>| or_none(bytes.map(|it| format!("{}/s", human::bytes(it))));
    let count = |received: u64, sent: u64| Cell::plain(received.saturating_add(sent).to_string());
    let now = it.errors_per_second.map(|rate| format!("{}/s", human::number(rate)));
    [
        Cell::plain(name),
        rate(it.receive_bytes_per_second),
        rate(it.transmit_bytes_per_second),
        count(counted.receive_errors, counted.transmit_errors),
        count(counted.receive_dropped, counted.transmit_dropped),
        or_none(now),
    ]
}

fn chip(it: &Temperature) -> [Cell; 4] {
    let degrees = |celsius: f64| format!("{celsius:.0} °C");
    let is_overheated = overheated(std::slice::from_ref(it)).is_some();
    let tone = if is_overheated { Tone::Bad } else { Tone::Neutral };
    [
        Cell::plain(&it.chip),
        Cell::toned(degrees(it.celsius), tone),
        or_none(it.critical_celsius.map(degrees)),
        or_none(it.sensor.clone()),
    ]
}

fn or_none(text: Option<String>) -> Cell {
    Cell::plain(text.as_deref().unwrap_or("-"))
}
