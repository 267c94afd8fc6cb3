//! Names and numbers that identify things on the wire.
//!
//! Each type can only be made from a valid value, so code that holds one need not check again.
//! Names become topic levels and label values: they never contain `/`, `+`, `#` or white space.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Longest accepted name in bytes: Linux' own limit for a host name (`HOST_NAME_MAX`).
pub const NAME_BYTES_MAX: usize = 64;

/// Why a text is not a valid name, stream, sequence, guest or fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The text is empty.
    #[error("a {what} must not be empty")]
    Empty {
        /// What the text was meant to be.
        what: &'static str,
    },
    /// The text is longer than [`NAME_BYTES_MAX`].
    #[error("a {what} has at most {NAME_BYTES_MAX} bytes, this one has {length}")]
    TooLong {
        /// What the text was meant to be.
        what: &'static str,
        /// Its length in bytes.
        length: usize,
    },
    /// The text holds a character that a name must not have, or begins or ends with a mark.
    #[error(
        "{text:?} is not a valid {what}: use letters, digits, '-', '_' and '.', \
         beginning and ending with a letter or digit"
    )]
    Malformed {
        /// What the text was meant to be.
        what: &'static str,
        /// The text as it came.
        text: String,
    },
    /// The text is not the number of a guest.
    #[error("{text:?} is not a guest's number: they go from 1 to 999999999")]
    NoVmid {
        /// The text as it came.
        text: String,
    },
}

fn check_name(what: &'static str, text: &str) -> Result<(), IdentityError> {
    if text.is_empty() {
        return Err(IdentityError::Empty { what });
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(IdentityError::TooLong { what, length: text.len() });
    }
    let bytes = text.as_bytes();
    let inner = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    if bytes.iter().all(inner) && edge(bytes.first()) && edge(bytes.last()) {
        Ok(())
    } else {
        Err(IdentityError::Malformed { what, text: text.to_owned() })
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdentityError;
            fn from_str(text: &str) -> Result<Self, IdentityError> {
                check_name($what, text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdentityError;
            fn try_from(text: String) -> Result<Self, IdentityError> {
                check_name($what, &text)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// One installation's name; the default is `home`.
    Site, "site name"
);
name!(
    /// A host that runs an agent; by default its host name.
    NodeName, "node name"
);
name!(
    /// One collector of a site; the default is `main`.
    CollectorName, "collector name"
);

impl Default for Site {
    fn default() -> Self {
        Self("home".to_owned())
    }
}

impl Default for CollectorName {
    fn default() -> Self {
        Self("main".to_owned())
    }
}

macro_rules! uuid_identity {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_identity!(
    /// One agent start: the numbering of its events begins at 1 in each stream (UUIDv7).
    StreamId
);
uuid_identity!(
    /// One connection of an agent, or one store of a collector (UUIDv7).
    Epoch
);

/// An event's number in its stream, from 1; 0 means "before the first".
///
/// On the wire it is a decimal text of 20 digits, so that texts sort as numbers do.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "schema", schemars(with = "String"))]
pub struct Sequence(pub u64);

impl Sequence {
    /// The number after this one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The number before this one; 0 stays 0.
    pub fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Written for every event, many times: faster than the general way.
        let mut digits = [b'0'; 20];
        let mut rest = self.0;
        for digit in digits.iter_mut().rev() {
            *digit += (rest % 10) as u8;
            rest /= 10;
        }
        f.write_str(str::from_utf8(&digits).unwrap_or_default())
    }
}

impl FromStr for Sequence {
    type Err = IdentityError;
    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let malformed = || IdentityError::Malformed { what: "sequence", text: text.to_owned() };
        if text.len() != 20 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(malformed());
        }
        text.parse().map(Self).map_err(|_| malformed())
    }
}

impl TryFrom<String> for Sequence {
    type Error = IdentityError;
    fn try_from(text: String) -> Result<Self, IdentityError> {
        text.parse()
    }
}

impl From<Sequence> for String {
    fn from(sequence: Sequence) -> String {
        sequence.to_string()
    }
}

/// A guest's number, as Proxmox gives it: 100 to 999,999,999; old ones begin at 1.
///
/// On the wire it is a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "u32", into = "u32")]
#[cfg_attr(feature = "schema", schemars(with = "u32"))]
pub struct Vmid(u32);

impl Vmid {
    /// The greatest that Proxmox accepts.
    const MAX: u32 = 999_999_999;
}

impl TryFrom<u32> for Vmid {
    type Error = IdentityError;
    fn try_from(number: u32) -> Result<Self, IdentityError> {
        if (1..=Self::MAX).contains(&number) {
            Ok(Self(number))
        } else {
            Err(IdentityError::NoVmid { text: number.to_string() })
        }
    }
}

impl FromStr for Vmid {
    type Err = IdentityError;
    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let number = text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
        number
            .and_then(|number: u32| Self::try_from(number).ok())
            .ok_or_else(|| IdentityError::NoVmid { text: text.to_owned() })
    }
}

impl From<Vmid> for u32 {
    fn from(vmid: Vmid) -> u32 {
        vmid.0
    }
}

impl fmt::Display for Vmid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Through `pad`, so that a table can give it a width.
        f.pad(&self.0.to_string())
    }
}

/// A place in a node's history: which stream, and how far in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Position {
    /// The agent start that the sequence belongs to.
    pub stream: StreamId,
    /// The last event that is included.
    pub sequence: Sequence,
}

/// Identifies an alert by its labels, as Prometheus does: 64-bit FNV-1a, 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "schema", schemars(with = "String"))]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint of a label set; the labels must come sorted by name.
    ///
    /// Source: `model.LabelSet.Fingerprint` of prometheus/common.
    pub fn of<'a>(sorted_labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0000_0100_0000_01b3;
        const SEPARATOR: u8 = 255;
        let mut hash = OFFSET;
        let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(PRIME);
        for (name, value) in sorted_labels {
            for text in [name, value] {
                text.bytes().for_each(&mut add);
                add(SEPARATOR);
            }
        }
        Self(hash)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Fingerprint {
    type Err = IdentityError;
    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let malformed = || IdentityError::Malformed { what: "fingerprint", text: text.to_owned() };
        if text.len() != 16 {
            return Err(malformed());
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| malformed())
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = IdentityError;
    fn try_from(text: String) -> Result<Self, IdentityError> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> String {
        fingerprint.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_safe_as_topic_levels_are_accepted() {
        for good in ["pve1", "alert", "a", "PVE-1.example.org", "node_2"] {
            assert_eq!(good.parse::<NodeName>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn names_that_would_change_a_topic_are_refused() {
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        for bad in ["", "..", ".", "+", "#", "a/b", "pve 1", "-a", "a-", "ä", "a\0", &long] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_sequence_has_twenty_digits_and_nothing_else() {
        assert_eq!(Sequence(42).to_string(), "00000000000000000042");
        assert_eq!("00000000000000000042".parse(), Ok(Sequence(42)));
        for bad in ["42", "+0000000000000000042", "99999999999999999999", ""] {
            assert!(bad.parse::<Sequence>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_fingerprint_is_the_one_prometheus_computes() {
        // The cases of model/signature_test.go in prometheus/common.
        assert_eq!(Fingerprint::of([]), Fingerprint(14_695_981_039_346_656_037));
        let labels = [("fear", "love is not enough"), ("name", "garland, briggs")];
        assert_eq!(Fingerprint::of(labels), Fingerprint(5_799_056_148_416_392_346));
    }
}
