//! What a message becomes: a place in its stream, an input of the core, rows of the batch.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::{AlertState, NodeName, Position, PresenceState};

use super::desk::{Desk, Shelf};
use super::lookback::{Claim, LOOKBACK_EVENTS, Verdict};
use crate::core::Input;
use crate::fleet::{Backlog, Loss, Moment, Version};
use crate::ingest::{
    Applicable, Arrival, Decoded, Lack, NODES_MAX, Outcome, Picture, Reason, Rejection, Shown,
    StreamNews,
};
use crate::run::told::Arrived;
use crate::store::{Batch, Logged, NewEvent, NewReject, NewSample};

/// One sample of a node is kept for each of these, and answered once it is stored: so often is
/// the whole way of a node tried.
const SAMPLE_KEPT_EVERY: SignedDuration = SignedDuration::from_secs(60);

impl<S: Shelf> Desk<S> {
    /// Takes a message in: what follows from it is added to the batch.
    pub fn take_message(&mut self, arrived: Arrived, now: Timestamp, batch: &mut Batch) {
        let Arrived { topic, payload, retained, received_at, decoded, .. } = arrived;
        // The clock can have been set back since: what came is no message from the future.
        let received_at = received_at.min(now);
        let reject = |rejection: Rejection| NewReject {
            received: received_at,
            topic: topic.clone(),
            reason: rejection.reason.as_str(),
            detail: rejection.detail,
            payload: payload.clone(),
        };
        match decoded {
            Err(rejection) => {
                self.parts.counters.count_reject(rejection.reason);
                log::debug!("{topic}: refused: {}", rejection.detail);
                batch.rejects.push(reject(rejection));
            }
            Ok(Decoded::Event { event, doubt }) => {
                if let Some(doubt) = doubt {
                    self.parts.counters.count_reject(doubt.reason);
                    batch.rejects.push(reject(doubt));
                }
                let arrival = Arrival { event, payload: payload.clone(), received_at };
                if let Some(rejection) = self.take_event(arrival, now, batch) {
                    batch.rejects.push(reject(rejection));
                }
            }
            Ok(Decoded::Sample { node, sample }) => {
                self.parts.counters.samples.add(1);
                let as_of = sample.as_of;
                let applicable = &mut self.applicable;
                let Lack { events, since } =
                    self.parts.ingest.sample(&node, as_of, received_at, applicable);
                self.apply(now, batch);
                self.take_news(now, batch);
                // One that came while events were missing has no answer: the next one gets it.
                let is_complete = events == 0;
                if self.should_keep_sample(&node, received_at)
                    || (is_complete && self.unanswered.remove(&node))
                {
                    let body = String::from_utf8_lossy(&payload).into_owned();
                    batch.samples.push(NewSample {
                        node: node.clone(),
                        received: received_at,
                        body,
                    });
                    if is_complete {
                        self.heard.push((node.clone(), as_of.stream, sample.at));
                    } else {
                        self.unanswered.insert(node.clone());
                    }
                }
                let backlog = Backlog { events, since };
                self.tell_core(now, Input::Sample { node, sample, backlog, received_at }, batch);
            }
            Ok(Decoded::Checkpoint { node, checkpoint }) => {
                self.parts.counters.checkpoints.add(1);
                self.standing.checkpoint(&node, checkpoint.as_of);
                let bytes = payload.len();
                let picture = Picture { node, checkpoint, bytes, retained, received_at };
                let is_first = !self.parts.core.has_picture(&picture.node);
                match self.parts.ingest.picture(picture, is_first) {
                    Shown::Now { picture, ordinal } => self.show(picture, ordinal, now, batch),
                    Shown::Later => {}
                    Shown::TooManyNodes => {
                        self.parts.counters.count_reject(Reason::TooManyNodes);
                        let detail = "its node is one too many".to_owned();
                        batch.rejects.push(reject(Rejection::new(Reason::TooManyNodes, detail)));
                    }
                }
            }
            Ok(Decoded::NodePresence { node, presence }) => {
                self.parts.counters.presences.add(1);
                self.standing.presence(&node, presence.state);
                if presence.state == PresenceState::Online && !retained {
                    self.greet(&node, presence.at);
                }
                self.tell_core(now, Input::NodePresence { node, presence, received_at }, batch);
            }
            Ok(Decoded::Alert { fingerprint, message }) => {
                let fires = message.filter(|message| message.state == AlertState::Firing);
                let starts_at = fires.map(|message| message.starts_at);
                self.tell_core(now, Input::Peer { fingerprint, starts_at }, batch);
            }
            Ok(Decoded::AlertCleared { fingerprint }) => {
                self.tell_core(now, Input::Peer { fingerprint, starts_at: None }, batch);
            }
            // Collectors concern the connection alone.
            Ok(Decoded::CollectorPresence { .. } | Decoded::Nothing) => {}
        }
    }

