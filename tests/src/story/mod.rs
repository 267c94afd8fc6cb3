//! A site of the lab, told as a story: nodes with the agent from its package, a broker, and an
//! observer that hears what is said on it.
//!
//! Expectations on one unit are met in the order in which the story tells them: each looks only
//! at what came after the one before. A message that came twice counts once. Absent: the
//! collector; a story that has one starts it beside the site.

mod guests;
mod hears;
mod site;
mod watched;

pub use guests::{IMPATIENT, expect};
pub use hears::Hears;
pub use site::{Heard, Site};
pub use watched::WatchedNode;
