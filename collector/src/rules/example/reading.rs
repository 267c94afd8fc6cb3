//! The reading of the example: a node of which everything is known, and nothing is well.

use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::sample::{
    AgentHealth, Certificate, Clock, Cluster, Cpu, Filesystem, GuestUsage, Interface, Load, Member,
    Memory, Pool, PoolKind, Pressure, Sample, Stall, Swap, Temperature,
};
use pvewatch_protocol::{Epoch, Position};

use crate::fleet::{Moment, Reading};

/// The network interface of the example.
pub(super) const INTERFACE: &str = "guests";

/// The member of the example's cluster.
pub(super) const MEMBER: &str = "pve3";

/// The second of two readings, so that what is compared with the one before has a value.
pub(super) fn reading(at: Moment, epoch: Epoch, position: Position) -> Reading {
    let newest = sample(at.fact, epoch, position);
    let mut before = newest.clone();
    before.uptime_seconds -= 60.0;
    for guest in before.guests.iter_mut().flatten() {
        guest.cpu_seconds -= 60.0 * 3.8;
    }
    for interface in &mut before.interfaces {
        interface.receive_bytes -= 60 * 125_000;
        interface.transmit_bytes -= 60 * 64_000;
        interface.receive_errors -= 60 * 12 + 30;
    }
    let before = Reading::after(None, &before, at);
    let reading = Reading::after(Some(&before), &newest, at);
    let members_told = vec![MEMBER.to_owned()];
    // What a guest uses counts although it is stopped, if that was told long after.
    let received_at = at.judged + SignedDuration::from_mins(2);
    Reading { received_at, oom_kills_seen: 2, oom_killed_at: Some(at), members_told, ..reading }
}

fn sample(at: Timestamp, epoch: Epoch, as_of: Position) -> Sample {
    let stall = |some_300s_ratio| Stall {
        some_10s_ratio: some_300s_ratio,
        some_300s_ratio,
        full_10s_ratio: 0.0,
        full_300s_ratio: 0.0,
    };
    Sample {
        at,
        epoch,
        as_of,
        interval_seconds: 10.0,
        uptime_seconds: 86_400.0,
        load: Load { one: 4.5, five: 4.25, fifteen: 4.0 },
        cpu: Cpu { count: 8, busy_ratio: Some(0.5) },
        memory: Memory { total_bytes: 8 << 30, available_bytes: 4 << 30 },
        swap: Swap { total_bytes: 1 << 30, free_bytes: 3 << 28 },
        pressure: Some(Pressure { cpu: stall(0.1), io: stall(0.2), memory: stall(0.3) }),
        filesystems: vec![filesystem()],
        pools: vec![pool()],
        interfaces: vec![interface()],
        temperatures: vec![Temperature {
            chip: "coretemp".to_owned(),
            sensor: Some("Package id 0".to_owned()),
            celsius: 101.0,
            high_celsius: Some(84.0),
            critical_celsius: Some(100.0),
        }],
        clock: Some(Clock {
            synchronised: false,
            estimated_error_seconds: 16.0,
            maximum_error_seconds: 16.0,
        }),
        certificate: Some(Box::new(Certificate {
            file: "pve-ssl.pem".to_owned(),
            ends_at: at + SignedDuration::from_hours(24 * 10),
        })),
        cluster: Some(Box::new(Cluster {
            name: "lab".to_owned(),
            quorate: false,
            ha: None,
            members: vec![Member { node: MEMBER.to_owned(), online: false }],
        })),
        oom_kills: Some(2),
        reboot_required: Some(true),
        guests: Some(vec![GuestUsage {
            vmid: super::vmid(),
            cpu_seconds: 4000.0,
            memory_bytes: Some(1536 << 20),
        }]),
        agent: AgentHealth {
            rss_bytes: 5 << 20,
            outbox_events: 2,
            outbox_bytes: 1024,
            dropped_events: 0,
            resent_events: 0,
            held_events: Some(20),
            unsaved_events: Some(3),
            oldest_unacked_seconds: Some(40.0),
            ack_round_trip_seconds: Some(0.25),
        },
    }
}

/// A filesystem that is almost full, and can be written no more.
pub(super) fn filesystem() -> Filesystem {
    Filesystem {
        mount: "/var".to_owned(),
        device: "/dev/mapper/pve-var".to_owned(),
        kind: "ext4".to_owned(),
        read_only: true,
        hanging: true,
        total_bytes: Some(100 << 30),
        used_bytes: Some(86 << 30),
        available_bytes: Some(14 << 30),
        inodes: Some(1000),
        inodes_free: Some(50),
    }
}

pub(super) fn pool() -> Pool {
    Pool {
        name: "rpool".to_owned(),
        kind: PoolKind::Zfs,
        state: "degraded".to_owned(),
        healthy: false,
        detail: Some("1 of 2 devices".to_owned()),
    }
}

/// Interfaces of guests of which the cable is broken, if they had one.
fn interface() -> Interface {
    Interface {
        name: INTERFACE.to_owned(),
        folded: 12,
        receive_bytes: 812_345_678_901,
        transmit_bytes: 312_345_678_901,
        receive_errors: 3200,
        transmit_errors: 550,
        receive_dropped: 17,
        transmit_dropped: 4,
    }
}
