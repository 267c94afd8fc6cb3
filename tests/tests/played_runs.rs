//! The agent reads what the played vzdump writes: every way in which a backup can end, of machines
//! and containers, to files and to a backup server, in the words of each version of Proxmox.
//!
//! Player and reader share nothing: the one is written from Proxmox' source, in its language.

use std::process::Command;

use pvewatch_agent::backups::log::{BackupLog, GuestBackup, Reader};
use pvewatch_protocol::event::Outcome;
use pvewatch_tests::places::checkout;

const VERSIONS: [&str; 5] = ["5.4", "6.4", "7.4", "8.1", "9.1"];

const MODES: [&str; 3] = ["snapshot", "suspend", "stop"];

/// A way in which a guest's backup ends, as the player is told it; and what must be read.
struct End {
    played: &'static str,
    outcome: Outcome,
    error: Option<&'static str>,
}

const ENDS: [End; 6] = [
    End { played: "", outcome: Outcome::Ok, error: None },
    End {
        played: "warns copied attempt to clean up fleecing images failed - no such volume",
        outcome: Outcome::Warnings,
        error: None,
    },
    End {
        played: "fails copied job failed with err -5 - Input/output error",
        outcome: Outcome::Failed,
        error: Some("job failed with err -5 - Input/output error"),
    },
    End {
        played: "fails begin unable to find VM '100'",
        outcome: Outcome::Failed,
        error: Some("unable to find VM '100'"),
    },
    End {
        played: "fails prune error pruning backups - check log",
        outcome: Outcome::Failed,
        error: Some("error pruning backups - check log"),
    },
    End {
        played: "interrupt copied",
        outcome: Outcome::Interrupted,
        error: Some("interrupted by signal"),
    },
];

fn play(form: &str, description: &str) -> String {
    let program = checkout().join("tests/src/lab/proxmox/proxmox.pl");
    let output = Command::new("perl")
        .arg(program)
        .args(["--dry", form, description])
        .output()
        .expect("perl was there a moment ago");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{description}: {complaints}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn read(log: &str) -> BackupLog {
    let mut reader = Reader::new();
    reader.feed(log.as_bytes());
    reader.finish()
}

fn expect(guest: &GuestBackup, end: &End, is_seen: bool, story: &str) {
    assert_eq!(guest.outcome, end.outcome, "{story}");
    match end.error {
        None => assert_eq!(guest.error, None, "{story}"),
        Some(error) => {
            let read = guest.error.as_deref().unwrap_or_default();
            assert!(read.contains(error), "{read:?} in\n{story}");
        }
    }
    if is_seen {
        assert_eq!(guest.details.archive.is_some(), guest.details.mode.is_some(), "{story}");
    }
}

#[test]
fn every_end_is_read_as_it_was_played() {
    if Command::new("perl").arg("-v").output().is_err() {
        println!("perl is not installed: nothing was played");
        return;
    }
    let (mut read_runs, mut lines_of_guests) = (0, 0);
    for (round, version) in VERSIONS.into_iter().enumerate() {
        for kind in ["qemu", "lxc"] {
            for target in ["nas", "pbs"] {
                // Backup servers came with 6.2.
                if target == "pbs" && version == "5.4" {
                    continue;
                }
                for (place, end) in ENDS.iter().enumerate() {
                    let mode = MODES[(round + place) % MODES.len()];
                    let pbs = if target == "pbs" { "pbs\n" } else { "" };
                    let description = format!(
                        "version {version}\nclock 1700000000\noption storage {target}\n\
                         storage {target}\n{pbs}prune keep-last=3\nguest 100 {kind}\nname web\n\
                         init-pid 4242\ntmpdir /var/tmp/played\nmode {mode}\n{}\nguest 101 qemu\nname after\n",
                        end.played
                    );
                    let task = play("task", &description);
                    let story = format!("{description}\n{task}");
                    let log = read(&task);
                    let first = &log.guests[0];
                    assert_eq!(u32::from(first.vmid), 100, "{story}");
                    expect(first, end, true, &story);
                    // Who interrupts a run ends it.
                    let goes_on = end.outcome != Outcome::Interrupted;
                    assert_eq!(log.guests.len(), 1 + usize::from(goes_on), "{story}");
                    for guest in &log.guests[1..] {
                        assert_eq!(guest.outcome, Outcome::Ok, "{story}");
                    }
                    if end.outcome == Outcome::Ok {
                        let storage = first.details.storage.as_deref();
                        assert_eq!(storage, Some(target), "{story}");
                        assert_eq!(first.details.size_bytes.is_some(), target == "nas", "{story}");
                    }
                    // All that a guest's own log says stands in the task's, but for the times.
                    for line in play("guest", &description).lines() {
                        let said = line.get("2023-11-14 23:13:20 ".len()..).unwrap_or_default();
                        assert!(task.lines().any(|it| it == said), "{line:?} is not in\n{story}");
                        lines_of_guests += 1;
                    }
                    read_runs += 1;
                }
            }
        }
    }
    println!(
        "{read_runs} runs; {lines_of_guests} lines of guests' own logs stand in the tasks' too"
    );
    assert_eq!(read_runs, 108);
}
