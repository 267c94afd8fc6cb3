//! Joins the queue, the sources and the link: the one task that owns the agent's state.
//!
//! Everything that changes it comes in through one `select!`. Facts go out in order through the
//! window; pictures wait in a short queue of their own and are dropped when the link is lost,
//! because new ones are asked for as soon as it is back. Samples are sent or forgotten. What is
//! slow about a disk, making durable, runs apart: one job at a time, for all that came meanwhile.

mod disk;
mod hear;
mod round_trip;
mod speak;

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use pvewatch_edge::mqtt::{Broker, Incoming, Message, Ticket};
use pvewatch_edge::service;
use pvewatch_protocol::event::{AgentFacts, AgentStarted, AgentStopping};
use pvewatch_protocol::{
    CheckpointContent, CollectorName, Epoch, EventData, NodeName, Position, Site, StopReason,
    StreamId,
};
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, sleep_until, timeout};
use uuid::Uuid;

use super::company::{Company, Leave};
use super::queue::Outbox;
use super::spool::{Limits, Owner};
use crate::app::Inputs;
use crate::mqtt::{Another, Link, LinkEvent, Speaker};
use crate::source::{Fact, Report};
use crate::{clock, pictures};
use disk::Syncing;
use round_trip::RoundTrip;

/// How long each half of a goodbye may take: the rest of the outbox, and the broker's answers.
const GOODBYE_MAX: Duration = Duration::from_secs(3);

/// How often every picture is sent again, whatever happens: a picture is the last resort against
/// whatever nobody thought of.
const PICTURES_EVERY: Duration = Duration::from_mins(15);

/// Epochs that are remembered, to tell our own presence from another agent's.
const EPOCHS_MAX: usize = 8;

/// What the runner needs to know.
#[derive(Debug)]
pub struct RunnerSettings {
    /// The installation.
    pub site: Site,
    /// This node.
    pub node: NodeName,
    /// Whose acks count.
    pub collectors: Vec<CollectorName>,
    /// How much the outbox may hold.
    pub limits: Limits,
    /// Where the outbox keeps its events; in memory alone if there is no place.
    pub spool: Option<PathBuf>,
    /// The way to the broker.
    pub broker: Broker,
}

/// What a publish that waits for its PUBACK was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Event,
    Part,
    Presence,
}

/// What the broker has answered of the first words of a connection.
#[derive(Debug, Clone, Copy, Default)]
struct Answered {
    subscription: bool,
    presence: bool,
}

/// The owner of the agent's state.
pub struct Runner {
    site: Site,
    node: NodeName,
    speaker: Speaker,
    facts: AgentFacts,
    inputs: Inputs,
    outbox: Outbox,
    /// What is being made durable.
    syncing: Option<Syncing>,
    /// Sources that wait until what they told is durable, with the last event of it.
    keepers: VecDeque<(Position, oneshot::Sender<()>)>,
    link: Link,
    /// Whether collectors are at the broker in use.
    company: Company,
    /// The connection that is up, if one is.
    epoch: Option<Epoch>,
    /// The last connections of this agent, the newest last; at most [`EPOCHS_MAX`].
    own_epochs: VecDeque<Epoch>,
    awaiting_puback: BTreeMap<Ticket, Kind>,
    /// Whether the broker has answered this connection's subscription, and its first presence.
    answered: Answered,
    parts: VecDeque<Message>,
    /// The presence that each collector last had, as far as this connection heard of it.
    round_trip: RoundTrip,
    /// A refusal is said once a connection, not once an event.
    refusal_was_logged: bool,
    /// An outbox that overflows is told once.
    overflow_was_logged: bool,
}

impl Runner {
    /// A runner with a new stream, behind those that earlier starts left.
    pub fn new(settings: RunnerSettings, mut facts: AgentFacts, inputs: Inputs) -> Self {
        let RunnerSettings { site, node, collectors, limits, spool, broker } = settings;
        let stream = StreamId(Uuid::now_v7());
        let owner = Owner { site: site.clone(), node: node.clone() };
        let (spool, opened, status) = disk::open(spool.as_deref(), owner.clone(), limits, stream);
        pictures::set_status(&mut facts, status);
        let speaker = Speaker {
            site: site.clone(),
            node: node.clone(),
            boot_id: facts.boot_id.clone(),
            cluster: facts.cluster.clone(),
        };
        let link = Link::new(broker, speaker.clone());
        Self {
            outbox: Outbox::new(owner, &collectors, spool, opened),
            syncing: None,
            keepers: VecDeque::new(),
            company: Company::new(link.brokers(), inputs.sample_interval, &collectors),
            link,
            site,
            node,
            speaker,
            facts,
            inputs,
            epoch: None,
            own_epochs: VecDeque::new(),
            awaiting_puback: BTreeMap::new(),
            answered: Answered::default(),
            parts: VecDeque::new(),
            round_trip: RoundTrip::default(),
            refusal_was_logged: false,
            overflow_was_logged: false,
        }
    }

