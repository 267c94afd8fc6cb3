//! Policy files: good ones are read, bad ones are refused with the text beside them.
//!
//! `testdata/policy/NAME.bad.toml` and `NAME.bad.txt` are pairs. With `UPDATE_GOLDEN=1` in the
//! environment the texts are written anew, to be read before they are committed.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::SignedDuration;
use pvewatch_collector::fleet::{Keep, Policies};
use pvewatch_collector::policy;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/policy");

fn files(ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(FOLDER).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.to_str().is_some_and(|path| path.ends_with(ending))).collect();
    files.sort();
    assert!(!files.is_empty(), "no {ending} in {FOLDER}");
    files
}

fn read(path: &Path) -> Policies {
    let text = fs::read_to_string(path).unwrap();
    policy::parse(path.file_name().unwrap().to_str().unwrap(), &text)
}

#[test]
fn good_policy_files_are_read() {
    for path in files(".good.toml") {
        assert_eq!(read(&path).problem, None, "{}", path.display());
    }
}

#[test]
fn bad_policy_files_are_refused_with_file_line_and_what_would_be_right() {
    for path in files(".bad.toml") {
        let policies = read(&path);
        assert!(policies.policies.is_empty() && policies.environments.is_empty());
        let problem = policies.problem.unwrap_or_default() + "\n";
        assert!(problem.len() > 1, "{} is taken for good", path.display());
        let golden = path.with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &problem).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(problem, expected, "{}", golden.display());
    }
}

#[test]
fn what_is_written_is_what_is_wanted() {
    let read = read(&Path::new(FOLDER).join("everything.good.toml"));
    let [prod, lab, archive] = &read.policies[..] else { panic!("{:?}", read.policies) };
    let backup = prod.wants.backup.as_ref().unwrap();
    assert_eq!(backup.every.as_ref().unwrap().duration, SignedDuration::from_hours(24));
    assert_eq!(backup.keep, [(Keep::Daily, 7), (Keep::Weekly, 4)].into());
    assert!(prod.wants.description && prod.wants.disks_in_gib);
    assert_eq!(prod.wants.scsihw.as_deref(), Some("virtio-scsi-single"));
    assert_eq!((prod.wants.protection, prod.wants.onboot), (Some(true), Some(true)));
    assert_eq!(lab.wants.backup.as_ref().unwrap().keep, [(Keep::Last, 3)].into());
    assert_eq!(archive.wants.backup.as_ref().unwrap().keep, [(Keep::All, 1)].into());
}

#[test]
fn the_first_environment_that_matches_a_guest_is_its_own() {
    let read = read(&Path::new(FOLDER).join("everything.good.toml"));
    let environment = |tags: &[&str], pool: Option<&str>| {
        let guest = serde_json::json!({"vmid": 100, "kind": "qemu", "tags": tags, "pool": pool});
        let guest = serde_json::from_value(guest).unwrap();
        read.environment_of(&guest).map(str::to_owned)
    };
    assert_eq!(environment(&["x", "prod"], None).as_deref(), Some("prod"));
    assert_eq!(environment(&["tier-1"], Some("lab")).as_deref(), Some("prod"));
    assert_eq!(environment(&[], Some("production-eu")).as_deref(), Some("prod"));
    assert_eq!(environment(&["production"], Some("lab")).as_deref(), Some("lab"));
    assert_eq!(environment(&["production"], None), None);
}

#[test]
fn a_policy_is_about_the_guests_that_match_each_of_its_lists() {
    let read = read(&Path::new(FOLDER).join("everything.good.toml"));
    let (prod, lab) = (&read.policies[0].about, &read.policies[1].about);
    let guest = |vmid: u32, tags: &[&str], pool: Option<&str>, template: bool| {
        serde_json::from_value(serde_json::json!({
            "vmid": vmid, "kind": "lxc", "tags": tags, "pool": pool, "template": template,
        }))
        .unwrap()
    };
    assert!(prod.has(&guest(100, &["web1"], Some("p"), false), "prod"));
    assert!(prod.has(&guest(100, &["web1"], Some("p"), true), "prod"));
    assert!(!prod.has(&guest(100, &["web1"], Some("p"), false), "lab"));
    assert!(!prod.has(&guest(102, &["web1"], Some("p"), false), "prod"));
    assert!(!prod.has(&guest(100, &["web1"], None, false), "prod"));
    assert!(!prod.has(&guest(100, &["x"], Some("p"), false), "prod"));
    assert!(!prod.has(&guest(100, &["db", "nobackup"], Some("p"), false), "prod"));
    assert!(lab.has(&guest(900, &[], None, false), "lab"));
    assert!(!lab.has(&guest(900, &[], None, true), "lab"));
    assert_eq!((prod.environment(), read.policies[2].about.environment()), (Some("prod"), None));
}