    /// A node has connected: it is told at once what is stored of its latest stream, so that
    /// whichever side was set back is noticed before anything else comes.
    fn greet(&mut self, node: &NodeName, at: Timestamp) {
        if let Some(stream) = self.parts.ingest.latest_stream(node) {
            self.heard.push((node.clone(), stream, at));
        }
    }

    /// Applies the pictures that have waited for the events before them.
    pub(super) fn show_what_waited(&mut self, now: Timestamp, batch: &mut Batch) {
        for (picture, ordinal) in self.parts.ingest.take_pictures(now) {
            self.show(picture, ordinal, now, batch);
        }
    }

    fn show(&mut self, picture: Picture, ordinal: u64, now: Timestamp, batch: &mut Batch) {
        let Picture { node, checkpoint, received_at, .. } = picture;
        let sequence = checkpoint.as_of.sequence.0;
        let version = Version { stream_ordinal: ordinal, sequence };
        let checkpoint = *checkpoint;
        self.tell_core(now, Input::Checkpoint { node, checkpoint, version, received_at }, batch);
    }

    /// Gives an event its place and applies what can be applied; why not, if it is refused.
    fn take_event(
        &mut self,
        arrival: Arrival,
        now: Timestamp,
        batch: &mut Batch,
    ) -> Option<Rejection> {
        let counters = Arc::clone(&self.parts.counters);
        let id = arrival.event.position;
        let claim = Claim::of(&arrival.event);
        match self.parts.ingest.event(arrival, &mut self.applicable) {
            Outcome::Applied { .. } | Outcome::Waiting { opened_gap: false } => {}
            Outcome::Duplicate => match self.look_back(&claim, batch) {
                Verdict::Stored | Verdict::AnotherAgain => counters.duplicates.add(1),
                Verdict::Another => return Some(self.refuse_another(claim, now, batch)),
            },
            Outcome::Waiting { opened_gap: true } => {
                counters.gaps.add(1);
                log::debug!("stream {}: events before {} are missing", id.stream, id.sequence);
            }
            Outcome::NoRoom => counters.no_room.add(1),
            Outcome::Refused(reason) => {
                counters.count_reject(reason);
                let detail = format!("{} {} cannot be placed", id.stream, id.sequence);
                return Some(Rejection::new(reason, detail));
            }
        }
        self.apply(now, batch);
        self.take_news(now, batch);
        None
    }

    /// Whether an event that came again is the one that is stored.
    fn look_back(&mut self, claim: &Claim, batch: &Batch) -> Verdict {
        if !self.lookback.knows(&claim.node) {
            match self.parts.store.newest_of(&claim.node, LOOKBACK_EVENTS) {
                Ok(rows) => {
                    let in_batch = batch.events.iter().filter(|event| event.node == claim.node);
                    let in_batch = in_batch.map(|event| Logged {
                        position: event.position,
                        kind: event.kind.clone(),
                        time: event.time,
                        recorded: event.recorded,
                    });
                    self.lookback.learn(&claim.node, rows.into_iter().chain(in_batch));
                }
                // What cannot be read cannot be written either: the commit says so.
                Err(error) => log::error!("{error}"),
            }
        }
        self.lookback.judge(claim)
    }

