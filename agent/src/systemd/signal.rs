//! Reads what systemd says on the bus into plain structs: signals, and answers to questions.
//!
//! Only what the tracker needs is taken; a body of another shape is no error but nothing.
//! Units that are not watched are left out before their bodies are read.

use std::collections::HashMap;

use jiff::Timestamp;
use pvewatch_protocol::event::Exit;
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use zbus::message::{Body, Message, Type};
use zbus::zvariant::{self, ObjectPath, Signature, Value};

use super::glob::Selection;
use super::name::UnitName;
use super::words::{Ending, InvocationId, Word, word};

/// The interface that every unit has.
pub const UNIT_INTERFACE: &str = "org.freedesktop.systemd1.Unit";

/// What every unit says of itself (`org.freedesktop.systemd1.Unit`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitProperties {
    /// `LoadState`: in answers only, signals do not carry it.
    pub load_state: Option<Word>,
    /// `ActiveState`.
    pub active_state: Word,
    /// `SubState`.
    pub sub_state: Word,
    /// `StateChangeTimestamp`; none if it never changed.
    pub changed_at: Option<Timestamp>,
    /// `InvocationID`; none if it never ran.
    pub invocation: Option<InvocationId>,
    /// Whether a job for it is waiting or running.
    pub has_job: bool,
}

/// One unit of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedUnit {
    /// Its name.
    pub unit: UnitName,
    /// `LoadState`.
    pub load_state: Word,
    /// `ActiveState`.
    pub active_state: Word,
    /// `SubState`.
    pub sub_state: Word,
}

/// A signal that matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// What every unit has has changed, or may have.
    Unit(UnitName, UnitProperties),
    /// What only this type of unit has has changed, or may have.
    Ending(UnitName, Ending),
    /// systemd forgot the unit; it may remember it again at once.
    Removed(UnitName),
    /// A job of the unit ended with this result.
    JobRemoved(UnitName, String),
    /// systemd reads its configuration again (true), or has (false).
    Reloading(bool),
    /// The name `org.freedesktop.systemd1` has another owner.
    OwnerChanged,
}

/// Reads a signal; none if it is of no interest.
pub fn read_signal(message: &Message, selection: &Selection) -> Option<Signal> {
    if message.message_type() != Type::Signal {
        return None;
    }
    let header = message.header();
    let member = header.member()?;
    match member.as_str() {
        "PropertiesChanged" => {
            let unit = UnitName::from_path(header.path()?.as_str())?;
            selection.watches(unit.as_str()).then_some(())?;
            let body = message.body();
            let (interface, properties, _): (&str, Properties<'_>, Vec<&str>) =
                body.deserialize().ok()?;
            if interface == UNIT_INTERFACE {
                Some(Signal::Unit(unit, unit_properties(&properties)?))
            } else if interface == unit.unit_type().interface() {
                Some(Signal::Ending(unit, ending(&properties)))
            } else {
                None
            }
        }
        "UnitRemoved" => {
            let body = message.body();
            let (name, _): (&str, ObjectPath<'_>) = body.deserialize().ok()?;
            let unit = UnitName::new(name)?;
            selection.watches(unit.as_str()).then_some(Signal::Removed(unit))
        }
        "JobRemoved" => {
            let body = message.body();
            let (_, _, name, result): (u32, ObjectPath<'_>, &str, &str) =
                body.deserialize().ok()?;
            let unit = UnitName::new(name)?;
            let watched = selection.watches(unit.as_str());
            watched.then(|| Signal::JobRemoved(unit, result.to_owned()))
        }
        "Reloading" => Some(Signal::Reloading(message.body().deserialize().ok()?)),
        "NameOwnerChanged" => {
            let body = message.body();
            let (name, _, _): (&str, &str, &str) = body.deserialize().ok()?;
            (name == "org.freedesktop.systemd1").then_some(Signal::OwnerChanged)
        }
        _ => None,
    }
}

/// Reads the answer to `GetAll` of [`UNIT_INTERFACE`].
pub fn read_unit_answer(message: &Message) -> Option<UnitProperties> {
    let body = message.body();
    let properties: Properties<'_> = body.deserialize().ok()?;
    unit_properties(&properties)
}

/// Reads the answer to `GetAll` of the interface of the unit's type.
pub fn read_ending_answer(message: &Message) -> Option<Ending> {
    let body = message.body();
    let properties: Properties<'_> = body.deserialize().ok()?;
    Some(ending(&properties))
}

/// Reads the answer to `ListUnitsByPatterns` or `ListUnitsByNames`: the units that are watched.
pub fn read_listing(message: &Message, selection: &Selection) -> Option<Vec<ListedUnit>> {
    let body: Body = message.body();
    let listing: Listing = body.deserialize().ok()?;
    Some(listing.0.into_iter().filter(|listed| selection.watches(listed.unit.as_str())).collect())
}

/// Reads the answer to `Get` of a property that is a string.
pub fn read_string_property(message: &Message) -> Option<String> {
    let body = message.body();
    match body.deserialize::<Value<'_>>().ok()? {
        Value::Str(text) => Some(text.as_str().to_owned()),
        _ => None,
    }
}

/// Reads the answer to `Get` of a property that is a time, in microseconds.
pub fn read_time_property(message: &Message) -> Option<Timestamp> {
    let body = message.body();
    match body.deserialize::<Value<'_>>().ok()? {
        Value::U64(microseconds) => microsecond(microseconds),
        _ => None,
    }
}

fn microsecond(microseconds: u64) -> Option<Timestamp> {
    Timestamp::from_microsecond(i64::try_from(microseconds).ok()?).ok()
}

/// Reads the answer to `ListJobs`: the names of the units that have a job.
pub fn read_jobs(message: &Message) -> Vec<String> {
    type Job<'m> = (u32, &'m str, &'m str, &'m str, ObjectPath<'m>, ObjectPath<'m>);
    let body = message.body();
    let jobs: Vec<Job<'_>> = body.deserialize().unwrap_or_default();
    jobs.iter().map(|(_, unit, ..)| (*unit).to_owned()).collect()
}

