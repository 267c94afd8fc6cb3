//! Guests of a story's nodes: what becomes of them, as the agents tell it and the collector knows it.

use pvewatch_protocol::EventData;
use pvewatch_protocol::event::{GuestCause, GuestRun, GuestState};
use serde_json::Value;

use super::{Site, WatchedNode};
use crate::lab::Suite;
use crate::servers::{Collector, get_json};

/// The catalogue's two rules about guests that do not run, for people who cannot wait.
pub const IMPATIENT: &str = r#"
[[rule]]
name = "StoppedSoon"
scope = "guest"
when = "unexpectedly_stopped"
for = "2s"
severity = "warning"
summary = "{{ vmid }} ({{ name }}): {{ cause }}"

[[rule]]
name = "NotBackSoon"
scope = "guest"
when = 'stopped && older(awaited_since, "2s")'
severity = "critical"
summary = "{{ vmid }} ({{ name }}): {{ cause }}"
"#;

impl Site {
    /// A node of Proxmox with these guests, of which none runs yet.
    ///
    /// # Panics
    /// When its agent does not watch.
    #[track_caller]
    pub fn proxmox(
        &mut self,
        name: &str,
        suite: Suite,
        guests: &[(u32, &str, &str)],
    ) -> WatchedNode {
        let node = self.node(name, suite);
        node.plays_proxmox();
        node.has_guests(guests);
        node.has_containers();
        node.restart_agent();
        self.wait_until_watching(&node);
        self.wait_for_guests(&node);
        node
    }

    /// The next change of a guest: its state, cause, and whether it was meant.
    ///
    /// # Panics
    /// When none comes.
    #[track_caller]
    pub fn change_of(&mut self, node: &WatchedNode, vmid: u32) -> GuestRun {
        let is_change = |data: &EventData| matches!(data, EventData::GuestChanged(_));
        match self.hears(node, &vmid.to_string()).next("a guest's change", is_change).event.data {
            EventData::GuestChanged(run) => run,
            other => unreachable!("{other:?}"),
        }
    }

    /// The next change of a guest is this one.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn expect_change(
        &mut self,
        (node, vmid): (&WatchedNode, u32),
        state: GuestState,
        cause: GuestCause,
    ) -> GuestRun {
        let run = self.change_of(node, vmid);
        expect(&run, state, cause);
        run
    }
}
/// A guest's change is this one, and was meant if such a cause is.
///
/// # Panics
/// When it is another.
#[track_caller]
pub fn expect(run: &GuestRun, state: GuestState, cause: GuestCause) {
    assert_eq!((run.state, run.cause), (state, Some(cause)), "{run:?}");
    assert_eq!(run.expected, cause.is_meant(), "{run:?}");
}

impl Collector {
    /// What it says of each guest: node, number, state and cause.
    pub fn guests(&self) -> Vec<String> {
        let answer = get_json(&self.url("/api/v1/guests")).unwrap_or_default();
        let words = |guest: &Value| {
            let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            let run = &guest["run"];
            let node = text(&guest["node"]);
            format!("{node} {} {} {}", guest["vmid"], text(&run["state"]), text(&run["cause"]))
        };
        let all = answer["guests"].as_array().into_iter().flatten();
        let mut guests: Vec<_> = all.map(words).collect();
        guests.sort();
        guests
    }

    /// The summary of every alert of an impatient rule that it lists.
    pub fn told_soon(&self) -> Vec<String> {
        let is_soon = |alert: &&Value| {
            alert["labels"]["alertname"].as_str().is_some_and(|name| name.ends_with("Soon"))
        };
        let summary =
            |alert: &Value| alert["annotations"]["summary"].as_str().unwrap_or_default().to_owned();
        self.alerts().iter().filter(is_soon).map(summary).collect()
    }
}
