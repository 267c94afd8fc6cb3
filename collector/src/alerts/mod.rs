//! Alerts: pending, firing, resolved, as in Prometheus; told to people only when it matters.
//!
//! Promises: `startsAt` and `endsAt` are facts' times, so two collectors say the same; an alert
//! does not resolve because its witness went silent; all alerts can be rebuilt from themselves.
//!
//! Absent on purpose: clocks, rules' conditions (only their findings come here), and sending.

mod alert;
mod book;
mod inhibition;
mod late;
mod life;
mod notice;
mod peers;
mod transition;

pub use alert::{Alert, Ending, Phase};
pub use book::{ACTIVE_MAX, AlertKey, Book, RESOLVED_KEPT_FOR, RESOLVED_MAX, Touched};
pub use life::Finding;
pub use transition::{News, Transition, Why};
