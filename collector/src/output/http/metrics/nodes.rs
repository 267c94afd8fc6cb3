//! Metrics of nodes and of the agents on them.

use std::fmt;

use pvewatch_protocol::sample::Pressure;
use pvewatch_protocol::{NodeName, Sample};

use super::families::Families;
use crate::core::Snapshot;
use crate::fleet::Node;
use crate::output::http::condition::{Condition, last_heard};

type Reading = (&'static str, &'static str, fn(&Sample) -> Option<f64>);
type Total = (&'static str, &'static str, fn(&Sample) -> Option<u64>);

/// Readings of the host and of its agent, taken from the newest sample.
const READINGS: [Reading; 23] = [
    ("pvewatch_node_load1", "Load average over 1 minute.", |s| Some(s.load.one)),
    ("pvewatch_node_load5", "Load average over 5 minutes.", |s| Some(s.load.five)),
    ("pvewatch_node_load15", "Load average over 15 minutes.", |s| Some(s.load.fifteen)),
    ("pvewatch_node_cpus", "Logical processors.", |s| Some(f64::from(s.cpu.count))),
    ("pvewatch_node_cpu_busy_ratio", "Share of time that processors were busy.", |s| {
        s.cpu.busy_ratio
    }),
    ("pvewatch_node_memory_total_bytes", "Installed memory.", |s| {
        Some(s.memory.total_bytes as f64)
    }),
    ("pvewatch_node_memory_available_bytes", "Memory that programs could still get.", |s| {
        Some(s.memory.available_bytes as f64)
    }),
    ("pvewatch_node_swap_total_bytes", "Configured swap.", |s| Some(s.swap.total_bytes as f64)),
    ("pvewatch_node_swap_free_bytes", "Free swap.", |s| Some(s.swap.free_bytes as f64)),
    ("pvewatch_node_uptime_seconds", "Time since boot.", |s| Some(s.uptime_seconds)),
    (
        "pvewatch_node_quorate",
        "Whether enough nodes of its cluster see each other, as the node sees it.",
        |s| s.cluster.as_ref().map(|cluster| f64::from(u8::from(cluster.quorate))),
    ),
    (
        "pvewatch_node_reboot_required",
        "Whether something that was installed waits for a reboot.",
        |s| s.reboot_required.map(|required| f64::from(u8::from(required))),
    ),
    (
        "pvewatch_node_clock_synchronised",
        "Whether something keeps the clock right, as the kernel sees it.",
        |s| s.clock.map(|clock| f64::from(u8::from(clock.synchronised))),
    ),
    (
        "pvewatch_node_clock_estimated_error_seconds",
        "How wrong the clock is, by an estimate.",
        |s| Some(s.clock?.estimated_error_seconds),
    ),
    ("pvewatch_node_clock_maximum_error_seconds", "How wrong the clock is at most.", |s| {
        Some(s.clock?.maximum_error_seconds)
    }),
    (
        "pvewatch_node_certificate_expiry_timestamp_seconds",
        "When the certificate of the web interface ends.",
        |s| Some(seconds(s.certificate.as_ref()?.ends_at)),
    ),
    ("pvewatch_agent_resident_memory_bytes", "Resident memory of the agent.", |s| {
        Some(s.agent.rss_bytes as f64)
    }),
    ("pvewatch_agent_outbox_events", "Events that not every collector has acked.", |s| {
        Some(s.agent.outbox_events as f64)
    }),
    ("pvewatch_agent_outbox_bytes", "Size of the events in the outbox.", |s| {
        Some(s.agent.outbox_bytes as f64)
    }),
    (
        "pvewatch_agent_held_events",
        "Events in the outbox, acked ones that are kept included.",
        |s| s.agent.held_events.map(|events| events as f64),
    ),
    ("pvewatch_agent_unsaved_events", "Events that the agent cannot write to its disk.", |s| {
        s.agent.unsaved_events.map(|events| events as f64)
    }),
    (
        "pvewatch_agent_oldest_unacked_age_seconds",
        "Age of the oldest event that not every collector has acked.",
        |s| s.agent.oldest_unacked_seconds,
    ),
    (
        "pvewatch_agent_ack_round_trip_seconds",
        "From the agent to a collector's store and back, by its heartbeat.",
        |s| s.agent.ack_round_trip_seconds,
    ),
];

