//! When all is mended and done: everybody sees everything once more, so that all can be compared.

use std::time::Duration;

use crate::collector::Collector;
use crate::node::{Node, UNITS};
use crate::world::World;

/// How often everything changes when all is done, there and back.
pub const CHANGES_AT_REST: u64 = 2;

/// Rounds in which all that is under way gets where it goes, when nothing is wrong.
const ROUNDS_A_MINUTE: u32 = 50;

impl World {
    /// Everybody sees every unit change, and change back: whatever collectors had heard before,
    /// then they must say the same, and with the same times.
    ///
    /// A broker that routed nothing can have swallowed a picture: another one comes. What its
    /// clock had made older is believed to be present a minute later, so a second one follows.
    /// And what was late is judged only when nothing follows it; a picture that waits for what a
    /// loss of power took is believed after six minutes.
    pub(crate) fn let_all_see_all(&mut self) {
        if self.is_steady {
            self.pass_minutes(8);
            let said = self.collectors.iter_mut().map(Collector::says_firing);
            self.said_before = said.collect();
        }
        // The next heartbeat tells of a collector that was set back while nothing else was sent.
        self.pass_minutes(1);
        self.say(|| "all see all".to_owned());
        // No picture tells how a backup ended: another run does.
        let now = self.now();
        self.nodes.iter_mut().for_each(|node| node.back_up(now.by(node.wall_offset), true));
        self.pass_minutes(1);
        self.compared_from = self.collectors.iter().map(Collector::newest_transition).collect();
        self.compared_since =
            self.nodes.iter().map(|node| self.now().by(node.wall_offset).wall).collect();
        for minutes in [2, 7] {
            self.nodes.iter_mut().for_each(Node::want_picture);
            self.pass_minutes(minutes);
        }
        // By now every collector that was set back has been found out.
        let sent_before = self.tally.sent;
        // What is said is compared where there are two who say it.
        let changes = if self.collectors.len() > 1 { CHANGES_AT_REST } else { 0 };
        for change in 0..changes {
            let now = self.now();
            for node in &mut self.nodes {
                let now = now.by(node.wall_offset);
                (0..UNITS).for_each(|unit| node.change_unit(now, unit));
                node.back_up(now, change > 0);
                node.want_picture();
            }
            self.come_to_rest();
            self.pass_minutes(4);
        }
        self.sent_at_rest = self.tally.sent - sent_before;
    }

    fn pass_minutes(&mut self, minutes: u32) {
        for _ in 0..minutes {
            self.elapsed += Duration::from_mins(1);
            self.come_to_rest();
        }
    }

    /// All that is under way gets where it goes, without time passing.
    fn come_to_rest(&mut self) {
        for _ in 0..ROUNDS_A_MINUTE {
            self.everybody_works();
            let is_done = self.broker.under_way() == 0
                && self.nodes.iter().all(Node::is_settled)
                && self.collectors.iter().all(Collector::is_settled);
            if is_done {
                return;
            }
        }
    }
}
