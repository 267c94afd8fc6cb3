//! The collector can hear the nodes again, after it could not.

use jiff::Timestamp;
use pvewatch_protocol::Epoch;

use super::Core;
use crate::fleet::epoch_time;

impl Core {
    /// The history of the store behind this core began with this epoch. An agent that no longer
    /// holds what came before has lost nothing that was meant for it.
    pub fn begin_with(&mut self, epoch: Epoch) {
        self.fleet.begin_at(epoch_time(epoch));
    }

    /// The connection to the broker is new: what was not heard before `now` proves nothing, and
    /// heartbeats count from here, as after a start.
    pub fn listen(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        self.be_absent();
    }

    /// Until now this collector heard nothing: what it knows of each node is old until the node
    /// is heard again, and what happened meanwhile is still to come.
    pub(super) fn be_absent(&mut self) {
        self.fleet.listen_from(self.now);
        let names: Vec<_> = self.fleet.nodes().map(|node| node.name.clone()).collect();
        for name in names {
            self.arm_node(&name);
            self.settling.be_absent(&name, self.now);
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use pvewatch_protocol::{NodePresence, PresenceState, Site};
    use uuid::Uuid;

    use super::*;
    use crate::core::Input;
    use crate::rules::RuleSet;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    /// A core that heard of a node at second 0, and nothing since.
    fn core() -> Core {
        let mut core = Core::new(Site::default(), RuleSet::empty(), at(0));
        let presence = NodePresence {
            state: PresenceState::Online,
            epoch: Epoch(Uuid::now_v7()),
            reason: None,
            boot_id: "b".into(),
            cluster: None,
            at: at(0),
        };
        let node = "pve1".parse().unwrap();
        core.handle(at(0), Input::NodePresence { node, presence, received_at: at(0) });
        core
    }

    fn is_silent_at(core: &mut Core, second: i64) -> bool {
        core.handle(at(second), Input::Deadline);
        core.snapshot().nodes[0].node.silent.is_some()
    }

    #[test]
    fn a_node_is_not_silent_because_the_collector_was_deaf() {
        assert!(is_silent_at(&mut core(), 45));
        let mut deaf = core();
        deaf.listen(at(45));
        assert!(!is_silent_at(&mut deaf, 46));
        assert!(
            deaf.next_deadline().is_some_and(|due| due <= at(45) + SignedDuration::from_mins(1))
        );
        assert!(is_silent_at(&mut deaf, 45 + 60), "but it must be heard from now on");
    }
}
