//! Completes a reading of the host to a sample.

use std::time::Duration;

use jiff::Timestamp;
use pvewatch_protocol::sample::AgentHealth;
use pvewatch_protocol::{Epoch, NodeName, Sample, Site, Topic};

use crate::host::Reading;
use crate::outbox::Outbox;

/// The sample that is sent at `at` over the connection `epoch`.
pub fn complete(
    reading: Reading,
    at: Timestamp,
    epoch: Epoch,
    interval: Duration,
    outbox: &Outbox,
) -> Sample {
    Sample {
        at,
        epoch,
        as_of: outbox.position(),
        interval_seconds: interval.as_secs_f64(),
        uptime_seconds: reading.uptime_seconds,
        load: reading.load,
        cpu: reading.cpu,
        memory: reading.memory,
        swap: reading.swap,
        pressure: reading.pressure,
        filesystems: reading.filesystems,
        pools: reading.pools,
        interfaces: reading.interfaces,
        temperatures: reading.temperatures,
        clock: reading.clock,
        certificate: reading.certificate.map(Box::new),
        cluster: reading.cluster.map(Box::new),
        oom_kills: reading.oom_kills,
        reboot_required: Some(reading.reboot_required),
        guests: reading.guests,
        agent: AgentHealth {
            rss_bytes: reading.rss_bytes,
            outbox_events: outbox.unacked_events(),
            outbox_bytes: outbox.held_bytes(),
            dropped_events: outbox.dropped_events(),
            resent_events: outbox.resent_events(),
            held_events: Some(outbox.held_events()),
            unsaved_events: Some(outbox.unsaved_events()),
            ..AgentHealth::default()
        },
    }
}

/// Where a node's samples go.
pub fn topic(site: &Site, node: &NodeName) -> String {
    Topic::Sample { node: node.clone() }.at(site)
}
