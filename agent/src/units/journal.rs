//! Understands what `journalctl --output=json` prints for a unit, and picks one run's lines.
//!
//! Keeps the newest lines within the bounds, blanks secrets, and says whether systemd's own
//! last word on the run is already there: the journal lags behind the bus. Of a process that was
//! gone before the journal could look at it, a line names the unit but not the run (one in ten of
//! short-lived units on a busy machine), and systemd says that a run begins after it began: such
//! a line belongs to the run that it falls into, or to the nearest one between two.

use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::event::{LogLine, UnitLog};
use serde::Deserialize;
use serde_json::Value;

use super::redact::Redactor;
use crate::systemd::{InvocationId, UnitName};

/// Message ids of systemd's last word on a failed run: unit failed, oomd killed, and success.
const LAST_WORDS: [&str; 3] = [
    "d9b373ed55a64feb8242e02dbe79a49c",
    "be02cf6855d2428ba40df7e9d022f03d",
    "7ad2d189f7e94e70a38c781354912448",
];

/// The fields that are wanted of each entry.
pub const FIELDS: &str = "MESSAGE,PRIORITY,MESSAGE_ID,INVOCATION_ID,_SYSTEMD_INVOCATION_ID";

/// How long before systemd says that a run begins its processes may have written already.
const HEAD_START_MAX: SignedDuration = SignedDuration::from_secs(1);

/// How much of a run's journal is kept.
#[derive(Debug, Clone, Copy)]
pub struct LogBounds {
    /// Most lines.
    pub lines_max: usize,
    /// Most bytes of text.
    pub bytes_max: usize,
}

impl LogBounds {
    /// How many of a unit's newest entries are read: one more than is kept, to know whether older
    /// ones are left out, and as many again for a later run, which may have begun.
    pub fn entries_max(self) -> usize {
        2 * self.lines_max + 1
    }
}

/// What the journal has of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunLog {
    /// Oldest first, within the bounds, secrets blanked.
    pub lines: Vec<LogLine>,
    /// Whether older lines were left out.
    pub truncated: bool,
    /// Places that were blanked.
    pub redacted: u32,
    /// Whether systemd's last word on the run is there, so that no more will come.
    pub is_complete: bool,
}

impl RunLog {
    /// As it goes over the wire.
    pub fn into_event(self, unit: &UnitName, invocation: InvocationId) -> UnitLog {
        UnitLog {
            unit: unit.as_str().to_owned(),
            invocation_id: invocation.to_string(),
            lines: self.lines,
            truncated: self.truncated,
            redacted: self.redacted,
        }
    }
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "__REALTIME_TIMESTAMP", default)]
    realtime: Value,
    #[serde(rename = "MESSAGE", default)]
    message: Value,
    #[serde(rename = "PRIORITY", default)]
    priority: Value,
    #[serde(rename = "MESSAGE_ID", default)]
    message_id: Value,
    /// The run that systemd writes about.
    #[serde(rename = "INVOCATION_ID", default)]
    subject: Value,
    /// The run that the writing process belongs to.
    #[serde(rename = "_SYSTEMD_INVOCATION_ID", default)]
    writer: Value,
}

impl Entry {
    fn run(&self) -> Option<&str> {
        self.subject.as_str().or(self.writer.as_str())
    }

    fn is_last_word(&self) -> bool {
        self.message_id.as_str().is_some_and(|id| LAST_WORDS.contains(&id))
    }

    fn at(&self) -> Option<Timestamp> {
        Timestamp::from_microsecond(number(&self.realtime)?).ok()
    }
}

/// Reads journalctl's output. What is no entry is left out: the output may be cut anywhere.
pub fn parse(output: &[u8], run: InvocationId, bounds: LogBounds, redactor: &Redactor) -> RunLog {
    let run = run.to_string();
    let entries: Vec<Entry> = output
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    let mut lines = Vec::new();
    let mut is_complete = false;
    let mut redacted = 0;
    let mut begins_in_run = false;
    for (index, entry) in entries.iter().enumerate() {
        if run_of(&entries, index) != Some(&run) {
            continue;
        }
        begins_in_run |= index == 0;
        is_complete |= entry.is_last_word();
        let Some(at) = entry.at() else { continue };
        let (message, count) = redactor.redact(&text(&entry.message));
        redacted += count;
        let priority = number(&entry.priority).and_then(|number| u8::try_from(number).ok());
        lines.push(LogLine { at, priority: priority.filter(|p| *p <= 7).unwrap_or(6), message });
    }
    let kept = newest_within(&mut lines, bounds);
    let is_cut = begins_in_run && entries.len() >= bounds.entries_max();
    RunLog { lines: kept, truncated: !lines.is_empty() || is_cut, redacted, is_complete }
}

