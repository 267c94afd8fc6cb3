//! Rule files: TOML, read strictly.
//!
//! Promises: every complaint names the file, the line, the rule, and what would be right; all
//! rules of a file are checked, not only the first that is wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::SignedDuration;
use serde::Deserialize;
use toml::Spanned;

use super::complaints::{Complaints, FileError};
use super::duration::parse_duration;
use super::expression::Expression;
use super::overrides::{self, Adaption};
use super::rule::{RESERVED_LABELS, Rule, Severity};
use crate::fleet::EntityKind;

/// Everything that is wrong in a set of rule files, in their order. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesError(pub Vec<FileError>);

impl std::error::Error for RulesError {}

impl fmt::Display for RulesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    #[serde(default)]
    rule: Vec<Spanned<Entry>>,
    #[serde(default, rename = "override")]
    overrides: Vec<Spanned<overrides::Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Spanned<String>,
    scope: Spanned<String>,
    when: Spanned<String>,
    #[serde(default = "yes")]
    enabled: bool,
    #[serde(rename = "for")]
    for_duration: Option<Spanned<String>>,
    keep_firing_for: Option<Spanned<String>>,
    severity: Spanned<String>,
    summary: Spanned<String>,
    description: Option<Spanned<String>>,
    runbook_url: Option<Spanned<String>>,
    #[serde(default)]
    labels: BTreeMap<Spanned<String>, String>,
    value: Option<Spanned<String>>,
    #[serde(default)]
    inhibited_by: Vec<Spanned<String>>,
}

fn yes() -> bool {
    true
}

/// A text of a rule with the line that it stands in.
pub(super) struct Placed {
    pub(super) text: String,
    pub(super) line: usize,
}

/// A rule of a file with what must still be checked beside the other rules.
pub(super) struct Parsed {
    pub(super) rule: Rule,
    pub(super) summary: Placed,
    pub(super) description: Option<Placed>,
    pub(super) inhibited_by: Vec<Placed>,
}

/// What a file holds.
#[derive(Default)]
pub(super) struct Content {
    pub(super) rules: Vec<Parsed>,
    pub(super) adaptions: Vec<Adaption>,
    pub(super) errors: Vec<FileError>,
}

/// Reads a file.
pub(super) fn parse(file: &str, text: &str) -> Content {
    let mut complaints = Complaints::of(file, text);
    let parsed: Option<RuleFile> = complaints.read("a [[rule]] or [[override]]");
    let mut reader = Reader { file, complaints };
    let Some(parsed) = parsed else {
        return Content { errors: reader.complaints.found, ..Content::default() };
    };
    let rules = parsed.rule.into_iter().filter_map(|entry| reader.rule(entry)).collect();
    let adaptions = parsed.overrides.into_iter();
    let adaptions = adaptions.filter_map(|entry| reader.adaption(entry)).collect();
    Content { rules, adaptions, errors: reader.complaints.found }
}

/// Something wrong in a line of a file.
pub(super) fn error_of(file: &str, line: usize, message: String) -> FileError {
    FileError { file: file.to_owned(), line, message }
}

pub(super) struct Reader<'a> {
    pub(super) file: &'a str,
    pub(super) complaints: Complaints<'a>,
}

