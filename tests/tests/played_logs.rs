//! The played vzdump writes what the real one wrote, byte for byte, if it is told what happened.
//!
//! What happened is read out of a real log (`--describe`), and played again without the log
//! (`--dry`): guests, times, bytes and errors are parameters, the sentences are the player's own.
//! What children printed, and the text of an error, are passed on as they are; the test counts
//! these lines, and refuses any of vzdump's own sentences among them.
//!
//! The real logs lie beside the checkout, if at all. Some were cut or changed by those who kept
//! them: a cut one must be the beginning of what is played, an excerpt a part of it, or its lines
//! must be among those played, in order. Where identifiers were changed in one place of a log and
//! not in another, the description says so (`#repair`), and the log is compared with that put
//! right. Left out are logs that vzdump did not write: other tasks, and an excerpt of a journal.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use pvewatch_tests::places::checkout;

/// The beginnings of what vzdump says itself.
const OWN: &[&str] = &[
    "starting new backup job",
    "skip external VMs",
    "Starting Backup of",
    "Backup started at",
    "Backup finished at",
    "Failed at",
    "Finished Backup of",
    "Backup of VM",
    "Backup job ",
    "status = ",
    "update VM ",
    "mode failure",
    "trying 'suspend' mode",
    "backup mode: ",
    "bandwidth limit: ",
    "ionice priority: ",
    "filesystem type on dumpdir",
    "VM Name: ",
    "CT Name: ",
    "include disk",
    "exclude disk",
    "including mount point",
    "excluding ",
    "creating archive",
    "creating vzdump archive",
    "creating Proxmox Backup Server archive",
    "sending archive to stdout",
    "create storage snapshot",
    "cleanup temporary",
    "starting first sync",
    "starting final sync",
    "stopping virtual guest",
    "suspending guest",
    "resuming guest",
    "restarting vm",
    "resume vm",
    "guest is online again",
    "starting kvm",
    "stopping kvm",
    "started backup task",
    "starting backup via QMP",
    "resuming VM again",
    "attaching TPM",
    "issuing guest-agent",
    "skipping guest",
    "using fast incremental mode",
    "backup is sparse",
    "backup was done incrementally",
    "transferred ",
    "run: ",
    "aborting backup job",
    "archive file size",
    "adding notes",
    "marking backup as protected",
    "prune older backups",
    "removing backup",
    "delete old backup",
    "running 'proxmox-backup-client prune'",
    "pruned ",
    "notified via target",
    "could not notify via target",
    "interrupted by signal",
    "trying to get global lock",
    "got global lock",
    "can't acquire lock",
    "TASK ",
];

/// How well what is played fits a log, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// They are the same.
    Whole,
    /// The log is the beginning.
    Beginning,
    /// The log is a piece of it, without gaps.
    Part,
    /// The log's lines are in it, in order.
    Lines,
}

/// What the name of a log promises.
fn promised(name: &str) -> Fit {
    match name {
        _ if name.contains("middle-excerpt") => Fit::Part,
        _ if name.contains("truncated") || name == "pve6-pbs-multi-ok-excerpt" => Fit::Beginning,
        _ if ["excerpt", "elided", "-line"].iter().any(|it| name.contains(it)) => Fit::Lines,
        _ => Fit::Whole,
    }
}

/// A log that was played: its lines, and whose words each is.
struct Played {
    text: String,
    origins: Vec<String>,
}

fn program() -> PathBuf {
    checkout().join("tests/src/lab/proxmox/proxmox.pl")
}

fn perl(arguments: &[&str]) -> (String, String) {
    let output = Command::new("perl")
        .arg(program())
        .args(arguments)
        .env("PLAYED_ACCOUNT", "1")
        .output()
        .expect("perl was there a moment ago");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {err}");
    (out, err)
}

fn describe(log: &Path) -> String {
    let path = log.to_str().expect("a path of ours is text");
    let (description, complaints) = perl(&["--describe", path]);
    assert_eq!(complaints, "", "{path}");
    description
}

