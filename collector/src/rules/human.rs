//! Numbers as people read them: `3 h 12 min`, `87 %`, `3.2 GiB`.

use jiff::Timestamp;

/// A duration in its two largest units: `45 s`, `5 min`, `3 h 12 min`, `2 d 4 h`.
pub fn duration(seconds: f64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    if !seconds.is_finite() {
        return "unknown".to_owned();
    }
    let sign = if seconds <= -1.0 { "-" } else { "" };
    let whole = seconds.abs().min(1e15) as u64;
    let Some(first) = UNITS.iter().position(|(size, _)| whole >= *size) else {
        return "0 s".to_owned();
    };
    let (size, unit) = UNITS[first];
    let large = format!("{sign}{} {unit}", whole / size);
    match UNITS.get(first + 1).map(|(next, unit)| (whole % size / next, unit)) {
        Some((small, unit)) if small > 0 => format!("{large} {small} {unit}"),
        _ => large,
    }
}

/// A share from 0 to 1 as `87 %`, with one digit more near the ends: `99.7 %`.
pub fn percent(ratio: f64) -> String {
    if !ratio.is_finite() {
        return "unknown".to_owned();
    }
    let percent = ratio * 100.0;
    let near_an_end = (99.0..100.0).contains(&percent) || (percent > 0.0 && percent < 1.0);
    if near_an_end { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

/// Bytes in binary units: `512 B`, `3.2 GiB`.
pub fn bytes(bytes: f64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    if !bytes.is_finite() {
        return "unknown".to_owned();
    }
    let mut scaled = bytes;
    let mut unit = 0;
    while scaled.abs() >= 1024.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && scaled.abs() < 100.0);
    format!("{scaled:.digits$} {}", UNITS[unit])
}

/// A number with at most two digits after the point: `12`, `2.5`, `0.33`.
pub fn number(number: f64) -> String {
    if !number.is_finite() {
        return "unknown".to_owned();
    }
    let text = format!("{number:.2}");
    let trimmed = text.trim_end_matches('0').trim_end_matches('.');
    if trimmed == "-0" { "0".to_owned() } else { trimmed.to_owned() }
}

/// A time to the second, in UTC: `2026-11-21 03:07:12 UTC`.
pub fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: fn(f64) -> String, cases: &[(f64, &str)]) {
        for (number, expected) in cases {
            assert_eq!(format(*number), *expected, "{number}");
        }
    }

    #[test]
    fn durations_have_two_units_at_most() {
        check(
            duration,
            &[
                (0.0, "0 s"),
                (0.4, "0 s"),
                (59.9, "59 s"),
                (300.0, "5 min"),
                (11_520.0, "3 h 12 min"),
                (3_601.0, "1 h"),
                (187_200.0, "2 d 4 h"),
                (-90.0, "-1 min 30 s"),
                (f64::NAN, "unknown"),
                (f64::MAX, "11574074074 d 1 h"),
            ],
        );
    }

    #[test]
    fn shares_are_told_in_percent() {
        let cases =
            [(0.0, "0 %"), (0.004, "0.4 %"), (0.87, "87 %"), (0.997, "99.7 %"), (1.0, "100 %")];
        check(percent, &cases);
    }

    #[test]
    fn bytes_are_told_in_binary_units() {
        check(bytes, &[(0.0, "0 B"), (512.0, "512 B"), (1536.0, "1.5 KiB"), (3.4e9, "3.2 GiB")]);
    }

    #[test]
    fn numbers_lose_what_nobody_reads() {
        check(number, &[(2.0, "2"), (2.5, "2.5"), (1.0 / 3.0, "0.33"), (-0.001, "0")]);
    }
}
