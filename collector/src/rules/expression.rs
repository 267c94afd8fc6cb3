//! Compiled expressions (CEL) and their evaluation on an entity.
//!
//! Promises: evaluation reads only the entity and its node, costs about a microsecond, and says
//! when time alone can change its outcome.

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use cel::common::types::{CelBool, CelDouble, CelNull, CelString};
use cel::common::value::CowVal;
use cel::context::VariableResolver;
use cel::parser::Parser;
use cel::{Context, Env, IdedExpr, Value};
use jiff::Timestamp;

use super::check::{Checker, Reference};
use super::fields::{FieldValue, Subject};
use super::types::Type;
use crate::fleet::{EntityKind, Moment, Origin, matches};

/// Longest accepted expression in bytes: no rule that a person reads is longer.
const TEXT_BYTES_MAX: usize = 4096;

/// Brackets and choices that may be nested, and operators in one expression: the parser and the
/// evaluation recurse, and must not run out of stack whatever a file holds.
const NESTED_MAX: usize = 24;
const OPERATORS_MAX: usize = 128;

/// Stack of the parser in bytes. It takes 100 KiB for each bracket when it is not optimised.
const PARSER_STACK_BYTES: usize = 32 << 20;

/// An expression over the fields of a scope.
#[derive(Debug, Clone)]
pub struct Expression {
    expr: IdedExpr,
    references: Vec<Reference>,
    origins: Origins,
}

/// Where the fields come from that an expression reads.
#[derive(Debug, Clone, Default)]
struct Origins {
    /// Of the fields that change with the node.
    with_node: BTreeSet<u8>,
    silence: bool,
    due: bool,
    facts: bool,
}

/// What an expression came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// A flag.
    Flag(bool),
    /// A number.
    Number(f64),
    /// A field that matters is absent: nothing can be said.
    Unknown,
    /// It cannot be evaluated on this entity.
    Failed(String),
}

/// The outcome of an expression and how time bears on it.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// What it came to.
    pub outcome: Outcome,
    /// When an `older()` that is not true yet becomes true, by the collector's clock.
    pub deadline: Option<Timestamp>,
    /// When the last of those `older()` that are true became so.
    pub crossed: Option<Moment>,
}

impl Expression {
    /// Compiles a condition.
    ///
    /// # Errors
    /// A message that says what is wrong and what would be right.
    pub fn condition(text: &str, scope: EntityKind) -> Result<Self, String> {
        Self::compile(text, scope, &Type::Flag, "a condition, true or false")
    }

    /// Compiles a number.
    ///
    /// # Errors
    /// A message that says what is wrong and what would be right.
    pub fn number(text: &str, scope: EntityKind) -> Result<Self, String> {
        Self::compile(text, scope, &Type::Number, "a number")
    }

    fn compile(text: &str, scope: EntityKind, wanted: &Type, what: &str) -> Result<Self, String> {
        check_size(text)?;
        let mut expr = parse(text)?;
        let mut checker = Checker::new(scope);
        let kind = checker.check(&mut expr)?;
        if kind != *wanted {
            return Err(format!("must be {what}"));
        }
        let references = checker.references;
        let origins = Origins::of(&references, scope);
        Ok(Self { expr, references, origins })
    }

    /// Whether it reads fields of this origin that change with the node above the entity: that
    /// node's own, and readings, which come with its samples.
    pub fn changes_with_node(&self, origin: Origin) -> bool {
        self.origins.with_node.contains(&(origin as u8))
    }

    /// Whether it reads what the collector itself judges: presence and silence. Only such an
    /// expression can say anything about a node that cannot be heard.
    pub fn judges_silence(&self) -> bool {
        self.origins.silence
    }

    /// Whether it reads what a calendar says.
    pub fn reads_due(&self) -> bool {
        self.origins.due
    }

    /// Whether it reads anything that only events and checkpoints tell.
    pub fn reads_facts(&self) -> bool {
        self.origins.facts
    }

    /// Whether time alone can change its outcome.
    pub fn depends_on_time(&self) -> bool {
        self.references.iter().any(|reference| matches!(reference, Reference::Older(..)))
    }

