//! What 500 guests cost their node's agent, and how soon it is known that one was started or
//! stopped: containers' units under a real systemd.

use std::time::Duration;

use pvewatch_protocol::EventData;
use pvewatch_protocol::event::GuestState;

use super::figure::{Budget, Figure, Report};
use super::listener::Arrival;
use super::soak::{CPU_PERCENT_MAX, RSS_KIB_MAX, WAKE_UPS_MAX};
use super::stage::{Plan, Stage, main_process};
use super::statistics::Distribution;
use super::usage::{Meter, memory};
use crate::deadline::{Deadline, GENEROUS};
use crate::subscriber::Subscriber;

/// The guests, by number.
const FIRST: u32 = 100;
const GUESTS: u32 = 500;

/// Guests that are stopped and started one at a time, and then at once.
const TURNS: u32 = 50;

/// For how long nothing happens.
const RESTING_FOR: Duration = Duration::from_secs(60);

/// A process in the unit in which Proxmox runs a container.
const UNIT: &str = "[Service]\nKillMode=mixed\nExecStart=/bin/sleep infinity\n";

/// Measures one agent on a node with so many guests.
///
/// # Panics
/// When the stage cannot be set, or the agent ends.
#[track_caller]
pub fn run(plan: &Plan) -> Report {
    let mut stage = Stage::set(plan);
    play_proxmox(&mut stage);
    let mut figures = resting(&mut stage);
    figures.extend(one_at_a_time(&mut stage));
    figures.extend(all_at_once(&mut stage));
    figures.push(
        Figure::new("events missing", stage.listener.oddities().missing as f64, "")
            .within(Budget::Exactly(0.0)),
    );
    let setting = format!("{GUESTS} guests, {}", stage.setting());
    Report { name: "guests", setting, figures }
}

/// Has guests that all run, and an agent that knows them.
#[track_caller]
fn play_proxmox(stage: &mut Stage) {
    let last = FIRST + GUESTS - 1;
    let configuration = |vmid: u32| {
        format!(
            "hostname: guest\nonboot: 1\ntags: prod\nrootfs: local:vm,size=8G\n\
             net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:{:02X}:{:02X},ip=dhcp,type=veth\n",
            vmid / 256,
            vmid % 256
        )
    };
    let configurations: Vec<_> = (FIRST..=last).map(|vmid| (vmid, configuration(vmid))).collect();
    let guests: Vec<_> = configurations
        .iter()
        .map(|(vmid, configuration)| (*vmid, "lxc", &**configuration))
        .collect();
    stage.node.plays_proxmox();
    stage.node.has_guests(&guests);
    stage.node.write_file("/etc/systemd/system/pve-container@.service", UNIT);
    stage.node.has_groups(FIRST..=last);
    stage.node.shell(&format!(
        "systemctl daemon-reload; \
         bash -c 'systemctl start pve-container@{{{FIRST}..{last}}}.service'; \
         systemctl restart pvewatch-agent.service"
    ));
    stage.listener.wait_for_units(GENEROUS);
    stage.listener.wait_for_quiet(Duration::from_secs(5));
    stage.acknowledge();
    stage.agent_id = main_process(&stage.node, "pvewatch-agent.service");
}

fn resting(stage: &mut Stage) -> Vec<Figure> {
    let filter = "pvewatch/v1/home/node/+/#";
    let mut subscriber = Subscriber::connect(&stage.middle.access, &[filter]);
    let mut meter = Meter::start(stage.agent_id).expect("the agent runs");
    let end = Deadline::after(RESTING_FOR);
    while !end.has_passed() {
        stage.listener.next(Duration::from_secs(1).min(end.remaining()));
        // As a collector does: what nobody acks is sent again.
        stage.acknowledge();
        meter.note().expect("the agent runs");
    }
    let cost = meter.cost().expect("the agent runs");
    let memory = memory(stage.agent_id).expect("the agent runs");
    let messages = subscriber.messages();
    let sizes = |part: &str| {
        let ours = messages.iter().filter(|message| message.topic.contains(part));
        let sizes = ours.map(|message| message.payload.len() as f64);
        (sizes.clone().fold(f64::INFINITY, f64::min), sizes.fold(0.0, f64::max))
    };
    let (sample, sample_with_guests) = sizes("/sample");
    vec![
        Figure::new("at rest: RSS", memory.rss_kib as f64, "KiB")
            .within(Budget::AtMost(RSS_KIB_MAX)),
        Figure::new("at rest: CPU of a core", cost.cpu_percent, "%")
            .within(Budget::AtMost(CPU_PERCENT_MAX)),
        Figure::new("at rest: wake-ups", cost.wake_ups_per_second, "/s")
            .within(Budget::AtMost(WAKE_UPS_MAX)),
        Figure::new("a sample", sample, "B"),
        Figure::new("a sample with what guests use, one a minute", sample_with_guests, "B"),
        Figure::new("the picture of those that run", sizes("/guest_runs/").1, "B"),
        Figure::new("the picture of what there is", sizes("/checkpoint/guests/").1, "B"),
    ]
}

fn one_at_a_time(stage: &mut Stage) -> Vec<Figure> {
    let mut arrivals = Vec::new();
    for vmid in FIRST..FIRST + TURNS {
        for (verb, state) in [("stop", GuestState::Stopped), ("start", GuestState::Running)] {
            stage.node.shell(&format!("systemctl {verb} pve-container@{vmid}.service"));
            let is_it = |arrival: &Arrival| is_turn(arrival, state, Some(vmid));
            arrivals.extend(stage.listener.find(GENEROUS, is_it));
        }
        stage.acknowledge();
    }
    let delays = Distribution::new(arrivals.iter().map(Arrival::delay_ms).collect());
    let expected = f64::from(2 * TURNS);
    vec![
        Figure::new("one at a time: told", arrivals.len() as f64, "")
            .within(Budget::Exactly(expected)),
        Figure::new("one at a time: p50", delays.quantile(0.5), "ms"),
        Figure::new("one at a time: p99", delays.quantile(0.99), "ms"),
    ]
}

fn all_at_once(stage: &mut Stage) -> Vec<Figure> {
    let last = FIRST + TURNS - 1;
    stage
        .node
        .shell(&format!("bash -c 'systemctl stop pve-container@{{{FIRST}..{last}}}.service'"));
    let deadline = Deadline::after(GENEROUS);
    let mut delays = Vec::new();
    while delays.len() < TURNS as usize {
        let is_stop = |arrival: &Arrival| is_turn(arrival, GuestState::Stopped, None);
        let Some(arrival) = stage.listener.find(deadline.remaining(), is_stop) else { break };
        delays.push(arrival.delay_ms());
    }
    stage.acknowledge();
    let delays = Distribution::new(delays);
    vec![
        Figure::new("all at once: told", delays.count() as f64, "")
            .within(Budget::Exactly(f64::from(TURNS))),
        Figure::new("all at once: max", delays.max(), "ms"),
    ]
}

fn is_turn(arrival: &Arrival, state: GuestState, vmid: Option<u32>) -> bool {
    match &arrival.event.data {
        EventData::GuestChanged(run) => {
            run.state == state && vmid.is_none_or(|vmid| u32::from(run.vmid) == vmid)
        }
        _ => false,
    }
}
