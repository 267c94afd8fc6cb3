//! The connection to the system bus: one socket, questions without waiting, answers in order.
//!
//! A forwarder reads all that comes and never waits for anybody: a stream that is not read
//! blocks the whole connection. It puts signals that matter and all answers into one queue, in
//! the order in which they came. When that is full, signals are dropped and counted, and the
//! owner lists all units again.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use zbus::message::Type;
use zbus::{Connection, Message, MessageStream};

use super::calls::{self, PROPERTIES, call, manager_call};
use super::signal::{self, Signal, UNIT_INTERFACE};
use super::{Heard, Selection, UnitName};

/// Signals and answers that may wait for the owner; 200 failures at once are some 2,000. When it
/// is full, signals are dropped, counted in the source's status, and all units are listed again.
const QUEUE_MAX: usize = 4096;

/// Room in the queue that signals leave to answers: more than can be outstanding.
const QUEUE_FOR_ANSWERS: usize = 64;

/// Units whose details are asked for at the same time.
const DETAILS_AT_ONCE: usize = 8;

/// How long the bus may take to let somebody in.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long systemd may take for an answer before it counts as hung. It answers nobody while it
/// reads its configuration again, which takes seconds with ten thousand units.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// What is asked for: changes of units, units that go, jobs that end, reloads, and whether
/// systemd itself has come back under its name.
const MATCH_RULES: [&str; 5] = [
    "type='signal',sender='org.freedesktop.systemd1',\
     interface='org.freedesktop.DBus.Properties',member='PropertiesChanged',\
     path_namespace='/org/freedesktop/systemd1/unit'",
    "type='signal',sender='org.freedesktop.systemd1',\
     interface='org.freedesktop.systemd1.Manager',member='UnitRemoved'",
    "type='signal',sender='org.freedesktop.systemd1',\
     interface='org.freedesktop.systemd1.Manager',member='JobRemoved'",
    "type='signal',sender='org.freedesktop.systemd1',\
     interface='org.freedesktop.systemd1.Manager',member='Reloading'",
    "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',\
     member='NameOwnerChanged',arg0='org.freedesktop.systemd1'",
];

/// Why the bus cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// There is no bus, or it refuses.
    #[error("the system bus cannot be reached: {0}")]
    Connect(zbus::Error),
    /// systemd does not answer on the bus, or refuses.
    #[error("systemd does not answer on the system bus: {0}")]
    Systemd(zbus::Error),
    /// The bus takes connections, and nothing else.
    #[error("the system bus does not answer within {} s: it hangs", PATIENCE.as_secs())]
    Hangs,
    /// The bus works, and systemd does not.
    #[error("systemd does not answer within {} s: it hangs", ANSWER_PATIENCE.as_secs())]
    SystemdHangs,
    /// The connection broke.
    #[error("the system bus closed the connection: {0}")]
    Lost(String),
    /// systemd will not send signals to this user.
    #[error("systemd refuses to send signals: {0}")]
    Refused(String),
}

/// What waits for the owner.
#[derive(Debug)]
enum Queued {
    Signal(Signal),
    Answer(Message),
    Closed(String),
}

/// What was asked.
#[derive(Debug, Clone)]
enum Question {
    Subscribe,
    List,
    LookUp,
    Ending(UnitName),
    Details(UnitName),
    Ping,
}

/// A connection to the bus, on which systemd answers.
#[derive(Debug)]
pub struct Bus {
    connection: Connection,
    selection: Arc<Selection>,
    heard: mpsc::Receiver<Queued>,
    dropped: Arc<AtomicU64>,
    dropped_seen: u64,
    asked: HashMap<NonZeroU32, (Question, Instant)>,
    wanted_details: VecDeque<UnitName>,
    /// systemd's version, if it said so.
    pub systemd_version: Option<u32>,
    _forwarder: JoinSet<()>,
}

