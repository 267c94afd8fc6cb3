//! `/api/v1/alerts/ID`: one alert with its rule, and how it came to be as it is.

use std::sync::Arc;

use jiff::Timestamp;
use pvewatch_protocol::{AlertState, Fingerprint, Site};
use serde::{Deserialize, Serialize};

use super::alerts::AlertAnswer;
use super::rules::{RuleAnswer, RulesAnswer};
use crate::alerts::{Alert, News, Transition};
use crate::output::http::error::ApiError;
use crate::output::http::picture::Picture;

/// Digits of an alert's id that are enough to name it.
const ID_DIGITS_MIN: usize = 4;

/// The answer of `/api/v1/alerts/ID`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertDetails {
    /// The site.
    pub site: Site,
    /// When the answer was made, by the collector's clock.
    pub at: Timestamp,
    /// The alert, as it is or as it was last.
    pub alert: AlertAnswer,
    /// Whether this collector told people that it fires; one that was away did not, where another
    /// did.
    pub told: bool,
    /// More lines for people, such as the end of a log.
    pub detail: Vec<String>,
    /// Its rule; none if that is gone.
    pub rule: Option<RuleAnswer>,
    /// What became of it, the oldest first; only what is kept, and of that the newest.
    pub steps: Vec<StepAnswer>,
}

/// A step of an alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepAnswer {
    /// When it happened.
    pub at: Timestamp,
    /// The state after it; none if it was gone without having fired.
    pub state: Option<AlertState>,
    /// Why, such as `condition_lasted`.
    pub why: String,
    /// Whether people were told.
    pub told: bool,
}

/// Which alert is meant by the first digits of its id: one that is active or ended lately, or
/// else any of which the whole id is given.
///
/// # Errors
/// When no alert is meant, or more than one.
pub fn find_alert(picture: &Picture, id: &str) -> Result<Fingerprint, ApiError> {
    let is_hexadecimal = id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if id.len() < ID_DIGITS_MIN || !is_hexadecimal {
        let message = format!(
            "{id:?} is no alert's id: give its first digits, {ID_DIGITS_MIN} at least, as \
             `pvewatch alerts` shows them"
        );
        return Err(ApiError::bad(message));
    }
    let id = id.to_ascii_lowercase();
    let meant: Vec<&Arc<Alert>> = picture
        .snapshot
        .alerts
        .iter()
        .filter(|alert| alert.fingerprint.to_string().starts_with(&id))
        .collect();
    match (&*meant, id.parse()) {
        ([alert], _) => Ok(alert.fingerprint),
        ([], Ok(whole)) => Ok(whole),
        ([], Err(_)) => {
            Err(ApiError::not_found(format!("no alert has an id that begins with {id}")))
        }
        (several, _) => {
            let ids: Vec<String> =
                several.iter().map(|alert| alert.fingerprint.to_string()).collect();
            let message = format!("{} alerts are meant by {id}: {}", several.len(), ids.join(", "));
            Err(ApiError::bad(message))
        }
    }
}

impl AlertDetails {
    /// Answers, with the steps that are kept of it, the newest first.
    ///
    /// # Errors
    /// When nothing is known of the alert.
    pub fn of(
        picture: &Picture,
        fingerprint: Fingerprint,
        steps: &[Transition],
    ) -> Result<Self, ApiError> {
        let known = picture.snapshot.alerts.iter().find(|it| it.fingerprint == fingerprint);
        let alert = known.or(steps.first().map(|step| &step.alert)).ok_or_else(|| {
            ApiError::not_found(format!("nothing is known of an alert {fingerprint}"))
        })?;
        let rules = RulesAnswer::of(picture).rules;
        Ok(Self {
            site: picture.snapshot.site.clone(),
            at: picture.now,
            alert: AlertAnswer::of(alert),
            told: alert.told,
            detail: alert.detail.clone(),
            rule: rules.into_iter().find(|rule| *rule.name == *alert.rule),
            steps: steps.iter().rev().map(StepAnswer::of).collect(),
        })
    }
}

impl StepAnswer {
    fn of(step: &Transition) -> Self {
        Self {
            at: step.at,
            state: step.to,
            why: step.why.as_str().to_owned(),
            told: step.news == News::Tell,
        }
    }
}
