//! `/api/v1/rules`: the rules, and how they fare.

use std::collections::BTreeMap;
use std::sync::Arc;

use pvewatch_protocol::{AlertState, Site};
use serde::{Deserialize, Serialize};

use crate::alerts::Alert;
use crate::core::{RuleError, RuleStatus};
use crate::fleet::EntityKind;
use crate::output::http::picture::Picture;
use crate::rules::{Rule, Severity, Variant};

/// The answer of `/api/v1/rules`; its length is bounded by the rules that can be loaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RulesAnswer {
    /// The site.
    pub site: Site,
    /// The rules, in the order of their files.
    pub rules: Vec<RuleAnswer>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RuleAnswer {
    /// Its name, which is the label `alertname` of its alerts.
    pub name: String,
    /// What it looks at.
    pub scope: EntityKind,
    /// As it is where no variant counts.
    #[serde(flatten)]
    pub terms: Terms,
    /// How it is on some entities; the last that counts for one is in force there.
    pub variants: Vec<VariantAnswer>,
    /// One line for people, as a template.
    pub summary: String,
    /// More for people, as a template.
    pub description: Option<String>,
    /// Where it is told what to do.
    pub runbook_url: Option<String>,
    /// Further labels of its alerts.
    pub labels: BTreeMap<String, String>,
    /// Rules whose firing alerts make its own not worth telling.
    pub inhibited_by: Vec<String>,
    /// The file that it came from.
    pub file: String,
    /// The line in the file.
    pub line: usize,
    /// Its alerts that wait for the condition to last.
    pub pending: usize,
    /// Its alerts that fire.
    pub firing: usize,
    /// Entities that it has to look at.
    pub entities_seen: u64,
    /// Evaluations since the start.
    pub evaluations: u64,
    /// Evaluations that failed; the alerts stayed as they were.
    pub errors: u64,
    /// The last failure.
    pub last_error: Option<RuleError>,
    /// Whether it is in force and has nothing to look at.
    pub dead: bool,
}

/// When and how a rule alerts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// Whether it is in force.
    pub enabled: bool,
    /// The condition.
    pub condition: String,
    /// How long the condition must hold before an alert fires.
    pub for_seconds: f64,
    /// How long an alert fires on after the condition has ended.
    pub keep_firing_for_seconds: f64,
    /// How grave its alerts are.
    pub severity: Severity,
}

/// How a rule is on some entities.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VariantAnswer {
    /// Patterns of nodes' names; all if empty.
    pub nodes: Vec<String>,
    /// Patterns of environments; all if empty.
    pub environments: Vec<String>,
    /// Patterns of guests' tags; all if empty.
    pub tags: Vec<String>,
    /// When and how it alerts there; none if it is not in force there.
    pub terms: Option<Terms>,
}

impl RulesAnswer {
    /// Answers.
    pub fn of(picture: &Picture) -> Self {
        let snapshot = &picture.snapshot;
        let answer = |status: &RuleStatus| {
            let count = |state: AlertState| {
                let is_own = |alert: &&Arc<Alert>| alert.rule == status.rule.name;
                let own = snapshot.alerts.iter().filter(is_own);
                own.filter(|alert| alert.state() == state).count()
            };
            RuleAnswer::of(status, count(AlertState::Pending), count(AlertState::Firing))
        };
        Self { site: snapshot.site.clone(), rules: snapshot.rules.iter().map(answer).collect() }
    }
}

impl RuleAnswer {
    fn of(status: &RuleStatus, pending: usize, firing: usize) -> Self {
        let rule = &status.rule;
        Self {
            name: rule.name.to_string(),
            scope: rule.scope,
            terms: Terms::of(rule),
            variants: rule.variants.iter().map(VariantAnswer::of).collect(),
            summary: rule.summary.trim().to_owned(),
            description: rule.description.as_ref().map(|text| text.trim().to_owned()),
            runbook_url: rule.runbook_url.clone(),
            labels: rule.labels.clone(),
            inhibited_by: rule.inhibited_by.iter().map(|name| name.to_string()).collect(),
            file: rule.file.clone(),
            line: rule.line,
            pending,
            firing,
            entities_seen: status.entities_seen,
            evaluations: status.evaluations,
            errors: status.errors,
            last_error: status.last_error.clone(),
            dead: status.is_dead(),
        }
    }
}

impl Terms {
    fn of(rule: &Rule) -> Self {
        Self {
            enabled: rule.enabled,
            condition: rule.when_text.clone(),
            for_seconds: rule.for_duration.as_secs_f64(),
            keep_firing_for_seconds: rule.keep_firing_for.as_secs_f64(),
            severity: rule.severity,
        }
    }
}

impl VariantAnswer {
    fn of(variant: &Variant) -> Self {
        let whom = variant.whom.clone();
        Self {
            nodes: whom.nodes,
            environments: whom.environments,
            tags: whom.tags,
            terms: variant.rule.as_deref().map(Terms::of),
        }
    }
}
