//! The task that owns a connection's event loop.
//!
//! rumqttc's `poll` loses packets when it is cancelled in the middle of a write, so it runs here
//! to its end and talks to the rest through bounded queues. This also matches answers with
//! questions, never lets two packets share an identifier (rumqttc would wait for ever when the
//! first of them is refused), and ends a connection that stalls.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::client::Command;
use super::error::ConnectionLost;
use super::message::{
    Incoming, PublishReason, Qos, Received, SubscribeReason, Subscription, Ticket,
};
use super::watchdog::Watchdog;

/// Messages and subscriptions that may be unanswered at a time. More wait in the queue before
/// them. rumqttc reserves memory for each; 16 fill a local network.
pub const IN_FLIGHT_MAX: u16 = 16;
/// What came in and was not taken by `next` yet. When it is full nothing more is read, and the
/// broker keeps what comes, within its own limits.
pub const INCOMING_MAX: usize = 1024;
/// Payload bytes in that queue; as when it is full.
pub const INCOMING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long the broker is given to read a goodbye and close. Some leave closing to the client;
/// a client that closes with unread bytes resets the connection, and the goodbye may be lost.
const LEAVE_LIMIT: Duration = Duration::from_millis(100);
/// Packets between here and rumqttc's event loop.
pub(super) const REQUESTS_MAX: usize = IN_FLIGHT_MAX as usize;

/// Something that came in, with its share of the queue's bytes.
pub(super) type Forwarded = (Incoming, Option<OwnedSemaphorePermit>);

/// Everything that the task owns.
pub(super) struct Driver {
    event_loop: EventLoop,
    commands: mpsc::Receiver<Command>,
    state: State,
}

/// A packet that the broker has to answer.
#[derive(Debug)]
struct Question {
    ticket: Ticket,
    /// Set when rumqttc has written the packet.
    packet_id: Option<u16>,
    delivered: Option<oneshot::Sender<PublishReason>>,
    answered: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Commands are taken.
    Open,
    /// No more commands; goodbye follows the last answer.
    Draining,
    /// DISCONNECT is handed to rumqttc.
    Leaving,
    /// DISCONNECT is written; the connection ends when the broker closes it, or at this time.
    Left(Instant),
}

struct State {
    requests: AsyncClient,
    incoming: mpsc::Sender<Forwarded>,
    incoming_bytes: Arc<Semaphore>,
    watchdog: Watchdog,
    phase: Phase,
    /// How many questions may be open, from the oldest unanswered to the newest.
    window: usize,
    questions: VecDeque<Question>,
    /// Packets handed to rumqttc and not written yet.
    unwritten: usize,
    /// How long the answer to a ping may take.
    ping_limit: Duration,
}

/// What a connection is made of once the broker has let it in.
pub(super) struct Parts {
    pub(super) event_loop: EventLoop,
    pub(super) requests: AsyncClient,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) incoming: mpsc::Sender<Forwarded>,
    pub(super) watchdog: Watchdog,
    pub(super) window: u16,
}

impl Driver {
    pub(super) fn new(parts: Parts) -> Self {
        let ping_limit = parts.event_loop.options.keep_alive();
        Self {
            event_loop: parts.event_loop,
            commands: parts.commands,
            state: State {
                requests: parts.requests,
                incoming: parts.incoming,
                incoming_bytes: Arc::new(Semaphore::new(INCOMING_BYTES_MAX)),
                watchdog: parts.watchdog,
                phase: Phase::Open,
                window: usize::from(parts.window),
                questions: VecDeque::with_capacity(usize::from(parts.window)),
                unwritten: 0,
                ping_limit,
            },
        }
    }

    /// Runs the connection until it ends, and says why it did.
    pub(super) async fn run(self) -> ConnectionLost {
        let Self { mut event_loop, mut commands, mut state } = self;
        let mut alarm = pin!(sleep_until(state.deadline()));
        loop {
            let event = {
                let mut poll = pin!(event_loop.poll());
                loop {
                    // In this order: reading never ends under load, the others do.
                    tokio::select! {
                        biased;
                        () = &mut alarm => {
                            if let Some(lost) = state.verdict(Instant::now()) {
                                return lost;
                            }
                            alarm.as_mut().reset(state.deadline());
                        }
                        Some(command) = commands.recv(), if state.has_room() => {
                            if let Err(lost) = state.take(command) {
                                return lost;
                            }
                            if state.deadline() < alarm.deadline() {
                                alarm.as_mut().reset(state.deadline());
                            }
                        }
                        event = &mut poll => break event,
                    }
                }
            };
            match event {
                Ok(event) => {
                    if let Err(lost) = state.handle(event).await {
                        return lost;
                    }
                    if matches!(state.phase, Phase::Left(_)) {
                        alarm.as_mut().reset(state.deadline());
                    }
                }
                Err(error) => return state.ended(&error),
            }
        }
    }
}

impl State {
    fn deadline(&self) -> Instant {
        match self.phase {
            Phase::Left(until) => until,
            Phase::Open | Phase::Draining | Phase::Leaving => self.watchdog.deadline(),
        }
    }

    fn verdict(&self, now: Instant) -> Option<ConnectionLost> {
        match self.phase {
            Phase::Left(until) => (now >= until).then_some(ConnectionLost::Closed),
            Phase::Open | Phase::Draining | Phase::Leaving => self.watchdog.verdict(now),
        }
    }

    fn has_room(&self) -> bool {
        self.phase == Phase::Open
            && self.questions.len() < self.window
            && self.unwritten < REQUESTS_MAX
    }

