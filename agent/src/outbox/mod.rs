//! The queue of events between the sources and the broker.
//!
//! `spool` is the log on disk, `queue` numbers events and hears acks, `sending` says what is next,
//! `lane` knows how far a stream was sent, `collectors` who has what, `company` whether any of
//! them is at this broker, `refusals` and `answers` what the broker does not take, `renewal` what
//! becomes of a stream that went back, `note` what one start tells the next, `figures` what is
//! told of it all. `run` alone joins them with the connection. Absent: any knowledge of what an
//! event means.

mod answers;
mod collectors;
mod company;
mod envelope;
mod figures;
mod hearing;
mod lane;
mod note;
mod probing;
mod queue;
mod refusals;
mod renewal;
pub mod run;
mod sending;
pub mod spool;

pub use collectors::{AckOutcome, RESEND_DELAY_MAX, RESEND_DELAY_MIN};
pub use envelope::AppendError;
pub use queue::{Outbox, WINDOW};
pub use refusals::Answer;
pub use sending::Outgoing;
