//! Network interfaces by `/proc/net/dev` (proc(5)): what they carried, and what went wrong.
//!
//! A node has its own few interfaces and up to four for each network card of a guest. Those are
//! folded into one entry, so that a sample does not grow with the guests; the bridges that Proxmox'
//! firewall puts between would count the same traffic again and are left out.

use pvewatch_protocol::sample::Interface;

/// A node's own interfaces. Overflow: physical ones stay, then the first by name.
pub const INTERFACES_MAX: usize = 32;

/// The name of the entry for the interfaces of guests.
const GUESTS: &str = "guests";

/// Takes in `/proc/net/dev`, line by line: with many guests it is long.
#[derive(Debug, Default)]
pub struct Interfaces {
    own: Vec<Interface>,
    guests: Interface,
}

/// Whose an interface is.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// The node's.
    Own,
    /// The node's end of a guest's.
    Guest,
    /// Nobody's that counts.
    LeftOut,
}

impl Interfaces {
    /// Takes in a line; what is no interface's is passed over.
    ///
    /// ```text
    ///   eno1: 1500 12 0 0 0 0 0 0 2500 14 0 0 0 0 0 0
    /// ```
    pub fn take_in(&mut self, line: &str) {
        let Some((name, counters)) = line.rsplit_once(':') else { return };
        let name = name.trim();
        let kind = kind(name);
        if kind == Kind::LeftOut {
            return;
        }
        let Some(counted) = counted(counters) else { return };
        if kind == Kind::Guest {
            self.guests.folded += 1;
            add(&mut self.guests, &counted);
        } else if has_carried(&counted) {
            self.own.push(Interface { name: name.to_owned(), ..counted });
        }
    }

    /// All interfaces that have carried something, by name; those of guests at the end.
    pub fn finish(mut self) -> Vec<Interface> {
        self.own.sort_by(|a, b| rank(&a.name).cmp(&rank(&b.name)));
        self.own.truncate(INTERFACES_MAX);
        self.own.sort_by(|a, b| a.name.cmp(&b.name));
        if self.guests.folded > 0 {
            self.own.push(Interface { name: GUESTS.to_owned(), ..self.guests });
        }
        self.own
    }
}

/// `tap100i0` and `veth100i0` are Proxmox' names for a guest's, `fwbr100i0`, `fwpr100p0` and
/// `fwln100i0` its firewall's. `veth1a2b3c4` is one that any container engine makes, and `tap0` may
/// be a tunnel.
fn kind(name: &str) -> Kind {
    let of_guest = |prefix| {
        let rest = name.strip_prefix(prefix).unwrap_or_default();
        let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        after.len() < rest.len() && after.starts_with(['i', 'p'])
    };
    if name == "lo" || ["fwbr", "fwpr", "fwln"].into_iter().any(of_guest) {
        Kind::LeftOut
    } else if of_guest("tap") || name.starts_with("veth") {
        Kind::Guest
    } else {
        Kind::Own
    }
}

/// In which order interfaces are kept if there are too many: those with a plug, whose errors are
/// worth most.
pub fn rank(name: &str) -> (bool, &str) {
    let has_plug = ["en", "eth", "wl", "ib"].iter().any(|prefix| name.starts_with(prefix));
    let is_part = name.contains('.');
    (!has_plug || is_part, name)
}

/// Whether an interface is the node's own, by its name.
pub fn is_own(name: &str) -> bool {
    kind(name) == Kind::Own
}

/// The counters of a line: eight of what was received, eight of what was transmitted, each beginning
/// with bytes, packets, errors and drops.
fn counted(counters: &str) -> Option<Interface> {
    let mut numbers = counters.split_ascii_whitespace().map(str::parse::<u64>);
    let mut next = |skip: usize| numbers.nth(skip)?.ok();
    Some(Interface {
        receive_bytes: next(0)?,
        receive_errors: next(1)?,
        receive_dropped: next(0)?,
        transmit_bytes: next(4)?,
        transmit_errors: next(1)?,
        transmit_dropped: next(0)?,
        ..Interface::default()
    })
}

