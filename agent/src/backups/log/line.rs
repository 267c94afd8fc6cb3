//! One line: what stands before its text.
//!
//! `[VMID: ][2026-03-14 21:14:21 ][LEVEL: ]text`. A mail has the number, a guest's log the time
//! (before PVE 5 in the system's language and without a year), a task log the level alone.
//! What programs print that vzdump runs has none of them.

use jiff::civil::DateTime;

/// How grave vzdump says that a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// `INFO`
    Info,
    /// `WARN`: counted in `TASK WARNINGS: n`.
    Warn,
    /// `ERROR`: not always the end of a guest.
    Error,
}

/// A line without what stands before its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// When it was logged, in the node's own time.
    pub at: Option<DateTime>,
    /// None if vzdump did not log it itself.
    pub level: Option<Level>,
    /// The text; of a line without level with the blanks before it.
    pub text: &'a str,
}

impl<'a> Line<'a> {
    /// Takes a line apart. It has no line end any more.
    pub fn parse(whole: &'a str) -> Self {
        let rest = without_guest(whole);
        let (at, rest) = match without_iso_time(rest).or_else(|| without_old_time(rest)) {
            Some((at, rest)) => (at, rest),
            None => (None, rest),
        };
        match level(rest) {
            Some((level, text)) => Self { at, level: Some(level), text },
            None => Self { at: None, level: None, text: whole },
        }
    }
}

fn level(rest: &str) -> Option<(Level, &str)> {
    let levels = [("INFO:", Level::Info), ("WARN:", Level::Warn), ("ERROR:", Level::Error)];
    let (word, level) = levels.into_iter().find(|(word, _)| rest.starts_with(word))?;
    let text = &rest[word.len()..];
    // An empty message is logged as `ERROR: `, and whoever copies it may lose the blank.
    (text.is_empty() || text.starts_with(' '))
        .then(|| (level, text.strip_prefix(' ').unwrap_or("")))
}

/// `38113: `; a stray mark behind the colon was seen.
fn without_guest(whole: &str) -> &str {
    let digits = whole.bytes().take_while(u8::is_ascii_digit).count();
    let rest = whole[digits..].strip_prefix(':').filter(|_| digits > 0);
    rest.map(|rest| rest.strip_prefix('`').unwrap_or(rest))
        .and_then(|rest| rest.strip_prefix(' '))
        .unwrap_or(whole)
}

/// `2026-03-14 21:14:21 `
fn without_iso_time(rest: &str) -> Option<(Option<DateTime>, &str)> {
    let (time, after) = rest.split_at_checked("2026-03-14 21:14:21".len())?;
    Some((Some(time_of(time)?), after.strip_prefix(' ')?))
}

/// A time as vzdump writes it, such as `2026-03-14 21:14:21`.
pub fn time_of(text: &str) -> Option<DateTime> {
    let bytes = text.as_bytes();
    let marks = [(4, b'-'), (7, b'-'), (10, b' '), (13, b':'), (16, b':')];
    if bytes.len() != 19 || marks.iter().any(|(at, mark)| bytes[*at] != *mark) {
        return None;
    }
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i8>().ok();
    let year = text.get(..4)?.parse().ok()?;
    DateTime::new(
        year,
        number(5, 7)?,
        number(8, 10)?,
        number(11, 13)?,
        number(14, 16)?,
        number(17, 19)?,
        0,
    )
    .ok()
}

/// `Apr 06 11:46:34 `, the month in any language. It tells no year, so it is no time.
fn without_old_time(rest: &str) -> Option<(Option<DateTime>, &str)> {
    let (month, after) = rest.split_once(' ')?;
    // A day of one digit is padded with a blank.
    let (day, after) = after.trim_start_matches(' ').split_once(' ')?;
    let (clock, text) = after.split_once(' ')?;
    let is_month = !month.contains(|c: char| c.is_ascii_digit() || c == ':');
    let is_day = day.len() <= 2 && day.bytes().all(|b| b.is_ascii_digit());
    let is_clock = clock.len() == 8
        && clock.bytes().enumerate().all(|(at, b)| match at {
            2 | 5 => b == b':',
            _ => b.is_ascii_digit(),
        });
    (is_month && is_day && is_clock).then_some((None, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(whole: &str, at: Option<&str>, level: Option<Level>, text: &str) {
        let at = at.map(|at| at.parse().unwrap());
        assert_eq!(Line::parse(whole), Line { at, level, text }, "{whole:?}");
    }

    #[test]
    fn a_task_log_has_levels_alone() {
        check("INFO: status = running", None, Some(Level::Info), "status = running");
        check("ERROR: ", None, Some(Level::Error), "");
        check("ERROR:", None, Some(Level::Error), "");
        check("INFO:   7% (1 of 2)", None, Some(Level::Info), "  7% (1 of 2)");
        check("INFORMATION: no", None, None, "INFORMATION: no");
        check("INFO:no", None, None, "INFO:no");
    }

    #[test]
    fn a_guests_log_has_times() {
        let at = Some("2026-03-14T21:14:21");
        check("2026-03-14 21:14:21 WARN: x", at, Some(Level::Warn), "x");
        check("Apr 06 11:46:34 INFO: x", None, Some(Level::Info), "x");
        check("Mär  6 11:46:34 INFO: x", None, Some(Level::Info), "x");
        check("2026-13-14 21:14:21 INFO: x", None, None, "2026-13-14 21:14:21 INFO: x");
    }

    #[test]
    fn a_mail_has_the_guest() {
        let at = Some("2026-03-14T21:14:21");
        check("100: 2026-03-14 21:14:21 INFO: x", at, Some(Level::Info), "x");
        check("100:` 2026-03-14 21:14:21 INFO: x", at, Some(Level::Info), "x");
    }

    #[test]
    fn what_other_programs_print_is_left_as_it_is() {
        for line in [
            "  Logical volume \"snap\" created.",
            "2026-09-18T06:45:36-09:00: TASK OK",
            "Oct 03 03:00:06 node7 pvescheduler: INFO: starting new backup job: vzdump",
            "[INFO]: TrueNAS: x",
            "100",
            "Größe: é",
            "",
        ] {
            check(line, None, None, line);
        }
    }
}
