//! Durations as Prometheus writes them: `10s`, `5m`, `1h30m`, `2d`.

use jiff::SignedDuration;

/// Longest accepted duration: a year. Longer ones are surely meant otherwise.
const SECONDS_MAX: i64 = 366 * 24 * 3600;

/// Units from large to small, as they must appear.
const UNITS: [(&str, i64); 5] = [("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a duration: write it as \"30s\", \"5m\", \"1h30m\" or \"2d\"{hint}")]
pub struct DurationError {
    text: String,
    hint: &'static str,
}

/// Reads a duration.
///
/// # Errors
/// When it is empty, has another form, or is longer than a year.
pub fn parse_duration(text: &str) -> Result<SignedDuration, DurationError> {
    let error = |hint| DurationError { text: text.to_owned(), hint };
    let mut rest = text;
    let mut seconds = 0i64;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let number: i64 = number.parse().map_err(|_| error(""))?;
        // Units are written from large to small, so one that was passed cannot come again.
        let unit = units.find(|(unit, _)| after.starts_with(unit)).ok_or_else(|| error(""))?;
        rest = &after[unit.0.len()..];
        let part = number.checked_mul(unit.1).ok_or_else(|| error(", a year at most"))?;
        seconds = seconds.saturating_add(part);
    }
    if text.is_empty() {
        return Err(error(""));
    }
    if seconds > SECONDS_MAX {
        return Err(error(", a year at most"));
    }
    Ok(SignedDuration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_prometheus_writes_them() {
        let cases = [
            ("0s", Some(0)),
            ("10s", Some(10)),
            ("5m", Some(300)),
            ("1h30m", Some(5400)),
            ("1d", Some(86_400)),
            ("2w", Some(1_209_600)),
            ("1h5s", Some(3605)),
            ("", None),
            ("5", None),
            ("m", None),
            ("5min", None),
            ("5 m", None),
            ("-5m", None),
            ("1.5h", None),
            ("30m1h", None),
            ("5m5m", None),
            ("99w", None),
            ("99999999999999999999s", None),
            ("9223372036854775807w", None),
        ];
        for (text, seconds) in cases {
            let expected = seconds.map(SignedDuration::from_secs);
            assert_eq!(parse_duration(text).ok(), expected, "{text:?}");
        }
    }
}