/// The run that an entry belongs to: the one it names, else the one that is under way there, else
/// the nearest.
fn run_of(entries: &[Entry], index: usize) -> Option<&str> {
    let (before, rest) = entries.split_at_checked(index)?;
    let (entry, after) = rest.split_first()?;
    if let Some(named) = entry.run() {
        return Some(named);
    }
    let away = |other: &Entry| Some(entry.at()?.duration_since(other.at()?).abs());
    let last = before.iter().rev().find(|entry| entry.run().is_some());
    let next = after
        .iter()
        .find(|entry| entry.run().is_some())
        .filter(|next| away(next).is_some_and(|time| time <= HEAD_START_MAX));
    let (Some(last), Some(next)) = (last, next) else { return last.or(next)?.run() };
    let of_last = |entry: &&Entry| entry.run() == last.run();
    let is_over = before.iter().filter(of_last).any(Entry::is_last_word);
    if is_over && away(next) < away(last) { next.run() } else { last.run() }
}

/// Takes the newest lines that fit; a single line that does not is cut.
fn newest_within(lines: &mut Vec<LogLine>, bounds: LogBounds) -> Vec<LogLine> {
    let mut bytes = 0;
    let mut first = lines.len();
    while first > 0 && lines.len() - first < bounds.lines_max {
        let next = lines.get(first - 1).map_or(0, |line| line.message.len());
        if bytes + next > bounds.bytes_max {
            break;
        }
        bytes += next;
        first -= 1;
    }
    let mut kept = lines.split_off(first);
    if kept.is_empty()
        && let Some(mut last) = lines.pop()
    {
        let mut end = bounds.bytes_max.min(last.message.len());
        while !last.message.is_char_boundary(end) {
            end -= 1;
        }
        last.message.truncate(end);
        last.message.push('…');
        kept.push(last);
    }
    kept
}

/// The journal writes numbers as text.
fn number(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.as_i64(),
        _ => None,
    }
}

/// A message is text, an array of bytes if it is no UTF-8, null if journalctl found it too long,
/// or an array of these if the field occurs several times.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => strip_escapes(text),
        Value::Null => "(a message too long to be shown)".to_owned(),
        Value::Array(items) => {
            let bytes: Option<Vec<u8>> = items
                .iter()
                .map(|item| item.as_u64().and_then(|byte| u8::try_from(byte).ok()))
                .collect();
            match bytes {
                Some(bytes) => strip_escapes(&String::from_utf8_lossy(&bytes)),
                None => items.last().map(text).unwrap_or_default(),
            }
        }
        other => other.to_string(),
    }
}

