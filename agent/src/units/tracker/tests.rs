//! The tracker as timelines: what systemd says, and what is told and asked.

use super::*;
use crate::systemd::{Heard, InvocationId, UnitProperties, word};

/// A tracker on its own timeline; systemd is version 257 unless said otherwise.
struct Story {
    tracker: Tracker,
    origin: Instant,
    now: Duration,
}

impl Story {
    fn begins(listed: &[(&str, &str, &str)]) -> Self {
        let settings = CrashLoopSettings {
            failures: 3,
            window: Duration::from_secs(100),
            calm: Duration::from_secs(50),
        };
        #[expect(clippy::disallowed_methods, reason = "an origin for the story's own timeline")]
        let origin = Instant::now();
        let mut story =
            Self { tracker: Tracker::new(settings), origin, now: Duration::from_secs(1_000) };
        story.expect(Input::Connected(Some(257)), &["list"]);
        story.hears(Input::Heard(Heard::Listed(list(listed))));
        story
    }

    fn after(&mut self, seconds: u64) -> &mut Self {
        self.now += Duration::from_secs(seconds);
        self
    }

    fn hears(&mut self, input: Input) -> Vec<String> {
        let wall = Timestamp::from_second(i64::try_from(self.now.as_secs()).unwrap()).unwrap();
        let now = Now { instant: self.origin + self.now, wall };
        self.tracker.handle(now, input).iter().map(describe).collect()
    }

    fn expect(&mut self, input: Input, told: &[&str]) {
        assert_eq!(self.hears(input.clone()), told, "{input:?}");
    }

    /// Both halves of a change.
    fn becomes(&mut self, unit: &str, active: &str, sub: &str, told: &[&str]) {
        let result = if active == "failed" { "exit-code" } else { "success" };
        let ending = Ending { result: Some(word(result)), ..Ending::default() };
        assert_eq!(
            self.hears(Input::Heard(Heard::Signal(Signal::Ending(name(unit), ending)))),
            [""; 0]
        );
        let seen = self.properties(active, sub);
        self.expect(Input::Heard(Heard::Signal(Signal::Unit(name(unit), seen))), told);
    }

    fn properties(&self, active: &str, sub: &str) -> UnitProperties {
        let microseconds = i64::try_from(self.now.as_micros()).unwrap();
        UnitProperties {
            load_state: None,
            active_state: word(active),
            sub_state: word(sub),
            changed_at: Timestamp::from_microsecond(microseconds).ok(),
            invocation: InvocationId::from_bytes(&[1; 16]),
            has_job: false,
        }
    }
}

fn name(unit: &str) -> UnitName {
    UnitName::new(unit).unwrap()
}

fn list(listed: &[(&str, &str, &str)]) -> Vec<ListedUnit> {
    listed
        .iter()
        .map(|(unit, load, active)| ListedUnit {
            unit: name(unit),
            load_state: word(load),
            active_state: word(active),
            sub_state: word("dead"),
        })
        .collect()
}

fn describe(output: &Output) -> String {
    match output {
        Output::Tell(telling) => {
            let changed = &telling.changed;
            let count = changed.state.crash_loop.as_ref().map(|count| count.failures);
            let count = count.map_or(String::new(), |count| format!(" x{count}"));
            format!("{} {:?}{count}", changed.state.unit, changed.change)
        }
        Output::TellRemoved(unit) => format!("{unit} removed"),
        Output::ReadLog(unit, _) => format!("{unit} log"),
        Output::Show(units) => format!("picture of {}", units.len()),
        Output::List => "list".to_owned(),
        Output::LookUp(names) => format!("look up {names:?}"),
        Output::Details(unit) => format!("details of {unit}"),
        Output::Ping => "ping".to_owned(),
    }
}

#[test]
fn a_unit_that_is_unloaded_while_inactive_is_forgotten_without_a_word() {
    let mut story = Story::begins(&[("a.service", "loaded", "inactive")]);
    story.expect(Input::Heard(Heard::Signal(Signal::Removed(name("a.service")))), &[]);
    story.expect(Input::PictureWanted, &["picture of 0"]);
}

