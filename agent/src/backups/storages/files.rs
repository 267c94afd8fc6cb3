//! Files in the `dump` folder of a storage, by their names.
//!
//! `vzdump-qemu-100-2026_11_02-21_00_04.vma.zst`, the time local. Beside an archive lies the `.log`
//! of its run, and can lie its `.notes` and its mark `.protected`; a `.dat` or `.tmp` is what a run
//! left that was killed.

use jiff::civil::DateTime;
use pvewatch_protocol::Vmid;
use pvewatch_protocol::event::GuestKind;

/// Endings of archives, as PVE::Storage knows them, the longer first.
const ENDINGS: &[&str] = &[
    ".vma", ".vma.gz", ".vma.lzo", ".vma.zst", ".tar", ".tar.gz", ".tar.lzo", ".tar.zst",
    ".tar.bz2", ".tgz",
];

/// What a file in a `dump` folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DumpFile<'a> {
    /// An archive.
    Archive(Archive<'a>),
    /// Somebody's words on the archive of this name.
    Notes(&'a str),
    /// This archive must not be removed.
    Protected(Archive<'a>),
    /// What a run said, whatever became of it.
    Log(Archive<'a>),
    /// What a run left of this guest that did not end, or is not at its end yet.
    Unfinished(Vmid),
    /// Anything else.
    Other,
}

/// An archive, or a run that was to make one, as far as a name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Archive<'a> {
    /// The file's name.
    pub name: &'a str,
    /// What was backed up.
    pub kind: GuestKind,
    /// Whose it is.
    pub vmid: Vmid,
    /// When the run began, in the node's own time.
    pub began: DateTime,
}

/// What a file is, by its name.
pub fn dump_file(name: &str) -> DumpFile<'_> {
    let archive = |name| of_run(name, |ending| ENDINGS.contains(&ending));
    if let Some(of) = name.strip_suffix(".notes").filter(|of| archive(of).is_some()) {
        return DumpFile::Notes(of);
    }
    if let Some(of) = name.strip_suffix(".protected").and_then(archive) {
        return DumpFile::Protected(of);
    }
    if let Some(found) = archive(name) {
        return DumpFile::Archive(found);
    }
    if let Some(run) = of_run(name, |ending| ending == ".log") {
        return DumpFile::Log(run);
    }
    let is_unfinished = |ending: &str| ending.ends_with(".dat") || ending == ".tmp";
    match of_run(name, is_unfinished) {
        Some(left) => DumpFile::Unfinished(left.vmid),
        None => DumpFile::Other,
    }
}

fn of_run(name: &str, is_ending: impl Fn(&str) -> bool) -> Option<Archive<'_>> {
    let rest = name.strip_prefix("vzdump-")?;
    let (kind, rest) = rest.split_once('-')?;
    let kind = match kind {
        "qemu" => GuestKind::Qemu,
        "lxc" | "openvz" => GuestKind::Lxc,
        _ => return None,
    };
    let (vmid, rest) = rest.split_once('-')?;
    let (time, ending) = rest.split_at_checked("2026_11_02-21_00_04".len())?;
    if !is_ending(ending) {
        return None;
    }
    Some(Archive { name, kind, vmid: vmid.parse().ok()?, began: time_of(time)? })
}

fn time_of(text: &str) -> Option<DateTime> {
    let (date, time) = text.split_once('-')?;
    let plain = format!("{} {}", date.replace('_', "-"), time.replace('_', ":"));
    crate::backups::log::time_of(&plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_tell_whose_they_are_and_of_when() {
        for (name, kind, vmid, began) in [
            (
                "vzdump-qemu-100-2026_11_02-21_00_04.vma.zst",
                GuestKind::Qemu,
                100,
                "2026-11-02T21:00:04",
            ),
            ("vzdump-lxc-7-2026_11_02-21_00_04.tar", GuestKind::Lxc, 7, "2026-11-02T21:00:04"),
            ("vzdump-openvz-7-2011_11_02-21_00_04.tgz", GuestKind::Lxc, 7, "2011-11-02T21:00:04"),
        ] {
            let vmid = Vmid::try_from(vmid).unwrap();
            let began = began.parse().unwrap();
            let archive = Archive { name, kind, vmid, began };
            assert_eq!(dump_file(name), DumpFile::Archive(archive));
        }
    }

    #[test]
    fn what_lies_beside_them() {
        let archive = "vzdump-qemu-100-2026_11_02-21_00_04.vma.zst";
        assert_eq!(dump_file(&format!("{archive}.notes")), DumpFile::Notes(archive));
        let DumpFile::Archive(found) = dump_file(archive) else { panic!("{archive}") };
        assert_eq!(dump_file(&format!("{archive}.protected")), DumpFile::Protected(found));
        let log = "vzdump-qemu-100-2026_11_02-21_00_04.log";
        assert_eq!(dump_file(log), DumpFile::Log(Archive { name: log, ..found }));
        let vmid = Vmid::try_from(100).unwrap();
        for left in [".vma.dat", ".tar.dat", ".tmp"] {
            let name = format!("vzdump-qemu-100-2026_11_02-21_00_04{left}");
            assert_eq!(dump_file(&name), DumpFile::Unfinished(vmid), "{name}");
        }
    }

    #[test]
    fn anything_else_is_none() {
        for name in [
            "vzdump-qemu-100-2026_13_02-21_00_04.vma",
            "vzdump-qemu-0-2026_11_02-21_00_04.vma",
            "vzdump-kvm-100-2026_11_02-21_00_04.vma",
            "vzdump-qemu-100-2026_11_02.vma",
            "copy-of-vzdump-qemu-100-2026_11_02-21_00_04.vma",
            "notes",
            "",
        ] {
            assert_eq!(dump_file(name), DumpFile::Other, "{name}");
        }
    }
}
