//! Metrics of the collector itself: what came in, what became of it, and how long it took.

use std::fmt;

use super::families::Families;
use crate::core;
use crate::output::http::channels::stuck_seconds;
use crate::output::http::picture::{Picture, Readiness};
use crate::run::{BATCH_BOUNDS, Counters, SECONDS_BOUNDS};

type Total = (&'static str, &'static str, fn(&Counters) -> u64);
type CoreTotal = (&'static str, &'static str, fn(&core::Counters) -> u64);

/// What is counted on the way in and out.
const TOTALS: [Total; 15] = [
    ("pvewatch_duplicate_events", "Events that were stored already.", |c| c.duplicates.get()),
    ("pvewatch_stream_gaps", "Gaps found in the streams of agents.", |c| c.gaps.get()),
    ("pvewatch_streams_begun", "Streams of nodes that were known: agents started anew.", |c| {
        c.streams_begun.get()
    }),
    (
        "pvewatch_streams_gone_back",
        "Streams of which an agent has less than is stored: it was restored.",
        |c| c.streams_gone_back.get(),
    ),
    ("pvewatch_abandoned_events", "Events that never came and that nobody holds.", |c| {
        c.events_abandoned.get()
    }),
    (
        "pvewatch_events_without_room",
        "Events let go behind a gap for want of room; agents send them again.",
        |c| c.no_room.get(),
    ),
    ("pvewatch_future_events", "Events whose time lies in the future.", |c| c.future_events.get()),
    ("pvewatch_samples", "Samples taken.", |c| c.samples.get()),
    ("pvewatch_checkpoint_parts", "Parts of checkpoints taken.", |c| c.checkpoints.get()),
    ("pvewatch_presences", "Birth messages and last wills taken.", |c| c.presences.get()),
    ("pvewatch_acks_sent", "Acks sent to agents.", |c| c.acks.get()),
    ("pvewatch_notices_sent", "Notices handed to the broker.", |c| c.notices.get()),
    (
        "pvewatch_untold_alert_transitions",
        "Steps of alerts that were deleted before an output took them.",
        |c| c.transitions_untold.get(),
    ),
    ("pvewatch_broker_connects", "Connections made to the broker.", |c| c.connects.get()),
    ("pvewatch_store_commit_failures", "Commits to the store that failed.", |c| {
        c.commit_failures.get()
    }),
];

/// What the core left out or doubted.
const CORE_TOTALS: [CoreTotal; 11] = [
    ("pvewatch_alert_transitions", "Steps that alerts took.", |c| c.transitions),
    ("pvewatch_alerts_refused", "Alerts beyond what is kept.", |c| c.alerts_refused),
    ("pvewatch_entities_refused", "Nodes and units beyond what is kept.", |c| {
        c.fleet.entities_refused
    }),
    ("pvewatch_late_events", "Events that came from a backlog.", |c| c.fleet.late_events),
    ("pvewatch_older_descriptions", "Events and checkpoints that brought nothing newer.", |c| {
        c.fleet.not_newer
    }),
    (
        "pvewatch_corrected_units",
        "Units that a checkpoint found otherwise than events had told; 0 while all is well.",
        |c| c.fleet.corrected_units,
    ),
    (
        "pvewatch_corrected_guests",
        "Guests that a checkpoint found otherwise than events had told; 0 while all is well.",
        |c| c.fleet.corrected_guests,
    ),
    (
        "pvewatch_events_before_store",
        "Events from before this store that agents no longer hold.",
        |c| c.fleet.events_before,
    ),
    ("pvewatch_superseded_wills", "Last wills of connections that were taken over.", |c| {
        c.fleet.superseded_wills
    }),
    ("pvewatch_unknown_kinds", "Events and checkpoints of unknown kinds.", |c| {
        c.fleet.unknown_kinds
    }),
    ("pvewatch_store_unreadable_records", "Records that could not be read at the start.", |c| {
        c.records_unreadable
    }),
];

/// Writes the collector's own metrics.
pub fn write(families: &mut Families<'_>, picture: &Picture) -> fmt::Result {
    let counters = &*picture.counters;
    let version = env!("CARGO_PKG_VERSION");
    families.gauge(
        "pvewatch_build_info",
        "The version that runs; always 1.",
        [([("version", version)], 1_u32)],
    )?;
    let (site, collector) = (picture.snapshot.site.as_str(), picture.collector.as_str());
    families.gauge(
        "pvewatch_collector_info",
        "Which collector of which site this is; always 1.",
        [([("site", site), ("collector", collector)], 1_u32)],
    )?;
    let ready = picture.readiness() == Readiness::Ready;
    for (name, help, is) in [
        ("pvewatch_ready", "Whether the collector speaks for the site's alerts.", ready),
        ("pvewatch_broker_connected", "Whether the broker is connected.", counters.connected.get()),
    ] {
        families.one_gauge(name, help, u32::from(is))?;
    }
    families.counter(
        "pvewatch_events",
        "Events that were applied, each once.",
        counters.events_by_kind().into_iter().map(|(kind, count)| ([("kind", kind)], count)),
    )?;
    families.counter(
        "pvewatch_rejected_messages",
        "Messages that were not accepted.",
        counters.rejects_by_reason().into_iter().map(|(why, count)| ([("reason", why)], count)),
    )?;
    for (name, help, read) in TOTALS {
        families.one_counter(name, help, read(counters))?;
    }
    for (name, help, read) in CORE_TOTALS {
        families.one_counter(name, help, read(&picture.snapshot.counters))?;
    }
    write_channels(families, picture)?;
    write_flow(families, counters)
}

fn write_channels(families: &mut Families<'_>, picture: &Picture) -> fmt::Result {
    let channels = || picture.channels.iter().map(|channel| ([("channel", channel.name)], channel));
    families.gauge(
        "pvewatch_channel_untold_transitions",
        "Steps of alerts that a channel has yet to take.",
        channels().map(|(labels, channel)| (labels, channel.untold)),
    )?;
    families.gauge(
        "pvewatch_channel_stuck_seconds",
        "For how long a channel has taken no step although there are some; 0 if there are none.",
        channels().map(|(labels, channel)| (labels, stuck_seconds(channel, picture.now))),
    )
}

fn write_flow(families: &mut Families<'_>, counters: &Counters) -> fmt::Result {
    for (name, help, level) in [
        ("pvewatch_queued_messages", "Messages that wait to be stored.", &counters.queued),
        ("pvewatch_waiting_events", "Events that wait behind gaps.", &counters.waiting),
        (
            "pvewatch_store_size_bytes",
            "Size of the store's file and its log.",
            &counters.store_file_bytes,
        ),
        ("pvewatch_store_used_bytes", "What is in use of it.", &counters.store_used_bytes),
    ] {
        families.one_gauge(name, help, level.get())?;
    }
    families.histogram(
        "pvewatch_ack_lag_seconds",
        "From an event's recording on its node to its ack; the clocks of two machines.",
        &SECONDS_BOUNDS,
        &counters.ack_lag.read(),
    )?;
    families.histogram(
        "pvewatch_store_commit_duration_seconds",
        "How long a commit to the store took.",
        &SECONDS_BOUNDS,
        &counters.commit_seconds.read(),
    )?;
    families.histogram(
        "pvewatch_store_commit_messages",
        "Messages in a commit to the store.",
        &BATCH_BOUNDS,
        &counters.batch_messages.read(),
    )
}