/// Drops terminal escapes and control characters: the text goes to web pages and chats.
fn strip_escapes(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            if chars.clone().next() == Some('[') {
                chars.next();
                // A control sequence ends with the first character from @ to ~.
                chars.by_ref().find(|c| ('@'..='~').contains(c));
            }
        } else if !c.is_control() || matches!(c, '\n' | '\t') {
            clean.push(c);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: LogBounds = LogBounds { lines_max: 3, bytes_max: 40 };

    const LAST_WORD: &str = r#""failed","MESSAGE_ID":"d9b373ed55a64feb8242e02dbe79a49c""#;

    fn run() -> InvocationId {
        InvocationId::from_bytes(&[7; 16]).unwrap()
    }

    /// A line that its process wrote in the run that is read.
    fn entry(second: i64, message: &str) -> String {
        of_run(second, message, "_SYSTEMD_INVOCATION_ID", 7)
    }

    fn of_run(second: i64, message: &str, field: &str, run: u8) -> String {
        let run = format!("{run:02x}").repeat(16);
        let rest = orphan(second, message);
        format!(r#"{{"{field}":"{run}",{}"#, &rest[1..])
    }

    /// A line of the unit that names no run.
    fn orphan(second: i64, message: &str) -> String {
        format!(
            r#"{{"__REALTIME_TIMESTAMP":"{}","PRIORITY":"3","MESSAGE":{message}}}"#,
            second * 1_000_000
        )
    }

    fn read(lines: &[String]) -> RunLog {
        parse(lines.join("\n").as_bytes(), run(), BOUNDS, &Redactor::new(&[]))
    }

    fn messages(log: &RunLog) -> Vec<&str> {
        log.lines.iter().map(|line| line.message.as_str()).collect()
    }

    #[test]
    fn the_newest_lines_are_kept_within_the_bounds() {
        let lines: Vec<String> = (1..=5).map(|n| entry(n, &format!("\"line {n}\""))).collect();
        let log = read(&lines);
        assert_eq!(messages(&log), ["line 3", "line 4", "line 5"]);
        assert!(log.truncated);
        assert_eq!(log.lines[0].priority, 3);
        assert_eq!(log.lines[0].at.as_second(), 3);

        let log =
            read(&[entry(1, &format!("\"{}\"", "x".repeat(30))), entry(2, "\"0123456789a\"")]);
        assert_eq!(messages(&log), ["0123456789a"]);
        assert!(log.truncated);
    }

    #[test]
    fn one_line_that_is_too_long_is_cut_at_a_character() {
        let log = read(&[entry(1, &format!("\"a{}\"", "ä".repeat(40)))]);
        assert_eq!(messages(&log), [format!("a{}…", "ä".repeat(19))]);
        assert!(!log.truncated);
    }

    #[test]
    fn messages_of_every_shape_are_read() {
        for (json, expected) in [
            (r#""plain""#, "plain"),
            ("[104,105,255]", "hi\u{fffd}"),
            ("null", "(a message too long to be shown)"),
            (r#"["first","second"]"#, "second"),
            (r#""\u001b[31mred\u001b[0m\u0007""#, "red"),
            (r#""token=abc""#, "token=[redacted]"),
        ] {
            assert_eq!(messages(&read(&[entry(1, json)])), [expected], "{json}");
        }
    }

    #[test]
    fn output_that_is_cut_or_no_json_is_no_error() {
        let whole = entry(1, "\"whole\"");
        let log = read(&["-- No entries --".to_owned(), whole.clone(), whole[..30].to_owned()]);
        assert_eq!(messages(&log), ["whole"]);
        assert_eq!(read(&[]).lines, []);
    }

    #[test]
    fn systemds_last_word_completes_a_log() {
        let last = entry(
            2,
            r#""x: Failed with result 'exit-code'.","MESSAGE_ID":"d9b373ed55a64feb8242e02dbe79a49c""#,
        );
        assert!(!read(&[entry(1, "\"a\"")]).is_complete);
        assert!(read(&[entry(1, "\"a\""), last]).is_complete);
    }

    #[test]
    fn a_line_that_names_no_run_belongs_to_the_run_it_falls_into() {
        let started = |second, run| of_run(second, "\"begins\"", "INVOCATION_ID", run);
        let over = |second, run| of_run(second, LAST_WORD, "INVOCATION_ID", run);
        let cases: [(&str, Vec<String>, &[&str]); 7] = [
            ("of this run", vec![started(1, 7), orphan(2, "\"a\"")], &["begins", "a"]),
            (
                "of the run before",
                vec![started(1, 6), orphan(2, "\"a\""), started(3, 7), orphan(4, "\"b\"")],
                &["begins", "b"],
            ),
            (
                "of the run after",
                vec![started(1, 7), orphan(2, "\"a\""), started(3, 8), orphan(4, "\"b\"")],
                &["begins", "a"],
            ),
            ("before systemd says so", vec![orphan(1, "\"a\""), started(2, 7)], &["a", "begins"]),
            (
                "of the run after one that is over",
                vec![started(1, 6), over(2, 6), orphan(9, "\"a\""), started(9, 7)],
                &["a", "begins"],
            ),
            (
                "of the run that is just over",
                vec![started(1, 7), over(2, 7), orphan(3, "\"a\""), started(9, 6)],
                &["begins", "failed", "a"],
            ),
            ("of nobody knows which", vec![orphan(1, "\"a\""), entry(3, "\"b\"")], &["b"]),
        ];
        for (name, lines, expected) in cases {
            assert_eq!(messages(&read(&lines)), expected, "{name}");
        }
    }

    #[test]
    fn lines_that_a_later_run_crowded_out_are_said_to_be_missing() {
        let later: Vec<String> =
            (2..=7).map(|n| of_run(n, "\"b\"", "_SYSTEMD_INVOCATION_ID", 8)).collect();
        let log = read(&[vec![entry(1, "\"a\"")], later].concat());
        assert_eq!((messages(&log), log.truncated), (vec!["a"], true));
    }

    #[test]
    fn what_systemd_says_of_another_run_completes_nothing() {
        let last = of_run(1, LAST_WORD, "INVOCATION_ID", 6);
        let log = read(&[last, entry(2, "\"a\"")]);
        assert_eq!((messages(&log), log.is_complete), (vec!["a"], false));
    }
}
