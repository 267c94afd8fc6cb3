//! Policies: what should be true of guests, by environment, pool or tag.
//!
//! Read from a file elsewhere; here is what they mean. Absent: whether it is true.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::SignedDuration;
use pvewatch_protocol::{Guest, Vmid};
use serde::Serialize;

use super::glob::matches;

/// All that the policy file says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Policies {
    /// The file, for people; empty if there is none.
    pub file: String,
    /// Which guests belong to which environment: the first that matches counts.
    pub environments: Vec<Environment>,
    /// The policies, in the order of the file.
    pub policies: Vec<Arc<Policy>>,
    /// Why the file says nothing, with the line and what would be right; none if it does.
    pub problem: Option<String>,
}

impl Policies {
    /// A file that says nothing, because of `problem`.
    pub fn unreadable(file: &str, problem: String) -> Self {
        Self { file: file.to_owned(), problem: Some(problem), ..Self::default() }
    }

    /// Whether nobody wants anything, and nobody tried to say so.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty() && self.problem.is_none()
    }

    /// The environment of a guest by its tags and pool; none if that of its node counts.
    pub fn environment_of(&self, guest: &Guest) -> Option<&str> {
        let environment = self.environments.iter().find(|it| it.has(guest))?;
        Some(&environment.name)
    }
}

/// An environment, and how to tell that a guest belongs to it: by any of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Environment {
    /// Its name.
    pub name: String,
    /// Patterns of tags.
    pub tags: Vec<String>,
    /// Patterns of pools.
    pub pools: Vec<String>,
}

impl Environment {
    fn has(&self, guest: &Guest) -> bool {
        has_tag(guest, &self.tags) || is_in_pool(guest, &self.pools)
    }
}

/// What should be true of some guests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// Its name.
    pub name: Arc<str>,
    /// The guests that it is about.
    pub about: Selection,
    /// What should be true of them.
    pub wants: Wants,
}

/// The guests that a policy is about: those that match each of the lists that are not empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Selection {
    /// Patterns of environments.
    pub environments: Vec<String>,
    /// Patterns of pools.
    pub pools: Vec<String>,
    /// Patterns of tags, of which it has one.
    pub tags: Vec<String>,
    /// Patterns of tags, of which it has none.
    pub except_tags: Vec<String>,
    /// Numbers of guests.
    pub vmids: Vec<Vmid>,
    /// Whether templates are meant too.
    pub templates: bool,
}

impl Selection {
    /// Whether a guest of this environment is meant.
    pub fn has(&self, guest: &Guest, environment: &str) -> bool {
        let is_environment = || self.environments.iter().any(|it| matches(environment, it));
        (self.templates || !guest.template)
            && (self.environments.is_empty() || is_environment())
            && (self.pools.is_empty() || is_in_pool(guest, &self.pools))
            && (self.tags.is_empty() || has_tag(guest, &self.tags))
            && (self.vmids.is_empty() || self.vmids.contains(&guest.vmid))
            && !has_tag(guest, &self.except_tags)
    }

    /// The environment of all that it has, if it names a single one.
    pub fn environment(&self) -> Option<&str> {
        let [environment] = &self.environments[..] else { return None };
        (!environment.contains(['*', '?'])).then_some(environment)
    }
}

/// What should be true of a guest. Nobody asks for what is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Wants {
    /// How it is backed up.
    pub backup: Option<BackupWants>,
    /// Whether somebody has to describe it.
    pub description: bool,
    /// Tags that it has to have.
    pub tags_include: Vec<String>,
    /// The controller of a virtual machine's SCSI disks.
    pub scsihw: Option<String>,
    /// Whether each disk has to be a whole number of GiB.
    pub disks_in_gib: bool,
    /// Whether it is protected from being removed.
    pub protection: Option<bool>,
    /// Whether its node starts it when it boots.
    pub onboot: Option<bool>,
}

/// How a guest should be backed up: covered by a job that can run, at least.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BackupWants {
    /// The longest time between two runs.
    pub every: Option<Every>,
    /// How many archives the job, or else its storage, keeps, by Proxmox' names for that. What is
    /// not named may be anything.
    pub keep: BTreeMap<Keep, u32>,
}

/// A time between two runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Every {
    /// As it was written.
    pub text: String,
    /// How long that is.
    pub duration: SignedDuration,
}

/// What archives are kept by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// All of them.
    All,
    /// The newest.
    Last,
    /// One an hour.
    Hourly,
    /// One a day.
    Daily,
    /// One a week.
    Weekly,
    /// One a month.
    Monthly,
    /// One a year.
    Yearly,
}

impl Keep {
    /// Every one, in Proxmox' order.
    pub const EVERY_ONE: [Self; 7] = [
        Self::All,
        Self::Last,
        Self::Hourly,
        Self::Daily,
        Self::Weekly,
        Self::Monthly,
        Self::Yearly,
    ];

    /// As Proxmox names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "keep-all",
            Self::Last => "keep-last",
            Self::Hourly => "keep-hourly",
            Self::Daily => "keep-daily",
            Self::Weekly => "keep-weekly",
            Self::Monthly => "keep-monthly",
            Self::Yearly => "keep-yearly",
        }
    }

    /// What a `prune-backups` such as `keep-daily=7,keep-weekly=4` keeps. Everything, if it says
    /// nothing or is not there: then it is empty.
    pub fn read(prune: Option<&str>) -> BTreeMap<Self, u32> {
        let pairs = prune.unwrap_or_default().split(',').filter_map(|pair| {
            let (name, number) = pair.trim().split_once('=')?;
            let keep = Self::EVERY_ONE.into_iter().find(|keep| keep.as_str() == name)?;
            Some((keep, number.parse().ok()?))
        });
        let kept: BTreeMap<Self, u32> = pairs.filter(|(_, number)| *number > 0).collect();
        if kept.contains_key(&Self::All) { BTreeMap::new() } else { kept }
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn has_tag(guest: &Guest, patterns: &[String]) -> bool {
    guest.tags.iter().any(|tag| patterns.iter().any(|pattern| matches(tag, pattern)))
}

fn is_in_pool(guest: &Guest, patterns: &[String]) -> bool {
    let pool = guest.pool.as_deref();
    pool.is_some_and(|pool| patterns.iter().any(|pattern| matches(pool, pattern)))
}
