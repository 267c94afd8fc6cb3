//! `/api/v1/drift`: what policies want of guests, and what is otherwise.

use jiff::Timestamp;
use pvewatch_protocol::{NodeName, Site, Vmid};
use serde::{Deserialize, Serialize};

use super::checked_limit;
use crate::fleet::{Difference, Drift, NodeView, Policy};
use crate::output::http::error::ApiError;
use crate::output::http::picture::Picture;

/// Differences in one answer, unless a limit is given.
pub const DIFFERENCES_DEFAULT: usize = 1000;

/// Differences in one answer at most.
pub const DIFFERENCES_MAX: usize = 10_000;

/// The parameters of `/api/v1/drift`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriftQuery {
    /// Of this node only.
    pub node: Option<NodeName>,
    /// Of this policy only.
    pub policy: Option<String>,
    /// At most so many differences.
    pub limit: Option<usize>,
}

/// The answer of `/api/v1/drift`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DriftAnswer {
    /// The site.
    pub site: Site,
    /// When the answer was made, by the collector's clock.
    pub at: Timestamp,
    /// The policy file; none if there is none.
    pub file: Option<String>,
    /// Why it says nothing; none if it does.
    pub problem: Option<String>,
    /// The policies that the question is about, in the order of the file.
    pub policies: Vec<PolicyAnswer>,
    /// Differences that the question is about; more than are listed if there is a limit, or if a
    /// node has very many.
    pub total: usize,
    /// The differences, by policy, node and guest.
    pub differences: Vec<DifferenceAnswer>,
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyAnswer {
    /// Its name.
    pub name: String,
    /// Guests that it is about.
    pub guests: usize,
    /// Those of them that differ.
    pub differing_guests: usize,
    /// Differences.
    pub differences: usize,
    /// What it comes to on each node that has such guests.
    pub checks: Vec<CheckAnswer>,
}

/// What a policy comes to on one node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckAnswer {
    /// The node.
    pub node: NodeName,
    /// Guests of the node that it is about.
    pub guests: usize,
    /// Those of them that differ.
    pub differing_guests: usize,
    /// Differences.
    pub differences: usize,
    /// Whether all came that is needed to check it.
    pub is_checked: bool,
    /// When the node told of its guests last; none if it never did.
    pub checked_at: Option<Timestamp>,
    /// Why something that the policy asks for cannot be looked at.
    pub problem: Option<String>,
}

/// One thing that is not as a policy wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferenceAnswer {
    /// The policy.
    pub policy: String,
    /// The guest's node.
    pub node: NodeName,
    /// The guest.
    pub vmid: Vmid,
    /// Its name.
    pub name: Option<String>,
    /// What it is about, such as `scsihw` or `keep-daily`.
    pub what: String,
    /// How it should be.
    pub expected: String,
    /// How it is.
    pub found: String,
    /// Where that stands: a file of the node, and a section of it.
    #[serde(rename = "where")]
    pub place: String,
}

impl DriftAnswer {
    /// Answers a question.
    ///
    /// # Errors
    /// When the limit is not possible, or there is no such policy.
    pub fn of(picture: &Picture, query: &DriftQuery) -> Result<Self, ApiError> {
        let limit = checked_limit(query.limit, DIFFERENCES_DEFAULT, DIFFERENCES_MAX)?;
        let snapshot = &picture.snapshot;
        let is_asked_for = |name: &str| query.policy.as_ref().is_none_or(|asked| asked == name);
        let policies = snapshot.policies.policies.iter().filter(|it| is_asked_for(&it.name));
        let policies: Vec<&Policy> = policies.map(|policy| &**policy).collect();
        if let (Some(asked), true) = (&query.policy, policies.is_empty()) {
            return Err(ApiError::bad(format!("policy={asked} is not possible: there is none")));
        }
        let is_asked_for =
            |view: &NodeView| query.node.as_ref().is_none_or(|asked| *asked == view.node.name);
        let nodes = snapshot.nodes.iter().map(|view| &**view).filter(|view| is_asked_for(view));
        let nodes: Vec<&NodeView> = nodes.collect();
        let mut differences = Vec::new();
        let of_policy = |policy: &Policy| {
            let on = |view: &&NodeView| {
                let drift = view.drifts.iter().find(|drift| drift.id == policy.name)?;
                let room = limit.saturating_sub(differences.len());
                let shown = drift.differences.iter().take(room);
                differences.extend(shown.map(|it| DifferenceAnswer::of(it, drift)));
                Some(CheckAnswer::of(drift))
            };
            PolicyAnswer::of(policy, nodes.iter().filter_map(on).collect())
        };
        let policies: Vec<PolicyAnswer> = policies.into_iter().map(of_policy).collect();
        let file = &snapshot.policies.file;
        Ok(Self {
            site: snapshot.site.clone(),
            at: picture.now,
            file: (!file.is_empty()).then(|| file.clone()),
            problem: snapshot.policies.problem.clone(),
            total: policies.iter().map(|policy| policy.differences).sum(),
            policies,
            differences,
        })
    }

    /// Whether anything differs, or could not be checked.
    pub fn is_anything_wrong(&self) -> bool {
        self.problem.is_some() || self.total > 0 || self.failed().next().is_some()
    }

    /// The checks that failed, in whole or in part, and why.
    pub fn failed(&self) -> impl Iterator<Item = (&PolicyAnswer, &CheckAnswer, &str)> {
        self.checks().filter_map(|(policy, check)| Some((policy, check, check.problem.as_deref()?)))
    }

    /// The checks for which something has not come yet.
    pub fn unchecked(&self) -> impl Iterator<Item = (&PolicyAnswer, &CheckAnswer)> {
        self.checks().filter(|(_, check)| !check.is_checked && check.problem.is_none())
    }

    /// The policies that are about no guest that is known.
    pub fn idle(&self) -> impl Iterator<Item = &PolicyAnswer> {
        self.policies.iter().filter(|policy| policy.guests == 0)
    }

    fn checks(&self) -> impl Iterator<Item = (&PolicyAnswer, &CheckAnswer)> {
        self.policies.iter().flat_map(|policy| policy.checks.iter().map(move |it| (policy, it)))
    }
}

impl PolicyAnswer {
    fn of(policy: &Policy, checks: Vec<CheckAnswer>) -> Self {
        Self {
            name: policy.name.to_string(),
            guests: checks.iter().map(|check| check.guests).sum(),
            differing_guests: checks.iter().map(|check| check.differing_guests).sum(),
            differences: checks.iter().map(|check| check.differences).sum(),
            checks,
        }
    }
}

impl CheckAnswer {
    fn of(drift: &Drift) -> Self {
        Self {
            node: drift.node.clone(),
            guests: drift.guests,
            differing_guests: drift.differing,
            differences: drift.total(),
            is_checked: drift.is_checked,
            checked_at: drift.checked_at,
            problem: drift.problem.clone(),
        }
    }
}

impl DifferenceAnswer {
    fn of(difference: &Difference, drift: &Drift) -> Self {
        let Difference { vmid, name, what, expected, found, place } = difference.clone();
        let (policy, node) = (drift.id.to_string(), drift.node.clone());
        Self { policy, node, vmid, name, what, expected, found, place }
    }
}