    /// Hands a command to rumqttc, whose queue has room: see [`State::has_room`].
    fn take(&mut self, command: Command) -> Result<(), ConnectionLost> {
        let handed = match command {
            Command::Publish { ticket, message, delivered } => {
                let properties = message.properties();
                let acknowledged = message.qos == Qos::AtLeastOnce;
                let handed = self.requests.try_publish_with_properties(
                    message.topic,
                    message.qos.into(),
                    message.retain,
                    message.payload,
                    properties,
                );
                if acknowledged {
                    self.ask(ticket, delivered);
                } else if let Some(delivered) = delivered {
                    // Whether anybody still waits does not matter.
                    let _ = delivered.send(PublishReason::Success);
                }
                handed
            }
            Command::Subscribe { ticket, subscriptions } => {
                let filters = subscriptions.into_iter().map(Subscription::into_packet);
                let handed = self.requests.try_subscribe_many(filters);
                self.ask(ticket, None);
                handed
            }
            Command::Close => {
                self.phase = Phase::Draining;
                return self.leave_when_answered();
            }
        };
        self.unwritten += 1;
        handed.map_err(|error| ConnectionLost::Protocol { cause: error.to_string() })
    }

    fn ask(&mut self, ticket: Ticket, delivered: Option<oneshot::Sender<PublishReason>>) {
        self.questions.push_back(Question { ticket, packet_id: None, delivered, answered: false });
        self.watchdog.asked(Instant::now());
    }

    async fn handle(&mut self, event: Event) -> Result<(), ConnectionLost> {
        match event {
            Event::Incoming(packet) => {
                self.watchdog.heard(Instant::now());
                match packet {
                    Packet::Publish(packet) => {
                        self.forward(Incoming::Message(Received::from(packet))).await;
                    }
                    Packet::PubAck(ack) => {
                        let reason = PublishReason::from(ack.reason);
                        if let Some((ticket, delivered)) = self.answer(ack.pkid) {
                            match delivered {
                                // Whether anybody still waits does not matter.
                                Some(delivered) => drop(delivered.send(reason)),
                                None => {
                                    self.forward(Incoming::PublishAcked { ticket, reason }).await;
                                }
                            }
                        }
                    }
                    Packet::SubAck(ack) => {
                        let reasons = ack.return_codes.into_iter().map(SubscribeReason::from);
                        let reasons = reasons.collect();
                        if let Some((ticket, _)) = self.answer(ack.pkid) {
                            self.forward(Incoming::Subscribed { ticket, reasons }).await;
                        }
                    }
                    _ => {}
                }
                self.leave_when_answered()
            }
            Event::Outgoing(written) => {
                match written {
                    Outgoing::Publish(0) => self.unwritten = self.unwritten.saturating_sub(1),
                    Outgoing::Publish(id) | Outgoing::Subscribe(id) => {
                        self.unwritten = self.unwritten.saturating_sub(1);
                        let mut questions = self.questions.iter_mut();
                        if let Some(first) = questions.find(|asked| asked.packet_id.is_none()) {
                            first.packet_id = Some(id);
                        }
                    }
                    Outgoing::Disconnect => {
                        self.phase = Phase::Left(Instant::now() + LEAVE_LIMIT);
                    }
                    _ => {}
                }
                self.leave_when_answered()
            }
        }
    }

    /// Whose question the answer is for; the window moves on.
    fn answer(
        &mut self,
        packet_id: u16,
    ) -> Option<(Ticket, Option<oneshot::Sender<PublishReason>>)> {
        let asked = self
            .questions
            .iter_mut()
            .find(|asked| asked.packet_id == Some(packet_id) && !asked.answered)?;
        asked.answered = true;
        let answer = (asked.ticket, asked.delivered.take());
        while self.questions.front().is_some_and(|asked| asked.answered) {
            self.questions.pop_front();
            self.watchdog.answered();
        }
        Some(answer)
    }

    /// Waits while the queue is full; what nobody will take any more is dropped.
    async fn forward(&mut self, incoming: Incoming) {
        let size = match &incoming {
            Incoming::Message(message) => message.payload.len().min(INCOMING_BYTES_MAX),
            Incoming::PublishAcked { .. } | Incoming::Subscribed { .. } => 0,
        };
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let bytes = Arc::clone(&self.incoming_bytes);
        if let Ok(share) = Arc::clone(&bytes).try_acquire_many_owned(size) {
            match self.incoming.try_send((incoming, Some(share))) {
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => return,
                Err(mpsc::error::TrySendError::Full(forwarded)) => {
                    let _ = self.incoming.send(forwarded).await;
                }
            }
        } else {
            tokio::select! {
                share = bytes.acquire_many_owned(size) => {
                    let _ = self.incoming.send((incoming, share.ok())).await;
                }
                () = self.incoming.closed() => {}
            }
        }
        self.watchdog.resumed(Instant::now());
    }

    fn leave_when_answered(&mut self) -> Result<(), ConnectionLost> {
        if self.phase == Phase::Draining && self.questions.is_empty() && self.unwritten == 0 {
            self.phase = Phase::Leaving;
            self.requests
                .try_disconnect()
                .map_err(|error| ConnectionLost::Protocol { cause: error.to_string() })?;
        }
        Ok(())
    }

    fn ended(&self, error: &ConnectionError) -> ConnectionLost {
        match self.phase {
            Phase::Left(_) => ConnectionLost::Closed,
            Phase::Leaving | Phase::Open | Phase::Draining => {
                ConnectionLost::understand(error, self.ping_limit)
            }
        }
    }
}
