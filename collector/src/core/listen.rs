//! The collector can hear the nodes again, after it could not.

use jiff::Timestamp;

use super::Core;

impl Core {
    /// The connection to the broker is new: what was not heard before `now` proves nothing, and
    /// heartbeats count from here, as after a start.
    pub fn listen(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        self.fleet.listen_from(self.now);
        let names: Vec<_> = self.fleet.nodes().map(|node| node.name.clone()).collect();
        for name in names {
            self.arm_node(&name);
        }
    }
}
