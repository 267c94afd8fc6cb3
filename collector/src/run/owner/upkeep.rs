//! What the owner does beside its work: keeps the store within its bounds, and notices that the
//! clock was set.

use std::time::Duration;

use tokio::time::{Instant, Interval};

use super::desk::Clocks;
use super::{Owner, clocks, wall_clock};
use crate::rules::human;
use crate::store::{Pruned, StoreError, TRANSITIONS_MAX};

/// The pause between two steps while there is more to delete: 2,000 rows each is more than any
/// broker brings.
const PRUNE_AGAIN_AFTER: Duration = Duration::from_millis(20);

impl Owner {
    /// The present time; if the clock was set meanwhile, what is under way is moved along.
    pub(super) fn look_at_clock(&mut self) -> Clocks {
        let now = clocks();
        self.desk.look_at_clock(now);
        now
    }

    /// Does one step; while there is more to delete the next one is due at once, after whatever
    /// else waits.
    pub(super) fn prune(&mut self, tick: &mut Interval) -> Result<(), StoreError> {
        let elapsed = std::mem::replace(&mut self.pruned_at, Instant::now()).elapsed();
        let pruned = self.desk.shelf().prune(&self.ways.retention, wall_clock(), elapsed)?;
        let Pruned { size, transitions_untold, clock_doubt, .. } = pruned;
        let counters = &self.ways.counters;
        let on_disk = size.file.saturating_add(size.log);
        counters.store_file_bytes.set(usize::try_from(on_disk).unwrap_or(usize::MAX));
        counters.store_used_bytes.set(usize::try_from(size.used).unwrap_or(usize::MAX));
        if transitions_untold > 0 {
            counters.transitions_untold.add(transitions_untold as u64);
            log::error!(
                "{transitions_untold} steps of alerts were deleted before an output took them: \
                 it was away for more than {TRANSITIONS_MAX} of them"
            );
        }
        let doubts = clock_doubt.is_some();
        if let Some(ahead) = clock_doubt.filter(|_| !self.doubts_clock) {
            log::warn!(
                "this machine's clock jumped by {}: history does not grow old by it until the \
                 clock has stood by it for three days; set the clock right if it is wrong",
                human::duration(ahead.abs().as_secs_f64())
            );
        }
        self.doubts_clock = doubts;
        if pruned.more {
            tick.reset_after(PRUNE_AGAIN_AFTER);
        }
        Ok(())
    }
}