impl Reader<'_> {
    pub(super) fn place(&self, text: Spanned<String>) -> Placed {
        Placed { line: self.complaints.line(text.span().start), text: text.into_inner() }
    }

    fn rule(&mut self, entry: Spanned<Entry>) -> Option<Parsed> {
        let line = self.complaints.line(entry.span().start);
        let entry = entry.into_inner();
        let complaints = self.complaints.found.len();
        let name = self.place(entry.name);
        if !is_name(&name.text) {
            let message = format!(
                "{:?} is not a rule's name: use letters, digits and '_', beginning with a letter, \
                 as in \"HighLoadAverage\"",
                name.text
            );
            self.complaints.add(name.line, message);
        }
        let known = EntityKind::ALL.map(|kind| (kind.as_str(), kind));
        let scope = self.one_of(&name.text, "scope", entry.scope, &known)?;
        let known = Severity::ALL.map(|severity| (severity.as_str(), severity));
        let severity = self.one_of(&name.text, "severity", entry.severity, &known);
        let when_text = entry.when.get_ref().trim().to_owned();
        let when = Some(entry.when);
        let when = self.take(&name.text, "when", when, |text| Expression::condition(text, scope));
        let value = |text: &str| Expression::number(text, scope);
        let value = self.take(&name.text, "value", entry.value, value);
        let for_duration = self.duration(&name.text, "for", entry.for_duration);
        let keep_firing_for = self.duration(&name.text, "keep_firing_for", entry.keep_firing_for);
        let labels = self.labels(&name.text, entry.labels);
        let runbook_url = self.take(&name.text, "runbook_url", entry.runbook_url, runbook_url);
        let summary = self.place(entry.summary);
        let description = entry.description.map(|text| self.place(text));
        let inhibited_by = entry.inhibited_by.into_iter().map(|rule| self.place(rule)).collect();
        if self.complaints.found.len() > complaints {
            return None;
        }
        let rule = Rule {
            name: Arc::from(name.text),
            scope,
            when: when?,
            when_text,
            enabled: entry.enabled,
            variants: Vec::new(),
            summary: summary.text.clone(),
            description: description.as_ref().map(|text| text.text.clone()),
            for_duration,
            keep_firing_for,
            severity: severity?,
            value,
            labels,
            runbook_url,
            inhibited_by: Vec::new(),
            file: self.file.to_owned(),
            line,
        };
        Some(Parsed { rule, summary, description, inhibited_by })
    }

    pub(super) fn one_of<T: Copy>(
        &mut self,
        rule: &str,
        key: &str,
        text: Spanned<String>,
        known: &[(&str, T)],
    ) -> Option<T> {
        let text = self.place(text);
        if let Some((_, value)) = known.iter().find(|(name, _)| *name == text.text) {
            return Some(*value);
        }
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        let names = names.join(", ");
        let message = format!("rule {rule:?}: {key} {:?} is none of: {names}", text.text);
        self.complaints.add(text.line, message);
        None
    }

    fn take<T>(
        &mut self,
        rule: &str,
        key: &str,
        text: Option<Spanned<String>>,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.place(text?);
        match read(&text.text) {
            Ok(value) => Some(value),
            Err(message) => {
                self.complaints.add(text.line, format!("rule {rule:?}: {key}: {message}"));
                None
            }
        }
    }

    fn duration(&mut self, rule: &str, key: &str, text: Option<Spanned<String>>) -> SignedDuration {
        self.some_duration(rule, key, text).unwrap_or(SignedDuration::ZERO)
    }

    pub(super) fn some_duration(
        &mut self,
        rule: &str,
        key: &str,
        text: Option<Spanned<String>>,
    ) -> Option<SignedDuration> {
        let read = |text: &str| parse_duration(text).map_err(|error| error.to_string());
        self.take(rule, key, text, read)
    }

    fn labels(
        &mut self,
        rule: &str,
        labels: BTreeMap<Spanned<String>, String>,
    ) -> BTreeMap<String, String> {
        let mut taken = BTreeMap::new();
        for (name, value) in labels {
            let name = self.place(name);
            if RESERVED_LABELS.contains(&name.text.as_str()) {
                let message = format!(
                    "rule {rule:?}: the label {:?} is set by the collector: choose another name",
                    name.text
                );
                self.complaints.add(name.line, message);
            } else if !is_name(&name.text) {
                let message = format!(
                    "rule {rule:?}: {:?} is not a label's name: use letters, digits and '_', \
                     beginning with a letter",
                    name.text
                );
                self.complaints.add(name.line, message);
            } else {
                taken.insert(name.text, value);
            }
        }
        taken
    }
}

/// Whether a text can be the name of a rule or label, as Prometheus has them.
pub(super) fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && text.len() <= 64
}

/// An address, or a place below the collector's page: the page makes a link of it.
fn runbook_url(text: &str) -> Result<String, String> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    let is_known = ["https://", "http://", "guide/"].iter().any(|start| text.starts_with(start));
    match is_plain && is_known {
        true => Ok(text.to_owned()),
        false => {
            Err(format!("{text:?} is no address: write it as \"https://wiki.example.org/backups\""))
        }
    }
}
