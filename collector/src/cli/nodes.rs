//! `pvewatch nodes`: every node, how it fares, and what is wrong with it.

use super::paint::Paint;
use super::status::state_tone;
use super::table::{self, Cell};
use crate::output::http::api::{NodeAnswer, NodesAnswer, ReadingAnswer};
use crate::output::http::{Tone, clock, fullest, heat};
use crate::rules::human;

const HEADINGS: [&str; 15] = [
    "NODE",
    "STATE",
    "ENVIRONMENT",
    "AGENT",
    "UP",
    "LOAD",
    "CPU",
    "MEMORY",
    "FULLEST",
    "HEAT",
    "CLOCK",
    "POOLS",
    "GUESTS",
    "CLUSTER",
    "WRONG",
];

/// Writes the nodes for people.
pub fn render(answer: &NodesAnswer, paint: Paint, width: Option<usize>) -> String {
    let total = answer.total;
    let wrong = answer.nodes.iter().filter(|node| node.is_wrong()).count();
    let nodes = if total == 1 { "node" } else { "nodes" };
    let (tone, summary) = match (total, wrong) {
        (0, _) => (Tone::Neutral, "No node is known.".to_owned()),
        (_, 0) => (Tone::Good, format!("{total} {nodes}, and nothing is wrong.")),
        _ => (Tone::Bad, format!("Something is wrong with {wrong} of {total} {nodes}.")),
    };
    let mut text = format!("{}\n", paint.tone(tone, &summary));
    if !answer.nodes.is_empty() {
        text.push('\n');
        let rows: Vec<_> = answer.nodes.iter().map(row).collect();
        text.push_str(&table::write(HEADINGS, &rows, paint, width));
    }
    text
}

fn row(node: &NodeAnswer) -> [Cell; 15] {
    let none = || Cell::plain("-");
    let reading = node.reading.as_ref().filter(|_| node.state == "online");
    let read =
        |cell: fn(&ReadingAnswer) -> Option<Cell>| reading.and_then(cell).unwrap_or_else(none);
    let text = |text: &Option<String>| Cell::plain(text.as_deref().unwrap_or("-"));
    let guests = match node.guests.total {
        0 => none(),
        total => Cell::plain(format!("{} of {total}", node.guests.running)),
    };
    let wrong = match node.wrong.as_slice() {
        [] => none(),
        [only] => Cell::toned(only, Tone::Bad),
        [first, more @ ..] => Cell::toned(format!("{first} (+{})", more.len()), Tone::Bad),
    };
    [
        Cell::plain(node.name.as_str()),
        Cell::toned(&node.state, state_tone(&node.state)),
        text(&node.environment),
        text(&node.version),
        read(|it| Some(Cell::plain(human::duration(it.uptime_seconds)))),
        read(|it| Some(Cell::plain(format!("{} on {}", human::number(it.load.one), it.cpu.count)))),
        read(|it| Some(Cell::plain(human::percent(it.cpu.busy_ratio?)))),
        read(|it| Some(Cell::plain(human::percent(memory_used(it)?)))),
        read(|it| {
            let (filesystem, ratio) = fullest(&it.filesystems)?;
            Some(Cell::plain(format!("{} of {}", human::percent(ratio), filesystem.mount)))
        }),
        read(|it| heat(&it.temperatures).map(|(text, tone)| Cell::toned(text, tone))),
        read(|it| {
            let (text, tone) = clock(it.clock.as_ref()?);
            Some(Cell::toned(text, tone))
        }),
        read(pools),
        guests,
        reading.and_then(cluster).unwrap_or_else(|| text(&node.cluster)),
        wrong,
    ]
}

fn memory_used(reading: &ReadingAnswer) -> Option<f64> {
    let memory = reading.memory;
    let available = memory.available_bytes as f64 / memory.total_bytes as f64;
    (memory.total_bytes > 0).then_some(1.0 - available)
}

fn pools(reading: &ReadingAnswer) -> Option<Cell> {
    let bad: Vec<_> = reading.pools.iter().filter(|pool| !pool.healthy).collect();
    Some(match (reading.pools.len(), bad.as_slice()) {
        (0, _) => return None,
        (_, []) => Cell::plain("healthy"),
        (_, [only]) => Cell::toned(format!("{} {}", only.name, only.state), Tone::Bad),
        (all, more) => Cell::toned(format!("{} of {all} not healthy", more.len()), Tone::Bad),
    })
}

fn cluster(reading: &ReadingAnswer) -> Option<Cell> {
    let cluster = reading.cluster.as_ref()?;
    Some(match cluster.quorate {
        true => Cell::plain(&cluster.name),
        false => Cell::toned(format!("{}, no quorum", cluster.name), Tone::Bad),
    })
}