/// systemd's version from its property `Version`, such as `252.39-1~deb12u2` or `v257`.
pub fn systemd_version(text: &str) -> Option<u32> {
    let digits = text.trim_start_matches('v');
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits.get(..end)?.parse().ok()
}

type Properties<'m> = HashMap<&'m str, Value<'m>>;

fn unit_properties(properties: &Properties<'_>) -> Option<UnitProperties> {
    let text = |name| match properties.get(name) {
        Some(Value::Str(text)) => Some(word(text.as_str())),
        _ => None,
    };
    Some(UnitProperties {
        load_state: text("LoadState"),
        active_state: text("ActiveState")?,
        sub_state: text("SubState").unwrap_or(Word::Borrowed("")),
        changed_at: match properties.get("StateChangeTimestamp") {
            Some(Value::U64(microseconds @ 1..)) => microsecond(*microseconds),
            _ => None,
        },
        invocation: properties.get("InvocationID").and_then(invocation),
        has_job: match properties.get("Job") {
            Some(Value::Structure(job)) => !matches!(job.fields().first(), Some(Value::U32(0))),
            _ => false,
        },
    })
}

fn invocation(value: &Value<'_>) -> Option<InvocationId> {
    let Value::Array(array) = value else { return None };
    let bytes: Vec<u8> = array
        .iter()
        .filter_map(|item| match item {
            Value::U8(byte) => Some(*byte),
            _ => None,
        })
        .collect();
    InvocationId::from_bytes(&bytes)
}

fn ending(properties: &Properties<'_>) -> Ending {
    let exit_code = match properties.get("ExecMainCode") {
        // CLD_EXITED, CLD_KILLED, CLD_DUMPED of waitid(2).
        Some(Value::I32(1)) => Some("exited"),
        Some(Value::I32(2)) => Some("killed"),
        Some(Value::I32(3)) => Some("dumped"),
        _ => None,
    };
    let status = match properties.get("ExecMainStatus") {
        Some(Value::I32(status)) => Some(*status),
        _ => None,
    };
    Ending {
        result: match properties.get("Result") {
            Some(Value::Str(result)) => Some(word(result.as_str())),
            _ => None,
        },
        exit: exit_code.zip(status).map(|(code, status)| Exit { code: code.to_owned(), status }),
        restarts: match properties.get("NRestarts") {
            Some(Value::U32(restarts)) => *restarts,
            _ => 0,
        },
    }
}

/// The units of a listing, each made small as it is read: the answer for ten thousand units has
/// three megabytes.
struct Listing(Vec<ListedUnit>);

/// name, description, load, active, sub, following, object path, job id, job type, job path
type ListedFields<'m> = (
    &'m str,
    &'m str,
    &'m str,
    &'m str,
    &'m str,
    &'m str,
    ObjectPath<'m>,
    u32,
    &'m str,
    ObjectPath<'m>,
);

impl zvariant::Type for Listing {
    const SIGNATURE: &'static Signature = <Vec<ListedFields<'static>> as zvariant::Type>::SIGNATURE;
}

impl<'de> Deserialize<'de> for Listing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Units;
        impl<'de> Visitor<'de> for Units {
            type Value = Vec<ListedUnit>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of units")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut units = Vec::new();
                while let Some(fields) = seq.next_element::<ListedFields<'de>>()? {
                    let (name, _, load_state, active_state, sub_state, ..) = fields;
                    if let Some(unit) = UnitName::new(name) {
                        units.push(ListedUnit {
                            unit,
                            load_state: word(load_state),
                            active_state: word(active_state),
                            sub_state: word(sub_state),
                        });
                    }
                }
                Ok(units)
            }
        }
        deserializer.deserialize_seq(Units).map(Self)
    }
}
