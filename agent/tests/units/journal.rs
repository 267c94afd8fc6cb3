//! The lines that follow a failure, from a `journalctl` that the test writes.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use pvewatch_agent::units::UnitsPaths;
use tokio::task::JoinSet;

use crate::bus::{Source, paths, playing, socket_in};
use crate::play::{Play, Played, later};

/// What systemd says last of the failed run.
const LAST_WORD: &str = r#"{"INVOCATION_ID":"07070707070707070707070707070707","__REALTIME_TIMESTAMP":"1700000000000002","PRIORITY":"4","MESSAGE":"a.service: Failed with result exit-code.","MESSAGE_ID":"d9b373ed55a64feb8242e02dbe79a49c"}"#;

/// A shell script in the place of journalctl.
fn journalctl(folder: &tempfile::TempDir, script: &str) -> PathBuf {
    let path = folder.path().join("journalctl");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path
}

/// A source on whose bus these units fail at once.
fn failing(
    folder: &tempfile::TempDir,
    units: &[&'static str],
    config: &str,
    script: &str,
) -> (Source, JoinSet<()>) {
    let act = Play {
        version: "257",
        units: units.iter().map(|&unit| Played::runs(unit)).collect(),
        said_after_listing: units.iter().map(|&unit| Played::failed(unit, later(1))).collect(),
        ..Play::default()
    };
    let bus = playing(folder, vec![act]);
    let journalctl = journalctl(folder, script);
    let paths = UnitsPaths { journalctl, ..paths(&socket_in(folder)) };
    (Source::start_with(config, paths), bus)
}

fn calls(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("calls")).unwrap_or_default()
}

#[tokio::test]
async fn the_lines_of_the_failed_run_follow_without_its_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        r#"echo "$@" >> {calls}
echo '{{"_SYSTEMD_INVOCATION_ID":"07070707070707070707070707070707","__REALTIME_TIMESTAMP":"1700000000000001","PRIORITY":"3","MESSAGE":"no route, token=abc"}}'
echo '{LAST_WORD}'"#,
        calls = folder.path().join("calls").display(),
    );
    let (mut source, _bus) = failing(&folder, &["a.service"], "", &script);
    let log = source.log().await;
    assert_eq!(log.unit, "a.service");
    assert_eq!(log.invocation_id, "07".repeat(16));
    let messages: Vec<&str> = log.lines.iter().map(|line| line.message.as_str()).collect();
    assert_eq!(
        messages,
        ["no route, token=[redacted]", "a.service: Failed with result exit-code."]
    );
    assert_eq!((log.redacted, log.truncated), (1, false));
    let id = "07".repeat(16);
    let asked =
        format!("_SYSTEMD_INVOCATION_ID={id} + _PID=1 UNIT=a.service + _SYSTEMD_UNIT=a.service");
    assert!(calls(folder.path()).trim_end().ends_with(&asked), "{}", calls(folder.path()));
}

#[tokio::test]
async fn a_journal_that_lags_is_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        r#"echo x >> {calls}
if [ "$(wc -l < {calls})" -ge 3 ]; then echo '{LAST_WORD}'; fi"#,
        calls = folder.path().join("calls").display(),
    );
    let (mut source, _bus) = failing(&folder, &["a.service"], "", &script);
    assert_eq!(source.log().await.lines.len(), 1);
    // And once more, since a late journal may be later still with the unit's own lines.
    assert_eq!(calls(folder.path()).lines().count(), 4);
}

#[tokio::test]
async fn a_run_that_later_ones_crowd_out_is_asked_for_by_its_id() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!(r#"case "$*" in *" UNIT="*) ;; *) echo '{LAST_WORD}' ;; esac"#);
    let (mut source, _bus) = failing(&folder, &["a.service"], "", &script);
    assert_eq!(source.log().await.lines.len(), 1);
}

#[tokio::test]
async fn a_journal_that_never_ends_is_read_up_to_a_bound() {
    let folder = tempfile::tempdir().unwrap();
    let script = format!("while :; do echo '{LAST_WORD}'; done");
    let (mut source, _bus) = failing(&folder, &["a.service"], "", &script);
    let log = source.log().await;
    assert!(log.truncated);
    assert!(log.lines.len() <= 100, "{}", log.lines.len());
}

#[tokio::test]
async fn a_journal_that_hangs_is_said_and_its_reader_ended() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let script = format!("echo $$ > {}; exec sleep 600", pid.display());
    let (mut source, _bus) = failing(&folder, &["a.service"], "", &script);
    assert!(!source.status().await.detail.contains("journalctl"));
    let status = source.status().await;
    assert!(status.active);
    assert!(status.detail.contains("journalctl does not answer"), "{}", status.detail);
    let pid = std::fs::read_to_string(pid).unwrap();
    let process = Path::new("/proc").join(pid.trim());
    let is_running = || {
        let status = std::fs::read_to_string(process.join("status")).unwrap_or_default();
        status.contains("State:") && !status.contains("State:\tZ")
    };
    while is_running() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_journal_that_cannot_be_read_is_said_once() {
    let cases = [
        (
            "echo 'No journal files were opened due to insufficient permissions.' >&2; exit 1",
            "add the agent's user to the group systemd-journal",
        ),
        ("echo 'Failed to open journal: wrong moon phase' >&2; exit 1", "wrong moon phase"),
    ];
    for (script, says) in cases {
        let folder = tempfile::tempdir().unwrap();
        let units = ["a.service", "b.service", "c.service"];
        let (mut source, _bus) = failing(&folder, &units, "", script);
        assert!(!source.status().await.detail.contains(says));
        let status = source.status().await;
        assert!(status.active);
        assert!(status.detail.contains(says), "{}", status.detail);
    }
}

#[tokio::test]
async fn units_whose_lines_are_not_to_be_sent_send_none() {
    let folder = tempfile::tempdir().unwrap();
    let config = r#"log.exclude = ["a*.service"]"#;
    let script = format!("echo '{LAST_WORD}'");
    let (mut source, _bus) = failing(&folder, &["a.service", "b.service"], config, &script);
    assert_eq!(source.log().await.unit, "b.service");
}
