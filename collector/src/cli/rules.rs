//! `pvewatch rules`: the rules with all that they say, the fields that they can read, and reading
//! them anew.

use std::str::FromStr;

use super::paint::Paint;
use super::table::{self, Cell};
use crate::fleet::EntityKind;
use crate::output::http::Tone;
use crate::output::http::api::{RuleAnswer, RulesAnswer, Terms, VariantAnswer};
use crate::rules::{FieldType, fields_of, hint, human};
use crate::standards::Reloaded;

/// Writes the rules for people, in the order of their files.
pub fn render(answer: &RulesAnswer, paint: Paint, _width: Option<usize>) -> String {
    let total = answer.rules.len();
    let firing: usize = answer.rules.iter().map(|rule| rule.firing).sum();
    let dead = answer.rules.iter().filter(|rule| rule.dead).count();
    let failing = answer.rules.iter().filter(|rule| rule.errors > 0).count();
    let mut told = vec![format!("{total} rules"), format!("{firing} alerts fire")];
    if dead > 0 {
        told.push(format!("{dead} with nothing to look at"));
    }
    if failing > 0 {
        told.push(format!("{failing} could not be evaluated"));
    }
    let tone = if failing > 0 { Tone::Doubtful } else { Tone::Neutral };
    let mut text = format!("{}\n", paint.tone(tone, &format!("{}.", told.join(", "))));
    for rule in &answer.rules {
        text.push('\n');
        text.push_str(&block(rule, paint));
    }
    text
}

fn block(rule: &RuleAnswer, paint: Paint) -> String {
    let mut head = vec![rule.scope.to_string()];
    head.extend(terms(&rule.terms));
    let alerts = [(rule.firing, "firing"), (rule.pending, "pending")];
    head.extend(
        alerts.into_iter().filter(|(count, _)| *count > 0).map(|(n, word)| format!("{n} {word}")),
    );
    if rule.dead {
        head.push("nothing to look at".to_owned());
    }
    let tone = if rule.firing > 0 { Tone::Bad } else { Tone::Neutral };
    let mut lines = vec![rule.terms.condition.clone()];
    lines.extend(rule.variants.iter().map(|it| variant(it, &rule.terms.condition)));
    lines.push(rule.summary.clone());
    lines.extend(rule.description.clone());
    lines.extend(
        rule.last_error
            .as_ref()
            .map(|error| format!("could not be evaluated on {}: {}", error.entity, error.message)),
    );
    lines.push(format!("{}:{}", rule.file, rule.line));
    let lines = lines.iter().flat_map(|text| text.lines());
    let body: String =
        lines.map(|line| format!("  {}\n", table::printable(line.trim_end()))).collect();
    let name = match tone {
        Tone::Neutral => paint.bold(&rule.name),
        tone => paint.tone(tone, &rule.name),
    };
    format!("{name}: {}\n{body}", head.join(", "))
}

/// `warning, for 10 min, keeps firing for 5 min`, or `off`.
fn terms(terms: &Terms) -> Vec<String> {
    if !terms.enabled {
        return vec!["off".to_owned()];
    }
    let mut told = vec![terms.severity.as_str().to_owned()];
    if terms.for_seconds > 0.0 {
        told.push(format!("for {}", human::duration(terms.for_seconds)));
    }
    if terms.keep_firing_for_seconds > 0.0 {
        told.push(format!("keeps firing for {}", human::duration(terms.keep_firing_for_seconds)));
    }
    told
}

/// `on nodes lab-*, of environments lab: off`.
fn variant(variant: &VariantAnswer, condition: &str) -> String {
    let lists = [
        ("on nodes", &variant.nodes),
        ("of environments", &variant.environments),
        ("with tags", &variant.tags),
    ];
    let whom = lists.into_iter().filter(|(_, patterns)| !patterns.is_empty());
    let whom: Vec<_> =
        whom.map(|(what, patterns)| format!("{what} {}", patterns.join(" or "))).collect();
    let how = match &variant.terms {
        None => "off".to_owned(),
        Some(it) if it.condition == condition => terms(it).join(", "),
        Some(it) => format!("{}, if {}", terms(it).join(", "), it.condition),
    };
    format!("{}: {how}", whom.join(", "))
}

/// A scope on the command line.
#[derive(Debug, Clone, Copy)]
pub struct Scope(EntityKind);

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = EntityKind::ALL.into_iter().find(|kind| kind.as_str() == text);
        known.map(Self).ok_or_else(|| {
            let names = EntityKind::ALL.map(EntityKind::as_str);
            let hint = hint(text, names.into_iter());
            format!("{text:?} is no scope{hint} (there are: {})", names.join(", "))
        })
    }
}

/// Writes the fields that rules of a scope, or of each, can read.
pub fn render_fields(scope: Option<Scope>, paint: Paint, width: Option<usize>) -> String {
    let scopes = match scope {
        Some(Scope(scope)) => vec![scope],
        None => EntityKind::ALL.to_vec(),
    };
    let mut text = String::new();
    for scope in scopes {
        let of_node = match scope {
            EntityKind::Node => "",
            _ => "; those of its node are there as node.NAME",
        };
        text.push_str(&format!("{}\n\n", paint.bold(&format!("{scope}{of_node}"))));
        let rows: Vec<_> = fields_of(scope)
            .iter()
            .map(|field| {
                let kind = match field.unit {
                    "" => field.kind.as_str().to_owned(),
                    unit => format!("{} ({unit})", field.kind.as_str()),
                };
                let example = match field.kind {
                    FieldType::Text => format!("{:?}", field.example),
                    _ => field.example.to_owned(),
                };
                [
                    Cell::plain(field.name),
                    Cell::plain(kind),
                    Cell::plain(example),
                    Cell::plain(field.description),
                ]
            })
            .collect();
        text.push_str(&table::write(["FIELD", "TYPE", "EXAMPLE", "MEANING"], &rows, paint, width));
        text.push('\n');
    }
    text
}

/// Writes what is in force after a reload.
pub fn render_reloaded(reloaded: &Reloaded) -> String {
    let mut text = format!("Read anew: {}.\n", reloaded.rule_files.join(", "));
    match &reloaded.policy_problem {
        Some(problem) => text.push_str(&format!("The policies stay as they are: {problem}\n")),
        None => text.push_str(&format!("{} policies are checked.\n", reloaded.policies)),
    }
    text
}
