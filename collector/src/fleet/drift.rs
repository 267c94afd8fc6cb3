//! Drift: what a policy finds on one node that differs from what should be.
//!
//! It follows from the policy and from what is known of the node's guests, jobs and storages, so
//! that it needs no record of its own.

use std::sync::Arc;

use jiff::Timestamp;
use pvewatch_protocol::{NodeName, Vmid};
use serde::{Deserialize, Serialize};

/// Differences that are kept of a policy on one node. Overflow: those of the last guests by number
/// are left out, and counted.
pub const DIFFERENCES_KEPT: usize = 200;

/// Differences that a text names.
const DIFFERENCES_NAMED: usize = 5;

/// The name of the check that fails if the policy file cannot be read. No policy can have it, since
/// a policy's name has no blanks.
pub const POLICY_FILE: &str = "policy file";

/// What a policy comes to on one node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// The node.
    pub node: NodeName,
    /// The policy's name; [`POLICY_FILE`] if there is none, because the file cannot be read.
    pub id: Arc<str>,
    /// The environment of all that the policy is about, if it names one.
    pub environment: Option<String>,
    /// Guests of the node that it is about.
    pub guests: usize,
    /// Those of them that differ.
    pub differing: usize,
    /// What differs, by guest; at most [`DIFFERENCES_KEPT`].
    pub differences: Vec<Difference>,
    /// Differences that are left out of that.
    pub left_out: usize,
    /// Whether all has come that is needed to look at what it asks for.
    pub is_checked: bool,
    /// When the node told of its guests last, by its clock; none if it never did.
    pub checked_at: Option<Timestamp>,
    /// Why something of what it asks for cannot be looked at; none if all can.
    pub problem: Option<String>,
    /// The first differences, in words.
    pub words: String,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
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
    /// Where that stands, as the guest's node names it: a file, and a section of it.
    pub place: String,
}

impl Drift {
    /// A check that has found nothing yet.
    pub(super) fn new(node: NodeName, id: Arc<str>) -> Self {
        Self {
            node,
            id,
            environment: None,
            guests: 0,
            differing: 0,
            differences: Vec::new(),
            left_out: 0,
            is_checked: false,
            checked_at: None,
            problem: None,
            words: String::new(),
        }
    }

    /// The check of a policy file that cannot be read.
    pub(super) fn of_file(node: NodeName, problem: String) -> Self {
        Self { problem: Some(problem), ..Self::new(node, POLICY_FILE.into()) }
    }

    /// Whether it is about the file, and not about a policy.
    pub fn is_of_file(&self) -> bool {
        &*self.id == POLICY_FILE
    }

    /// How many differences there are.
    pub fn total(&self) -> usize {
        self.differences.len() + self.left_out
    }

    /// Takes in what was found. All that differ are counted, the first are kept.
    pub(super) fn find(&mut self, differences: Vec<Difference>) {
        self.differing += usize::from(!differences.is_empty());
        for difference in differences {
            match self.differences.len() < DIFFERENCES_KEPT {
                true => self.differences.push(difference),
                false => self.left_out += 1,
            }
        }
    }

    /// Puts the first differences into words, when all are found.
    pub(super) fn put_into_words(&mut self) {
        let words = self.differences.iter().take(DIFFERENCES_NAMED).map(Difference::words);
        self.words = words.collect::<Vec<_>>().join("; ");
        let more = self.total().saturating_sub(DIFFERENCES_NAMED);
        if more > 0 {
            self.words.push_str(&format!("; and {more} more"));
        }
    }
}

impl Difference {
    /// In words: `100 (web): scsihw: lsi, should be virtio-scsi-single`.
    fn words(&self) -> String {
        let name = self.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        let Self { vmid, what, expected, found, .. } = self;
        format!("{vmid}{name}: {what}: {found}, should be {expected}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_very_many_differences_the_first_are_kept_and_all_are_counted() {
        let difference = |vmid: u32| Difference {
            vmid: vmid.try_into().unwrap(),
            name: None,
            what: "onboot".to_owned(),
            expected: "on".to_owned(),
            found: "off".to_owned(),
            place: format!("/etc/pve/lxc/{vmid}.conf"),
        };
        let mut drift = Drift::new("pve1".parse().unwrap(), "prod".into());
        for vmid in 100..400 {
            drift.find(vec![difference(vmid)]);
        }
        drift.find(Vec::new());
        drift.put_into_words();
        assert_eq!((drift.differing, drift.total()), (300, 300));
        assert_eq!((drift.differences.len(), drift.left_out), (DIFFERENCES_KEPT, 100));
        assert_eq!(drift.differences[0], difference(100));
        assert!(
            drift.words.starts_with("100: onboot: off, should be on; 101: "),
            "{}",
            drift.words
        );
        assert!(drift.words.ends_with("; and 295 more"), "{}", drift.words);
    }
}
