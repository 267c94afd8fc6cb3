//! The site's network: a namespace for each place, each on a link of its own, and this process'
//! namespace as the router between them, where packets are lost.
//!
//! Loss is done with nftables, which every kernel of Debian has; nobody is told of a packet that
//! is dropped. Absent: delays, and packets that overtake each other.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use super::fault::{NODES, Place};

/// What is wrong with a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Of a hundred packets so many are lost, in each direction.
    Loss(u32),
    /// What the place sends is lost.
    Mute,
    /// What is sent to the place is lost.
    Deaf,
}

/// The namespaces and links; they end with this process.
#[derive(Debug)]
pub struct Network {
    troubles: BTreeMap<Place, Trouble>,
}

/// The address of a place.
pub fn address(place: Place) -> String {
    format!("10.77.{}.2", number(place))
}

/// Begins a command that runs in a place.
pub fn command_in(place: Place) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{}", namespace(place))).arg("--");
    command
}

impl Network {
    /// Makes all of it anew.
    ///
    /// # Panics
    /// When `ip` or the kernel refuses.
    #[track_caller]
    pub fn make() -> Self {
        for place in places() {
            let (space, link, number) = (namespace(place), link(place), number(place));
            ip(&format!("netns add {space}"));
            ip(&format!("link add {link} type veth peer name eth0 netns {space}"));
            ip(&format!("address add 10.77.{number}.1/24 dev {link}"));
            ip(&format!("link set {link} up"));
            ip(&format!("-n {space} link set lo up"));
            ip(&format!("-n {space} address add 10.77.{number}.2/24 dev eth0"));
            ip(&format!("-n {space} link set eth0 up"));
            ip(&format!("-n {space} route add default via 10.77.{number}.1"));
        }
        Self { troubles: BTreeMap::new() }
    }

    /// Takes a link down, or up again.
    ///
    /// # Panics
    /// When `ip` refuses.
    #[track_caller]
    pub fn set_up(&self, place: Place, up: bool) {
        ip(&format!("link set {} {}", link(place), if up { "up" } else { "down" }));
    }

    /// Says what is wrong with the link of a place, if anything is.
    ///
    /// # Panics
    /// When `nft` refuses.
    #[track_caller]
    pub fn set_trouble(&mut self, place: Place, trouble: Option<Trouble>) {
        match trouble {
            Some(trouble) => self.troubles.insert(place, trouble),
            None => self.troubles.remove(&place),
        };
        let rules = rules(&self.troubles);
        let mut nft = Command::new("nft");
        let mut child = nft
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("nft: {error}: ./tests/run installs it"));
        let mut input = child.stdin.take().expect("its input is a pipe");
        input.write_all(rules.as_bytes()).expect("nft reads its input");
        drop(input);
        let done = child.wait().expect("nft ends");
        assert!(done.success(), "nft: {done}\n{rules}");
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for place in places() {
            // The kernel takes its time with a namespace, and its link would stay as long. What
            // cannot be deleted goes with the run's last process.
            let link = ["link", "delete", &link(place)].map(str::to_owned);
            let space = ["netns", "delete", &namespace(place)].map(str::to_owned);
            for arguments in [link, space] {
                let _ = Command::new("ip").args(arguments).status();
            }
        }
    }
}

fn rules(troubles: &BTreeMap<Place, Trouble>) -> String {
    let mut text = "table ip chaos\ndelete table ip chaos\ntable ip chaos {\n  chain lost {\n    \
                    type filter hook forward priority 0;\n"
        .to_owned();
    for (place, trouble) in troubles {
        let link = link(*place);
        // Writing to a string cannot fail.
        let _ = match trouble {
            Trouble::Mute => writeln!(text, "    iifname {link} drop"),
            Trouble::Deaf => writeln!(text, "    oifname {link} drop"),
            Trouble::Loss(percent) => ["iifname", "oifname"].iter().try_for_each(|way| {
                writeln!(text, "    {way} {link} numgen random mod 100 < {percent} drop")
            }),
        };
    }
    text + "  }\n}\n"
}

fn places() -> impl Iterator<Item = Place> {
    (0..NODES).map(Place::Node).chain([Place::Collector, Place::Broker])
}

fn number(place: Place) -> usize {
    match place {
        Place::Node(number) => number + 1,
        Place::Collector => NODES + 1,
        Place::Broker => NODES + 2,
    }
}

fn namespace(place: Place) -> String {
    format!("place{}", number(place))
}

fn link(place: Place) -> String {
    format!("link{}", number(place))
}

#[track_caller]
fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).status();
    let done = done.unwrap_or_else(|error| panic!("ip: {error}: ./tests/run installs it"));
    assert!(done.success(), "ip {arguments}: {done}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trouble_is_a_rule_and_none_is_an_empty_chain() {
        let troubles = BTreeMap::from([
            (Place::Node(0), Trouble::Loss(30)),
            (Place::Collector, Trouble::Mute),
            (Place::Broker, Trouble::Deaf),
        ]);
        let text = rules(&troubles);
        for rule in [
            "iifname link1 numgen random mod 100 < 30 drop",
            "oifname link1 numgen random mod 100 < 30 drop",
            "iifname link4 drop",
            "oifname link5 drop",
        ] {
            assert!(text.contains(rule), "{rule:?} is not in {text}");
        }
        assert!(!rules(&BTreeMap::new()).contains("drop"));
    }
}
