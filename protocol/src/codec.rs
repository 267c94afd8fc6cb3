//! Bytes to payloads and back. The only place that knows that the wire is JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::envelope::{Envelope, EnvelopeError, Event};

/// Largest accepted payload in bytes; brokers are told the same limit.
///
/// Parts of checkpoints stay below 256 KiB, events far below: 1 MiB leaves room for later kinds.
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;

/// Why a payload was not understood.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Longer than [`PAYLOAD_BYTES_MAX`].
    #[error("payload has {0} bytes, the limit is {PAYLOAD_BYTES_MAX}")]
    TooLarge(usize),
    /// Not JSON at all.
    #[error("payload is not JSON: {0}")]
    NotJson(serde_json::Error),
    /// JSON, but a member is missing or has the wrong type or value.
    #[error("payload does not have the expected shape: {0}")]
    Shape(serde_json::Error),
    /// Well-formed, but contradicts itself or is not ours.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
}

impl DecodeError {
    /// The reason as a label value.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "too_large",
            Self::NotJson(_) => "not_json",
            Self::Shape(_) => "wrong_shape",
            Self::Envelope(_) => "bad_envelope",
        }
    }
}

/// Encodes a payload.
///
/// # Errors
/// When a value cannot be JSON (a number that is not finite, in data of an unknown kind).
pub fn encode<T: Serialize>(payload: &T) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(payload)
}

/// Encodes an event in its envelope.
///
/// # Errors
/// As [`encode`].
pub fn encode_event(event: &Event) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Envelope::try_from(event)?)
}

/// Decodes any payload but an event.
///
/// # Errors
/// When the bytes are too many, no JSON, or not this payload.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() > PAYLOAD_BYTES_MAX {
        return Err(DecodeError::TooLarge(bytes.len()));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        use serde_json::error::Category;
        match error.classify() {
            Category::Data => DecodeError::Shape(error),
            Category::Io | Category::Syntax | Category::Eof => DecodeError::NotJson(error),
        }
    })
}

/// Decodes an event and checks that its attributes agree with each other.
///
/// # Errors
/// As [`decode`], and when the envelope contradicts itself.
pub fn decode_event(bytes: &[u8]) -> Result<Event, DecodeError> {
    Ok(decode::<Envelope>(bytes)?.try_into()?)
}