#[test]
fn a_failed_unit_that_is_unloaded_is_looked_up() {
    for (load, told) in [("not-found", "a.service removed"), ("loaded", "a.service Recovered")] {
        let mut story = Story::begins(&[]);
        story.becomes("a.service", "failed", "failed", &["a.service Failed", "a.service log"]);
        story.expect(Input::Heard(Heard::Signal(Signal::Removed(name("a.service")))), &[]);
        story.after(2).expect(Input::Deadline, &["list"]);
        story.expect(Input::Heard(Heard::Listed(vec![])), &[r#"look up ["a.service"]"#]);
        story.expect(
            Input::Heard(Heard::LookedUp(list(&[("a.service", load, "inactive")]))),
            &[told],
        );
    }
}

#[test]
fn a_unit_that_is_forgotten_after_a_failed_job_has_failed() {
    let mut story = Story::begins(&[("a.service", "loaded", "inactive")]);
    story.becomes("a.service", "activating", "start", &[]);
    let failed = "failed".to_owned();
    story.expect(Input::Heard(Heard::Signal(Signal::JobRemoved(name("a.service"), failed))), &[]);
    story.expect(Input::Heard(Heard::Signal(Signal::Removed(name("a.service")))), &[]);
    story.after(2).expect(Input::Deadline, &["list"]);
    story.expect(Input::Heard(Heard::Listed(vec![])), &[r#"look up ["a.service"]"#]);
    story.expect(
        Input::Heard(Heard::LookedUp(list(&[("a.service", "not-found", "inactive")]))),
        &["a.service Failed", "a.service removed"],
    );
}

#[test]
fn a_reload_is_a_picture_and_no_facts() {
    let units: Vec<String> = (0..200).map(|n| format!("u{n}.service")).collect();
    let listed: Vec<_> = units.iter().map(|unit| (unit.as_str(), "loaded", "active")).collect();
    let mut story = Story::begins(&listed);
    story.expect(Input::Heard(Heard::Signal(Signal::Reloading(true))), &[]);
    for unit in &units {
        story.expect(Input::Heard(Heard::Signal(Signal::Removed(name(unit)))), &[]);
    }
    story.expect(Input::Heard(Heard::Signal(Signal::Reloading(false))), &[]);
    story.expect(Input::Heard(Heard::Signal(Signal::Removed(name("u7.service")))), &[]);
    story.after(2).expect(Input::Deadline, &["list"]);
    story.expect(Input::Heard(Heard::Listed(list(&listed))), &["picture of 200"]);
    assert_eq!(story.tracker.watched(), 200);
}

#[test]
fn what_changed_while_signals_were_dropped_is_told_from_its_details() {
    let before = [("a.service", "loaded", "active"), ("b.service", "loaded", "active")];
    let after = [("a.service", "loaded", "failed"), ("b.service", "loaded", "inactive")];
    let mut story = Story::begins(&before);
    story.expect(Input::Heard(Heard::Overflowed), &[]);
    story.after(2).expect(Input::Deadline, &["list"]);
    story.expect(
        Input::Heard(Heard::Listed(list(&after))),
        &["details of a.service", "details of b.service"],
    );
    let ending = Ending { result: Some(word("signal")), ..Ending::default() };
    story.expect(Input::Heard(Heard::Ending(name("a.service"), ending)), &[]);
    let seen = story.properties("failed", "failed");
    story.expect(
        Input::Heard(Heard::Details(name("a.service"), Some(seen))),
        &["a.service Failed", "a.service log"],
    );
    // systemd refuses the other's details: the listing is all there is.
    story.expect(
        Input::Heard(Heard::Details(name("b.service"), None)),
        &["b.service Stopped", "picture of 2"],
    );
}

#[test]
fn details_that_never_come_do_not_hold_the_picture_for_ever() {
    let mut story = Story::begins(&[("a.service", "loaded", "failed")]);
    story.expect(Input::PictureWanted, &[]);
    story.after(5).expect(Input::Deadline, &["picture of 1"]);
}

#[test]
fn a_crash_loop_is_one_fact_and_its_end_another() {
    let mut story = Story::begins(&[("a.service", "loaded", "active")]);
    let before = "failed-before-auto-restart";
    story.becomes("a.service", "failed", before, &["a.service Failed", "a.service log"]);
    story.after(1).becomes("a.service", "active", "running", &["a.service Recovered"]);
    story.after(1).becomes("a.service", "failed", before, &["a.service Failed", "a.service log"]);
    story.after(1).becomes("a.service", "active", "running", &["a.service Recovered"]);
    let begins = ["a.service CrashLooping x3", "a.service log"];
    story.after(1).becomes("a.service", "failed", before, &begins);
    for _ in 0..10 {
        story.after(1).becomes("a.service", "active", "running", &[]);
        story.after(1).becomes("a.service", "failed", before, &[]);
    }
    story.after(40).expect(Input::Deadline, &["a.service CrashLooping x13"]);
    story.after(1).becomes("a.service", "active", "running", &[]);
    story.expect(Input::PictureWanted, &["picture of 1"]);
    story.after(50).expect(Input::Deadline, &["a.service Recovered"]);
    assert!(story.tracker.looping.is_empty());
}

#[test]
fn a_loop_that_is_stopped_by_hand_has_recovered() {
    let mut story = Story::begins(&[("a.service", "loaded", "active")]);
    let before = "failed-before-auto-restart";
    let told = ["a.service Failed", "a.service log"];
    story.becomes("a.service", "failed", before, &told);
    story.after(1).becomes("a.service", "failed", before, &told);
    let begins = ["a.service CrashLooping x3", "a.service log"];
    story.after(1).becomes("a.service", "failed", before, &begins);
    story.after(1).becomes("a.service", "active", "running", &[]);
    story.after(1).becomes("a.service", "inactive", "dead", &["a.service Recovered"]);
    story.after(1).becomes("a.service", "active", "running", &["a.service Started"]);
}

#[test]
fn every_deadline_lies_ahead_once_it_was_taken() {
    let mut story = Story::begins(&[("a.service", "loaded", "failed")]);
    for _ in 0..2_000 {
        let deadline = story.tracker.next_deadline().unwrap();
        let ahead = deadline.saturating_duration_since(story.origin);
        assert!(ahead > story.now || story.now.is_zero(), "a deadline stands still");
        story.now = ahead;
        if story.hears(Input::Deadline).contains(&"list".to_owned()) {
            story.hears(Input::Heard(Heard::Listed(list(&[("a.service", "loaded", "failed")]))));
        }
    }
}