    /// Evaluates it on an entity, at a time by the collector's clock.
    pub fn evaluate(&self, subject: &Subject<'_>, at: Timestamp) -> Evaluation {
        let view = View {
            references: &self.references,
            subject,
            at,
            absent: AtomicBool::new(false),
            asked: AtomicU32::new(0),
        };
        let mut context = functions().new_inner_scope();
        context.set_variable_resolver(&view);
        let outcome = match Value::resolve_val(&self.expr, &context) {
            Ok(value) => {
                if let Some(flag) = value.downcast_ref::<CelBool>() {
                    Outcome::Flag(*flag.inner())
                } else if let Some(number) = value.downcast_ref::<CelDouble>() {
                    Outcome::Number(*number.inner())
                } else {
                    view.unless_absent(|| format!("came to {value:?}, which is no flag or number"))
                }
            }
            Err(error) => view.unless_absent(|| explain(&error)),
        };
        drop(context);
        let asked = view.asked.into_inner();
        let (deadline, crossed) =
            if asked == 0 { (None, None) } else { self.times(subject, at, asked) };
        Evaluation { outcome, deadline, crossed }
    }

    /// How time bears on the `older()` calls that were evaluated.
    fn times(
        &self,
        subject: &Subject<'_>,
        at: Timestamp,
        asked: u32,
    ) -> (Option<Timestamp>, Option<Moment>) {
        let (mut deadline, mut crossed) = (None::<Timestamp>, None::<Moment>);
        for reference in &self.references {
            let Reference::Older(field, duration, bit) = reference else { continue };
            let FieldValue::Time(since) = field.read(subject) else { continue };
            if asked & (1 << bit) == 0 {
                continue;
            }
            let due = since.after(*duration);
            if due.judged > at {
                deadline = Some(deadline.map_or(due.judged, |known| known.min(due.judged)));
            } else if crossed.is_none_or(|known| known.judged < due.judged) {
                crossed = Some(due);
            }
        }
        (deadline, crossed)
    }
}

impl Origins {
    fn of(references: &[Reference], scope: EntityKind) -> Self {
        let mut origins = Self::default();
        for reference in references {
            let (name, origin) = match reference {
                Reference::Field(field) | Reference::Older(field, ..) => (field.name, field.origin),
                Reference::Label(_) => ("labels", Origin::Facts),
            };
            origins.silence |= origin == Origin::Silence;
            origins.due |= origin == Origin::Due;
            origins.facts |= origin == Origin::Facts;
            let own = super::fields::fields_of(scope);
            let of_entity = match reference {
                Reference::Field(field) | Reference::Older(field, ..) => {
                    own.iter().any(|own| std::ptr::eq(own, *field))
                }
                Reference::Label(_) => own.iter().any(|own| own.name == name),
            };
            if scope == EntityKind::Node || !of_entity || origin == Origin::Reading {
                origins.with_node.insert(origin as u8);
            }
        }
        origins
    }
}

/// The variables of one evaluation.
struct View<'a> {
    references: &'a [Reference],
    subject: &'a Subject<'a>,
    at: Timestamp,
    /// Whether an absent field was read. (Atomic because resolvers must be `Sync`.)
    absent: AtomicBool,
    /// The bits of the `older()` calls that were evaluated.
    asked: AtomicU32,
}

impl View<'_> {
    fn unless_absent(&self, message: impl FnOnce() -> String) -> Outcome {
        if self.absent.load(Ordering::Relaxed) {
            Outcome::Unknown
        } else {
            Outcome::Failed(message())
        }
    }
}