/// What a kernel or an agent counts since it started.
const TOTALS: [Total; 3] = [
    ("pvewatch_node_oom_kills", "Processes that the kernel killed for want of memory.", |s| {
        s.oom_kills
    }),
    ("pvewatch_agent_dropped_events", "Events dropped because the outbox was full.", |s| {
        Some(s.agent.dropped_events)
    }),
    ("pvewatch_agent_resent_events", "Events sent more than once.", |s| {
        Some(s.agent.resent_events)
    }),
];

/// Writes the metrics of all nodes.
pub fn write(families: &mut Families<'_>, snapshot: &Snapshot) -> fmt::Result {
    write_presence(families, snapshot)?;
    write_readings(families, snapshot)?;
    write_pressure(families, snapshot)?;
    families.gauge(
        "pvewatch_source_active",
        "Whether a source of the agent watches.",
        nodes(snapshot).flat_map(|node| {
            let sources = node.facts.iter().flat_map(|facts| &facts.sources);
            sources.map(|source| {
                let labels = [("node", node.name.as_str()), ("source", source.name.as_str())];
                (labels, u32::from(source.active))
            })
        }),
    )
}

fn write_presence(families: &mut Families<'_>, snapshot: &Snapshot) -> fmt::Result {
    families.gauge(
        "pvewatch_node_info",
        "What a node says of itself; always 1.",
        nodes(snapshot).map(|node| {
            let facts = node.facts.as_ref();
            let labels = [
                ("node", node.name.as_str()),
                ("site", snapshot.site.as_str()),
                ("environment", node.label("environment").unwrap_or_default()),
                ("cluster", facts.and_then(|facts| facts.cluster.as_deref()).unwrap_or_default()),
                ("version", facts.map(|facts| facts.version.as_str()).unwrap_or_default()),
            ];
            (labels, 1_u32)
        }),
    )?;
    families.gauge(
        "pvewatch_node_up",
        "Whether the node's agent is heard.",
        nodes(snapshot).map(|node| (of(node), u32::from(Condition::of(node) == Condition::Online))),
    )?;
    families.gauge(
        "pvewatch_node_guest_stopped",
        "Whether the guest that the node is does not run, as is meant.",
        nodes(snapshot)
            .filter_map(|node| Some((of(node), u32::from(node.inside.as_ref()?.is_stopped)))),
    )?;
    families.gauge(
        "pvewatch_node_host_silent",
        "Whether the node is a guest of one that is silent itself.",
        nodes(snapshot)
            .filter_map(|node| Some((of(node), u32::from(node.inside.as_ref()?.is_host_silent)))),
    )?;
    families.gauge(
        "pvewatch_node_name_duplicated",
        "Whether two agents use this name.",
        nodes(snapshot).map(|node| (of(node), u32::from(node.duplicate_name))),
    )?;
    families.gauge(
        "pvewatch_node_last_heartbeat_timestamp_seconds",
        "When the node was last heard, by the collector's clock.",
        nodes(snapshot).filter_map(|node| Some((of(node), seconds(last_heard(node)?)))),
    )?;
    families.gauge(
        "pvewatch_node_boot_time_seconds",
        "When the node booted, by its own clock.",
        nodes(snapshot).filter_map(|node| Some((of(node), seconds(node.booted_at()?)))),
    )?;
    families.gauge(
        "pvewatch_agent_heartbeat_unanswered_seconds",
        "For how long the agent is connected without an answer to any heartbeat; 0 with one.",
        heard(snapshot).filter_map(|node| {
            let unanswered = node.reading.as_ref()?.unanswered_for().unwrap_or_default();
            Some((of(node), unanswered.as_secs_f64()))
        }),
    )?;
    families.gauge(
        "pvewatch_node_missing_events",
        "Events that the agent has and this collector has not.",
        heard(snapshot).map(|node| (of(node), node.backlog.events as f64)),
    )?;
    families.gauge(
        "pvewatch_node_event_delay_seconds",
        "For how long, at least, this collector has lacked events that the agent has.",
        heard(snapshot).filter_map(|node| Some((of(node), node.events_delay()?.as_secs_f64()))),
    )?;
    families.counter(
        "pvewatch_node_lost_events",
        "Events that the node's agents declared lost.",
        nodes(snapshot).map(|node| (of(node), node.dropped_events)),
    )
}

