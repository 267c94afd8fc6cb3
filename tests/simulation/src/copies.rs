//! Copies of a collector's store, and what it is to be set back to one.

use fastrand::Rng;

use crate::broker::Broker;
use crate::channel::CHANNELS;
use crate::collector::Collector;
use crate::durable::{Durable, fresh_epoch};

impl Collector {
    /// Keeps a copy of the disk; one that is bad to go back to is seldom given up for another.
    pub fn back_up(&mut self, rng: &mut Rng) {
        let is_bad = self.backup.as_ref().is_some_and(Durable::has_gaps);
        if !is_bad || rng.u8(0..4) == 0 {
            self.backup = Some(self.disk.borrow().clone());
        }
    }

    /// The disk is as it was when it was copied; a copy made by the book has a new epoch. Returns
    /// whether there was one.
    pub fn restore(&mut self, broker: &mut Broker, rng: &mut Rng) -> bool {
        let waits_for_worse = self.backup.as_ref().is_some_and(|backup| {
            backup.has_gaps() && !backup.has_gaps_that_were_filled(&self.disk.borrow())
        });
        if waits_for_worse && rng.u8(0..4) > 0 {
            return false;
        }
        let Some(backup) = self.backup.take() else { return false };
        self.kill(broker, rng);
        let mut disk = self.disk.borrow_mut();
        *disk = backup;
        if rng.bool() {
            disk.epoch = fresh_epoch(rng);
        }
        // What was told after the copy is told again, under numbers that come again.
        for ((name, _), taken) in CHANNELS.iter().zip(&mut self.taken) {
            taken.steps.clear();
            taken.begins_after = disk.told.get(*name).copied().unwrap_or(0);
        }
        self.commits.clear();
        self.was_restored = true;
        true
    }
}