    /// Runs until `stop` says why it ends, then says goodbye.
    pub async fn run(mut self, stop: impl Future<Output = StopReason>) {
        self.append_now(EventData::AgentStarted(AgentStarted { facts: self.facts.clone() }));
        let mut alive = service::watchdog_interval().map(|period| {
            let mut ticks = interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            ticks
        });
        let mut pictures = interval_at(Instant::now() + PICTURES_EVERY, PICTURES_EVERY);
        pictures.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stop = pin!(stop);
        self.tell_status();
        loop {
            self.publish_due().await;
            self.begin_sync();
            self.answer_keepers();
            let due = self.outbox.next_deadline().into_iter().chain(self.company.next_deadline());
            let due = due.min().map(Instant::from_std);
            tokio::select! {
                reason = &mut stop => return self.say_goodbye(reason).await,
                event = self.link.next() => self.on_link(event).await,
                report = self.inputs.reports.recv() => match report {
                    Some(report) => self.on_report(report),
                    // Sources end only with the agent; without them there is nothing to do.
                    None => return self.say_goodbye(StopReason::Unknown).await,
                },
                Ok(()) = self.inputs.readings.changed() => self.publish_sample(),
                () = sleep_until(due.unwrap_or_else(far_away)), if due.is_some() => self.on_due(),
                (ticket, result) = disk::synced(&mut self.syncing) => {
                    self.on_synced(&ticket, result);
                }
                _ = pictures.tick() => self.show_all(),
                () = tick(&mut alive) => service::alive(),
            }
        }
    }

    fn on_report(&mut self, report: Report) {
        match report {
            Report::Fact(fact) => self.append(fact),
            Report::Picture(content) => self.queue_picture(content),
            Report::AreKept(answer) => self.keepers.push_back((self.outbox.position(), answer)),
            Report::Status(status) => {
                log::info!(
                    "source {} is {}: {}",
                    status.name,
                    if status.active { "active" } else { "not active" },
                    status.detail
                );
                if pictures::set_status(&mut self.facts, status) {
                    self.queue_picture(CheckpointContent::Agent(self.facts.clone()));
                    self.tell_status();
                }
            }
        }
    }

    async fn on_link(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Connected(epoch) => self.on_connected(epoch).await,
            LinkEvent::Lost => {
                self.epoch = None;
                self.company.on_lost();
                self.parts.clear();
                self.tell_status();
            }
            LinkEvent::Failed => self.tell_status(),
            LinkEvent::Incoming(Incoming::PublishAcked { ticket, reason }) => {
                self.on_puback(ticket, reason);
            }
            LinkEvent::Incoming(Incoming::Message(message)) => self.on_message(&message),
            LinkEvent::Incoming(Incoming::Subscribed { reasons, .. }) => {
                log::debug!("subscribed: {reasons:?}");
                self.answered.subscription = true;
                self.note_answered();
            }
        }
    }

    async fn on_connected(&mut self, epoch: Epoch) {
        self.epoch = Some(epoch);
        self.own_epochs.push_back(epoch);
        if self.own_epochs.len() > EPOCHS_MAX {
            self.own_epochs.pop_front();
        }
        self.awaiting_puback.clear();
        self.answered = Answered::default();
        self.parts.clear();
        self.round_trip = RoundTrip::default();
        self.refusal_was_logged = false;
        self.outbox.on_connected(clock::now());
        self.company.on_connected(clock::now());
        self.publish_presence(None).await;
        // The broker may have forgotten what it retained.
        self.show_all();
        self.publish_sample();
        self.tell_status();
    }

    fn on_due(&mut self) {
        let now = clock::now();
        if self.outbox.on_deadline(now) && self.epoch.is_some() {
            log::info!("no ack for too long: events are sent again");
            // Whatever swallowed the events can have swallowed more.
            self.show_all();
            // A broker can take everything and pass nothing on.
            if !self.outbox.is_anybody_keeping_up() {
                self.link.prefer_another(Another::Next, "no collector acks through it");
            }
        }
        if let Some(leave) = self.company.on_deadline(now) {
            let which = match leave {
                Leave::AllGone => Another::First,
                Leave::NobodyThere | Leave::NotAWord => Another::Next,
            };
            self.link.prefer_another(which, leave.as_str());
        }
        self.tell_disk();
    }

    fn append_now(&mut self, data: EventData) {
        let today = clock::today();
        self.append(Fact { time: today, recorded_time: today, data });
    }

    fn append(&mut self, fact: Fact) {
        let dropped = match self.outbox.append(clock::now(), fact) {
            Ok(dropped) => dropped,
            Err(error) => {
                log::error!("an event is not sent: {error}");
                return;
            }
        };
        self.tell_disk();
        if dropped > 0 && !std::mem::replace(&mut self.overflow_was_logged, true) {
            log::error!(
                "outbox: full with {} events: the oldest are dropped; see why the collector \
                 does not ack, or raise [outbox] bytes_max",
                self.outbox.unacked_events()
            );
        }
        if dropped > 0 && self.epoch.is_some() {
            self.want_pictures();
        }
    }

    fn show_all(&mut self) {
        self.queue_picture(CheckpointContent::Agent(self.facts.clone()));
        self.want_pictures();
    }

    fn want_pictures(&self) {
        self.inputs.picture_wanted.send_modify(|count| *count += 1);
    }

    fn tell_status(&self) {
        let sources: Vec<&str> = self
            .facts
            .sources
            .iter()
            .filter(|source| source.active)
            .map(|source| source.name.as_str())
            .collect();
        let link = if self.epoch.is_some() { "connected to" } else { "not connected to" };
        service::status(&format!("{link} {}; watching {}", self.link.url(), sources.join(", ")));
    }

    /// The last words: what the sources still have, `agent.stopping`, and the presence.
    async fn say_goodbye(mut self, reason: StopReason) {
        log::info!("stopping ({})", reason.as_str());
        while let Ok(report) = self.inputs.reports.try_recv() {
            self.on_report(report);
        }
        let boot_id = self.facts.boot_id.clone();
        self.append_now(EventData::AgentStopping(AgentStopping { reason, boot_id }));
        let flushed = timeout(GOODBYE_MAX, async {
            while self.epoch.is_some() && !self.outbox.is_settled() {
                self.publish_due().await;
                let due = self.outbox.next_deadline().map(Instant::from_std);
                tokio::select! {
                    event = self.link.next() => self.on_link(event).await,
                    () = sleep_until(due.unwrap_or_else(far_away)) => {
                        self.outbox.on_deadline(clock::now());
                    }
                }
            }
            self.publish_presence(Some(reason)).await;
        });
        if flushed.await.is_err() {
            log::warn!("not everything was stored by a collector within {GOODBYE_MAX:?}");
        }
        let unacked = self.outbox.unacked_events();
        if unacked > 0 {
            log::info!("{unacked} events were sent but not acked when the agent stopped");
        }
        self.sync_last().await;
        self.answer_keepers();
        self.link.close(GOODBYE_MAX).await;
    }
}