fn has_carried(it: &Interface) -> bool {
    let counts = [it.receive_bytes, it.transmit_bytes, it.receive_errors, it.transmit_errors];
    counts.into_iter().any(|count| count > 0)
}

fn add(sum: &mut Interface, it: &Interface) {
    for (sum, count) in [
        (&mut sum.receive_bytes, it.receive_bytes),
        (&mut sum.transmit_bytes, it.transmit_bytes),
        (&mut sum.receive_errors, it.receive_errors),
        (&mut sum.transmit_errors, it.transmit_errors),
        (&mut sum.receive_dropped, it.receive_dropped),
        (&mut sum.transmit_dropped, it.transmit_dropped),
    ] {
        *sum = sum.saturating_add(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADINGS: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
";

    fn interfaces(lines: &str) -> Vec<Interface> {
        let mut interfaces = Interfaces::default();
        format!("{HEADINGS}{lines}").lines().for_each(|line| interfaces.take_in(line));
        interfaces.finish()
    }

    fn line(name: &str) -> String {
        format!("{name:>6}: 100 1 2 3 0 0 0 0 200 1 4 5 0 0 0 0\n")
    }

    #[test]
    fn a_nodes_own_are_told_apart_and_those_of_guests_are_folded() {
        let names = [
            "lo",
            "vmbr0",
            "eno1",
            "bond0",
            "wg0",
            "tap100i0",
            "veth101i0",
            "veth1a2b3c4",
            "fwbr100i0",
            "fwpr100p0",
            "fwln100i0",
            "tap0",
        ];
        let found = interfaces(&names.map(line).concat());
        let told: Vec<_> =
            found.iter().map(|it| (&*it.name, it.folded, it.receive_bytes)).collect();
        let own = |name| (name, 0, 100);
        let mut expected = ["bond0", "eno1", "tap0", "vmbr0", "wg0"].map(own).to_vec();
        expected.push(("guests", 3, 300));
        assert_eq!(told, expected);
        let guests = &found[5];
        let errors = (guests.receive_errors, guests.transmit_errors);
        let drops = (guests.receive_dropped, guests.transmit_dropped);
        assert_eq!((errors, guests.transmit_bytes, drops), ((6, 12), 600, (9, 15)));
    }

    #[test]
    fn what_never_carried_anything_is_left_out_unless_it_tried() {
        let idle = "  eno2: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
        let broken = "  eno3: 0 0 0 0 0 0 0 0 0 0 7 0 0 0 0 0\n";
        let names: Vec<_> =
            interfaces(&format!("{idle}{broken}")).into_iter().map(|it| it.name).collect();
        assert_eq!(names, ["eno3"]);
    }

    #[test]
    fn of_too_many_those_with_a_plug_stay() {
        let vlans: String = (0..40).map(|number| line(&format!("vmbr0v{number}"))).collect();
        let parts: String = (0..40).map(|number| line(&format!("eno1.{number}"))).collect();
        let found = interfaces(&(vlans + &parts + &line("eno1") + &line("tap9i0")));
        assert_eq!(found.len(), INTERFACES_MAX + 1);
        assert!(found.iter().any(|it| it.name == "eno1"));
    }

    #[test]
    fn torn_lines_and_what_is_no_number_are_passed_over_and_sums_do_not_overflow() {
        for text in [
            "",
            "eno1",
            "eno1:",
            "eno1: 1 2 3",
            "eno1: a b c d e f g h i j k l m n o p",
            "eno1: 99999999999999999999999 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
            "eno1: -1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
            "\u{fffd}\u{fffd}",
        ] {
            assert_eq!(interfaces(text), [], "{text:?}");
        }
        let most = format!("{0} 1 {0} 0 0 0 0 0 {0} 1 0 0 0 0 0 0", u64::MAX);
        let both = interfaces(&format!("tap1i0: {most}\ntap2i0: {most}\n"));
        assert_eq!((both[0].folded, both[0].receive_errors), (2, u64::MAX));
    }
}
