//! Properties: whatever happens, the records are the whole state, alerts live as they should, and
//! nodes do not disturb each other.

use std::collections::BTreeMap;

use proptest::prelude::*;
use pvewatch_collector::alerts::{News, Transition};
use pvewatch_collector::core::Snapshot;
use pvewatch_protocol::{AlertState, Fingerprint};

use super::story::{Stage, at, written};

/// Rules that use all that rules can do.
const RULES: &str = r#"
    [[rule]]
    name = "Down"
    scope = "node"
    when = 'silent && (stop_reason != "reboot" || older(silent_since, "1m"))'
    for = "20s"
    severity = "critical"
    summary = "{{ name }} is down"

    [[rule]]
    name = "Load"
    scope = "node"
    when = "load15 / cpus > 2"
    for = "30s"
    keep_firing_for = "30s"
    severity = "warning"
    summary = "{{ value }}"
    value = "load15 / cpus"

    [[rule]]
    name = "Failed"
    scope = "unit"
    when = 'active_state == "failed"'
    for = "30s"
    severity = "warning"
    summary = "{{ name }}"
    inhibited_by = ["Down", "Graver"]

    [[rule]]
    name = "Graver"
    scope = "unit"
    when = 'active_state == "failed" && (name == "a.service" || node.load15 > 8)'
    for = "0s"
    keep_firing_for = "20s"
    severity = "critical"
    summary = "{{ name }}"
"#;

/// What a node may do: a line without time and node.
fn deed() -> impl Strategy<Value = String> {
    let unit = prop::sample::select(vec!["a.service", "b.service", "c.service"]);
    let state = prop::sample::select(vec!["failed", "failed will_restart", "active", "inactive"]);
    prop_oneof![
        6 => (unit.clone(), state, 0..3).prop_map(|(unit, state, run)| {
            format!("unit {unit} {state} run=run-{run}")
        }),
        1 => unit.clone().prop_map(|unit| format!("removed {unit}")),
        1 => unit.prop_map(|unit| format!("log {unit} words")),
        3 => (0..20).prop_map(|load| format!("sample load15={load}")),
        2 => (0..20).prop_map(|load| format!("beats load15={load}")),
        1 => Just("hushes".to_owned()),
        1 => Just("online".to_owned()),
        1 => prop::sample::select(vec!["lost", "shutdown", "reboot", "stopped"])
            .prop_map(|reason| format!("offline reason={reason}")),
        1 => (0..3).prop_map(|boot| format!("started boot=boot-{boot} environment=e{boot}")),
        1 => prop::sample::select(vec!["shutdown", "reboot", "stopped"])
            .prop_map(|reason| format!("stopping reason={reason}")),
        1 => Just("units a.service=active b.service=failed".to_owned()),
        1 => Just("units a.service=failed part=1/2".to_owned()),
        1 => Just("units c.service=active part=2/2".to_owned()),
    ]
}

/// Deeds with the seconds between them.
fn script() -> impl Strategy<Value = Vec<(u32, String)>> {
    prop::collection::vec((prop_oneof![0..3u32, 0..60u32], deed()), 1..40)
}

/// Lines of a node, with their seconds.
fn lines(node: &str, script: &[(u32, String)]) -> Vec<(u32, String)> {
    let mut second = 0;
    let line = |(pause, deed): &(u32, String)| {
        second += pause;
        (second, format!("{second}s {node} {deed}"))
    };
    script.iter().map(line).collect()
}

/// The steps of each alert fit together, and tell people of an end only after a beginning.
fn check_lives(transitions: &[Transition]) {
    let mut states: BTreeMap<Fingerprint, Option<AlertState>> = BTreeMap::new();
    let mut told: BTreeMap<Fingerprint, bool> = BTreeMap::new();
    for transition in transitions {
        let state = states.entry(transition.fingerprint).or_default();
        // Resolved alerts are no longer active: the next step begins anew.
        let before = state.filter(|state| *state != AlertState::Resolved);
        assert_eq!(transition.from, before, "{}", written(transition));
        assert!(transition.at >= transition.alert.starts_at, "{}", written(transition));
        let told = told.entry(transition.fingerprint).or_default();
        let ends = transition.to == Some(AlertState::Resolved);
        if transition.news == News::Tell {
            let notice = transition.notice().unwrap();
            assert!(!notice.title.is_empty() && !notice.text.is_empty());
            assert!(!*told || ends, "told twice: {}", written(transition));
        }
        *told = (*told || transition.news == News::Tell) && !ends;
        *state = transition.to;
    }
}

