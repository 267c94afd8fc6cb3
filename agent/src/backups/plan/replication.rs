//! Which guests are replicated to other nodes (`replication.cfg`), and how that goes
//! (`/var/lib/pve-manager/pve-replication-state.json`).
//!
//! What goes well is told without its time, so that a picture does not change with every run.

use std::collections::BTreeMap;

use jiff::Timestamp;
use pvewatch_protocol::{Replication, Vmid};
use serde::Deserialize;

use super::sections::sections;

/// Replications that are told of one guest. Overflow: the last by name are left out.
const REPLICATIONS_MAX: usize = 16;

/// What is told of an error, in characters; the rest is cut off.
const ERROR_CHARS_MAX: usize = 300;

/// The nodes to which each guest is replicated, by name; what is switched off or about to be
/// removed is left out.
pub fn targets(config: &str) -> BTreeMap<Vmid, Vec<String>> {
    let mut targets: BTreeMap<Vmid, Vec<String>> = BTreeMap::new();
    for job in sections(config) {
        let is_off = job.is_on("disable") == Some(true) || job.get("remove_job").is_some();
        // The name is the guest's number, and that of the job among the guest's.
        let guest = job.id.split_once('-').and_then(|(guest, _)| guest.parse().ok());
        if let (false, Some(guest), Some(target)) = (is_off, guest, job.get("target")) {
            targets.entry(guest).or_default().push(target.to_owned());
        }
    }
    for targets in targets.values_mut() {
        targets.sort();
        targets.truncate(REPLICATIONS_MAX);
    }
    targets
}

/// What a node notes of the replications of its guests.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct Replications {
    noted: BTreeMap<String, BTreeMap<String, Noted>>,
}

#[derive(Debug, Deserialize)]
struct Noted {
    #[serde(default)]
    fail_count: u32,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    last_sync: i64,
}

impl Replications {
    /// Reads the notes; none if it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// How the replications of a guest go to these nodes; of one that never ran nothing is noted.
    pub fn of(&self, guest: Vmid, targets: &[String]) -> Vec<Replication> {
        if targets.is_empty() {
            return Vec::new();
        }
        let noted = self.noted.get(&guest.to_string());
        let describe = |target: &String| {
            let noted = noted.and_then(|noted| noted.get(&format!("local/{target}")));
            let failing = noted.filter(|noted| noted.fail_count > 0);
            let last_sync = failing.map_or(0, |failing| failing.last_sync);
            let error = failing.and_then(|failing| failing.error.as_deref());
            Replication {
                target: target.clone(),
                fail_count: failing.map_or(0, |failing| failing.fail_count),
                error: error.map(|error| error.trim().chars().take(ERROR_CHARS_MAX).collect()),
                last_sync: Timestamp::from_second(last_sync).ok().filter(|_| last_sync > 0),
            }
        };
        targets.iter().map(describe).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "\
local: 100-0
\ttarget pve3
\tschedule */15
\tcomment to%20the cellar

local: 100-1
\ttarget pve2

local: 101-0
\ttarget pve2
\tdisable

local: 102-0
\ttarget pve2
\tremove_job full
";

    fn guest(vmid: u32) -> Vmid {
        Vmid::try_from(vmid).unwrap()
    }

    #[test]
    fn what_is_on_goes_to_its_targets() {
        let expected = BTreeMap::from([(guest(100), vec!["pve2".to_owned(), "pve3".to_owned()])]);
        assert_eq!(targets(CONFIG), expected);
        assert_eq!(targets("local: a-0\n\ttarget pve2\nlocal: 100-0\n"), BTreeMap::new());
    }

    #[test]
    fn only_what_fails_is_told_with_its_times() {
        let text = r#"{"100":{
            "local/pve2":{"last_sync":1795230420,"last_node":"pve1","fail_count":0,"duration":2.5},
            "local/pve3":{"last_sync":1795230420,"fail_count":3,"last_try":1795240000,
                "error":"command 'zfs' failed: exit code 1\n"}}}"#;
        let noted = Replications::parse(text).unwrap();
        let [well, failing] = &noted.of(guest(100), &targets(CONFIG)[&guest(100)])[..] else {
            panic!("two targets")
        };
        assert_eq!((well.fail_count, well.last_sync), (0, None));
        assert_eq!((&*failing.target, failing.fail_count), ("pve3", 3));
        assert_eq!(failing.error.as_deref(), Some("command 'zfs' failed: exit code 1"));
        assert_eq!(failing.last_sync.unwrap().to_string(), "2026-11-21T03:07:00Z");
    }

    #[test]
    fn what_never_ran_does_not_fail() {
        let targets = ["pve2".to_owned()];
        for text in ["{}", r#"{"100":{}}"#, r#"{"100":{"local/pve2":{"last_sync":0}}}"#] {
            let told = Replications::parse(text).unwrap().of(guest(100), &targets);
            assert_eq!((told[0].fail_count, told[0].last_sync), (0, None), "{text}");
        }
        for text in ["", "[]", "{\"100\":", "{\"100\":{\"local/pve2\":{\"fail_count\":-1}}}"] {
            assert!(Replications::parse(text).is_none(), "{text}");
        }
    }
}
