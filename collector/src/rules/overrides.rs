//! Overrides: how a site adapts a rule, everywhere or on some of its entities, without copying it.

use std::sync::Arc;

use jiff::SignedDuration;
use serde::Deserialize;
use toml::Spanned;

use super::complaints::FileError;
use super::expression::Expression;
use super::fields::{Subject, environment};
use super::file::{Parsed, Placed, Reader, error_of};
use super::nearest::hint;
use super::rule::{Rule, Severity};
use crate::fleet::{Entity, EntityKind, matches};

/// What can be chosen by tags.
const HAVE_TAGS: [EntityKind; 2] = [EntityKind::Guest, EntityKind::Backup];

/// `[[override]]`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    rule: Spanned<String>,
    #[serde(default)]
    nodes: Vec<String>,
    #[serde(default)]
    environments: Vec<String>,
    #[serde(default)]
    tags: Vec<String>,
    enabled: Option<bool>,
    when: Option<Spanned<String>>,
    #[serde(rename = "for")]
    for_duration: Option<Spanned<String>>,
    keep_firing_for: Option<Spanned<String>>,
    severity: Option<Spanned<String>>,
}

/// An override as it was read; the rule can stand in another file.
pub(super) struct Adaption {
    rule: Placed,
    file: String,
    whom: Whom,
    enabled: Option<bool>,
    when: Option<Placed>,
    for_duration: Option<SignedDuration>,
    keep_firing_for: Option<SignedDuration>,
    severity: Option<Severity>,
}

/// On what an override counts: an entity must be met by one pattern of each list that has any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Whom {
    /// Patterns of nodes' names.
    pub nodes: Vec<String>,
    /// Patterns of environments, of the guest or else of its node.
    pub environments: Vec<String>,
    /// Patterns of the guest's tags.
    pub tags: Vec<String>,
}

/// A rule as it is on some entities.
#[derive(Debug, Clone)]
pub struct Variant {
    /// On which.
    pub whom: Whom,
    /// The rule there; none if it is not in force.
    pub rule: Option<Arc<Rule>>,
}

impl Whom {
    fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// Whether an entity is meant.
    pub fn has(&self, subject: &Subject<'_>) -> bool {
        let is_any =
            |patterns: &[String], text: &str| patterns.iter().any(|pattern| matches(text, pattern));
        let is_of = |patterns: &[String], mut texts: &mut dyn Iterator<Item = &str>| {
            patterns.is_empty() || (&mut texts).any(|text| is_any(patterns, text))
        };
        let plan = match subject.entity {
            Entity::Guest(guest) => guest.plan.as_ref(),
            Entity::Backup(backup) => backup.guest.as_ref(),
            _ => None,
        };
        let mut tags = plan.into_iter().flat_map(|plan| &plan.tags).map(String::as_str);
        is_of(&self.nodes, &mut std::iter::once(subject.node.name.as_str()))
            && is_of(&self.environments, &mut environment(subject).into_iter())
            && is_of(&self.tags, &mut tags)
    }
}

impl Reader<'_> {
    /// Reads an override.
    pub(super) fn adaption(&mut self, entry: Spanned<Entry>) -> Option<Adaption> {
        let line = self.complaints.line(entry.span().start);
        let entry = entry.into_inner();
        let complaints = self.complaints.found.len();
        let rule = self.place(entry.rule);
        let whom = Whom { nodes: entry.nodes, environments: entry.environments, tags: entry.tags };
        let known = Severity::ALL.map(|severity| (severity.as_str(), severity));
        let severity =
            entry.severity.and_then(|text| self.one_of(&rule.text, "severity", text, &known));
        let adaption = Adaption {
            whom,
            enabled: entry.enabled,
            when: entry.when.map(|text| self.place(text)),
            for_duration: self.some_duration(&rule.text, "for", entry.for_duration),
            keep_firing_for: self.some_duration(
                &rule.text,
                "keep_firing_for",
                entry.keep_firing_for,
            ),
            severity,
            file: self.file.to_owned(),
            rule,
        };
        if adaption.is_nothing() && self.complaints.found.len() == complaints {
            let message = format!(
                "the override of rule {:?} changes nothing: set enabled, when, for, \
                 keep_firing_for or severity",
                adaption.rule.text
            );
            self.complaints.add(line, message);
        }
        (self.complaints.found.len() == complaints).then_some(adaption)
    }
}

impl Adaption {
    fn is_nothing(&self) -> bool {
        self.enabled.is_none()
            && self.when.is_none()
            && self.for_duration.is_none()
            && self.keep_firing_for.is_none()
            && self.severity.is_none()
    }

    /// Applies itself to the rule that it names.
    pub(super) fn apply(self, rules: &mut [Parsed]) -> Result<(), FileError> {
        let error = |line, message| error_of(&self.file, line, message);
        let name = &*self.rule.text;
        let Some(parsed) = rules.iter_mut().find(|parsed| *parsed.rule.name == *name) else {
            let names = rules.iter().map(|parsed| &*parsed.rule.name);
            let message = format!("override: there is no rule {name:?}{}", hint(name, names));
            return Err(error(self.rule.line, message));
        };
        let rule = &mut parsed.rule;
        if !self.whom.tags.is_empty() && !HAVE_TAGS.contains(&rule.scope) {
            let message = format!(
                "override of {name:?}: tags: only guests and their backups have tags, and the rule is \
                 about each {}: choose by nodes or environments",
                rule.scope
            );
            return Err(error(self.rule.line, message));
        }
        let mut adapted = rule.clone();
        adapted.variants = Vec::new();
        if let Some(when) = &self.when {
            let compiled = Expression::condition(&when.text, rule.scope).map_err(|cause| {
                error(when.line, format!("override of {name:?}: when: {cause}"))
            })?;
            adapted.when = compiled;
            adapted.when_text = when.text.trim().to_owned();
            if adapted.rests_on() != rule.rests_on() {
                let message = format!(
                    "override of {name:?}: when: it rests on other kinds of fields than the \
                     rule's own condition ({}): write a rule of another name",
                    rule.when_text
                );
                return Err(error(when.line, message));
            }
        }
        adapted.for_duration = self.for_duration.unwrap_or(rule.for_duration);
        adapted.keep_firing_for = self.keep_firing_for.unwrap_or(rule.keep_firing_for);
        adapted.severity = self.severity.unwrap_or(rule.severity);
        adapted.enabled = self.enabled.unwrap_or(rule.enabled);
        if self.whom.is_everything() {
            // What others said before of some of it is over.
            *rule = adapted;
        } else {
            let adapted = adapted.enabled.then(|| Arc::new(adapted));
            rule.variants.push(Variant { whom: self.whom, rule: adapted });
        }
        Ok(())
    }
}