fn of_node(stage: &Stage, node: &str) -> Vec<String> {
    let of_node = |t: &&Transition| t.alert.entity.node.as_str() == node;
    stage.transitions.iter().filter(of_node).map(written).collect()
}

/// Few cases, as each plays for hours; `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let cases = asked.unwrap_or(32);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_records_are_the_whole_state_at_every_step(script in script()) {
        let mut stage = Stage::new(RULES);
        for (_, line) in lines("pve1", &script) {
            stage.play(&line);
            stage.check_records();
        }
        stage.play("40m pve1 hushes");
        stage.wait_until(at("2h"));
        stage.check_records();
        check_lives(&stage.transitions);
    }

    #[test]
    fn nodes_do_not_disturb_each_other(one in script(), two in script()) {
        let (one, two) = (lines("pve1", &one), lines("pve2", &two));
        let mut both: Vec<_> = one.iter().chain(&two).cloned().collect();
        let mut stages = Vec::new();
        for first in ["pve1", "pve2"] {
            // At the same second, one of the nodes comes first.
            both.sort_by_key(|(second, line)| (*second, !line.contains(first)));
            let mut stage = Stage::new(RULES);
            both.iter().for_each(|(_, line)| drop(stage.play(line)));
            stages.push(stage);
        }
        let mut alone = Stage::new(RULES);
        one.iter().for_each(|(_, line)| drop(alone.play(line)));
        for stage in stages.iter_mut().chain([&mut alone]) {
            stage.wait_until(at("40m"));
        }
        for node in ["pve1", "pve2"] {
            prop_assert_eq!(of_node(&stages[0], node), of_node(&stages[1], node));
        }
        prop_assert_eq!(of_node(&stages[0], "pve1"), of_node(&alone, "pve1"));
        let last: Vec<_> = stages.iter_mut().map(|stage| stage.core.snapshot()).collect();
        prop_assert_eq!(&last[0].nodes, &last[1].nodes);
    }

    #[test]
    fn a_restart_changes_nothing_for_a_node_that_can_be_heard(
        script in prop::collection::vec((0..40u32, 0..3usize, prop::bool::ANY), 1..30),
        restart in 0..30usize,
    ) {
        let mut stages = [Stage::new(RULES), Stage::new(RULES)];
        let mut second = 0;
        for stage in &mut stages {
            stage.play("0s pve1 beats load15=9");
        }
        for (place, (pause, unit, failed)) in script.iter().enumerate() {
            second += pause;
            let (unit, state) = (["a", "b", "c"][*unit], ["active", "failed"][usize::from(*failed)]);
            for stage in &mut stages {
                stage.play(&format!("{second}s pve1 unit {unit}.service {state}"));
            }
            if place == restart {
                stages[1].play(&format!("{second}s collector restarts"));
            }
        }
        for stage in &mut stages {
            stage.wait_until(at("25m"));
        }
        // What ended in the moment of the restart may be history; nothing else is told otherwise.
        let [without, with] = &stages;
        let told = |stage: &Stage| {
            stage.transitions.iter().filter_map(Transition::notice).collect::<Vec<_>>()
        };
        let (without, with) = (told(without), told(with));
        prop_assert!(with.iter().all(|notice| without.contains(notice)), "{without:?} {with:?}");
        let [live, restarted] = &mut stages;
        let (live, restarted) = (live.core.snapshot(), restarted.core.snapshot());
        let active = |snapshot: &Snapshot| {
            let active = snapshot.alerts.iter().filter(|alert| alert.ends_at().is_none());
            let facts = active.map(|alert| (alert.fingerprint, alert.state(), alert.starts_at));
            facts.collect::<Vec<_>>()
        };
        prop_assert_eq!(active(&live), active(&restarted));
    }
}
