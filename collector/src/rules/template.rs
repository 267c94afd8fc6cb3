//! Summaries and descriptions: minijinja templates over the fields of a scope.
//!
//! Fields are there by name, the node's as `node.*`, and `value`. Filters `duration`, `percent`,
//! `bytes` and `number` write readings with their units; what is absent reads `unknown`.

use std::collections::BTreeMap;

use minijinja::value::ValueKind;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value};

use super::fields::{FieldType, FieldValue, Subject, fields_of};
use super::human;
use super::nearest::hint;
use crate::fleet::EntityKind;

/// Longest rendered text in bytes; the rest is cut off. Telegram takes 4096 characters.
const TEXT_BYTES_MAX: usize = 3000;

/// The templates of all rules.
#[derive(Debug, Clone)]
pub(super) struct Templates {
    environment: Environment<'static>,
}

impl Templates {
    pub(super) fn new() -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.add_filter("duration", |value: Value| with_unit(&value, human::duration));
        environment.add_filter("percent", |value: Value| with_unit(&value, human::percent));
        environment.add_filter("bytes", |value: Value| with_unit(&value, human::bytes));
        environment.add_filter("number", |value: Value| with_unit(&value, human::number));
        environment.set_formatter(|out, state, value| {
            let shown = match value.kind() {
                ValueKind::None => Value::from("unknown"),
                ValueKind::Bool => Value::from(if value.is_true() { "true" } else { "false" }),
                ValueKind::Number => with_unit(value, human::number)?.into(),
                _ => value.clone(),
            };
            minijinja::escape_formatter(out, state, &shown)
        });
        Self { environment }
    }

    /// Adds a template after checking the names that it uses.
    pub(super) fn add(&mut self, name: &str, text: &str, scope: EntityKind) -> Result<(), String> {
        self.environment
            .add_template_owned(name.to_owned(), text.to_owned())
            .map_err(|error| complaint(&error))?;
        let template = self.environment.get_template(name).map_err(|error| complaint(&error))?;
        let mut unknown: Vec<String> = template
            .undeclared_variables(true)
            .into_iter()
            .filter_map(|used| unknown_name(&used, scope))
            .collect();
        unknown.sort();
        unknown.into_iter().next().map_or(Ok(()), Err)
    }

    /// Renders a template; none if there is none of this name.
    pub(super) fn render(
        &self,
        name: &str,
        subject: &Subject<'_>,
        value: Option<f64>,
    ) -> Option<Result<String, String>> {
        let template = self.environment.get_template(name).ok()?;
        let rendered = template.render(variables(subject, value));
        Some(rendered.map_err(|error| complaint(&error)).map(|text| {
            let mut text = text.trim().to_owned();
            if text.len() > TEXT_BYTES_MAX {
                text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
                text.push('…');
            }
            text
        }))
    }
}

/// What a template can name: the own fields of the scope, `node`, and `value`.
fn variables(subject: &Subject<'_>, value: Option<f64>) -> Value {
    let scope = if subject.unit.is_some() { EntityKind::Unit } else { EntityKind::Node };
    let entry = |scope: EntityKind| {
        fields_of(scope).iter().map(move |field| {
            let value = match (field.kind, field.read(subject)) {
                (FieldType::Labels, _) => labels(subject),
                (_, FieldValue::Number(number)) => Value::from(number),
                (_, FieldValue::Text(text)) => Value::from(text),
                (_, FieldValue::Flag(flag)) => Value::from(flag),
                (_, FieldValue::Time(at)) => Value::from(human::time(at.fact)),
                (_, FieldValue::Absent) => Value::from(()),
            };
            (field.name, value)
        })
    };
    let node: BTreeMap<&str, Value> = entry(EntityKind::Node).collect();
    let value = value.map_or(Value::from(()), Value::from);
    let extra = [("node", Value::from(node)), ("value", value)];
    Value::from(entry(scope).chain(extra).collect::<BTreeMap<&str, Value>>())
}

fn labels(subject: &Subject<'_>) -> Value {
    let labels = subject.node.facts.as_ref().map(|facts| facts.labels.clone());
    Value::from(labels.unwrap_or_default())
}

fn with_unit(value: &Value, write: fn(f64) -> String) -> Result<String, minijinja::Error> {
    if value.is_none() {
        return Ok("unknown".to_owned());
    }
    let number = f64::try_from(value.clone());
    number.map(write).map_err(|_| {
        minijinja::Error::new(ErrorKind::InvalidOperation, format!("{value:?} is not a number"))
    })
}

/// A complaint about a name that a template uses, if there is no such name.
fn unknown_name(used: &str, scope: EntityKind) -> Option<String> {
    let own = || fields_of(scope).iter().map(|field| field.name).chain(["node", "value"]);
    let node = || fields_of(EntityKind::Node).iter().map(|field| field.name);
    let (first, rest) = used.split_once('.').unwrap_or((used, ""));
    if !own().any(|name| name == first) {
        return Some(format!("unknown name {first:?}{}", hint(first, own())));
    }
    let field = rest.split('.').next().unwrap_or_default();
    if first == "node" && !field.is_empty() && !node().any(|name| name == field) {
        return Some(format!("unknown name \"node.{field}\"{}", hint(field, node())));
    }
    None
}

fn complaint(error: &minijinja::Error) -> String {
    let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.line() {
        Some(line) if line > 1 => format!("{what} (in its line {line})"),
        _ => what,
    }
}
