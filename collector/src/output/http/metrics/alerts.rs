//! Metrics of alerts and of the rules that raise them.

use std::collections::BTreeMap;
use std::fmt;

use pvewatch_protocol::AlertState;

use super::families::Families;
use crate::alerts::Alert;
use crate::core::{RuleStatus, Snapshot};

/// Series of `pvewatch_alerts` at most; the first by their labels are taken, and
/// `pvewatch_alerts_unlisted` counts the alerts of the rest.
pub const ALERT_SERIES_MAX: usize = 10_000;

/// The labels of a series: rule, severity, state, node, environment.
type Series<'a> = [&'a str; 5];

/// Writes the metrics of all alerts and rules.
pub fn write(families: &mut Families<'_>, snapshot: &Snapshot) -> fmt::Result {
    let active = || snapshot.alerts.iter().filter(|alert| alert.state() != AlertState::Resolved);
    let mut counts: BTreeMap<Series<'_>, usize> = BTreeMap::new();
    for alert in active() {
        *counts.entry(series(alert)).or_default() += 1;
    }
    families.gauge(
        "pvewatch_alerts",
        "Alerts that are pending or firing.",
        counts.iter().take(ALERT_SERIES_MAX).map(|(series, count)| {
            let [alertname, severity, state, node, environment] = *series;
            let labels = [
                ("alertname", alertname),
                ("severity", severity),
                ("state", state),
                ("node", node),
                ("environment", environment),
            ];
            (labels, *count)
        }),
    )?;
    let unlisted: usize = counts.values().skip(ALERT_SERIES_MAX).sum();
    for (name, help, count) in [
        ("pvewatch_alerts_unlisted", "Alerts left out, because there are too many.", unlisted),
        (
            "pvewatch_alerts_inhibited",
            "Alerts that are not told, because a graver one of the same cause fires.",
            active().filter(|alert| alert.inhibited_by.is_some()).count(),
        ),
        (
            "pvewatch_alerts_stale",
            "Alerts that are held because their node cannot be heard.",
            active().filter(|alert| alert.stale).count(),
        ),
    ] {
        families.one_gauge(name, help, count)?;
    }
    write_rules(families, &snapshot.rules)
}

fn series(alert: &Alert) -> Series<'_> {
    let environment = alert.labels.get("environment").map(String::as_str).unwrap_or_default();
    let state = alert.state().as_str();
    [&*alert.rule, alert.severity(), state, alert.entity.node.as_str(), environment]
}

fn write_rules(families: &mut Families<'_>, rules: &[RuleStatus]) -> fmt::Result {
    families.gauge(
        "pvewatch_rule_entities",
        "Entities that a rule has to look at.",
        rules.iter().map(|rule| {
            ([("rule", &*rule.rule.name), ("scope", rule.rule.scope.as_str())], rule.entities_seen)
        }),
    )?;
    families.gauge(
        "pvewatch_rule_dead",
        "Whether a rule has nothing to look at.",
        rules.iter().map(|rule| (of_rule(rule), u32::from(rule.is_dead()))),
    )?;
    families.counter(
        "pvewatch_rule_evaluations",
        "Evaluations of a rule.",
        rules.iter().map(|rule| (of_rule(rule), rule.evaluations)),
    )?;
    families.counter(
        "pvewatch_rule_errors",
        "Evaluations of a rule that failed.",
        rules.iter().map(|rule| (of_rule(rule), rule.errors)),
    )
}

fn of_rule(rule: &RuleStatus) -> [(&str, &str); 1] {
    [("rule", &*rule.rule.name)]
}
