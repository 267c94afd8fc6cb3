//! Files in the `dump` folder of a storage, by their names.
//!
//! `vzdump-qemu-100-2026_11_02-21_00_04.vma.zst`, the time local. Beside an archive lies the `.log`
//! of its run, and can lie its `.notes` and its mark `.protected`; a `.dat` or `.tmp` is what a run
//! left that was killed. Whatever else lies there is nobody's.

use jiff::civil::DateTime;
use pvewatch_protocol::{Archive, Vmid};

/// What guests are in names; `openvz` are containers before PVE 4.
const KINDS: [&str; 3] = ["qemu", "lxc", "openvz"];

/// Endings of archives, as PVE::Storage knows them.
const ENDINGS: [&str; 10] = [
    ".vma", ".vma.gz", ".vma.lzo", ".vma.zst", ".tar", ".tar.gz", ".tar.lzo", ".tar.zst",
    ".tar.bz2", ".tgz",
];

/// What a file in a `dump` folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DumpFile {
    /// An archive, and how its name ends.
    Archive(Run, &'static str),
    /// This archive must not be removed.
    Protected(Run),
    /// What a run said, whatever became of it.
    Log(Run),
    /// What a run left that did not end, or is not at its end yet.
    Unfinished(Run),
    /// Anything else, also the notes on an archive: those of one are read by its name.
    Other,
}

/// A run, as far as a name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// What was backed up: `qemu`, `lxc` or `openvz`.
    pub kind: &'static str,
    /// Whose it is.
    pub vmid: Vmid,
    /// When it began, in the node's own time.
    pub began: DateTime,
}

/// What a file is, by its name.
pub fn dump_file(name: &str) -> DumpFile {
    let Some((run, ending)) = run(name) else { return DumpFile::Other };
    if let Some(known) = archive_ending(ending) {
        return DumpFile::Archive(run, known);
    }
    let is_protected = |of: &str| archive_ending(of).is_some();
    match ending {
        ".log" => DumpFile::Log(run),
        ".tmp" => DumpFile::Unfinished(run),
        _ if ending.ends_with(".dat") => DumpFile::Unfinished(run),
        _ if ending.strip_suffix(".protected").is_some_and(is_protected) => {
            DumpFile::Protected(run)
        }
        _ => DumpFile::Other,
    }
}

/// The name of a run's file with this ending.
pub fn file_name(run: Run, ending: &str) -> String {
    let Run { kind, vmid, began } = run;
    format!("vzdump-{kind}-{vmid}-{}{ending}", began.strftime("%Y_%m_%d-%H_%M_%S"))
}

/// The name of the file with the notes on an archive.
pub fn notes_name(archive: &str) -> String {
    format!("{archive}.notes")
}

/// Notes as they are told, from how their file begins: lines stay lines, but whatever could
/// disturb a terminal goes.
pub fn notes(beginning: &str) -> Option<String> {
    let is_plain = |c: char| !c.is_control() || c == '\n';
    let plain: String = beginning.chars().filter(|c| is_plain(*c)).collect();
    let plain = plain.trim();
    let mut told: String = plain.chars().take(Archive::NOTES_CHARS_MAX).collect();
    if told.len() < plain.len() {
        told.pop();
        told.push('…');
    }
    (!told.is_empty()).then_some(told)
}

fn archive_ending(ending: &str) -> Option<&'static str> {
    ENDINGS.into_iter().find(|known| *known == ending)
}

/// The run that a name begins with, and the rest.
fn run(name: &str) -> Option<(Run, &str)> {
    let (word, rest) = name.strip_prefix("vzdump-")?.split_once('-')?;
    let kind = KINDS.into_iter().find(|kind| *kind == word)?;
    let (vmid, rest) = rest.split_once('-')?;
    let (time, ending) = rest.split_at_checked("2026_11_02-21_00_04".len())?;
    Some((Run { kind, vmid: vmid.parse().ok()?, began: time_of(time)? }, ending))
}

fn time_of(text: &str) -> Option<DateTime> {
    let (date, time) = text.split_once('-')?;
    let plain = format!("{} {}", date.replace('_', "-"), time.replace('_', ":"));
    crate::backups::log::time_of(&plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(kind: &'static str, vmid: u32, began: &str) -> Run {
        Run { kind, vmid: Vmid::try_from(vmid).unwrap(), began: began.parse().unwrap() }
    }

    #[test]
    fn archives_tell_whose_they_are_and_of_when() {
        let at = "2026-11-02T21:00:04";
        for (name, of, ending) in [
            ("vzdump-qemu-100-2026_11_02-21_00_04.vma.zst", run("qemu", 100, at), ".vma.zst"),
            ("vzdump-lxc-700-2026_11_02-21_00_04.tar", run("lxc", 700, at), ".tar"),
            ("vzdump-openvz-700-2026_11_02-21_00_04.tgz", run("openvz", 700, at), ".tgz"),
        ] {
            assert_eq!(dump_file(name), DumpFile::Archive(of, ending));
            assert_eq!(file_name(of, ending), name);
        }
    }

    #[test]
    fn what_lies_beside_them() {
        let of = run("qemu", 100, "2026-11-02T21:00:04");
        for (ending, expected) in [
            (".log", DumpFile::Log(of)),
            (".vma.zst.protected", DumpFile::Protected(of)),
            (".vma.zst.notes", DumpFile::Other),
            (".vma.dat", DumpFile::Unfinished(of)),
            (".tar.dat", DumpFile::Unfinished(of)),
            (".tmp", DumpFile::Unfinished(of)),
        ] {
            assert_eq!(dump_file(&file_name(of, ending)), expected, "{ending}");
        }
    }

    #[test]
    fn notes_are_told_in_short_and_without_what_disturbs_a_terminal() {
        assert_eq!(notes(" before the upgrade\r\nby jo\n").unwrap(), "before the upgrade\nby jo");
        assert_eq!(notes("red: \u{1b}[31m\u{9b}2J").unwrap(), "red: [31m2J");
        assert_eq!(notes(" \n\t"), None);
        let whole = "ä".repeat(Archive::NOTES_CHARS_MAX);
        assert_eq!(notes(&whole).as_ref(), Some(&whole));
        let cut = notes(&format!("{whole}b")).unwrap();
        assert_eq!((cut.chars().count(), cut.ends_with("ä…")), (Archive::NOTES_CHARS_MAX, true));
    }

    #[test]
    fn anything_else_is_none() {
        for name in [
            "vzdump-qemu-100-2026_13_02-21_00_04.vma",
            "vzdump-qemu-0-2026_11_02-21_00_04.vma",
            "vzdump-kvm-100-2026_11_02-21_00_04.vma",
            "vzdump-qemu-100-2026_11_02.vma",
            "vzdump-qemu-100-2026_11_02-21_00_04.iso.protected",
            "vzdump-qemu-100-2026_11_02-21_00_04",
            "copy-of-vzdump-qemu-100-2026_11_02-21_00_04.vma",
            "notes",
            "",
        ] {
            assert_eq!(dump_file(name), DumpFile::Other, "{name}");
        }
    }
}
