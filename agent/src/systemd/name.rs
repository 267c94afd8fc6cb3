//! Unit names, and the object paths under which systemd shows them on the bus.
//!
//! A [`UnitName`] holds only what systemd allows: 1 to 255 of `A-Za-z0-9:-_.\@`, ending in a
//! known type. Paths escape every byte but letters and digits as `_xx`.

use std::borrow::Borrow;
use std::fmt;

/// The longest name that systemd accepts, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// Below this path lies one object for every loaded unit.
pub const UNIT_PATH_PREFIX: &str = "/org/freedesktop/systemd1/unit/";

/// The type of a unit, which is the end of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnitType {
    /// `.service`
    Service,
    /// `.timer`
    Timer,
    /// `.socket`
    Socket,
    /// `.mount`
    Mount,
    /// `.automount`
    Automount,
    /// `.swap`
    Swap,
    /// `.path`
    Path,
    /// `.scope`
    Scope,
    /// `.slice`
    Slice,
    /// `.target`
    Target,
    /// `.device`
    Device,
}

impl UnitType {
    const ALL: [(Self, &'static str, &'static str); 11] = [
        (Self::Service, ".service", "org.freedesktop.systemd1.Service"),
        (Self::Timer, ".timer", "org.freedesktop.systemd1.Timer"),
        (Self::Socket, ".socket", "org.freedesktop.systemd1.Socket"),
        (Self::Mount, ".mount", "org.freedesktop.systemd1.Mount"),
        (Self::Automount, ".automount", "org.freedesktop.systemd1.Automount"),
        (Self::Swap, ".swap", "org.freedesktop.systemd1.Swap"),
        (Self::Path, ".path", "org.freedesktop.systemd1.Path"),
        (Self::Scope, ".scope", "org.freedesktop.systemd1.Scope"),
        (Self::Slice, ".slice", "org.freedesktop.systemd1.Slice"),
        (Self::Target, ".target", "org.freedesktop.systemd1.Target"),
        (Self::Device, ".device", "org.freedesktop.systemd1.Device"),
    ];

    fn of(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, suffix, _)| name.len() > suffix.len() && name.ends_with(suffix))
            .map(|(unit_type, _, _)| *unit_type)
    }

    /// The D-Bus interface that carries what only this type has, `Result` above all.
    pub fn interface(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(unit_type, _, _)| *unit_type == self)
            .map_or("", |(_, _, interface)| interface)
    }

    /// Whether [`UnitType::interface`] has a property `Result`.
    pub fn has_result(self) -> bool {
        !matches!(self, Self::Slice | Self::Target | Self::Device)
    }

    /// Whether systemd can start units of this type again by itself.
    pub fn can_restart(self) -> bool {
        self == Self::Service
    }
}

/// The name of a unit with its type, such as `pveproxy.service`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnitName(Box<str>);

impl UnitName {
    /// Takes a name if systemd would.
    pub fn new(name: &str) -> Option<Self> {
        is_valid(name).then(|| Self(name.into()))
    }

    /// The name that an object path stands for; none if it is not the path of a unit.
    pub fn from_path(path: &str) -> Option<Self> {
        let name = unescape(path.strip_prefix(UNIT_PATH_PREFIX)?)?;
        is_valid(&name).then(|| Self(name.into_boxed_str()))
    }

    /// The object path of this unit.
    pub fn path(&self) -> String {
        let mut path = String::with_capacity(UNIT_PATH_PREFIX.len() + self.0.len() * 3);
        path.push_str(UNIT_PATH_PREFIX);
        for (index, byte) in self.0.bytes().enumerate() {
            if byte.is_ascii_alphabetic() || (index > 0 && byte.is_ascii_digit()) {
                path.push(char::from(byte));
            } else {
                path.push('_');
                for nibble in [byte >> 4, byte & 15] {
                    path.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
                }
            }
        }
        path
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its type.
    pub fn unit_type(&self) -> UnitType {
        // Every constructor has checked the suffix, so the default is never taken.
        UnitType::of(&self.0).unwrap_or(UnitType::Target)
    }
}

impl Borrow<str> for UnitName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether systemd allows this byte in a unit's name.
pub fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'-' | b'_' | b'.' | b'\\' | b'@')
}

fn is_valid(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX && name.bytes().all(is_name_byte) && UnitType::of(name).is_some()
}

/// Undoes the escaping of one path component; none if it is not well formed.
fn unescape(escaped: &str) -> Option<String> {
    let mut name = String::with_capacity(escaped.len());
    let mut bytes = escaped.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'_' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            name.push(char::from_u32(high * 16 + low)?);
        } else {
            name.push(char::from(byte));
        }
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_paths_are_two_forms_of_one_thing() {
        for (name, path) in [
            ("pveproxy.service", "pveproxy_2eservice"),
            ("t-plain.service", "t_2dplain_2eservice"),
            ("pve-container@101.service", "pve_2dcontainer_40101_2eservice"),
            ("7zip.service", "_37zip_2eservice"),
            (r"a\x2db:c_d.mount", "a_5cx2db_3ac_5fd_2emount"),
        ] {
            let path = format!("{UNIT_PATH_PREFIX}{path}");
            let unit = UnitName::from_path(&path).unwrap();
            assert_eq!(unit.as_str(), name);
            assert_eq!(unit.path(), path);
        }
    }

    #[test]
    fn what_is_not_a_unit_is_refused() {
        for path in ["/org/freedesktop/systemd1", "/org/freedesktop/systemd1/unit/", "/x"] {
            assert_eq!(UnitName::from_path(path), None, "{path}");
        }
        for component in ["a_2", "a_zzservice", "_c3_a4_2eservice", "a_2fb_2eservice", "_"] {
            let path = format!("{UNIT_PATH_PREFIX}{component}");
            assert_eq!(UnitName::from_path(&path), None, "{path}");
        }
        for name in ["", ".service", "a.serv", "a b.service", "ä.service", "a*.service"] {
            assert_eq!(UnitName::new(name), None, "{name}");
        }
        assert_eq!(UnitName::new(&format!("{}.service", "x".repeat(248))), None);
    }

    proptest! {
        #[test]
        fn every_name_survives_its_path(stem in r"[A-Za-z0-9:_.\\@-]{1,200}") {
            let unit = UnitName::new(&format!("{stem}.service")).unwrap();
            prop_assert_eq!(UnitName::from_path(&unit.path()), Some(unit));
        }

        #[test]
        fn any_path_is_read_without_a_panic(path in ".*") {
            let _ = UnitName::from_path(&path);
            let _ = UnitName::from_path(&format!("{UNIT_PATH_PREFIX}{path}"));
        }
    }
}
