//! Checks an expression against a scope's fields, and prepares it for evaluation.
//!
//! Promises: what passes names only fields and functions that exist and combines types that fit.
//! Integer literals become doubles, fields and `older()` calls become short references.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, LiteralValue, SelectExpr, operators};
use jiff::SignedDuration;

use super::duration::parse_duration;
use super::fields::{Field, FieldType, fields_of};
use super::nearest::{hint, nearest};
use super::types::{Checked, FUNCTIONS, METHODS, Type, check_literal, operator};
use crate::fleet::EntityKind;

/// `older()` calls that one expression may have; each takes a bit when it is evaluated.
pub(super) const OLDERS_MAX: usize = 32;

/// Depth to which expressions may be nested, so that checking and evaluating cannot overflow.
const DEPTH_MAX: usize = 64;

/// What a reference in a prepared expression stands for.
#[derive(Debug, Clone)]
pub(super) enum Reference {
    /// A field.
    Field(&'static Field),
    /// A label of the node.
    Label(String),
    /// `older(field, duration)`; the number is its bit.
    Older(&'static Field, SignedDuration, usize),
}

/// Walks an expression; see the module.
pub(super) struct Checker {
    scope: EntityKind,
    pub(super) references: Vec<Reference>,
    olders: usize,
    /// Names that comprehensions bind, innermost last.
    bound: Vec<(String, Type)>,
    depth: usize,
}

impl Checker {
    pub(super) fn new(scope: EntityKind) -> Self {
        Self { scope, references: Vec::new(), olders: 0, bound: Vec::new(), depth: 0 }
    }

    /// Checks and prepares an expression; returns its type.
    pub(super) fn check(&mut self, expr: &mut IdedExpr) -> Checked {
        if self.depth >= DEPTH_MAX {
            return Err(format!("is nested deeper than {DEPTH_MAX}: split it into several rules"));
        }
        self.depth += 1;
        let checked = self.check_here(expr);
        self.depth -= 1;
        checked
    }

    fn check_here(&mut self, expr: &mut IdedExpr) -> Checked {
        match &mut expr.expr {
            Expr::Literal(literal) => check_literal(literal),
            Expr::Ident(name) => {
                if let Some((_, kind)) = self.bound.iter().rev().find(|(bound, _)| bound == name) {
                    return Ok(kind.clone());
                }
                let field = self.own_field(name)?;
                self.use_field(expr, field)
            }
            Expr::Select(select) => {
                let name = self.qualified(select)?;
                self.use_name(expr, &name)
            }
            Expr::List(list) => {
                let mut element = Type::Any;
                for each in &mut list.elements {
                    let kind = self.check(each)?;
                    if !kind.fits(&element) {
                        return Err(format!(
                            "mixes {} and {} in a list",
                            element.name(),
                            kind.name()
                        ));
                    }
                    element = kind;
                }
                Ok(Type::List(Box::new(element)))
            }
            Expr::Comprehension(comprehension) => self.check_comprehension(comprehension),
            Expr::Call(call) => {
                if call.func_name == operators::INDEX {
                    let name = self.indexed_label(call)?;
                    return self.use_name(expr, &name);
                }
                if call.func_name == "older" {
                    let reference = self.check_older(call)?;
                    return Ok(self.refer(expr, reference, Type::Flag));
                }
                self.check_call(call)
            }
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
                Err("uses a map, a structure or something that rules do not know".to_owned())
            }
        }
    }

    fn own_field(&self, name: &str) -> Result<&'static Field, String> {
        let fields = fields_of(self.scope);
        fields.iter().find(|field| field.name == name).ok_or_else(|| {
            let node = fields_of(EntityKind::Node).iter().map(|field| field.name);
            let own = fields.iter().map(|field| field.name);
            let scope = self.scope;
            if scope != EntityKind::Node && node.clone().any(|field| field == name) {
                return format!(
                    "unknown field {name:?} of scope {scope}, did you mean \"node.{name}\"?"
                );
            }
            format!("unknown field {name:?} of scope {scope}{}", hint(name, own))
        })
    }

