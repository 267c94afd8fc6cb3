//! What goes into the tracker, and what it wants done.

use std::time::Instant;

use jiff::Timestamp;
use pvewatch_protocol::event::UnitState;

use super::watched::Telling;
use crate::systemd::{Heard, InvocationId, UnitName};

/// The two clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For deadlines: never goes back.
    pub instant: Instant,
    /// For people.
    pub wall: Timestamp,
}

/// Everything that can happen to the tracker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The bus was reached; signals come from now on. The version of systemd, if it said so.
    Connected(Option<u32>),
    /// Something came over it.
    Heard(Heard),
    /// The bus is gone.
    Disconnected,
    /// The outbox wants a picture.
    PictureWanted,
    /// The moment that [`Tracker::next_deadline`] named has come.
    Deadline,
}

/// What the tracker wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Tell a fact.
    Tell(Box<Telling>),
    /// Tell that a unit is gone.
    TellRemoved(UnitName),
    /// Send the journal lines of this run.
    ReadLog(UnitName, InvocationId),
    /// Show the picture of all units.
    Show(Vec<UnitState>),
    /// Renew the subscription, and ask for the listing of all watched units.
    List,
    /// Ask for these units by name.
    LookUp(Vec<UnitName>),
    /// Ask for all properties of a unit: those of its type, then those of every unit.
    Details(UnitName),
    /// Ask for nothing: the answer says that all earlier signals are there.
    Ping,
}
