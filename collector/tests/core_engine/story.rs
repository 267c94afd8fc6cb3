//! Stories: lines of text that are played to a core, and the transitions that must come of them.
//!
//! `TIME NODE VERB ...` is an input, `=> TIME RULE ENTITY STATE WHY` a transition that is expected
//! from it. Deadlines are handled when the core asks for it, as the collector does. `beats` lets a
//! node send a sample every 10 s, or as often as it says, until it `hushes`. After each line the core is rebuilt from its
//! records and must be the same.
//!
//! `collector restarts` takes the policies of [`tell_about`] again; with `broken` or `without` at the
//! end, a file that cannot be read, or none.

use std::collections::BTreeMap;
use std::sync::Mutex;

use jiff::{SignedDuration, Timestamp};
use pvewatch_collector::alerts::{News, Transition};
use pvewatch_collector::core::{Core, Input, Record, RecordKind};
use pvewatch_collector::fleet::Policies;
use pvewatch_collector::policy;
use pvewatch_collector::rules::{RuleSet, Source, parse_duration};
use pvewatch_protocol::{AlertState, Event, Sample, Site};

use super::teller::Teller;

/// Fires when a unit has been failed for five minutes.
pub const FAILED: &str = r#"
    [[rule]]
    name = "Failed"
    scope = "unit"
    when = 'active_state == "failed"'
    for = "5m"
    severity = "warning"
    summary = "{{ name }} failed"
    "#;

/// The shipped rules.
pub const CATALOGUE: &str = include_str!("../../../packaging/rules/catalogue.toml");

/// 2026-11-21 03:00:00 UTC: the time 0 of all stories.
const START: i64 = 1_795_230_000;

/// The time of a story: `0s`, `5m10s`.
pub fn at(text: &str) -> Timestamp {
    let after = parse_duration(text).unwrap_or_else(|error| panic!("{error}"));
    Timestamp::from_second(START).unwrap() + after
}

/// Loads rules that must be right; once for each text, since that takes its time.
pub fn rules(text: &str) -> RuleSet {
    static LOADED: Mutex<BTreeMap<String, RuleSet>> = Mutex::new(BTreeMap::new());
    let load = || {
        let source = Source { file: "story.toml", text };
        RuleSet::load(&[source]).unwrap_or_else(|error| panic!("{error}"))
    };
    LOADED.lock().unwrap().entry(text.to_owned()).or_insert_with(load).clone()
}

/// A core with a store beside it.
pub struct Stage {
    pub core: Core,
    pub records: BTreeMap<(RecordKind, String), Record>,
    rules: String,
    /// The policies of the story, and those that are followed now.
    given: Policies,
    policies: Policies,
    tellers: BTreeMap<String, Teller>,
    now: Timestamp,
    /// All that happened.
    pub transitions: Vec<Transition>,
}

impl Stage {
    pub fn new(rules_text: &str) -> Self {
        let core = Core::new(Site::default(), rules(rules_text), at("0s"));
        let (records, tellers) = (BTreeMap::new(), BTreeMap::new());
        Self {
            core,
            records,
            rules: rules_text.to_owned(),
            given: Policies::default(),
            policies: Policies::default(),
            tellers,
            now: at("0s"),
            transitions: Vec::new(),
        }
    }

    /// Follows policies from here on.
    pub fn follow(&mut self, policies: Policies) {
        self.given = policies.clone();
        self.policies = policies;
        self.core.follow_policies(self.policies.clone());
    }

    /// Plays a line after all deadlines and heartbeats before it.
    pub fn play(&mut self, line: &str) -> Vec<String> {
        let (time, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let time = at(time);
        let mut told = self.wait_until(time);
        told.push(line.to_owned());
        let words: Vec<&str> = rest.split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            ["collector", "restarts", manner @ ..] => {
                self.store();
                match manner {
                    ["broken"] => {
                        let problem = "policy.toml:7: protection is none".to_owned();
                        self.policies = Policies::unreadable("policy.toml", problem);
                    }
                    ["without"] => self.policies = Policies::default(),
                    _ => self.policies = self.given.clone(),
                }
                self.core = self.rebuilt(time);
                self.core.listen(time);
            }
            [node, "hushes"] => self.teller(node).beat = None,
            [node, "beats", arguments @ ..] => {
                let arguments = arguments.iter().map(|word| (*word).to_owned()).collect();
                self.teller(node).beat = Some((time, arguments));
                told.extend(self.wait_until(time));
            }
            [node, verb, arguments @ ..] => told.extend(self.say(time, node, verb, arguments)),
            _ => panic!("cannot play {line:?}"),
        }
        self.store();
        told
    }

    /// Handles all heartbeats and deadlines until a time, each when it is due.
    pub fn wait_until(&mut self, time: Timestamp) -> Vec<String> {
        let mut told = Vec::new();
        for _ in 0..1_000_000 {
            let beat =
                |(node, teller): (&String, &Teller)| Some((teller.beat.as_ref()?.0, node.clone()));
            let beat = self.tellers.iter().filter_map(beat).min();
            let beat = beat.filter(|(due, _)| *due <= time);
            let deadline = self.core.next_deadline().filter(|due| *due <= time);
            match (beat, deadline) {
                (None, None) => {
                    self.now = time;
                    return told;
                }
                (Some((due, node)), deadline)
                    if deadline.is_none_or(|deadline| due <= deadline) =>
                {
                    told.extend(self.beat(due, &node));
                }
                (_, Some(due)) => {
                    self.now = self.now.max(due);
                    let transitions = self.core.handle(self.now, Input::Deadline);
                    told.extend(transitions.iter().map(written));
                    self.transitions.extend(transitions);
                }
                (Some(_), None) => {}
            }
        }
        panic!("the core asks for deadlines for ever");
    }