impl VariableResolver for View<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let reference = self.references.get(variable.parse::<usize>().ok()?)?;
        let value = match reference {
            Reference::Field(field) => field.read(self.subject),
            Reference::Label(label) => {
                FieldValue::Text(self.subject.node.label(label).unwrap_or_default())
            }
            Reference::Older(field, duration, bit) => {
                self.asked.fetch_or(1 << bit, Ordering::Relaxed);
                match field.read(self.subject) {
                    FieldValue::Time(since) => {
                        FieldValue::Flag(since.after(*duration).judged <= self.at)
                    }
                    // What never happened is not long ago.
                    _ => FieldValue::Flag(false),
                }
            }
        };
        Some(match value {
            FieldValue::Number(number) => CowVal::owned(CelDouble::from(number)),
            FieldValue::Text(text) => CowVal::owned(CelString::from(text)),
            FieldValue::Flag(flag) => CowVal::owned(CelBool::from(flag)),
            FieldValue::Time(_) | FieldValue::Absent => {
                self.absent.store(true, Ordering::Relaxed);
                CowVal::owned(CelNull)
            }
        })
    }
}

/// The functions that all expressions share.
fn functions() -> &'static Context<'static, 'static> {
    static FUNCTIONS: OnceLock<Context<'static, 'static>> = OnceLock::new();
    FUNCTIONS.get_or_init(|| {
        let mut context = Context::with_env(std::sync::Arc::new(Env::stdlib()));
        let glob = |text: std::sync::Arc<String>, pattern: std::sync::Arc<String>| {
            matches(&text, &pattern)
        };
        // Fails only if the standard library had a function of this name; the checker knows none.
        let _ = context.add_function("glob", glob);
        context
    })
}

/// Parses a text, on a thread of its own that has stack enough.
fn parse(text: &str) -> Result<IdedExpr, String> {
    let parse = || Parser::new().parse(text).map_err(|errors| syntax(&errors));
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().stack_size(PARSER_STACK_BYTES);
        let parser = builder.spawn_scoped(scope, parse);
        let parser = parser.map_err(|error| format!("cannot be parsed: no thread: {error}"))?;
        parser.join().unwrap_or_else(|_| Err("is nothing that the parser understands".to_owned()))
    })
}

/// Refuses what is too much for the parser, before it sees it. Texts in quotes do not count.
fn check_size(text: &str) -> Result<(), String> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!("has {} bytes, {TEXT_BYTES_MAX} at most", text.len()));
    }
    let (mut nested, mut deepest, mut operators) = (0usize, 0, 0);
    let mut quote = None;
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match (byte, quote) {
            (b'\\', Some(_)) => drop(bytes.next()),
            (_, Some(open)) if byte == open => quote = None,
            (_, Some(_)) => {}
            (b'\'' | b'"', None) => quote = Some(byte),
            (b'(' | b'[' | b'{' | b'?', None) => nested += 1,
            (b')' | b']' | b'}' | b':', None) => nested = nested.saturating_sub(1),
            (b'.' | b'!' | b'-' | b'+' | b'*' | b'/' | b'%' | b'<' | b'>' | b'=', None)
            | (b'&' | b'|', None) => operators += 1,
            _ => {}
        }
        deepest = deepest.max(nested);
    }
    // A choice nests to its right, where the colon has closed it already.
    let choices = text.matches('?').count();
    if deepest.max(choices) > NESTED_MAX || operators > OPERATORS_MAX {
        return Err(format!(
            "is too large: {NESTED_MAX} brackets or choices in each other and {OPERATORS_MAX} \
             operators at most; split it into several rules, or use in [...] and glob()"
        ));
    }
    Ok(())
}

/// What went wrong in an evaluation, for people.
fn explain(error: &cel::ExecutionError) -> String {
    match error {
        // The types were checked when the rule was loaded: numbers differ only in being one.
        cel::ExecutionError::NoSuchOverload(overload)
            if overload.argument_types().iter().all(|name| name == "double") =>
        {
            "compares what is not a number: 0 divided by 0".to_owned()
        }
        error => error.to_string(),
    }
}

/// The first complaint of the parser, on one line.
fn syntax(errors: &cel::ParseErrors) -> String {
    let first = errors.errors.first().map_or(String::new(), |error| {
        let (line, column) = error.pos;
        let place = if line > 1 { format!("line {line}, ") } else { String::new() };
        // What could have stood there instead fills a page.
        let message = error.msg.split(" expecting {").next().unwrap_or_default();
        format!(" at {place}column {column}: {message}")
    });
    format!("is not an expression{first}")
}