fn write_readings(families: &mut Families<'_>, snapshot: &Snapshot) -> fmt::Result {
    for (name, help, read) in READINGS {
        let samples = fresh_samples(snapshot);
        families.gauge(
            name,
            help,
            samples.filter_map(|(node, s)| Some((label(node), read(s)?))),
        )?;
    }
    families.gauge(
        "pvewatch_node_clock_skew_seconds",
        "How far the collector's clock is ahead of the node's, by the quickest delivery.",
        heard(snapshot).filter_map(|node| Some((of(node), node.clock_skew_seconds?))),
    )?;
    for (name, help, read) in TOTALS {
        let samples = fresh_samples(snapshot);
        let totals = samples.filter_map(|(node, s)| Some((label(node), read(s)?)));
        families.counter(name, help, totals)?;
    }
    Ok(())
}

fn write_pressure(families: &mut Families<'_>, snapshot: &Snapshot) -> fmt::Result {
    let stalls = |pick: fn(&Pressure) -> [f64; 6]| {
        let pressures = fresh_samples(snapshot)
            .filter_map(move |(node, sample)| Some((node, pick(sample.pressure.as_ref()?))));
        pressures.flat_map(|(node, values)| {
            let resources = ["cpu", "cpu", "io", "io", "memory", "memory"];
            let windows = ["10s", "300s"].into_iter().cycle();
            let labelled = resources.into_iter().zip(windows).zip(values);
            labelled.map(move |((resource, window), value)| {
                let labels = [("node", node.as_str()), ("resource", resource), ("window", window)];
                (labels, value)
            })
        })
    };
    families.gauge(
        "pvewatch_node_pressure_some_ratio",
        "Share of time in which at least one task waited for the resource.",
        stalls(|p| {
            [
                p.cpu.some_10s_ratio,
                p.cpu.some_300s_ratio,
                p.io.some_10s_ratio,
                p.io.some_300s_ratio,
                p.memory.some_10s_ratio,
                p.memory.some_300s_ratio,
            ]
        }),
    )?;
    families.gauge(
        "pvewatch_node_pressure_full_ratio",
        "Share of time in which all tasks waited for the resource.",
        stalls(|p| {
            [
                p.cpu.full_10s_ratio,
                p.cpu.full_300s_ratio,
                p.io.full_10s_ratio,
                p.io.full_300s_ratio,
                p.memory.full_10s_ratio,
                p.memory.full_300s_ratio,
            ]
        }),
    )
}

fn nodes(snapshot: &Snapshot) -> impl Iterator<Item = &Node> {
    snapshot.nodes.iter().map(|view| &*view.node)
}

/// The nodes that are heard.
pub(super) fn heard(snapshot: &Snapshot) -> impl Iterator<Item = &Node> {
    nodes(snapshot).filter(|node| node.silent.is_none())
}

/// The newest samples of the nodes that are heard.
pub(super) fn fresh_samples(snapshot: &Snapshot) -> impl Iterator<Item = (&NodeName, &Sample)> {
    heard(snapshot).filter_map(|node| Some((&node.name, &node.reading.as_ref()?.sample)))
}

fn of(node: &Node) -> [(&str, &str); 1] {
    label(&node.name)
}

fn label(node: &NodeName) -> [(&str, &str); 1] {
    [("node", node.as_str())]
}

fn seconds(at: jiff::Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}
