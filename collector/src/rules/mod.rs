//! Rules: what must hold of an entity, for how long, and what to say about it.
//!
//! Promises: whatever can be found wrong when a rule is loaded is refused then, with file, line
//! and what would be right; a rule that fails later says so, and changes nothing.
//!
//! Absent on purpose: files, clocks, and the life of alerts. Rules read the fleet, and find.

mod check;
mod complaints;
mod duration;
mod example;
mod expression;
mod fields;
mod file;
pub mod human;
mod nearest;
mod overrides;
mod rule;
mod set;
mod template;
mod types;

pub(crate) use complaints::Complaints;
pub use complaints::FileError;
pub use duration::{DurationError, parse_duration};
pub use expression::{Evaluation, Expression, Outcome};
pub use fields::{Field, FieldType, FieldValue, Subject, fields_of};
pub use file::RulesError;
pub(crate) use nearest::hint;
pub use overrides::{Variant, Whom};
pub use rule::{Presented, Rests, Rule, Severity};
pub use set::{RULES_MAX, RuleSet, Source, Tried};
