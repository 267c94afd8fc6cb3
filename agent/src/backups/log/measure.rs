//! Sizes and durations as vzdump writes them.

/// Bytes of a size such as `1.41GB`, `686MB` or `23.80 GiB`, rounded down.
///
/// vzdump's `KB`, `MB`, `GB` and `TB` are powers of 1024, like the spellings with an `i`.
pub fn size_bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim() {
        "B" => 1,
        "KB" | "KiB" => 1 << 10,
        "MB" | "MiB" => 1 << 20,
        "GB" | "GiB" => 1 << 30,
        "TB" | "TiB" => 1 << 40,
        "PB" | "PiB" => 1 << 50,
        _ => return None,
    };
    let bytes = number.parse::<f64>().ok()? * factor as f64;
    // The greatest number below which every whole number has a value of its own.
    (0.0..=9.007e15).contains(&bytes).then_some(bytes as u64)
}

/// Bytes of `transferred`'s first words: `20.00 GiB in ...`, or before PVE 6.2 `54760 MB in ...`,
/// which alone is in powers of 1000.
pub fn transferred_bytes(text: &str) -> Option<u64> {
    let (size, _) = text.split_once(" in ")?;
    match size.strip_suffix(" MB") {
        Some(megabytes) => megabytes.parse::<u64>().ok()?.checked_mul(1_000_000),
        None => size_bytes(size),
    }
}

/// Seconds of `hh:mm:ss`; hours can have more digits.
pub fn clock_seconds(text: &str) -> Option<u64> {
    let mut parts = text.split(':');
    let (hours, minutes, seconds) = (parts.next()?, parts.next()?, parts.next()?);
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if parts.next().is_some() || ![hours, minutes, seconds].into_iter().all(is_number) {
        return None;
    }
    let hours = hours.parse::<u64>().ok()?.checked_mul(3600)?;
    let minutes = minutes.parse::<u64>().ok()?.checked_mul(60)?;
    hours.checked_add(minutes)?.checked_add(seconds.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [
            ("245MB", Some(256_901_120)),
            ("1.41GB", Some(1_513_975_971)),
            ("512 B", Some(512)),
            ("23.80 GiB", Some(25_555_055_411)),
            ("1.5TB", Some(1_649_267_441_664)),
            ("1.5", None),
            ("24", None),
            ("M", None),
            ("1..5MB", None),
            ("99999999TB", None),
            ("", None),
        ] {
            assert_eq!(size_bytes(text), bytes, "{text}");
        }
    }

    #[test]
    fn old_transfers_are_powers_of_1000() {
        assert_eq!(transferred_bytes("54760 MB in 753 seconds (72 MB/s)"), Some(54_760_000_000));
        assert_eq!(transferred_bytes("844.00 MiB in 21 seconds (40.2 MiB/s)"), Some(884_998_144));
        assert_eq!(transferred_bytes("844.00 MiB"), None);
    }

    #[test]
    fn a_clock_has_three_parts() {
        assert_eq!(clock_seconds("00:12:39"), Some(759));
        assert_eq!(clock_seconds("123:00:01"), Some(442_801));
        assert_eq!(clock_seconds("00:12"), None);
        assert_eq!(clock_seconds("00:12:"), None);
        assert_eq!(clock_seconds("-1:00:00"), None);
        assert_eq!(clock_seconds("99999999999999999999:00:00"), None);
        for too_long in
            ["5124095576030432:00:00", "0:9223372036854775807:00", "0:1:18446744073709551615"]
        {
            assert_eq!(clock_seconds(too_long), None);
        }
    }
}
