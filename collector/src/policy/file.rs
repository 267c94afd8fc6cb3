//! From the text of a policy file to policies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::SignedDuration;
use pvewatch_protocol::Vmid;
use serde::Deserialize;
use toml::Spanned;

use crate::fleet::{BackupWants, Environment, Every, Keep, Policies, Policy, Selection, Wants};
use crate::rules::{Complaints, hint, parse_duration};

/// Policies that a file can hold: far more than anyone can look after.
const POLICIES_MAX: usize = 100;

/// Environments that a file can tell apart.
const ENVIRONMENTS_MAX: usize = 100;

/// The controllers that Proxmox knows.
const CONTROLLERS: [&str; 6] =
    ["lsi", "lsi53c810", "megasas", "pvscsi", "virtio-scsi-pci", "virtio-scsi-single"];

/// Schedulers do not look more often.
const EVERY_MIN: SignedDuration = SignedDuration::from_mins(1);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    #[serde(default)]
    environment: Vec<Spanned<EnvironmentEntry>>,
    #[serde(default)]
    policy: Vec<Spanned<PolicyEntry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvironmentEntry {
    name: String,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    pools: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyEntry {
    name: String,
    #[serde(default)]
    environments: Vec<String>,
    #[serde(default)]
    pools: Vec<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    except_tags: Vec<String>,
    #[serde(default)]
    vmids: Vec<Vmid>,
    #[serde(default)]
    templates: bool,
    backup: Option<BackupEntry>,
    description: Option<Spanned<String>>,
    #[serde(default)]
    tags_include: Vec<String>,
    scsihw: Option<Spanned<String>>,
    disk_sizes: Option<Spanned<String>>,
    protection: Option<bool>,
    onboot: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct BackupEntry {
    every: Option<Spanned<String>>,
    keep_all: Option<Spanned<u32>>,
    keep_last: Option<Spanned<u32>>,
    keep_hourly: Option<Spanned<u32>>,
    keep_daily: Option<Spanned<u32>>,
    keep_weekly: Option<Spanned<u32>>,
    keep_monthly: Option<Spanned<u32>>,
    keep_yearly: Option<Spanned<u32>>,
}

/// Reads a file. If something is wrong with it, that is all that it comes to.
pub fn parse(file: &str, text: &str) -> Policies {
    let mut complaints = Complaints::of(file, text);
    let entries = complaints.read("a section");
    let mut reader = Reader { complaints };
    let read = entries.map(|entries| reader.read(entries)).unwrap_or_default();
    let found: Vec<String> = reader.complaints.found.iter().map(ToString::to_string).collect();
    match found.is_empty() {
        true => Policies { file: file.to_owned(), ..read },
        false => Policies::unreadable(file, found.join("\n")),
    }
}

struct Reader<'a> {
    complaints: Complaints<'a>,
}

impl Reader<'_> {
    fn read(&mut self, entries: PolicyFile) -> Policies {
        for (what, number, most) in [
            ("environments", entries.environment.len(), ENVIRONMENTS_MAX),
            ("policies", entries.policy.len(), POLICIES_MAX),
        ] {
            if number > most {
                self.complaints.add(1, format!("there are more than {most} {what}"));
            }
        }
        let environments = entries.environment.into_iter().map(|it| self.environment(it)).collect();
        let mut names = BTreeSet::new();
        let mut policies = Vec::new();
        for entry in entries.policy {
            let line = self.complaints.line(entry.span().start);
            let policy = self.policy(line, entry.into_inner());
            if !names.insert(policy.name.clone()) {
                let message = format!("policy {:?} is there twice: rename one", policy.name);
                self.complaints.add(line, message);
            }
            policies.push(Arc::new(policy));
        }
        Policies { environments, policies, ..Policies::default() }
    }

    fn environment(&mut self, entry: Spanned<EnvironmentEntry>) -> Environment {
        let line = self.complaints.line(entry.span().start);
        let EnvironmentEntry { name, tags, pools } = entry.into_inner();
        self.check_name(line, "an environment", &name);
        if tags.is_empty() && pools.is_empty() {
            let message = format!(
                "environment {name:?} has no guests: give it tags = [\"...\"] or pools = [\"...\"]"
            );
            self.complaints.add(line, message);
        }
        Environment { name, tags, pools }
    }

    fn policy(&mut self, line: usize, entry: PolicyEntry) -> Policy {
        let name = entry.name;
        self.check_name(line, "a policy", &name);
        let about = Selection {
            environments: entry.environments,
            pools: entry.pools,
            tags: entry.tags,
            except_tags: entry.except_tags,
            vmids: entry.vmids,
            templates: entry.templates,
        };
        let description = self.one_of((&name, "description"), entry.description, &["not empty"]);
        let sizes = self.one_of((&name, "disk_sizes"), entry.disk_sizes, &["GiB"]);
        let wants = Wants {
            backup: entry.backup.map(|backup| self.backup(&name, backup)),
            description: description.is_some(),
            tags_include: entry.tags_include,
            scsihw: self.one_of((&name, "scsihw"), entry.scsihw, &CONTROLLERS),
            disks_in_gib: sizes.is_some(),
            protection: entry.protection,
            onboot: entry.onboot,
        };
        if wants == Wants::default() {
            let message = format!(
                "policy {name:?} asks for nothing: say what should be true, such as \
                 description = \"not empty\""
            );
            self.complaints.add(line, message);
        }
        Policy { name: name.into(), about, wants }
    }

    fn backup(&mut self, policy: &str, entry: BackupEntry) -> BackupWants {
        let every = entry.every.and_then(|every| {
            let line = self.complaints.line(every.span().start);
            let text = every.into_inner();
            match parse_duration(&text) {
                Ok(duration) if duration >= EVERY_MIN => Some(Every { text, duration }),
                Ok(_) => {
                    let message = format!("policy {policy:?}: every {text:?} is less than \"1m\"");
                    self.complaints.add(line, message);
                    None
                }
                Err(error) => {
                    self.complaints.add(line, format!("policy {policy:?}: every: {error}"));
                    None
                }
            }
        });
        let numbers = [
            (Keep::All, entry.keep_all),
            (Keep::Last, entry.keep_last),
            (Keep::Hourly, entry.keep_hourly),
            (Keep::Daily, entry.keep_daily),
            (Keep::Weekly, entry.keep_weekly),
            (Keep::Monthly, entry.keep_monthly),
            (Keep::Yearly, entry.keep_yearly),
        ];
        let is_all_kept = numbers[0].1.is_some();
        let mut keep = BTreeMap::new();
        for (kept_by, number) in numbers {
            let Some(number) = number else { continue };
            let line = self.complaints.line(number.span().start);
            let number = number.into_inner();
            if number == 0 || (kept_by == Keep::All && number > 1) {
                let right = if kept_by == Keep::All { "1" } else { "1 or more" };
                let message = format!(
                    "policy {policy:?}: {kept_by} = {number} is not possible: use {right}, or \
                     leave it out"
                );
                self.complaints.add(line, message);
            } else if is_all_kept && kept_by != Keep::All {
                let message = format!("policy {policy:?}: keep-all leaves nothing to {kept_by}");
                self.complaints.add(line, message);
            }
            keep.insert(kept_by, number);
        }
        BackupWants { every, keep }
    }

    fn one_of(
        &mut self,
        (policy, key): (&str, &str),
        text: Option<Spanned<String>>,
        known: &[&str],
    ) -> Option<String> {
        let text = text?;
        let line = self.complaints.line(text.span().start);
        let text = text.into_inner();
        if known.contains(&text.as_str()) {
            return Some(text);
        }
        let hint = hint(&text, known.iter().copied());
        let known = known.join(", ");
        let message = format!("policy {policy:?}: {key} {text:?} is none of: {known}{hint}");
        self.complaints.add(line, message);
        None
    }

    fn check_name(&mut self, line: usize, what: &str, name: &str) {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
            let message = format!(
                "{name:?} is not {what}'s name: use up to 64 letters, digits, '_', '-' and '.'"
            );
            self.complaints.add(line, message);
        }
    }
}
