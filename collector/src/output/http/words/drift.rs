//! Drift, in words.

use crate::output::http::api::DriftAnswer;

/// How much differs, in a sentence; none if there is no policy.
pub fn drift(answer: &DriftAnswer) -> Option<String> {
    if answer.problem.is_some() {
        return Some("The policy file cannot be used, so nothing is checked.".to_owned());
    }
    if answer.policies.is_empty() {
        return None;
    }
    let guests: usize = answer.policies.iter().map(|policy| policy.guests).sum();
    let policies = match answer.policies.len() {
        1 => "1 policy".to_owned(),
        policies => format!("{policies} policies"),
    };
    Some(match answer.total {
        0 => format!("Nothing differs from {policies}, about {guests} guests."),
        1 => format!("1 difference from {policies}, about {guests} guests."),
        total => format!("{total} differences from {policies}, about {guests} guests."),
    })
}

/// What of it could not be checked, or says nothing, in a sentence each.
pub fn drift_troubles(answer: &DriftAnswer) -> Vec<String> {
    let file = answer.problem.clone();
    let failed = answer.failed().map(|(policy, check, problem)| {
        format!("Policy {} cannot be checked on {}: {problem}.", policy.name, check.node)
    });
    let unchecked = answer.unchecked().map(|(policy, check)| {
        let (name, node) = (&policy.name, &check.node);
        format!("Policy {name} is not checked on {node} yet: jobs or storages are not known.")
    });
    let idle = answer.idle().filter(|policy| policy.checks.is_empty());
    let idle = idle.map(|policy| format!("Policy {} is about no known guest.", policy.name));
    file.into_iter().chain(failed).chain(unchecked).chain(idle).collect()
}