async fn tick(ticks: &mut Option<tokio::time::Interval>) {
    match ticks {
        Some(ticks) => {
            ticks.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// For a timer that is switched off.
fn far_away() -> Instant {
    Instant::from_std(clock::now()) + Duration::from_secs(3600)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use pvewatch_edge::mqtt::BrokerSettings;
    use tokio::sync::{mpsc, watch};
    use tokio::time::advance;

    use super::*;

    /// An agent that reaches neither of its brokers: nobody listens there.
    fn runner() -> (Runner, watch::Receiver<u64>, mpsc::Sender<Report>) {
        let urls = ["mqtt://127.0.0.1:1", "mqtt://127.0.0.1:2"];
        let urls = urls.map(|url| url.parse().unwrap()).to_vec();
        let settings = BrokerSettings { urls, ..BrokerSettings::default() };
        let (reports_in, reports) = mpsc::channel(1);
        let (_, readings) = watch::channel(None);
        let (picture_wanted, wanted) = watch::channel(0);
        let sample_interval = Duration::from_secs(10);
        let inputs = Inputs { reports, readings, picture_wanted, sample_interval };
        let facts = AgentFacts {
            version: String::new(),
            boot_id: "boot".to_owned(),
            booted_at: Timestamp::UNIX_EPOCH,
            machine_id: None,
            product_uuid: None,
            macs: Vec::new(),
            cluster: None,
            labels: BTreeMap::new(),
            sources: Vec::new(),
            sample_interval_seconds: 10.0,
        };
        let settings = RunnerSettings {
            site: Site::default(),
            node: "pve1".parse().unwrap(),
            collectors: vec![CollectorName::default()],
            limits: Limits { bytes_max: 1024 * 1024, events_max: 1000 },
            spool: None,
            broker: Broker::prepare_with(&settings, None).unwrap(),
        };
        (Runner::new(settings, facts, inputs), wanted, reports_in)
    }

    #[tokio::test(start_paused = true)]
    async fn every_picture_is_asked_for_every_quarter_of_an_hour() {
        let (runner, mut wanted, _sources) = runner();
        let (_stop, stopped) = tokio::sync::oneshot::channel::<StopReason>();
        let stop = async { stopped.await.unwrap_or(StopReason::Unknown) };
        let begun = Instant::now();
        let watch = async {
            for count in 1..=3 {
                wanted.changed().await.unwrap();
                assert_eq!(*wanted.borrow_and_update(), count);
                let quarters = begun.elapsed().as_secs_f64() / PICTURES_EVERY.as_secs_f64();
                assert!((quarters - count as f64).abs() < 0.1, "{quarters} quarters of an hour");
            }
        };
        tokio::select! {
            () = runner.run(stop) => unreachable!("nobody stops it"),
            () = watch => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn brokers_that_cannot_be_reached_are_tried_in_turn() {
        let (mut runner, _wanted, _sources) = runner();
        for port in [1, 2, 1, 2] {
            assert_eq!(runner.link.url().port(), port);
            // Without a connection there is none to prefer another to.
            runner.link.prefer_another(Another::Next, "nothing");
            assert_eq!(runner.link.url().port(), port);
            assert!(matches!(runner.link.next().await, LinkEvent::Failed));
            advance(Duration::from_millis(1)).await;
        }
    }
}
