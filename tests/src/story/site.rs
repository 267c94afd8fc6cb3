//! The broker of a story and everything that was heard on it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use pvewatch_protocol::{
    Event, NodePresence, Position, PresenceState, StopReason, StreamId, codec,
};

use super::hears::Hears;
use super::watched::WatchedNode;
use crate::deadline::{Deadline, GENEROUS};
use crate::lab::Suite;
use crate::servers::{Mosquitto, Security};
use crate::subscriber::{Access, Message, Subscriber};

/// An event, and when it arrived at the observer.
#[derive(Debug, Clone)]
pub struct Heard {
    /// The event.
    pub event: Event,
    /// When it arrived first.
    pub arrived: Timestamp,
}

/// What an expectation speaks of: the events of one node about one subject. The agent's own
/// events have the empty subject.
pub(super) type Thread = (String, String);

/// A broker with an observer.
pub struct Site {
    /// The broker, if it is Mosquitto, for stories in which it restarts.
    pub broker: Option<Mosquitto>,
    access: Access,
    observer: Subscriber,
    observed: usize,
    heard: Vec<Heard>,
    ids: HashSet<String>,
    told: HashMap<Thread, usize>,
    presence_told: HashMap<String, usize>,
}

impl Site {
    /// A site with a Mosquitto that anybody may use.
    #[track_caller]
    pub fn with_mosquitto() -> Self {
        let broker = Mosquitto::start(Security::Open);
        let mut site = Self::on(broker.access(None));
        site.broker = Some(broker);
        site
    }

    /// A site on a broker that runs already, such as the one embedded in a collector.
    #[track_caller]
    pub fn on(access: Access) -> Self {
        let observer = Subscriber::connect(&access, &["pvewatch/#"]);
        Self {
            broker: None,
            access,
            observer,
            observed: 0,
            heard: Vec::new(),
            ids: HashSet::new(),
            told: HashMap::new(),
            presence_told: HashMap::new(),
        }
    }

    /// How to reach the broker.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Mosquitto, in a story that began with it.
    ///
    /// # Panics
    /// In any other story.
    #[track_caller]
    pub fn mosquitto(&mut self) -> &mut Mosquitto {
        self.broker.as_mut().expect("this story has a Mosquitto")
    }

    /// Boots a node with the agent from its package, and waits until the agent is online and
    /// watches units.
    #[track_caller]
    pub fn node(&mut self, name: &str, suite: Suite) -> WatchedNode {
        let access = self.access.clone();
        self.node_as(name, suite, &access)
    }

    /// As [`Site::node`], where the node has an access of its own to the broker.
    #[track_caller]
    pub fn node_as(&mut self, name: &str, suite: Suite, access: &Access) -> WatchedNode {
        let node = WatchedNode::boot(name, suite, access);
        self.expect_online(&node);
        self.wait_until_watching(&node);
        node
    }

