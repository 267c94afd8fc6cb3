//! Which alerts are not worth telling, because a graver one of the same cause fires.
//!
//! An inhibited alert lives on as any other; it is only not told, until the graver one is over.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use pvewatch_protocol::NodeName;

use super::alert::Phase;
use super::book::{AlertKey, Book, Touched, seen_anew};
use super::transition::{News, Transition, Why};
use crate::fleet::EntityKind;
use crate::rules::RuleSet;

impl Book {
    /// The rule whose firing alert makes this one not worth telling, if there is one: about the
    /// same entity, or about its node.
    pub(super) fn inhibitor(
        &self,
        node: &NodeName,
        key: &AlertKey,
        rules: &RuleSet,
    ) -> Option<Arc<str>> {
        let alerts = self.active.get(node)?;
        let rule = &rules.rules()[rules.find(&key.rule)?];
        let fires = |kind: EntityKind, id: &Arc<str>, rule: &Arc<str>| {
            let key = AlertKey { kind, id: id.clone(), rule: rule.clone() };
            alerts.get(&key).is_some_and(|alert| matches!(alert.phase, Phase::Firing { .. }))
        };
        let node_id: Arc<str> = Arc::from("");
        let inhibits = |rule: &&Arc<str>| {
            fires(key.kind, &key.id, rule) || fires(EntityKind::Node, &node_id, rule)
        };
        rule.inhibited_by.iter().find(inhibits).cloned()
    }

    /// Judges anew which alerts of a node are inhibited, after one of `rule` began or ended.
    pub(super) fn review(
        &mut self,
        node: &NodeName,
        rule: &str,
        at: Timestamp,
        (rules, now): (&RuleSet, Timestamp),
    ) -> Vec<Transition> {
        let numbers = rules.find(rule).map_or(&[][..], |number| rules.inhibited_by(number));
        let concerned =
            |key: &&AlertKey| rules.find(&key.rule).is_some_and(|number| numbers.contains(&number));
        if numbers.is_empty() {
            return Vec::new();
        }
        let keys: Vec<AlertKey> =
            self.of_node(node).map(|(key, _)| key).filter(concerned).cloned().collect();
        self.judge_inhibition(node, keys, at, (rules, now))
    }

    /// Judges anew which of all alerts are inhibited: the rules are others.
    pub fn review_all(
        &mut self,
        at: Timestamp,
        (rules, now): (&RuleSet, Timestamp),
    ) -> Vec<Transition> {
        let mut keys: BTreeMap<NodeName, Vec<AlertKey>> = BTreeMap::new();
        for (node, key, _) in self.active() {
            keys.entry(node.clone()).or_default().push(key.clone());
        }
        let judge = |(node, keys)| self.judge_inhibition(&node, keys, at, (rules, now));
        keys.into_iter().flat_map(judge).collect()
    }

    fn judge_inhibition(
        &mut self,
        node: &NodeName,
        keys: Vec<AlertKey>,
        at: Timestamp,
        (rules, now): (&RuleSet, Timestamp),
    ) -> Vec<Transition> {
        let mut transitions = Vec::new();
        for key in keys {
            let inhibitor = self.inhibitor(node, &key, rules);
            let known = self.active.get_mut(node).and_then(|alerts| alerts.get_mut(&key));
            let Some(known) = known else { continue };
            if known.inhibited_by == inhibitor {
                continue;
            }
            let began = inhibitor.is_some();
            let alert = Arc::make_mut(known);
            alert.inhibited_by = inhibitor;
            alert.changed_at = now;
            let fires = matches!(alert.phase, Phase::Firing { .. });
            let news = if fires && !began && !alert.told { News::Tell } else { News::Update };
            alert.told |= news == News::Tell;
            self.touched.push((alert.fingerprint, Touched::State));
            let why = if began { Why::InhibitionBegan } else { Why::InhibitionEnded };
            transitions.push(seen_anew(known, at, why, news));
        }
        transitions
    }
}