    /// The parts of `a.b` or `a.b.c`, joined.
    fn qualified(&self, select: &SelectExpr) -> Result<Vec<String>, String> {
        if select.test {
            return Err(format!(
                "has() is not needed: compare with null, as in \"{} != null\"",
                select.field
            ));
        }
        let mut names = vec![select.field.clone()];
        let mut operand = &select.operand;
        loop {
            match &operand.expr {
                Expr::Ident(name) => {
                    names.push(name.clone());
                    names.reverse();
                    return Ok(names);
                }
                Expr::Select(inner) if !inner.test => {
                    names.push(inner.field.clone());
                    operand = &inner.operand;
                }
                _ => return Err(format!("reads {:?} of something without fields", select.field)),
            }
        }
    }

    /// `labels["rack"]` as `labels.rack`.
    fn indexed_label(&self, call: &CallExpr) -> Result<Vec<String>, String> {
        let only = || "only labels can be indexed, by a literal text: labels[\"rack\"]".to_owned();
        let [operand, index] = call.args.as_slice() else { return Err(only()) };
        let Expr::Literal(LiteralValue::String(label)) = &index.expr else { return Err(only()) };
        let mut names = match &operand.expr {
            Expr::Ident(name) => vec![name.clone()],
            Expr::Select(select) => self.qualified(select)?,
            _ => return Err(only()),
        };
        if names.last().is_none_or(|name| name != "labels") {
            return Err(only());
        }
        names.push(label.inner().to_owned());
        Ok(names)
    }

    fn use_name(&mut self, expr: &mut IdedExpr, names: &[String]) -> Checked {
        let of_node = names.first().is_some_and(|name| name == "node");
        let rest = if of_node { &names[1..] } else { names };
        let field = |name: &str| {
            let fields = fields_of(EntityKind::Node);
            fields.iter().find(|field| field.name == name).ok_or_else(|| {
                let names = fields.iter().map(|field| field.name);
                let near = nearest(name, names);
                let hint = near.map(|near| format!(", did you mean \"node.{near}\"?"));
                format!("unknown field \"node.{name}\"{}", hint.unwrap_or_default())
            })
        };
        match rest {
            [name] if of_node => {
                let field = field(name)?;
                self.use_field(expr, field)
            }
            [labels, label]
                if labels == "labels" && (of_node || self.scope == EntityKind::Node) =>
            {
                let reference = Reference::Label(label.clone());
                Ok(self.refer(expr, reference, Type::Text))
            }
            [first, ..] if !of_node => {
                self.own_field(first)?;
                Err(format!("{first:?} is a single value and has no fields"))
            }
            _ => Err(format!("unknown field {:?}", names.join("."))),
        }
    }

    fn use_field(&mut self, expr: &mut IdedExpr, field: &'static Field) -> Checked {
        let kind = match field.kind {
            FieldType::Number => Type::Number,
            FieldType::Text => Type::Text,
            FieldType::Flag => Type::Flag,
            FieldType::Time => {
                let name = field.name;
                return Err(format!("{name:?} is a time: use it as older({name}, \"5m\")"));
            }
            FieldType::Labels => {
                return Err("\"labels\" are several: name one, as in labels.rack".to_owned());
            }
        };
        Ok(self.refer(expr, Reference::Field(field), kind))
    }

    /// Replaces an expression by a reference; the name is its number.
    fn refer(&mut self, expr: &mut IdedExpr, reference: Reference, kind: Type) -> Type {
        expr.expr = Expr::Ident(self.references.len().to_string());
        self.references.push(reference);
        kind
    }

