//! A fact in its envelope, as it is held and published, and the declaration of a loss.

use jiff::Timestamp;
use pvewatch_protocol::event::OutboxDropped;
use pvewatch_protocol::{Event, EventData, Position, Sequence, codec};

use super::spool::{Owner, Stored};
use crate::source::Fact;

/// Why a fact cannot be put in.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// It is no JSON.
    #[error("it cannot be encoded: {0}")]
    Encode(serde_json::Error),
    /// No broker would take it.
    #[error("it has {0} bytes, the limit is {max}", max = codec::PAYLOAD_BYTES_MAX)]
    TooLarge(usize),
}

/// Encodes a fact for its place.
///
/// # Errors
/// When it cannot be JSON, or is too large.
pub(super) fn seal(owner: &Owner, position: Position, fact: Fact) -> Result<Stored, AppendError> {
    let at_ms = fact.recorded_time.as_millisecond();
    let event = Event {
        site: owner.site.clone(),
        node: owner.node.clone(),
        position,
        time: fact.time,
        recorded_time: fact.recorded_time,
        data: fact.data,
        extensions: serde_json::Map::new(),
    };
    let kind = event.data.kind().to_owned();
    let payload = codec::encode_event(&event).map_err(AppendError::Encode)?;
    if payload.len() > codec::PAYLOAD_BYTES_MAX {
        return Err(AppendError::TooLarge(payload.len()));
    }
    Ok(Stored { sequence: position.sequence, at_ms, kind, payload: payload.into() })
}

/// What a sealed event says.
pub(super) fn open(event: &Stored) -> Option<Fact> {
    let event = codec::decode_event(&event.payload).ok()?;
    Some(Fact { time: event.time, recorded_time: event.recorded_time, data: event.data })
}

/// The declaration that everything from `from` to the place itself is gone.
pub(super) fn loss(
    owner: &Owner,
    from: Sequence,
    place: Position,
    reason: &str,
    today: Timestamp,
) -> Result<Stored, AppendError> {
    let data = OutboxDropped { from, through: place.sequence, reason: reason.to_owned() };
    let data = EventData::OutboxDropped(data);
    seal(owner, place, Fact { time: today, recorded_time: today, data })
}
