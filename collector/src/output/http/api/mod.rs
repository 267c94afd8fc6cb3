//! `/api/v1/*`: what is known, as JSON for programs.
//!
//! Promises: names in snake_case, times in RFC 3339, units in the names; fields are added, never
//! renamed. Every list has a limit and says how much there is beyond it. An error is
//! `{"error": "..."}` with the status that fits. Unknown parameters are refused.

mod alert;
pub mod alerts;
pub mod backups;
pub mod drift;
mod events;
pub mod guests;
pub mod nodes;
mod readings;
mod rules;
mod status;
pub mod storages;

pub use alert::{AlertDetails, StepAnswer, find_alert};
pub use alerts::{AlertAnswer, AlertsAnswer, AlertsQuery};
pub use backups::{BackupAnswer, BackupsAnswer, BackupsQuery, JobAnswer};
pub use drift::{CheckAnswer, DifferenceAnswer, DriftAnswer, DriftQuery, PolicyAnswer};
pub use events::{EventAnswer, EventsAnswer, EventsQuery};
pub use guests::{GuestAnswer, GuestsAnswer, GuestsQuery};
pub use nodes::{NodeAnswer, NodesAnswer, NodesQuery};
pub use readings::{InterfaceAnswer, ReadingAnswer};
pub use rules::{RuleAnswer, RulesAnswer, Terms, VariantAnswer};
pub use status::{DeliveryAnswer, StatusAnswer};
pub use storages::{
    ArchivesAnswer, CountedStorage, SeenBy, StorageAnswer, StoragesAnswer, StoragesQuery,
};

use super::error::ApiError;

/// The limit that is asked for, or `default`.
///
/// # Errors
/// When it is 0 or above `max`.
fn checked_limit(limit: Option<usize>, default: usize, max: usize) -> Result<usize, ApiError> {
    match limit.unwrap_or(default) {
        limit if (1..=max).contains(&limit) => Ok(limit),
        limit => Err(ApiError::bad(format!("limit={limit} is not possible: use 1 to {max}"))),
    }
}
