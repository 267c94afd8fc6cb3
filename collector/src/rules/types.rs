//! The types of expressions: which values fit which operators and functions.

use cel::common::ast::{LiteralValue, operators};
use cel::common::types::{CelDouble, CelString};

use super::nearest::hint;

/// The type of a part of an expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Type {
    Flag,
    Number,
    Text,
    Null,
    List(Box<Type>),
    /// An element of an empty list: anything.
    Any,
}

impl Type {
    pub(super) fn fits(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any | Self::Null, _) | (_, Self::Any | Self::Null) => true,
            (Self::List(left), Self::List(right)) => left.fits(right),
            (left, right) => left == right,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Flag => "a flag",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::Null => "null",
            Self::List(_) => "a list",
            Self::Any => "anything",
        }
    }
}

/// The type of an expression, or what is wrong with it.
pub(super) type Checked = Result<Type, String>;

/// Functions that rules can call.
pub(super) const FUNCTIONS: [&str; 2] = ["glob", "older"];

/// Functions on texts.
pub(super) const METHODS: [&str; 3] = ["contains", "endsWith", "startsWith"];

/// The type of a literal; all numbers become doubles.
pub(super) fn check_literal(literal: &mut LiteralValue) -> Checked {
    match literal {
        LiteralValue::Boolean(_) => Ok(Type::Flag),
        LiteralValue::Double(_) => Ok(Type::Number),
        LiteralValue::Int(number) => {
            *literal = LiteralValue::Double(CelDouble::from(*number.inner() as f64));
            Ok(Type::Number)
        }
        LiteralValue::UInt(number) => {
            *literal = LiteralValue::Double(CelDouble::from(*number.inner() as f64));
            Ok(Type::Number)
        }
        LiteralValue::String(text) => {
            *text = CelString::from(text.inner().to_owned());
            Ok(Type::Text)
        }
        LiteralValue::Null => Ok(Type::Null),
        LiteralValue::Bytes(_) => Err("bytes are not used in rules: write a text".to_owned()),
    }
}

/// The type of an operator or function applied to types.
pub(super) fn operator(name: &str, kinds: &[Type]) -> Checked {
    use Type::{Flag, Number, Text};
    let all = |wanted: &Type| kinds.iter().all(|kind| kind.fits(wanted));
    let names = || {
        let names: Vec<&str> = kinds.iter().map(Type::name).collect();
        names.join(" and ")
    };
    let refuse = |what: &str| Err(format!("{what} {}", names()));
    let sign = || name.trim_matches('_');
    match (name, kinds) {
        (operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT, _)
        | (operators::NOT_STRICTLY_FALSE, _) => match all(&Flag) {
            true => Ok(Flag),
            false => refuse(&format!("{} joins conditions, not", sign())),
        },
        (operators::EQUALS | operators::NOT_EQUALS, [left, right]) => match left.fits(right) {
            true => Ok(Flag),
            false => refuse("compares"),
        },
        (
            operators::LESS
            | operators::LESS_EQUALS
            | operators::GREATER
            | operators::GREATER_EQUALS,
            _,
        ) => match (all(&Number) || all(&Text)) && !kinds.contains(&Type::Null) {
            true => Ok(Flag),
            false => refuse("compares"),
        },
        (operators::ADD, _) if all(&Text) => Ok(Text),
        (operators::ADD | operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE, _)
        | (operators::NEGATE, _) => match all(&Number) {
            true => Ok(Number),
            false => refuse(&format!("{} is for numbers, not for", sign())),
        },
        (operators::CONDITIONAL, [condition, yes, no]) if condition.fits(&Flag) => {
            match yes.fits(no) {
                true => Ok(yes.clone()),
                false => Err(format!("chooses between {} and {}", yes.name(), no.name())),
            }
        }
        (operators::IN, [element, Type::List(elements)]) => match element.fits(elements) {
            true => Ok(Flag),
            false => Err(format!(
                "looks for {} in a list where each is {}",
                element.name(),
                elements.name()
            )),
        },
        (operators::IN, _) => Err("\"in\" needs a list on its right".to_owned()),
        (operators::MODULO, _) => Err("% is not there: all numbers are doubles".to_owned()),
        ("glob", [_, _]) if all(&Text) => Ok(Flag),
        ("glob", _) => {
            Err("glob() takes a text and a pattern, as in glob(name, \"pve-*\")".to_owned())
        }
        _ => {
            let known = FUNCTIONS.iter().chain(&METHODS).copied();
            Err(format!("unknown function {name:?}{}", hint(name, known)))
        }
    }
}
