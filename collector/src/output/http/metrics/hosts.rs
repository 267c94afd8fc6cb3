//! Metrics of network interfaces and of how hot chips are, by the newest samples of nodes that are
//! heard.

use std::fmt;

use pvewatch_protocol::sample::{Interface, Temperature};

use super::families::Families;
use super::nodes::{fresh_samples, heard};
use crate::core::Snapshot;
use crate::fleet::Traffic;

type Counted = (&'static str, &'static str, fn(&Interface) -> u64);
type OverTime = (&'static str, &'static str, fn(&Traffic) -> Option<f64>);
type Degrees = (&'static str, &'static str, fn(&Temperature) -> Option<f64>);

/// What an interface counts since it is there.
const COUNTED: [Counted; 6] = [
    ("pvewatch_network_receive_bytes", "Bytes received.", |it| it.receive_bytes),
    ("pvewatch_network_transmit_bytes", "Bytes transmitted.", |it| it.transmit_bytes),
    ("pvewatch_network_receive_errs", "Packets that arrived damaged.", |it| it.receive_errors),
    ("pvewatch_network_transmit_errs", "Packets that could not be transmitted.", |it| {
        it.transmit_errors
    }),
    ("pvewatch_network_receive_drop", "Packets that arrived and were thrown away.", |it| {
        it.receive_dropped
    }),
    ("pvewatch_network_transmit_drop", "Packets that were thrown away unsent.", |it| {
        it.transmit_dropped
    }),
];

/// What that comes to.
const OVER_TIME: [OverTime; 3] = [
    (
        "pvewatch_network_receive_bytes_per_second",
        "Bytes received each second since the sample before.",
        |it| it.receive_bytes_per_second,
    ),
    (
        "pvewatch_network_transmit_bytes_per_second",
        "Bytes transmitted each second since the sample before.",
        |it| it.transmit_bytes_per_second,
    ),
    (
        "pvewatch_network_errors_per_second",
        "Errors of both ways each second, over the last five minutes.",
        |it| it.errors_per_second,
    ),
];

/// What a chip says of its heat.
const DEGREES: [Degrees; 3] = [
    ("pvewatch_hwmon_temp_celsius", "How hot a chip is, by its hottest sensor.", |it| {
        Some(it.celsius)
    }),
    ("pvewatch_hwmon_temp_max_celsius", "What a chip should stay below, by its own word.", |it| {
        it.high_celsius
    }),
    ("pvewatch_hwmon_temp_crit_celsius", "How hot a chip must not become.", |it| {
        it.critical_celsius
    }),
];

/// Writes the metrics of all interfaces and chips.
pub fn write(families: &mut Families<'_>, snapshot: &Snapshot) -> fmt::Result {
    for (name, help, read) in COUNTED {
        families.counter(name, help, counted(snapshot, read))?;
    }
    for (name, help, read) in OVER_TIME {
        families.gauge(name, help, over_time(snapshot, read))?;
    }
    for (name, help, read) in DEGREES {
        families.gauge(name, help, degrees(snapshot, read))?;
    }
    Ok(())
}

/// One series for each interface of the node's own. The sum over those of guests falls whenever a
/// guest stops, which no counter may.
fn counted(
    snapshot: &Snapshot,
    read: fn(&Interface) -> u64,
) -> impl Iterator<Item = ([(&str, &str); 2], u64)> {
    fresh_samples(snapshot).flat_map(move |(node, sample)| {
        let own = sample.interfaces.iter().filter(|it| it.folded == 0);
        own.map(move |it| ([("node", node.as_str()), ("device", &*it.name)], read(it)))
    })
}

/// One series for each interface, those of guests as one.
fn over_time(
    snapshot: &Snapshot,
    read: fn(&Traffic) -> Option<f64>,
) -> impl Iterator<Item = ([(&str, &str); 2], f64)> {
    heard(snapshot).flat_map(move |node| {
        let traffic = node.reading.iter().flat_map(|reading| &reading.traffic);
        traffic.filter_map(move |it| {
            Some(([("node", node.name.as_str()), ("device", &*it.name)], read(it)?))
        })
    })
}

/// One series for each chip that has it.
fn degrees(
    snapshot: &Snapshot,
    read: fn(&Temperature) -> Option<f64>,
) -> impl Iterator<Item = ([(&str, &str); 2], f64)> {
    fresh_samples(snapshot).flat_map(move |(node, sample)| {
        sample
            .temperatures
            .iter()
            .filter_map(move |it| Some(([("node", node.as_str()), ("chip", &*it.chip)], read(it)?)))
    })
}