fn play(form: &str, description: &str) -> Played {
    let (text, origins) = perl(&["--dry", form, description]);
    let origins: Vec<String> = origins.lines().map(str::to_owned).collect();
    assert_eq!(text.lines().count(), origins.len(), "{text}\n{origins:?}");
    Played { text, origins }
}

fn has_perl() -> bool {
    let found = Command::new("perl").arg("-v").output().is_ok();
    if !found {
        println!("perl is not installed: nothing was played");
    }
    found
}

/// The form of a log, and the log with what its description found odd put right.
fn put_right(log: &str, description: &str) -> (String, String) {
    let mut lines: Vec<String> = log.split('\n').map(str::to_owned).collect();
    let mut form = String::new();
    let mut gone = Vec::new();
    for oddity in description.lines().filter_map(|line| line.strip_prefix('#')) {
        let (what, rest) = oddity.split_once(' ').expect("an oddity has a place");
        let mut parts = rest.split('\t');
        let place = parts.next().unwrap_or_default();
        let at = place.parse::<usize>().map_or(0, |number| number - 1);
        match what {
            "form" => place.clone_into(&mut form),
            "repair" => {
                let (old, new) = parts.next().zip(parts.next()).expect("a repair is of two");
                println!("    line {}: {old:?} is taken for {new:?}", at + 1);
                lines[at] = lines[at].replacen(old, new, 1);
            }
            "join" => {
                let end = lines[at].trim_start().to_owned();
                lines[at - 1] += &format!(" {end}");
                gone.push(at);
            }
            "drop" => {
                println!("    line {} is no piece of this log", at + 1);
                lines.truncate(at);
                lines.push(String::new());
            }
            "end" => {
                lines.truncate(at);
                lines.push(String::new());
            }
            other => panic!("{other}?"),
        }
    }
    for at in gone.into_iter().rev() {
        lines.remove(at);
    }
    (form, lines.join("\n"))
}

/// How what is played fits, and the numbers of the lines that are in the log.
fn fit(log: &str, played: &str) -> Option<(Fit, Vec<usize>)> {
    let count = log.lines().count();
    if log == played {
        return Some((Fit::Whole, (0..count).collect()));
    }
    if played.starts_with(log) {
        return Some((Fit::Beginning, (0..count).collect()));
    }
    if let Some(at) = played.find(&format!("\n{log}")) {
        let before = played[..=at].lines().count();
        return Some((Fit::Part, (before..before + count).collect()));
    }
    let mut found = Vec::new();
    let mut all = played.lines().enumerate();
    for line in log.lines().filter(|line| *line != "...") {
        let begin = line.strip_suffix(" ...");
        let is_it = |other: &str| begin.map_or(other == line, |begin| other.starts_with(begin));
        found.push(all.find(|(_, other)| is_it(other))?.0);
    }
    Some((Fit::Lines, found))
}

/// A line without the time and the level in front.
fn said(line: &str) -> &str {
    let levels = ["INFO: ", "WARN: ", "ERROR: "];
    let at = levels.iter().filter_map(|level| Some(line.find(level)? + level.len())).min();
    at.map_or(line, |at| &line[at..])
}

