//! Asks the kernel how its clock does. The one place of the project with unsafe code: no crate
//! that it depends on has a safe call for this.

use pvewatch_protocol::sample::Clock;

use crate::host::clock::clock;

/// The clock as the kernel sees it; none where it must not be asked.
///
/// Reading takes no privilege, but a sandbox that forbids to set the clock (`ProtectClock=`)
/// forbids this too, since it is the same call.
#[expect(unsafe_code, reason = "adjtimex(2) has no safe wrapper among the dependencies")]
pub fn read() -> Option<Clock> {
    // SAFETY: `timex` is plain numbers, for which zeros are valid. With `modes` 0 nothing is set,
    // and the kernel writes to nothing but this one structure, which outlives the call.
    let (state, told) = unsafe {
        let mut told: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&mut told), told)
    };
    (state >= 0).then(|| clock(told.esterror, told.maxerror))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_answers_whoever_asks() {
        let Some(clock) = read() else { return };
        assert!(clock.maximum_error_seconds >= 0.0);
        assert_eq!(clock.synchronised, clock.maximum_error_seconds < 16.0);
    }
}