impl Bus {
    /// Connects, and asks for signals; they begin with the first listing.
    ///
    /// # Errors
    /// When there is no bus, no systemd on it, or no answer in time.
    pub async fn connect(
        address: Option<&str>,
        selection: Arc<Selection>,
    ) -> Result<Self, BusError> {
        let connection = timeout(PATIENCE, calls::connect(address))
            .await
            .map_err(|_| BusError::Hangs)?
            .map_err(BusError::Connect)?;
        let (queue, heard) = mpsc::channel(QUEUE_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let stream = MessageStream::from(&connection);
        let mut forwarder = JoinSet::new();
        forwarder.spawn(forward(stream, selection.clone(), queue, dropped.clone()));
        for rule in MATCH_RULES {
            let name = Some("org.freedesktop.DBus");
            connection
                .call_method(name, "/org/freedesktop/DBus", name, "AddMatch", &rule)
                .await
                .map_err(hangs_or(BusError::Connect))?;
        }
        let version =
            calls::text(&connection, "Version").await.map_err(hangs_or(BusError::Systemd))?;
        Ok(Self {
            connection,
            selection,
            heard,
            dropped,
            dropped_seen: 0,
            asked: HashMap::new(),
            wanted_details: VecDeque::new(),
            systemd_version: version.as_deref().and_then(signal::systemd_version),
            _forwarder: forwarder,
        })
    }

    /// The next thing that was heard. Dropping the future loses nothing.
    ///
    /// # Errors
    /// When the connection is lost or systemd refuses.
    pub async fn next(&mut self) -> Result<Heard, BusError> {
        loop {
            let dropped = self.dropped.load(Ordering::Relaxed);
            if dropped != self.dropped_seen {
                self.dropped_seen = dropped;
                return Ok(Heard::Overflowed);
            }
            match self.heard.recv().await {
                Some(Queued::Signal(signal)) => return Ok(Heard::Signal(signal)),
                Some(Queued::Answer(answer)) => {
                    if let Some(input) = self.answered(&answer)? {
                        return Ok(input);
                    }
                }
                Some(Queued::Closed(reason)) => return Err(BusError::Lost(reason)),
                None => return Err(BusError::Lost("the connection ended".to_owned())),
            }
        }
    }

    /// Signals that were dropped since the bus was reached.
    pub fn dropped(&self) -> u64 {
        self.dropped_seen
    }

    /// When the oldest question has waited for too long; none if none waits.
    pub fn patience_ends(&self) -> Option<Instant> {
        self.asked.values().map(|(_, at)| *at + ANSWER_PATIENCE).min()
    }

    /// Renews the subscription and asks for all units that the patterns include.
    ///
    /// # Errors
    /// When the bus hangs or is lost.
    pub async fn list(&mut self, now: Instant) -> Result<(), BusError> {
        let subscribe = manager_call("Subscribe", &());
        self.ask(now, subscribe, Question::Subscribe).await?;
        let patterns: Vec<&str> = self.selection.include.iter().map(|glob| glob.as_str()).collect();
        let call = manager_call("ListUnitsByPatterns", &(Vec::<&str>::new(), patterns));
        self.ask(now, call, Question::List).await
    }

    /// Asks for these units by name, loaded or not.
    ///
    /// # Errors
    /// When the bus hangs or is lost.
    pub async fn look_up(&mut self, now: Instant, names: &[UnitName]) -> Result<(), BusError> {
        let names: Vec<&str> = names.iter().map(UnitName::as_str).collect();
        let call = manager_call("ListUnitsByNames", &(names,));
        self.ask(now, call, Question::LookUp).await
    }

    /// Asks for all properties of a unit, in its turn.
    ///
    /// # Errors
    /// When the bus hangs or is lost.
    pub async fn details(&mut self, now: Instant, unit: UnitName) -> Result<(), BusError> {
        self.wanted_details.push_back(unit);
        self.ask_for_details(now).await
    }

    /// Asks systemd for a sign of life: its answer comes after all that it said before.
    ///
    /// # Errors
    /// When the bus hangs or is lost.
    pub async fn ping(&mut self, now: Instant) -> Result<(), BusError> {
        let call = call(calls::PATH, "org.freedesktop.DBus.Peer", "Ping", &());
        self.ask(now, call, Question::Ping).await
    }

    /// Whether the host goes down. No, if systemd does not say.
    pub async fn is_host_stopping(&self) -> bool {
        let state = calls::text(&self.connection, "SystemState");
        matches!(timeout(PATIENCE, state).await, Ok(Ok(Some(state))) if state == "stopping")
    }

    /// When systemd was started: of a container that is its own boot. The epoch, if systemd does not
    /// say.
    pub async fn booted_at(&self) -> Timestamp {
        let started = calls::time(&self.connection, "UserspaceTimestamp");
        timeout(PATIENCE, started).await.ok().and_then(Result::ok).flatten().unwrap_or_default()
    }

    /// Asks for more details, if answers have made room.
    ///
    /// # Errors
    /// When the bus hangs or is lost.
    pub async fn ask_for_details(&mut self, now: Instant) -> Result<(), BusError> {
        let is_details =
            |(question, _): &&(Question, Instant)| matches!(question, Question::Details(_));
        while self.asked.values().filter(is_details).count() < DETAILS_AT_ONCE {
            let Some(unit) = self.wanted_details.pop_front() else { break };
            let path = unit.path();
            let get_all = |interface: &str| call(&path, PROPERTIES, "GetAll", &(interface,));
            let ending = get_all(unit.unit_type().interface());
            let details = get_all(UNIT_INTERFACE);
            self.ask(now, ending, Question::Ending(unit.clone())).await?;
            self.ask(now, details, Question::Details(unit)).await?;
        }
        Ok(())
    }

    async fn ask(
        &mut self,
        now: Instant,
        call: zbus::Result<Message>,
        question: Question,
    ) -> Result<(), BusError> {
        let call = call.map_err(BusError::Systemd)?;
        let serial = call.primary_header().serial_num();
        timeout(PATIENCE, self.connection.send(&call))
            .await
            .map_err(|_| BusError::Hangs)?
            .map_err(|error| BusError::Lost(error.to_string()))?;
        self.asked.insert(serial, (question, now));
        Ok(())
    }

    /// What an answer tells; none if nothing, or if the question is not ours.
    fn answered(&mut self, answer: &Message) -> Result<Option<Heard>, BusError> {
        let header = answer.header();
        let Some(serial) = header.reply_serial() else { return Ok(None) };
        let Some((question, _)) = self.asked.remove(&serial) else { return Ok(None) };
        let refusal = (answer.message_type() == Type::Error)
            .then(|| header.error_name().map(ToString::to_string).unwrap_or_default());
        Ok(match question {
            Question::Subscribe => match refusal {
                Some(name) if !name.ends_with(".AlreadySubscribed") => {
                    return Err(BusError::Refused(name));
                }
                _ => None,
            },
            Question::List => match (refusal, signal::read_listing(answer, &self.selection)) {
                (None, Some(listed)) => Some(Heard::Listed(listed)),
                (refusal, _) => return Err(BusError::Refused(refusal.unwrap_or_default())),
            },
            Question::LookUp => match (refusal, signal::read_listing(answer, &self.selection)) {
                (None, Some(listed)) => Some(Heard::LookedUp(listed)),
                (refusal, _) => return Err(BusError::Refused(refusal.unwrap_or_default())),
            },
            Question::Ending(unit) => {
                signal::read_ending_answer(answer).map(|ending| Heard::Ending(unit, ending))
            }
            Question::Details(unit) => {
                let seen = signal::read_unit_answer(answer);
                Some(Heard::Details(unit, seen))
            }
            Question::Ping => Some(Heard::Pong),
        })
    }
}

async fn forward(
    mut stream: MessageStream,
    selection: Arc<Selection>,
    queue: mpsc::Sender<Queued>,
    dropped: Arc<AtomicU64>,
) {
    while let Some(message) = stream.next().await {
        let heard = match message {
            Ok(message) => match message.message_type() {
                Type::MethodReturn | Type::Error => Queued::Answer(message),
                Type::Signal => match signal::read_signal(&message, &selection) {
                    Some(_) if queue.capacity() <= QUEUE_FOR_ANSWERS => {
                        dropped.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    Some(signal) => Queued::Signal(signal),
                    None => continue,
                },
                Type::MethodCall => continue,
            },
            Err(error) => Queued::Closed(error.to_string()),
        };
        // Only the owner's end makes this fail, or a queue that is full of answers to questions
        // that nobody asked.
        if queue.try_send(heard).is_err() {
            return;
        }
    }
}

fn hangs_or(otherwise: fn(zbus::Error) -> BusError) -> impl Fn(zbus::Error) -> BusError {
    move |error| match &error {
        zbus::Error::InputOutput(io) if io.kind() == std::io::ErrorKind::TimedOut => {
            BusError::Hangs
        }
        _ => otherwise(error),
    }
}