#[test]
fn real_logs_are_played_byte_for_byte() {
    let corpus = checkout().join("../shared/corpus");
    if !corpus.is_dir() {
        println!("{} is not there: no real log was played", corpus.display());
        return;
    }
    if !has_perl() {
        return;
    }
    let entries = fs::read_dir(&corpus).expect("a folder can be read");
    let paths = entries.map(|entry| entry.expect("a folder can be read").path());
    let mut logs: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|it| it == "log")).collect();
    logs.sort();
    let (mut of_formats, mut passed_on, mut whole, mut left_out) = (0, 0, 0, 0);
    for path in logs {
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a name is text");
        if name.starts_with("task-") || name.starts_with("journal-") {
            println!("{name}: not by vzdump");
            left_out += 1;
            continue;
        }
        println!("{name}:");
        let bytes = fs::read(&path).expect("a log can be read");
        let description = describe(&path);
        let (form, log) = put_right(&String::from_utf8_lossy(&bytes), &description);
        let played = play(&form, &description);
        let Some((fit, lines)) = fit(&log, &played.text) else {
            panic!("{name}: played\n{}\nbut it was\n{log}", played.text);
        };
        assert!(fit <= promised(name), "{name}: fits as {fit:?}: {}", played.text);
        let unseen = description.lines().filter(|line| line.starts_with("looks unseen")).count();
        assert!(fit != Fit::Whole || unseen == 0, "{name}: {unseen} lines would be missing");
        let texts: Vec<&str> = played.text.lines().collect();
        let foreign: Vec<usize> =
            lines.iter().copied().filter(|at| played.origins[*at] != "own").collect();
        for at in &foreign {
            let text = said(texts[*at]).trim_start();
            let own = OWN.iter().find(|own| text.starts_with(**own) || text.contains("% ("));
            assert_eq!(own, None, "{name}: {text}: vzdump says that itself");
        }
        println!(
            "    {fit:?}, {} lines, of which {} were passed on; {unseen} looks left out by others",
            lines.len(),
            foreign.len()
        );
        of_formats += lines.len() - foreign.len();
        passed_on += foreign.len();
        whole += usize::from(fit == Fit::Whole);
    }
    println!(
        "{whole} logs as a whole, {left_out} left out; {of_formats} lines by formats, \
         {passed_on} passed on"
    );
}

/// Runs that no real log is at hand of.
const RUNS: &[&str] = &[
    // Before 6.0, from a machine that is suspended, with an archive that goes.
    "version 5.4\nclock 1500000000\nvmids 100\nstorage nas\nprune keep-last=1\nguest 100 qemu\n\
     name web\nremoved /mnt/pve/nas/dump/vzdump-qemu-100-2017_01_01-00_00_00.vma.zst",
    // A backup server, disks that are clean and dirty, TPM, a frozen file system.
    "version 9.1\nclock 1700000000\nvmids 100 101\noption storage pbs\nstorage pbs\npbs\n\
     notified mail\nprune keep-daily=7,keep-weekly=4\nguest 100 qemu\nname web\nfreeze done\n\
     tpm\nguest 101 lxc\nname dns\nmount in rootfs /\nmount out volume mp0 /srv disabled",
    // Containers at a standstill, a limit, marks.
    "version 8.1\nclock 1700000000\nvmids 100 101\nstorage nas\nbwlimit 5120\nprotected\n\
     guest 100 lxc\nname a\nmode stop\nguest 101 lxc\nname b\nmode stop\nexits copied 2",
    // Each in its own way.
    "version 9.1\nclock 1700000000\nvmids 100 101 102\nstorage nas\nguest 100 qemu\nname a\n\
     fails begin unable to find VM '100'\nguest 101 qemu\nname b\n\
     fails copied job failed with err -5 - Input/output error\nguest 102 lxc\nname c\n\
     fails snapshot two\\n\\nlines",
    "version 9.1\nclock 1700000000\nvmids 100 101\nstorage nas\nnotify-fails mail no recipients\n\
     guest 100 qemu\nname a\ninterrupt copied\nguest 101 qemu",
];

#[test]
fn what_was_played_can_be_described_and_played_again() {
    if !has_perl() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("played.log");
    for run in RUNS {
        for form in ["task", "guest"] {
            let first = play(form, run).text;
            fs::write(&path, &first).expect("a temporary directory can be written");
            let description = describe(&path);
            let (form, log) = put_right(&first, &description);
            let second = play(&form, &description).text;
            assert!(
                fit(&log, &second).is_some_and(|(fit, _)| fit <= Fit::Beginning),
                "{form} of\n{run}\nis\n{first}\nand then\n{second}"
            );
        }
    }
}
