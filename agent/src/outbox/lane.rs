//! One stream in the outbox: how far it was sent, and when it is sent again.

use std::time::{Duration, Instant};

use pvewatch_protocol::{Sequence, StreamId};

/// A request to send a stream again is not heard so soon after that began: what was sent then is
/// still on its way, and a collector that still sees a gap asks again.
pub(super) const RESEND_PAUSE: Duration = Duration::from_secs(1);

/// One stream and how far it was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lane {
    pub stream: StreamId,
    pub last: Sequence,
    /// The next to send.
    pub cursor: Sequence,
    /// The first that was sent, or is next, on this connection.
    pub begun: Sequence,
    /// The highest that this agent start sent.
    pub sent: Sequence,
    /// When it began to be sent, or sent again, last.
    resent_at: Option<Instant>,
}

impl Lane {
    /// A stream that ends at `last` and was sent up to `sent`.
    pub(super) fn new(stream: StreamId, last: Sequence, sent: Sequence) -> Self {
        Self { stream, last, cursor: sent.next(), begun: sent.next(), sent, resent_at: None }
    }

    /// It is sent from here on, as far as it is due.
    pub(super) fn begin(&mut self, now: Instant) {
        self.resent_at = Some(now);
    }

    /// Sends again from `first`, if that was sent.
    pub(super) fn go_back_to(&mut self, first: Sequence, now: Instant) {
        self.cursor = self.cursor.min(first);
        self.begun = self.begun.min(first);
        self.resent_at = Some(now);
    }

    /// Whether it began to be sent again just now.
    pub(super) fn is_being_resent(&self, now: Instant) -> bool {
        self.resent_at.is_some_and(|at| now.saturating_duration_since(at) < RESEND_PAUSE)
    }
}
