//! How rules fare: errors are seen, what is unknown changes nothing, dead rules are named.

use std::fmt::Write;

use pvewatch_collector::rules::{RuleSet, Source};

use super::story::{Stage, tell};

/// A rule over nodes with this condition.
fn rule(when: &str) -> String {
    format!(
        "[[rule]]\nname = 'Rule'\nscope = 'node'\nwhen = '''{when}'''\nseverity = 'info'\n\
         summary = '{{{{ cpu_busy_ratio | percent }}}}'\n"
    )
}

#[test]
fn an_evaluation_that_fails_is_seen_and_changes_nothing() {
    // Nothing divided by nothing is no number that could be compared.
    let mut stage = Stage::new(&rule("(load15 - 1) / (load15 - 1) > 0.5"));
    assert_eq!(stage.play("0s pve1 sample load15=2").len(), 2);
    assert_eq!(stage.play("10s pve1 sample load15=1").len(), 1, "the alert stays as it was");
    let snapshot = stage.core.snapshot();
    let status = &snapshot.rules[0];
    assert_eq!((status.errors, status.evaluations), (1, 2));
    let error = status.last_error.as_ref().unwrap();
    assert_eq!(error.entity, "pve1");
    assert_eq!(error.message, "compares what is not a number: 0 divided by 0");
    assert_eq!(snapshot.alerts.len(), 1);
}

#[test]
fn what_has_no_value_yet_is_unknown_and_no_error() {
    let mut stage = tell(
        &rule("cpu_busy_ratio > 0.8"),
        "
        0s    pve1 online
        5s    pve1 sample
        10s   pve1 sample busy=0.9
        => 10s Rule pve1 none -> firing: condition_lasted, told
        20s   pve1 sample
        25s   pve1 sample busy=0.1
        => 25s Rule pve1 firing -> resolved: condition_ended, told
        ",
    );
    assert_eq!(stage.core.snapshot().rules[0].errors, 0);
}

#[test]
fn a_rule_that_has_nothing_to_look_at_is_dead() {
    let rules = rule("silent")
        + "\n[[rule]]\nname = 'Units'\nscope = 'unit'\n\
        when = 'will_restart'\nseverity = 'info'\nsummary = 'x'\n";
    let mut stage = Stage::new(&rules);
    let dead = |stage: &mut Stage| -> Vec<String> {
        let snapshot = stage.core.snapshot();
        let dead = snapshot.rules.iter().filter(|rule| rule.is_dead());
        dead.map(|status| status.rule.name.to_string()).collect()
    };
    assert_eq!(dead(&mut stage), ["Rule", "Units"]);
    stage.play("0s pve1 online");
    assert_eq!(dead(&mut stage), ["Units"]);
    stage.play("1s pve1 unit a.service active");
    assert_eq!(dead(&mut stage), [""; 0]);
}

#[test]
fn no_expression_is_too_much_for_the_stack() {
    let parts = [
        "(",
        "[",
        "{",
        "!",
        "-",
        "silent ? silent : ",
        "silent && ",
        "1 + ",
        "name.",
        "name[",
        "glob(",
        "[name].exists(x, ",
        "older(",
        "'a' in [",
        "\"",
        "?:",
        "{1: ",
        "0x",
        "a{",
    ];
    for part in parts {
        for times in [1, 20, 25, 60, 127, 130, 1_000, 4_000] {
            for end in ["silent", "silent)", ""] {
                let text = rule(&(part.repeat(times) + end));
                let loaded = RuleSet::load(&[Source { file: "deep.toml", text: &text }]);
                assert!(times < 200 || loaded.is_err(), "{part:?} {times}");
            }
        }
    }
}

#[test]
fn a_long_list_is_not_too_large() {
    let names: Vec<String> = (0..150).map(|n| format!("\"a-b.{n}\"")).collect();
    let text = rule(&format!("name in [{}]", names.join(", ")));
    assert!(RuleSet::load(&[Source { file: "list.toml", text: &text }]).is_ok());
}

#[test]
fn rules_are_evaluated_only_for_what_changed() {
    let mut rules = String::new();
    for number in 0..10 {
        let name = format!("Rule{number}");
        write!(rules, "{}", rule("load15 > 100").replace("'Rule'", &format!("'{name}'"))).unwrap();
    }
    let units = "[[rule]]\nname = 'Units'\nscope = 'unit'\n\
        when = 'will_restart && node.cluster != \"\"'\nseverity = 'info'\nsummary = 'x'\n";
    let mut stage = Stage::new(&(rules + units));
    for node in 0..20 {
        stage.play(&format!("0s pve{node} sample"));
        for unit in 0..5 {
            stage.play(&format!("0s pve{node} unit {unit}.service active"));
        }
    }
    let mut evaluations = |line: &str| {
        let before = stage.core.counters().evaluations;
        stage.play(line);
        stage.core.counters().evaluations - before
    };
    assert_eq!(evaluations("1s pve7 unit 3.service failed"), 1);
    assert_eq!(evaluations("2s pve7 sample"), 10, "a sample does not change what units read");
    assert_eq!(evaluations("3s pve7 started cluster=lab"), 10 + 5, "a node's facts do");
}
