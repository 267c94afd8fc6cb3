//! Drift on the page: what is not as policies want it.

use serde::Serialize;

use super::view::Listed;
use crate::output::http::Picture;
use crate::output::http::api::{DifferenceAnswer, DriftAnswer, DriftQuery};
use crate::output::http::words;

/// Differences on the page.
const DIFFERENCES_MAX: usize = 100;

/// What policies come to.
#[derive(Debug, Default, Serialize)]
pub struct DriftView {
    /// How much differs; empty if there is no policy.
    summary: String,
    /// What could not be checked.
    troubles: Vec<String>,
    differences: Listed<DifferenceView>,
}

/// One thing that differs.
#[derive(Debug, Serialize)]
struct DifferenceView {
    guest: String,
    node: String,
    policy: String,
    what: String,
    expected: String,
    found: String,
    place: String,
}

/// What policies come to.
pub fn view(picture: &Picture) -> DriftView {
    let query = DriftQuery { limit: Some(DIFFERENCES_MAX), ..DriftQuery::default() };
    // The limit is one that is possible.
    let Ok(answer) = DriftAnswer::of(picture, &query) else { return DriftView::default() };
    let Some(summary) = words::drift(&answer) else { return DriftView::default() };
    DriftView {
        summary,
        troubles: words::drift_troubles(&answer),
        differences: Listed {
            left_out: answer.total.saturating_sub(answer.differences.len()),
            shown: answer.differences.into_iter().map(DifferenceView::of).collect(),
        },
    }
}

impl DifferenceView {
    fn of(difference: DifferenceAnswer) -> Self {
        let name = difference.name.map(|name| format!(" {name}")).unwrap_or_default();
        Self {
            guest: format!("{}{name}", difference.vmid),
            node: difference.node.to_string(),
            policy: difference.policy,
            what: difference.what,
            expected: difference.expected,
            found: difference.found,
            place: difference.place,
        }
    }
}
