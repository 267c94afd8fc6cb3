//! All rules together, checked beside each other and indexed by what they look at.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use pvewatch_protocol::{Fingerprint, Site};

use super::complaints::FileError;
use super::example::Example;
use super::expression::{Evaluation, Expression, Outcome};
use super::fields::{Subject, own_environment};
use super::file::{Parsed, Placed, RulesError, is_name, parse};
use super::nearest::hint;
use super::rule::{Presented, Rule};
use super::template::Templates;
use crate::fleet::{Entity, EntityKind, Origin};

/// Rules that a set can hold: far more than anyone can look after.
pub const RULES_MAX: usize = 1000;

/// Rules of which one inhibits the next that are put in order; further ones keep theirs.
const DEPTH_MAX: u8 = 8;

/// A rule file.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Its name, for messages.
    pub file: &'a str,
    /// What it holds.
    pub text: &'a str,
}

/// A rule tried on an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The rule's name.
    pub rule: Arc<str>,
    /// Whether its condition holds; none if nothing can be said.
    pub holds: Option<bool>,
    /// What it would say.
    pub summary: String,
}

/// A set of rules.
#[derive(Debug, Clone)]
pub struct RuleSet {
    rules: Vec<Arc<Rule>>,
    templates: Templates,
    /// Numbers of rules, by scope.
    by_scope: BTreeMap<EntityKind, Vec<usize>>,
    by_name: HashMap<Arc<str>, usize>,
    /// Numbers of rules over what belongs to a node, by the origin of fields that they read of the
    /// node, or of its sample.
    children: BTreeMap<u8, Vec<usize>>,
    /// For each rule, the numbers of those that it inhibits.
    inhibits: Vec<Vec<usize>>,
}

impl Default for RuleSet {
    fn default() -> Self {
        Self::empty()
    }
}

impl RuleSet {
    /// A set without rules.
    pub fn empty() -> Self {
        Self {
            rules: Vec::new(),
            templates: Templates::new(),
            by_scope: BTreeMap::new(),
            by_name: HashMap::new(),
            children: BTreeMap::new(),
            inhibits: Vec::new(),
        }
    }

