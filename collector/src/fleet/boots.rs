//! The boots of a node: which one runs, and whether the one before ended as announced.
//!
//! The announcement and the next boot can be told in any order; the answer is the same.

use std::collections::VecDeque;

use jiff::Timestamp;
use pvewatch_protocol::StopReason;
use serde::{Deserialize, Serialize};

/// Announced boots remembered; the oldest is forgotten. The one before the current counts.
const ANNOUNCED_KEPT: usize = 8;

/// What is known of a node's boots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boots {
    /// The boot that runs, if the node has told.
    pub current: Option<Boot>,
    /// The boot id before it, if this collector knew the node then.
    pub previous: Option<String>,
    /// Boots whose end was announced; newest last.
    announced: VecDeque<String>,
}

/// One run of a node's kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// The kernel's boot id.
    pub id: String,
    /// When the kernel started, by the node's clock.
    pub at: Timestamp,
}

impl Boots {
    /// Notes the boot that runs.
    pub fn note(&mut self, id: &str, at: Timestamp) {
        if self.current.as_ref().is_some_and(|current| current.id == id) {
            return;
        }
        let ended = self.current.replace(Boot { id: id.to_owned(), at });
        self.previous = ended.map(|boot| boot.id);
    }

    /// Notes a goodbye; those of the agent alone say nothing about the boot.
    pub fn announce(&mut self, id: &str, reason: StopReason) {
        let ends_the_boot = matches!(reason, StopReason::Shutdown | StopReason::Reboot);
        if !ends_the_boot || self.announced.iter().any(|known| known == id) {
            return;
        }
        if self.announced.len() == ANNOUNCED_KEPT {
            self.announced.pop_front();
        }
        self.announced.push_back(id.to_owned());
    }

    /// Whether the boot before the current one ended without an announcement.
    pub fn is_unclean(&self) -> bool {
        self.previous.as_ref().is_some_and(|previous| !self.announced.contains(previous))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_is_unclean_only_if_nobody_announced_the_end_of_the_one_before() {
        let cases = [
            ("the first boot that is known", vec![("boot", "1")], false),
            ("power was cut", vec![("boot", "1"), ("boot", "2")], true),
            ("reboot", vec![("boot", "1"), ("reboot", "1"), ("boot", "2")], false),
            ("told late", vec![("boot", "1"), ("boot", "2"), ("reboot", "1")], false),
            ("only the agent stopped", vec![("boot", "1"), ("stopped", "1"), ("boot", "2")], true),
            ("the agent restarted", vec![("boot", "1"), ("stopped", "1"), ("boot", "1")], false),
        ];
        for (name, story, unclean) in cases {
            let mut boots = Boots::default();
            for (what, id) in &story {
                match *what {
                    "boot" => boots.note(id, Timestamp::UNIX_EPOCH),
                    "reboot" => boots.announce(id, StopReason::Reboot),
                    _ => boots.announce(id, StopReason::Stopped),
                }
            }
            assert_eq!(boots.is_unclean(), unclean, "{name}");
        }
    }
}
