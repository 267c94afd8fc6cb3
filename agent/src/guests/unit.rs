//! The units that guests are.

use pvewatch_protocol::Vmid;
use pvewatch_protocol::event::GuestKind;

/// Patterns of all of them.
pub const PATTERNS: [&str; 3] =
    ["[1-9]*.scope", "pve-container@[1-9]*.service", "pve-container-debug@[1-9]*.service"];

/// The guest that a unit is; none if it is something else.
pub fn guest_of(unit: &str) -> Option<(Vmid, GuestKind)> {
    let (number, kind) = match unit.strip_suffix(".scope") {
        Some(number) => (number, GuestKind::Qemu),
        None => {
            let name = unit.strip_suffix(".service")?;
            let container = ["pve-container@", "pve-container-debug@"];
            (container.iter().find_map(|prefix| name.strip_prefix(prefix))?, GuestKind::Lxc)
        }
    };
    Some((number.parse().ok()?, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_of_numbers_are_machines_and_certain_services_containers() {
        for (unit, expected) in [
            ("100.scope", Some((100, GuestKind::Qemu))),
            ("pve-container@101.service", Some((101, GuestKind::Lxc))),
            ("pve-container-debug@102.service", Some((102, GuestKind::Lxc))),
            ("init.scope", None),
            ("1x.scope", None),
            ("session-1.scope", None),
            ("pve-container@.service", None),
            ("100.service", None),
        ] {
            let guest = guest_of(unit).map(|(vmid, kind)| (u32::from(vmid), kind));
            assert_eq!(guest, expected, "{unit}");
        }
    }
}