    /// What the observer hears from a node about a unit, for an expectation.
    pub fn hears<'a>(&'a mut self, node: &WatchedNode, unit: &str) -> Hears<'a> {
        Hears::about(self, (node.name().to_owned(), unit.to_owned()))
    }

    /// What the observer hears from a node's agent about itself.
    pub fn hears_agent<'a>(&'a mut self, node: &WatchedNode) -> Hears<'a> {
        self.hears(node, "")
    }

    /// Waits for the next birth message of a node.
    #[track_caller]
    pub fn expect_online(&mut self, node: &WatchedNode) -> NodePresence {
        self.expect_presence(node, "to be online", |it| it.state == PresenceState::Online)
    }

    /// Waits until a node is offline for that reason.
    #[track_caller]
    pub fn expect_offline(&mut self, node: &WatchedNode, reason: StopReason) -> NodePresence {
        self.expect_presence(node, &format!("to be offline: {reason:?}"), |it| {
            it.state == PresenceState::Offline && it.reason == Some(reason)
        })
    }

    /// Everything heard from a node so far, in order of arrival, each event once.
    pub fn events_of(&mut self, node: &WatchedNode) -> Vec<Heard> {
        self.absorb();
        let of_node = |heard: &&Heard| heard.event.node.as_str() == node.name();
        self.heard.iter().filter(of_node).cloned().collect()
    }

    /// The newest message on a topic below `pvewatch/v1/home/`.
    #[track_caller]
    pub fn expect_message(
        &mut self,
        what: &str,
        topic: &str,
        wanted: impl Fn(&Message) -> bool,
    ) -> Message {
        let topic = format!("pvewatch/v1/home/{topic}");
        self.observer.wait_for(what, GENEROUS, |it| it.topic == topic && wanted(it))
    }

    /// Checks what must hold in every story: no stream has a gap.
    ///
    /// # Panics
    /// When an event was heard but not all before it in its stream.
    #[track_caller]
    pub fn expect_no_gaps(&mut self, node: &WatchedNode) {
        let mut streams: HashMap<StreamId, Vec<u64>> = HashMap::new();
        for heard in self.events_of(node) {
            let position = heard.event.position;
            streams.entry(position.stream).or_default().push(position.sequence.0);
        }
        for (stream, mut sequences) in streams {
            sequences.sort_unstable();
            let expected: Vec<u64> = (1..=sequences.len() as u64).collect();
            assert_eq!(sequences, expected, "{}: stream {stream} has gaps", node.name());
        }
    }

    /// Waits for an event of a thread that has not been told yet.
    #[track_caller]
    pub(super) fn next_of(
        &mut self,
        thread: &Thread,
        what: &str,
        within: Duration,
        wanted: impl Fn(&Event) -> bool,
    ) -> Heard {
        let deadline = Deadline::after(within);
        let from = self.told.get(thread).copied().unwrap_or(0);
        let mut at = from;
        loop {
            self.absorb();
            while at < self.heard.len() {
                let heard = &self.heard[at];
                at += 1;
                let event = &heard.event;
                let of_thread = event.node.as_str() == thread.0 && event.data.subject() == thread.1;
                if of_thread && wanted(event) {
                    let heard = heard.clone();
                    self.told.insert(thread.clone(), at);
                    return heard;
                }
            }
            if !self.observer.wait_for_news(deadline) {
                panic!("waited {within:?} to hear {what}; heard:\n{}", self.observer.summary());
            }
        }
    }

    /// Waits until the agent has shown its first picture of all units: from then on everything
    /// that happens is told.
    #[track_caller]
    pub fn wait_until_watching(&mut self, node: &WatchedNode) {
        let topic = format!("pvewatch/v1/home/node/{}/checkpoint/units/1", node.name());
        let stream = self.hears_agent(node).started().event.position.stream.to_string();
        let what = format!("{} to show its units", node.name());
        self.observer.wait_for(&what, GENEROUS, |message| {
            message.topic == topic && message.json()["as_of"]["stream"] == stream.as_str()
        });
    }

    /// Waits until the agent that speaks has shown which guests run: from then on everything that
    /// happens to them is told.
    ///
    /// # Panics
    /// When it does not, or when no agent has spoken.
    #[track_caller]
    pub fn wait_for_guests(&mut self, node: &WatchedNode) {
        let topic = format!("pvewatch/v1/home/node/{}/checkpoint/guest_runs/1", node.name());
        let streams = self.events_of(node).into_iter().map(|heard| heard.event.position.stream);
        let stream = streams.max().expect("an agent that spoke").to_string();
        let what = format!("{} to show its guests", node.name());
        self.observer.wait_for(&what, GENEROUS, |message| {
            message.topic == topic && message.json()["as_of"]["stream"] == stream.as_str()
        });
    }

    /// Waits until the agent has shown all units as of everything that was heard of it so far.
    #[track_caller]
    pub fn wait_for_picture_after(&mut self, node: &WatchedNode) {
        let topic = format!("pvewatch/v1/home/node/{}/checkpoint/units/1", node.name());
        let heard = self.events_of(node).into_iter().map(|heard| heard.event.position);
        let Some(last) = heard.max_by_key(|it| (it.stream, it.sequence)) else { return };
        let what = format!("{} to show its units after {}", node.name(), last.sequence);
        self.observer.wait_for(&what, GENEROUS, |message| {
            let shown = message.json();
            let as_of = serde_json::from_value::<Position>(shown["as_of"].clone());
            message.topic == topic
                && as_of.is_ok_and(|it| (it.stream, it.sequence) >= (last.stream, last.sequence))
        });
    }

    #[track_caller]
    fn expect_presence(
        &mut self,
        node: &WatchedNode,
        what: &str,
        wanted: impl Fn(&NodePresence) -> bool,
    ) -> NodePresence {
        let deadline = Deadline::after(GENEROUS);
        let topic = format!("pvewatch/v1/home/node/{}/presence", node.name());
        let mut at = self.presence_told.get(node.name()).copied().unwrap_or(0);
        loop {
            let messages = self.observer.messages();
            while at < messages.len() {
                let message = &messages[at];
                at += 1;
                let presence = codec::decode::<NodePresence>(&message.payload).ok();
                let presence = presence.filter(|it| message.topic == topic && wanted(it));
                if let Some(presence) = presence {
                    self.presence_told.insert(node.name().to_owned(), at);
                    return presence;
                }
            }
            if !self.observer.wait_for_news(deadline) {
                let summary = self.observer.summary();
                panic!("waited {GENEROUS:?} for {} {what}; heard:\n{summary}", node.name());
            }
        }
    }

    fn absorb(&mut self) {
        let messages = self.observer.messages();
        for message in &messages[self.observed..] {
            let Some(event) = message.event() else { continue };
            if self.ids.insert(event.id()) {
                self.heard.push(Heard { event, arrived: message.arrived });
            }
        }
        self.observed = messages.len();
    }
}