    /// Loads rule files. A rule of a later file takes the place of one of the same name in an
    /// earlier file; that is how a site adapts the shipped catalogue.
    ///
    /// # Errors
    /// Everything that is wrong in any of the files.
    pub fn load(sources: &[Source<'_>]) -> Result<Self, RulesError> {
        let mut errors = Vec::new();
        let mut chosen: Vec<Parsed> = Vec::new();
        let mut adaptions = Vec::new();
        for source in sources {
            let content = parse(source.file, source.text);
            errors.extend(content.errors);
            adaptions.extend(content.adaptions);
            let mut names = BTreeSet::new();
            for parsed in content.rules {
                if !names.insert(parsed.rule.name.clone()) {
                    let message = format!("rule {:?} is there twice: rename one", parsed.rule.name);
                    errors.push(error(&parsed, parsed.rule.line, message));
                }
                match chosen.iter_mut().find(|known| known.rule.name == parsed.rule.name) {
                    Some(known) => *known = parsed,
                    None => chosen.push(parsed),
                }
            }
        }
        let applied = adaptions.into_iter().map(|adaption| adaption.apply(&mut chosen));
        errors.extend(applied.filter_map(Result::err));
        let mut set = Self::empty();
        errors.extend(set.add_all(chosen));
        if errors.is_empty() { Ok(set) } else { Err(RulesError(errors)) }
    }

    fn add_all(&mut self, mut chosen: Vec<Parsed>) -> Vec<FileError> {
        let mut errors = Vec::new();
        if let Some(first) = chosen.get(RULES_MAX) {
            let message = format!("there are more than {RULES_MAX} rules");
            errors.push(error(first, first.rule.line, message));
            return errors;
        }
        let names: Vec<Arc<str>> = chosen.iter().map(|parsed| parsed.rule.name.clone()).collect();
        let example = Example::new();
        for parsed in &mut chosen {
            errors.extend(self.add_templates(parsed));
            errors.extend(find_inhibitors(parsed, &names));
            errors.extend(try_out(parsed, &example));
        }
        self.rules = chosen.into_iter().map(|parsed| Arc::new(parsed.rule)).collect();
        if errors.is_empty() {
            errors.extend(self.try_templates(&example));
        }
        self.index();
        errors
    }

    fn index(&mut self) {
        self.inhibits = vec![Vec::new(); self.rules.len()];
        let in_force = self.rules.iter().enumerate().filter(|(_, rule)| rule.is_in_force());
        for (number, rule) in in_force {
            self.by_scope.entry(rule.scope).or_default().push(number);
            self.by_name.insert(rule.name.clone(), number);
            for origin in [Origin::Facts, Origin::Reading, Origin::Silence] {
                let is_sampled = EntityKind::OF_SAMPLE.contains(&rule.scope);
                let reads =
                    rule.changes_with_node(origin) || is_sampled && origin == Origin::Reading;
                if rule.scope != EntityKind::Node && reads {
                    self.children.entry(origin as u8).or_default().push(number);
                }
            }
            for (other, inhibitor) in self.rules.iter().enumerate() {
                if rule.inhibited_by.contains(&inhibitor.name) {
                    self.inhibits[other].push(number);
                }
            }
        }
        let depths = self.depths();
        for numbers in self.by_scope.values_mut() {
            numbers.sort_by_key(|number| Reverse(depths[*number]));
        }
    }

    /// How many rules stand above each, of which one inhibits the next.
    fn depths(&self) -> Vec<u8> {
        let mut depths = vec![0_u8; self.rules.len()];
        // Rules can inhibit each other in a circle.
        for depth in 0..DEPTH_MAX {
            for (inhibitor, inhibited) in self.inhibits.iter().enumerate() {
                if depths[inhibitor] == depth {
                    inhibited.iter().for_each(|number| depths[*number] = depth + 1);
                }
            }
        }
        depths
    }

    fn add_templates(&mut self, parsed: &Parsed) -> Vec<FileError> {
        let rule = &parsed.rule;
        let texts =
            [("summary", Some(&parsed.summary)), ("description", parsed.description.as_ref())];
        let add = |(key, text): (&str, Option<&Placed>)| {
            let text = text?;
            let name = template_name(&rule.name, key);
            let added = self.templates.add(&name, &text.text, rule.scope);
            let message = format!("rule {:?}: {key}: {}", rule.name, added.err()?);
            Some(error(parsed, text.line, message))
        };
        texts.into_iter().filter_map(add).collect()
    }

    fn try_templates(&self, example: &Example) -> Vec<FileError> {
        let complaint = |rule: &Arc<Rule>| {
            let value = rule.value.as_ref().map(|_| 1.0);
            let subject = example.subject(rule.scope);
            let (key, message) = self.annotations(rule, &subject, value).err()?;
            let message = format!("rule {:?}: {key}: {message}", rule.name);
            Some(FileError { file: rule.file.clone(), line: rule.line, message })
        };
        self.rules.iter().filter_map(complaint).collect()
    }

    /// All rules, in the order of their files; their places are their numbers.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// Whether there is a rule of this name that is in force nowhere.
    pub fn is_disabled(&self, name: &str) -> bool {
        self.rules.iter().any(|rule| *rule.name == *name && !rule.is_in_force())
    }

    /// The number of the rule of this name, if it is in force.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The numbers of the rules over a scope: those that others inhibit come before these, so that
    /// nobody is told, when all are over, that one is not inhibited any more.
    pub fn of_scope(&self, scope: EntityKind) -> &[usize] {
        self.by_scope.get(&scope).map_or(&[], Vec::as_slice)
    }

    /// The numbers of the rules whose alerts a firing alert of this rule inhibits.
    pub fn inhibited_by(&self, rule: usize) -> &[usize] {
        self.inhibits.get(rule).map_or(&[], Vec::as_slice)
    }

    /// The numbers of the rules over what belongs to a node that can come to something else when
    /// something of this origin changed with the node.
    pub fn children_reading(&self, origin: Origin) -> &[usize] {
        self.children.get(&(origin as u8)).map_or(&[], Vec::as_slice)
    }

    /// What an alert of this rule about this subject shows.
    pub fn present(
        &self,
        rule: &Rule,
        site: &Site,
        subject: &Subject<'_>,
        at: Timestamp,
    ) -> Presented {
        let value = rule.value.as_ref().and_then(|value| match value.evaluate(subject, at) {
            Evaluation { outcome: Outcome::Number(number), .. } if number.is_finite() => {
                Some(number)
            }
            _ => None,
        });
        let mut annotations =
            self.annotations(rule, subject, value).unwrap_or_else(|(key, message)| {
                // The text cannot be written, but the alert must not be lost for it.
                let text = format!("{} on {} ({key}: {message})", rule.name, subject.node.name);
                BTreeMap::from([("summary".to_owned(), text)])
            });
        annotations.extend(rule.runbook_url.clone().map(|url| ("runbook_url".to_owned(), url)));
        let labels = labels(rule, site, subject);
        let pairs = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let fingerprint = Fingerprint::of(pairs);
        let as_of = match subject.entity.position() {
            Some(position) => Some(position),
            None => {
                let sampled = subject.node.reading.as_ref().map(|reading| reading.sample.as_of);
                sampled.or(subject.node.facts_position)
            }
        };
        let log = subject.entity.unit().map_or(&[][..], |unit| unit.log_of_this_run());
        let detail = log.iter().map(|line| line.message.clone()).collect();
        Presented { fingerprint, labels, annotations, detail, value, as_of }
    }

    /// Every rule tried on an example entity of its scope: whether it holds, and what it would say.
    /// Time is judged as of `at`.
    pub fn examples(&self, at: Timestamp) -> Vec<Tried> {
        let (example, site) = (Example::new(), Site::default());
        let try_on_example = |rule: &Arc<Rule>| {
            let subject = example.subject(rule.scope);
            let holds = match rule.when.evaluate(&subject, at).outcome {
                Outcome::Flag(holds) => Some(holds),
                _ => None,
            };
            let mut shown = self.present(rule, &site, &subject, at);
            let summary = shown.annotations.remove("summary").unwrap_or_default();
            Tried { rule: rule.name.clone(), holds, summary }
        };
        self.rules.iter().map(try_on_example).collect()
    }

    fn annotations(
        &self,
        rule: &Rule,
        subject: &Subject<'_>,
        value: Option<f64>,
    ) -> Result<BTreeMap<String, String>, (&'static str, String)> {
        let mut annotations = BTreeMap::new();
        for key in ["summary", "description"] {
            let name = template_name(&rule.name, key);
            if let Some(text) = self.templates.render(&name, subject, value) {
                annotations.insert(key.to_owned(), text.map_err(|message| (key, message))?);
            }
        }
        Ok(annotations)
    }
}

fn template_name(rule: &str, key: &str) -> String {
    format!("{rule}.{key}")
}

fn error(parsed: &Parsed, line: usize, message: String) -> FileError {
    FileError { file: parsed.rule.file.clone(), line, message }
}

fn find_inhibitors(parsed: &mut Parsed, names: &[Arc<str>]) -> Vec<FileError> {
    let mut errors = Vec::new();
    for inhibitor in &parsed.inhibited_by {
        let rule = &parsed.rule;
        match names.iter().find(|name| ***name == *inhibitor.text && **name != rule.name) {
            Some(name) => parsed.rule.inhibited_by.push(name.clone()),
            None => {
                let others = names.iter().map(|name| &**name).filter(|name| **name != *rule.name);
                let hint = hint(&inhibitor.text, others);
                let (name, text) = (&rule.name, &inhibitor.text);
                let message = format!("rule {name:?}: inhibited_by: no other rule {text:?}{hint}");
                errors.push(error(parsed, inhibitor.line, message));
            }
        }
    }
    errors
}

/// Evaluates a rule on the example, where every field has a value.
fn try_out(parsed: &Parsed, example: &Example) -> Vec<FileError> {
    let rule = &parsed.rule;
    let subject = example.subject(rule.scope);
    let parts = [("when", Some(&rule.when)), ("value", rule.value.as_ref())];
    let variants = rule.variants.iter().filter_map(|variant| variant.rule.as_ref());
    let parts = parts.into_iter().chain(variants.map(|rule| ("when", Some(&rule.when))));
    let complaint = |(key, expression): (&str, Option<&Expression>)| {
        let evaluation = expression?.evaluate(&subject, Timestamp::MAX);
        let Outcome::Failed(message) = evaluation.outcome else { return None };
        let message = format!("rule {:?}: {key}: on an example: {message}", rule.name);
        Some(error(parsed, rule.line, message))
    };
    parts.filter_map(complaint).collect()
}

/// The labels of an alert: what identifies it, the rule's, and the node's own. The collector's
/// win over the rule's, and those over the node's.
fn labels(rule: &Rule, site: &Site, subject: &Subject<'_>) -> BTreeMap<String, String> {
    let node = subject.node.facts.iter().flat_map(|facts| &facts.labels);
    let own = node.filter(|(name, value)| is_name(name) && !value.is_empty()).chain(&rule.labels);
    let mut labels: BTreeMap<String, String> =
        own.map(|(name, value)| (name.clone(), value.clone())).collect();
    let mut set = |name: &str, value: &str| labels.insert(name.to_owned(), value.to_owned());
    set("alertname", &rule.name);
    set("severity", rule.severity.as_str());
    set("site", site.as_str());
    set("node", subject.node.name.as_str());
    let own = match subject.entity {
        Entity::Node => None,
        Entity::Unit(unit) => Some(("unit", &*unit.id)),
        Entity::Backup(backup) => Some(("vmid", &*backup.id)),
        Entity::BackupJob(job) => Some(("backup_job", &*job.id)),
        Entity::Storage(storage) => Some(("storage", &*storage.id)),
        Entity::Guest(guest) => Some(("vmid", &*guest.id)),
        Entity::Filesystem(filesystem) => Some(("mountpoint", &*filesystem.mount)),
        Entity::Pool(pool) => Some(("pool", &*pool.name)),
        Entity::Drift(drift) => Some(("policy", &*drift.id)),
        Entity::Interface(interface) => Some(("device", &*interface.counted.name)),
        Entity::Member(seen) => Some(("member", &*seen.member.node)),
    };
    if let Some(environment) = own_environment(subject.entity) {
        set("environment", environment);
    }
    if let Some((name, value)) = own {
        set(name, value);
    }
    labels
}
