//! Summaries and descriptions: minijinja templates over the fields of a scope.
//!
//! Fields are there by name, the node's as `node.*`, and `value`. Filters `duration`, `percent`,
//! `bytes` and `number` write readings with their units; what is absent reads `unknown`.

use std::collections::{BTreeMap, HashMap};

use minijinja::value::ValueKind;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value};

use super::fields::{Field, FieldType, FieldValue, Subject, fields_of};
use super::human;
use super::nearest::hint;
use crate::fleet::EntityKind;

/// Longest rendered text in bytes; the rest is cut off. Telegram takes 4096 characters.
const TEXT_BYTES_MAX: usize = 3000;

/// The templates of all rules.
#[derive(Debug, Clone)]
pub(super) struct Templates {
    environment: Environment<'static>,
    texts: HashMap<String, Text>,
}

/// What a template comes to.
#[derive(Debug, Clone)]
enum Text {
    /// The same for every entity.
    Constant(String),
    /// It depends on what it names: only that is read when it is rendered.
    Of(Used),
}

#[derive(Debug, Clone)]
struct Used {
    own: Vec<&'static Field>,
    of_node: Vec<&'static Field>,
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
        Self { environment, texts: HashMap::new() }
    }

    /// Adds a template after checking the names that it uses.
    pub(super) fn add(&mut self, name: &str, text: &str, scope: EntityKind) -> Result<(), String> {
        self.environment
            .add_template_owned(name.to_owned(), text.to_owned())
            .map_err(|error| complaint(&error))?;
        let template = self.environment.get_template(name).map_err(|error| complaint(&error))?;
        let names = template.undeclared_variables(true);
        if let Some(complaint) = names.iter().filter_map(|name| unknown_name(name, scope)).min() {
            return Err(complaint);
        }
        let named = |scope, name: &dyn Fn(&Field) -> String| {
            let fields = fields_of(scope).iter();
            let is_named = |field: &&Field| {
                let name = name(field);
                names.iter().any(|used| {
                    used.strip_prefix(&name)
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
                })
            };
            fields.filter(is_named).collect()
        };
        let own = named(scope, &|field| field.name.to_owned());
        // The whole node, if the template does not say which of its fields.
        let whole = names.contains("node");
        let of_node = named(EntityKind::Node, &|field| match whole {
            true => "node".to_owned(),
            false => format!("node.{}", field.name),
        });
        let is_constant = !text.contains('{');
        let text =
            if is_constant { Text::Constant(shown(text)) } else { Text::Of(Used { own, of_node }) };
        self.texts.insert(name.to_owned(), text);
        Ok(())
    }

    /// Renders a template; none if there is none of this name.
    pub(super) fn render(
        &self,
        name: &str,
        subject: &Subject<'_>,
        value: Option<f64>,
    ) -> Option<Result<String, String>> {
        let used = match self.texts.get(name)? {
            Text::Constant(text) => return Some(Ok(text.clone())),
            Text::Of(used) => used,
        };
        let template = self.environment.get_template(name).ok()?;
        let rendered = template.render(variables(used, subject, value));
        Some(rendered.map(|text| shown(&text)).map_err(|error| complaint(&error)))
    }
}

/// A rendered text as it is shown.
fn shown(text: &str) -> String {
    let text = text.trim();
    if text.len() <= TEXT_BYTES_MAX {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(TEXT_BYTES_MAX)])
}

/// The fields that a template names, under their names.
fn variables(used: &Used, subject: &Subject<'_>, value: Option<f64>) -> Value {
    let read = |field: &&'static Field| {
        let value = match (field.kind, field.read(subject)) {
            (FieldType::Labels, _) => labels(subject),
            (_, FieldValue::Number(number)) => Value::from(number),
            (_, FieldValue::Text(text)) => Value::from(text),
            (_, FieldValue::Flag(flag)) => Value::from(flag),
            (_, FieldValue::Time(at)) => Value::from(human::time(at.fact)),
            (_, FieldValue::Absent) => Value::from(()),
        };
        (field.name, value)
    };
    let node: BTreeMap<&str, Value> = used.of_node.iter().map(read).collect();
    let value = value.map_or(Value::from(()), Value::from);
    let extra = [("node", Value::from(node)), ("value", value)];
    Value::from(used.own.iter().map(read).chain(extra).collect::<BTreeMap<&str, Value>>())
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