    fn beat(&mut self, due: Timestamp, node: &str) -> Vec<String> {
        let Some((next, words)) = &mut self.teller(node).beat else { return Vec::new() };
        let every = words.iter().find_map(|word| word.strip_prefix("every="));
        let seconds = every.map_or(10, |every| every.parse().unwrap());
        *next = due + SignedDuration::from_secs(seconds);
        let words = words.clone();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.say(due, node, "sample", &words)
    }

    fn say(&mut self, time: Timestamp, node: &str, verb: &str, words: &[&str]) -> Vec<String> {
        let input = self.teller(node).input(time, node, verb, words);
        let transitions = self.core.handle(time, input);
        let told = transitions.iter().map(written).collect();
        self.transitions.extend(transitions);
        told
    }

    /// The event that a line about a node is, told to nobody.
    pub fn event(&mut self, node: &str, line: &str) -> Event {
        let words: Vec<&str> = line.split_whitespace().collect();
        let now = self.now;
        match self.teller(node).input(now, node, words[0], &words[1..]) {
            Input::Event { event, .. } => event,
            input => panic!("no event: {input:?}"),
        }
    }

    /// The sample that a node would send now, told to nobody.
    pub fn sample(&mut self, node: &str) -> Sample {
        let now = self.now;
        match self.teller(node).input(now, node, "sample", &[]) {
            Input::Sample { sample, .. } => *sample,
            input => panic!("no sample: {input:?}"),
        }
    }

    fn teller(&mut self, node: &str) -> &mut Teller {
        self.tellers.entry(node.to_owned()).or_insert_with(Teller::booted)
    }

    /// Records what changed, as the store does.
    pub fn store(&mut self) {
        for record in self.core.take_all_changes() {
            let key = (record.kind, record.key.clone());
            match record.body {
                Some(_) => self.records.insert(key, record),
                None => self.records.remove(&key),
            };
        }
    }

    /// A core made of the records alone.
    pub fn rebuilt(&self, time: Timestamp) -> Core {
        let records = self.records.values().cloned();
        let mut core = Core::restore(Site::default(), rules(&self.rules), time, records);
        core.follow_policies(self.policies.clone());
        core
    }

    /// Checks that the records are the whole state.
    pub fn check_records(&mut self) {
        self.store();
        let records = self.records.values().cloned();
        let now = self.core.snapshot().at.max(self.now);
        let mut rebuilt = Core::restore(Site::default(), RuleSet::empty(), now, records);
        rebuilt.follow_policies(self.policies.clone());
        let (live, rebuilt) = (self.core.snapshot(), rebuilt.snapshot());
        assert_eq!(live.nodes, rebuilt.nodes);
        assert_eq!(live.alerts, rebuilt.alerts);
    }
}

/// A transition as stories write it.
pub fn written(transition: &Transition) -> String {
    let after = transition.at.duration_since(at("0s"));
    let state = |state: Option<AlertState>| state.map_or("none", AlertState::as_str);
    let tell = match transition.news {
        News::Tell => ", told",
        News::Update => "",
        News::Past => ", past",
    };
    let alert = &transition.alert;
    let (from, to) = (state(transition.from), state(transition.to));
    let (rule, entity, why) = (&alert.rule, &alert.entity, transition.why.as_str());
    format!("=> {} {rule} {entity} {from} -> {to}: {why}{tell}", time(after))
}

fn time(after: SignedDuration) -> String {
    let seconds = after.as_secs();
    match (seconds / 3600, seconds % 3600 / 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, 0) => format!("{minutes}m"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, 0, 0) => format!("{hours}h"),
        (hours, minutes, 0) => format!("{hours}h{minutes}m"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// Plays a story with these rules. What comes of it must be what the story says.
pub fn tell(rules: &str, story: &str) -> Stage {
    play(Stage::new(rules), story)
}

/// Plays a story with the shipped rules, and with this policy file.
pub fn tell_about(policy: &str, story: &str) -> Stage {
    let mut stage = Stage::new(CATALOGUE);
    let policies = policy::parse("policy.toml", policy);
    assert_eq!(policies.problem, None);
    stage.follow(policies);
    play(stage, story)
}

fn play(mut stage: Stage, story: &str) -> Stage {
    let (mut played, mut expected) = (Vec::new(), Vec::new());
    for line in story.lines().map(str::trim).filter(|line| !line.is_empty()) {
        expected.push(line.to_owned());
        if !line.starts_with("=>") {
            played.extend(stage.play(line));
            stage.check_records();
        }
    }
    let (played, expected) = (played.join("\n"), expected.join("\n"));
    assert!(played == expected, "\nas told:\n{expected}\n\nas played:\n{played}\n");
    stage
}
