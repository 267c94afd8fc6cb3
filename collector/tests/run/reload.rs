//! Rules are read anew while the collector works: what is right is in force at once, and what is
//! wrong changes nothing.

use std::fs;
use std::path::Path;

use pvewatch_collector::app;
use pvewatch_collector::config::Config;
use pvewatch_protocol::AlertState;
use tempfile::TempDir;

use crate::peer::*;

/// A collector whose rules are in a folder.
fn config(dir: &Path, folder: &Path) -> Config {
    let mut config = crate::peer::config(dir);
    config.rules.folder = folder.to_owned();
    config
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_is_switched_off_ends_its_alert_and_a_bad_file_changes_nothing() {
    let (dir, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let rule = folder.path();
    let (running, mut peer) = started(config(dir.path(), rule)).await;
    let name = running.queries().snapshot().await.rules[0].rule.name.clone();
    let stream = stream();
    peer.publish(&unit_event(stream, 1, "failed")).await;
    let firing = peer.wait("the alert", alert).await;
    assert_eq!((firing.state, &*firing.labels["alertname"]), (AlertState::Firing, &*name));

    let off = format!("[[override]]\nrule = \"{name}\"\nenabled = false\n");
    write(rule, "20-off.toml", &off);
    write(rule, "10-bad.toml", "[[override]]\nrule = \"Nobody\"\nenabled = false\n");
    write(rule, "notes.txt", "this is none");
    let error = running.reload().await.unwrap_err().to_string();
    assert!(error.contains("10-bad.toml:2: override: there is no rule \"Nobody\""), "{error}");
    assert!(running.queries().snapshot().await.rules[0].rule.enabled, "all stays as it was");

    fs::remove_file(rule.join("10-bad.toml")).unwrap();
    let reloaded = running.reload().await.unwrap();
    assert!(reloaded.rule_files[0].ends_with("20-off.toml"), "{reloaded:?}");
    let resolved = peer.wait("the end of the alert", |received| {
        alert(received).filter(|alert| alert.state == AlertState::Resolved)
    });
    assert_eq!(resolved.await.fingerprint, firing.fingerprint);
    running.stop().await;

    // It is off after a start as well, and on again without the file.
    let (running, mut peer) = started(config(dir.path(), rule)).await;
    assert!(!running.queries().snapshot().await.rules[0].rule.enabled);
    fs::remove_file(rule.join("20-off.toml")).unwrap();
    peer.publish(&unit_event(stream, 2, "failed")).await;
    peer.wait_ack(stream, 2).await;
    running.reload().await.unwrap();
    let again = peer.wait("the alert", |received| {
        alert(received).filter(|alert| alert.state == AlertState::Firing)
    });
    assert_eq!(again.await.fingerprint, firing.fingerprint);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_was_named_must_be_there() {
    let dir = TempDir::new().unwrap();
    let missing = dir.path().join("rules.d");
    let error = app::start(config(dir.path(), &missing)).await.unwrap_err().to_string();
    assert!(error.contains("rules.d cannot be read"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_policy_file_leaves_the_policies_that_run() {
    let (dir, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let policy = dir.path().join("policy.toml");
    fs::write(&policy, "[[policy]]\nname = \"a\"\nprotection = true\n").unwrap();
    let mut config = config(dir.path(), folder.path());
    config.policy.file = Some(policy.clone());
    let (running, _peer) = started(config).await;
    let names = async || -> Vec<String> {
        let policies = running.queries().snapshot().await.policies.clone();
        policies.policies.iter().map(|policy| policy.name.to_string()).collect()
    };
    assert_eq!(names().await, ["a"]);
    fs::write(&policy, "[[policy]]\nname = \"b\"\nprotection = 1\n").unwrap();
    let reloaded = running.reload().await.unwrap();
    assert!(reloaded.policy_problem.unwrap().contains("policy.toml:3:"));
    assert_eq!((names().await, reloaded.policies), (vec!["a".to_owned()], 1));
    fs::write(&policy, "[[policy]]\nname = \"b\"\nprotection = true\n").unwrap();
    assert_eq!(running.reload().await.unwrap().policy_problem, None);
    for _ in 0..600 {
        if names().await == ["b"] {
            return running.stop().await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the other policy was never checked");
}
