//! Overrides: a rule is another one, or none, on some entities.

use pvewatch_collector::alerts::{News, Transition};

use super::story::{Stage, at, rules, tell};

/// A rule over nodes and one over guests.
const RULES: &str = r#"
[[rule]]
name = "Busy"
scope = "node"
when = "load15 > 4"
for = "5m"
severity = "warning"
summary = "{{ load15 }}"

[[rule]]
name = "Stopped"
scope = "guest"
when = "stopped"
severity = "warning"
summary = "{{ vmid }}"
"#;

/// Of which entity, and why.
fn why(transition: &Transition) -> String {
    format!("{} {}", transition.alert.entity, transition.why.as_str())
}

fn with(overrides: &str) -> String {
    format!("{RULES}{overrides}")
}

#[test]
fn a_rule_waits_longer_or_not_at_all_where_an_override_says_so() {
    let text = with(
        r#"
        [[override]]
        rule = "Busy"
        nodes = ["lab-*"]
        for = "20m"

        [[override]]
        rule = "Busy"
        environments = ["idle"]
        when = "load15 > 8"
        for = "0s"
        "#,
    );
    tell(
        &text,
        "
        0s    lab-1 started
        0s    pve1 started
        0s    pve2 started environment=idle
        1s    lab-1 beats every=60 load15=5
        => 1s Busy lab-1 none -> pending: condition_began
        1s    pve1 beats every=60 load15=5
        => 1s Busy pve1 none -> pending: condition_began
        1s    pve2 beats every=60 load15=5
        => 5m1s Busy pve1 pending -> firing: condition_lasted, told
        10m   pve2 sample every=60 load15=9
        => 10m Busy pve2 none -> firing: condition_lasted, told
        => 10m1s Busy pve2 firing -> resolved: condition_ended, told
        => 20m1s Busy lab-1 pending -> firing: condition_lasted, told
        30m
        ",
    );
}

#[test]
fn the_last_override_that_counts_is_in_force() {
    let text = with(
        r#"
        [[override]]
        rule = "Stopped"
        enabled = false

        [[override]]
        rule = "Stopped"
        nodes = ["pve1"]
        tags = ["prod", "shop-*"]
        enabled = true

        [[override]]
        rule = "Stopped"
        tags = ["shop-test"]
        enabled = false
        "#,
    );
    tell(
        &text,
        "
        0s    pve1 beats every=600
        0s    pve2 beats every=600
        1s    pve1 guests 100:prod 101:shop-web 102:shop-test 103
        1s    pve2 guests 200:prod
        2s    pve2 runs
        3s    pve1 runs
        => 3s Stopped pve1/100 none -> firing: condition_lasted, told
        => 3s Stopped pve1/101 none -> firing: condition_lasted, told
        1m    pve1 guests 100 101:shop-web 102:shop-test 103
        => 1m Stopped pve1/100 firing -> resolved: rule_disabled, told
        2m
        ",
    );
}

#[test]
fn an_alert_is_over_when_its_rule_is_switched_off() {
    let mut stage = Stage::new(RULES);
    for line in ["0s pve1 beats every=600", "1s pve1 guests 100 101:prod", "2s pve1 runs"] {
        stage.play(line);
    }
    let off = with("[[override]]\nrule = 'Stopped'\ntags = ['prod']\nenabled = false\n");
    let told = stage.core.replace_rules(at("1m"), rules(&off));
    assert_eq!(told.iter().map(why).collect::<Vec<_>>(), ["pve1/101 rule_disabled"]);
    let off = with("[[override]]\nrule = 'Stopped'\nenabled = false\n");
    let told = stage.core.replace_rules(at("2m"), rules(&off));
    assert_eq!(told.iter().map(why).collect::<Vec<_>>(), ["pve1/100 rule_disabled"]);
    let snapshot = stage.core.snapshot();
    let dead: Vec<_> = snapshot.rules.iter().map(|status| status.is_dead()).collect();
    assert_eq!(dead, [false, false], "what is switched off is not dead");
}

#[test]
fn a_node_that_cannot_be_heard_keeps_no_alert_of_a_rule_that_is_switched_off() {
    let mut stage = Stage::new(RULES);
    for line in ["0s pve1 online", "0s pve1 started", "1s pve1 guests 100", "2s pve1 runs"] {
        stage.play(line);
    }
    stage.play("10m pve1 offline");
    let off = with("[[override]]\nrule = 'Stopped'\nnodes = ['pve*']\nenabled = false\n");
    let told = stage.core.replace_rules(at("20m"), rules(&off));
    assert_eq!(told.iter().map(why).collect::<Vec<_>>(), ["pve1/100 rule_disabled"]);
}

#[test]
fn an_override_of_everything_takes_the_place_of_those_before_it() {
    let mut stage = Stage::new(&with(
        "[[override]]\nrule = 'Stopped'\nnodes = ['pve1']\nseverity = 'info'\n\
         [[override]]\nrule = 'Stopped'\nenabled = false\n",
    ));
    for line in ["0s pve1 beats every=600", "1s pve1 guests 100", "2s pve1 runs"] {
        stage.play(line);
    }
    assert_eq!(stage.transitions, []);
}

#[test]
fn another_environment_of_a_node_is_another_rule_for_what_belongs_to_it() {
    let text = with("[[override]]\nrule = 'Stopped'\nenvironments = ['lab']\nenabled = false\n");
    tell(
        &text,
        "
        0s    pve1 started environment=lab
        0s    pve1 beats every=600
        1s    pve1 guests 100
        2s    pve1 runs
        1m    pve1 started environment=prod
        => 1m Stopped pve1/100 none -> firing: condition_lasted, told
        2m    pve1 started environment=lab
        => 2m Stopped pve1/100 firing -> resolved: rule_disabled, told
        3m
        ",
    );
}

#[test]
fn what_a_rule_explained_is_told_when_that_rule_is_switched_off() {
    let failed = |name: &str, more: &str| {
        format!(
            "[[rule]]\nname = '{name}'\nscope = 'unit'\nwhen = 'active_state == \"failed\"'\n\
             severity = 'info'\nsummary = 'x'\n{more}"
        )
    };
    let text = failed("Grave", "") + &failed("Small", "for = '5s'\ninhibited_by = ['Grave']\n");
    let mut stage = Stage::new(&text);
    stage.play("0s pve1 beats every=600");
    stage.play("10s pve1 unit a.service failed");
    stage.play("1m");
    let off = text + "[[override]]\nrule = 'Grave'\nenabled = false\n";
    let told = stage.core.replace_rules(at("1m"), rules(&off));
    let told: Vec<_> = told.iter().map(|it| (&*it.alert.rule, it.why.as_str(), it.news)).collect();
    let expected =
        [("Grave", "rule_disabled", News::Tell), ("Small", "inhibition_ended", News::Tell)];
    assert_eq!(told, expected);
}