    fn check_older(&mut self, call: &CallExpr) -> Result<Reference, String> {
        let usage = "older() takes a time and a literal duration, as in older(changed_at, \"5m\")";
        if call.target.is_some() {
            return Err(usage.to_owned());
        }
        let [time, duration] = call.args.as_slice() else { return Err(usage.to_owned()) };
        let Expr::Literal(LiteralValue::String(text)) = &duration.expr else {
            return Err(usage.to_owned());
        };
        // With a minus it speaks of what lies ahead: "-14d" is true from 14 days before the time.
        let (sign, length) = match text.inner().strip_prefix('-') {
            Some(length) => (-1, length),
            None => (1, text.inner()),
        };
        let duration = parse_duration(length).map_err(|error| format!("older(): {error}"))? * sign;
        let field = match &time.expr {
            Expr::Ident(name) => self.own_field(name)?,
            Expr::Select(select) => {
                let names = self.qualified(select)?;
                match names.as_slice() {
                    [node, name] if node == "node" => {
                        Self::new(EntityKind::Node).own_field(name)?
                    }
                    _ => return Err(format!("unknown field {:?}", names.join("."))),
                }
            }
            _ => return Err(usage.to_owned()),
        };
        if field.kind != FieldType::Time {
            return Err(format!(
                "older(): {:?} is a {}, not a time",
                field.name,
                field.kind.as_str()
            ));
        }
        if self.olders == OLDERS_MAX {
            return Err(format!("calls older() more than {OLDERS_MAX} times"));
        }
        self.olders += 1;
        Ok(Reference::Older(field, duration, self.olders - 1))
    }

    fn check_call(&mut self, call: &mut CallExpr) -> Checked {
        let name = call.func_name.clone();
        if let Some(target) = &mut call.target {
            return self.check_method(&name, target, &mut call.args);
        }
        let mut kinds = Vec::with_capacity(call.args.len());
        for argument in &mut call.args {
            kinds.push(self.check(argument)?);
        }
        if name == "glob" && !matches!(call.args.get(1).map(|a| &a.expr), Some(Expr::Literal(_))) {
            let bound = matches!(call.args.get(1).map(|a| &a.expr), Some(Expr::Ident(name))
                if self.bound.iter().any(|(bound, _)| bound == name));
            if !bound {
                return Err("glob() takes a text and a literal pattern, as in \
                            glob(name, \"pve-*\")"
                    .to_owned());
            }
        }
        operator(&name, &kinds)
    }

    fn check_method(
        &mut self,
        name: &str,
        target: &mut IdedExpr,
        args: &mut [IdedExpr],
    ) -> Checked {
        if !METHODS.contains(&name) {
            let known = METHODS.iter().chain(&FUNCTIONS).copied();
            return Err(format!("unknown function {name:?}{}", hint(name, known)));
        }
        let on = self.check(target)?;
        let [argument] = args else { return Err(format!("{name}() takes one text")) };
        let argument = self.check(argument)?;
        if on.fits(&Type::Text) && argument.fits(&Type::Text) {
            Ok(Type::Flag)
        } else {
            Err(format!("{name}() is for texts, not for {} and {}", on.name(), argument.name()))
        }
    }

    /// `exists` and `all`, which the parser has made of the call.
    fn check_comprehension(&mut self, each: &mut ComprehensionExpr) -> Checked {
        let Type::List(element) = self.check(&mut each.iter_range)? else {
            return Err("exists() and all() are for lists".to_owned());
        };
        let start = self.check(&mut each.accu_init)?;
        if start != Type::Flag {
            return Err("of the macros on lists only exists() and all() can be used".to_owned());
        }
        let depth = self.bound.len();
        self.bound.push((each.iter_var.clone(), *element));
        self.bound.push((each.accu_var.clone(), start));
        let parts = [&mut each.loop_cond, &mut each.loop_step, &mut each.result];
        let checked = parts.into_iter().try_for_each(|part| self.check(part).map(drop));
        self.bound.truncate(depth);
        checked.map(|()| Type::Flag)
    }
}