    /// An event has the number of another one, which is stored: it is lost.
    fn refuse_another(&mut self, claim: Claim, now: Timestamp, batch: &mut Batch) -> Rejection {
        let Position { stream, sequence } = claim.position;
        self.parts.counters.count_reject(Reason::AnotherEvent);
        let reason = "their numbers were given out before, to other events: their agent was set \
                      back to an older state, or is a copy"
            .to_owned();
        let node = &claim.node;
        log::error!("{node}: event {} of stream {stream} is refused: {reason}", sequence.0);
        let detail = format!("another event {} of stream {stream} is stored", sequence.0);
        let at = Moment::both(now);
        let loss = Loss { stream, from: sequence, through: sequence, reason, at };
        self.tell_core(now, Input::Lost { node: claim.node, loss }, batch);
        Rejection::new(Reason::AnotherEvent, detail)
    }

    /// Applies the events whose turn has come.
    fn apply(&mut self, now: Timestamp, batch: &mut Batch) {
        let mut applicable = std::mem::take(&mut self.applicable);
        for Applicable { arrival, ordinal } in applicable.drain(..) {
            let Arrival { event, payload, received_at } = arrival;
            batch.events.push(NewEvent {
                node: event.node.clone(),
                position: event.position,
                kind: event.data.kind().to_owned(),
                subject: event.data.subject().into_owned(),
                time: event.time,
                recorded: event.recorded_time,
                received: received_at,
                late: self.parts.core.is_late(&event, received_at),
                payload,
            });
            self.lookback.note(&event);
            let sequence = event.position.sequence.0;
            let version = Version { stream_ordinal: ordinal, sequence };
            self.tell_core(now, Input::Event { event: *event, version, received_at }, batch);
        }
        self.applicable = applicable;
    }

    /// Says what became of streams.
    fn take_news(&mut self, now: Timestamp, batch: &mut Batch) {
        for news in self.parts.ingest.take_news() {
            let counters = &self.parts.counters;
            match news {
                StreamNews::Began { node, stream } => {
                    counters.streams_begun.add(1);
                    log::info!("{node}: its agent was started anew: stream {stream}");
                }
                StreamNews::WentBack { node, as_of, through } => {
                    counters.streams_gone_back.add(1);
                    log::warn!(
                        "{node}: its agent has {} events of stream {}, but {} are stored: it was \
                         restored from an older state, and is told to begin another stream",
                        as_of.sequence.0,
                        as_of.stream,
                        through.0
                    );
                }
                StreamNews::Lost { node, stream, from, through } => {
                    let reason = "they never came, and their agent begins other streams".to_owned();
                    let loss = Loss { stream, from, through, reason, at: Moment::both(now) };
                    self.losses.push((node.clone(), loss.clone()));
                    self.tell_core(now, Input::Lost { node, loss }, batch);
                }
            }
        }
    }

    pub(super) fn tell_core(&mut self, now: Timestamp, input: Input, batch: &mut Batch) {
        batch.transitions.extend(self.parts.core.handle(now, input));
    }

    fn should_keep_sample(&mut self, node: &NodeName, received_at: Timestamp) -> bool {
        if let Some(last) = self.samples_kept.get_mut(node) {
            let since = received_at.duration_since(*last);
            // A clock that jumped back must not stop the keeping.
            if !since.is_negative() && since < SAMPLE_KEPT_EVERY {
                return false;
            }
            *last = received_at;
        } else if self.samples_kept.len() < NODES_MAX {
            self.samples_kept.insert(node.clone(), received_at);
        } else {
            return false;
        }
        true
    }
}
