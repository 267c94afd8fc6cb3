//! Whether the clock is kept right, by what the kernel knows of it (adjtimex(2)).

use pvewatch_protocol::sample::Clock;

/// The kernel's own limit: of a clock that nobody has set right for long it says that it is wrong
/// by as much, in microseconds.
const ERROR_MAX_MICROSECONDS: i64 = 16_000_000;

/// A clock of which the kernel says by how much it is wrong, by an estimate and at most, both in
/// microseconds.
///
/// The flag `STA_UNSYNC` is not asked: chrony leaves it set on purpose where its `rtcsync` is
/// switched off, and sets the clock right all the same. The greatest error grows by itself for as
/// long as nobody does.
pub fn clock(estimated_error: i64, maximum_error: i64) -> Clock {
    let seconds = |microseconds: i64| microseconds.max(0) as f64 / 1e6;
    Clock {
        synchronised: maximum_error < ERROR_MAX_MICROSECONDS,
        estimated_error_seconds: seconds(estimated_error),
        maximum_error_seconds: seconds(maximum_error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_right_until_nobody_has_set_it_for_long() {
        for (estimated, maximum, expected) in [
            (35, 12_345, (true, 0.000_035, 0.012_345)),
            (0, 15_999_999, (true, 0.0, 15.999_999)),
            (16_000_000, 16_000_000, (false, 16.0, 16.0)),
            (i64::MAX, i64::MAX, (false, i64::MAX as f64 / 1e6, i64::MAX as f64 / 1e6)),
            (-1, -1, (true, 0.0, 0.0)),
        ] {
            let found = clock(estimated, maximum);
            let found =
                (found.synchronised, found.estimated_error_seconds, found.maximum_error_seconds);
            assert_eq!(found, expected);
        }
    }
}
