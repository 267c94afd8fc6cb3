//! systemd, as it speaks on the system bus.
//!
//! `bus` is the connection, and `calls` what is asked on it once: they do I/O and decide nothing
//! about units. The rest is pure: `signal`
//! reads messages, `name` and `glob` say which units they are about, `words` keeps what they say.
//! Each source that needs systemd has a connection of its own: what is of no interest to one must
//! not fill the queue of another.

pub mod bus;
pub mod calls;
mod glob;
mod name;
pub mod signal;
mod words;

pub use glob::{Selection, UnitGlob, UnitGlobError};
pub use name::{UnitName, UnitType};
pub use signal::{ListedUnit, Signal, UnitProperties};
pub use words::{Ending, InvocationId, Word, word};

/// What came over the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A signal.
    Signal(Signal),
    /// The answer to [`bus::Bus::list`].
    Listed(Vec<ListedUnit>),
    /// The answer to [`bus::Bus::look_up`].
    LookedUp(Vec<ListedUnit>),
    /// The first half of the answer to [`bus::Bus::details`].
    Ending(UnitName, Ending),
    /// The second half of the answer to [`bus::Bus::details`]; none if systemd refused.
    Details(UnitName, Option<UnitProperties>),
    /// The answer to [`bus::Bus::ping`].
    Pong,
    /// Signals were dropped, because they came faster than they could be told.
    Overflowed,
}
