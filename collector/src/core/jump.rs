//! The collector's own clock was set.
//!
//! Durations that are under way are counted by the collector's clock. When it is set, what is
//! remembered by it moves along, so that nothing has lasted longer or shorter for it: no alert
//! fires early, and no node counts as silent, or as heard, that is not.

use jiff::SignedDuration;

use super::Core;
use super::dirty::Piece;
use crate::fleet::Moment;

impl Core {
    /// The clock is now `by` ahead of what it would have been; what nodes say of themselves is by
    /// their own clocks and stays.
    pub fn clock_jumped(&mut self, by: SignedDuration) {
        self.now = Moment::both(self.now).after(by).judged;
        self.snapshot = None;
        for unit in self.fleet.clock_jumped(by) {
            self.dirty.fact(Piece::Unit(unit.node.clone(), unit.id.clone()));
        }
        self.book.clock_jumped(by);
        self.timers.shift(by);
        self.settling.shift(by);
        let nodes: Vec<_> = self.fleet.nodes().map(|node| node.name.clone()).collect();
        for node in nodes {
            self.dirty.fact(Piece::Node(node));
        }
        self.note_alerts();
    }
}
