//! `/api/v1/rules`: how the rules fare.

use pvewatch_protocol::Site;
use serde::Serialize;

use crate::core::RuleStatus;
use crate::output::http::picture::Picture;

/// The answer of `/api/v1/rules`; its length is bounded by the rules that can be loaded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RulesAnswer {
    /// The site.
    pub site: Site,
    /// The rules, in the order of their files.
    pub rules: Vec<RuleAnswer>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RuleAnswer {
    /// Name, scope, entities seen, evaluations, errors, and the last error.
    #[serde(flatten)]
    pub status: RuleStatus,
    /// Whether it has nothing to look at.
    pub dead: bool,
}

impl RulesAnswer {
    /// Answers.
    pub fn of(picture: &Picture) -> Self {
        let answer =
            |status: &RuleStatus| RuleAnswer { dead: status.is_dead(), status: status.clone() };
        Self {
            site: picture.snapshot.site.clone(),
            rules: picture.snapshot.rules.iter().map(answer).collect(),
        }
    }
}
