//! Which storages a node has for backups, by `storage.cfg`, and what is kept on them.
//!
//! Only those whose `content` names backups, that are on, and are not kept to other nodes. Proxmox
//! has a storage `local` even if no file names it.

use std::path::PathBuf;

use super::retention::Retention;
use crate::backups::plan::sections::{Section, is_true, sections};

/// A storage for backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// Its name.
    pub id: String,
    /// Its type, such as `dir` or `nfs`.
    pub kind: String,
    /// Whether other nodes see the same.
    pub is_shared: bool,
    /// Where its archives lie, if they are files.
    pub folder: Option<Folder>,
    /// Which archives are kept, as the storage itself says.
    pub prune: Option<String>,
}

/// The folder of a storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// The storage's own folder.
    pub root: PathBuf,
    /// The folder of its archives.
    pub dump: PathBuf,
    /// What must be mounted.
    pub mount: Option<PathBuf>,
}

/// The storages of a node for backups, in the order of the file.
pub fn storages(text: &str, node: &str) -> Vec<Storage> {
    let mut sections = sections(text);
    if !sections.iter().any(|section| section.id == "local") {
        let local = "dir: local\n\tpath /var/lib/vz\n\tcontent backup\n";
        sections.extend(self::sections(local));
    }
    let is_used = |section: &&Section| {
        let nodes = section.list("nodes");
        section.list("content").contains(&"backup")
            && !section.is_on("disable").unwrap_or(false)
            && (nodes.is_empty() || nodes.contains(&node))
    };
    sections.iter().filter(is_used).map(storage).collect()
}

fn storage(section: &Section) -> Storage {
    let is_remote = matches!(&*section.kind, "nfs" | "cifs" | "cephfs" | "glusterfs");
    let is_local = matches!(&*section.kind, "dir" | "btrfs");
    let root = section.get("path").map(PathBuf::from);
    let root = root.or_else(|| is_remote.then(|| ["/mnt/pve", &section.id].iter().collect()));
    let root = root.filter(|_| is_remote || is_local);
    let folder = root.map(|root| Folder {
        dump: root.join(folder_of_archives(section)),
        mount: match section.get("is_mountpoint") {
            _ if is_remote => Some(root.clone()),
            Some(place) if place.starts_with('/') => Some(place.into()),
            Some(flag) => is_true(flag).then(|| root.clone()),
            None => None,
        },
        root,
    });
    Storage {
        id: section.id.clone(),
        kind: section.kind.clone(),
        is_shared: section.is_on("shared").unwrap_or(!is_local),
        folder,
        prune: prune(|key| section.get(key)),
    }
}

/// `content-dirs backup=some/where` moves it.
fn folder_of_archives(section: &Section) -> &str {
    let dirs = section.list("content-dirs");
    let moved = dirs.iter().find_map(|dir| dir.strip_prefix("backup="));
    moved.map_or("dump", |dir| dir.trim_start_matches('/'))
}

/// What `/etc/vzdump.conf` says is kept where no job and no storage says it.
pub fn node_prune(vzdump_conf: &str) -> Option<String> {
    let lines = vzdump_conf.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let pairs: Vec<_> = lines.filter_map(|line| line.split_once(':')).collect();
    prune(|key| pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| value.trim()))
}

/// `prune-backups`, or `maxfiles` as before it (PVE 6.2), of which 0 is no bound.
fn prune<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Option<String> {
    let prune = get("prune-backups").filter(|text| Retention::parse(text).is_some());
    prune.map(str::to_owned).or_else(|| Some(format!("keep-last={}", get("maxfiles")?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
dir: local
\tpath /var/lib/vz
\tcontent iso,vztmpl,backup
\tprune-backups keep-last=3

lvmthin: local-lvm
\tthinpool data
\tvgname pve
\tcontent rootdir,images

nfs: nas
\texport /srv/nas
\tpath /mnt/pve/nas
\tserver 192.0.2.1
\tcontent backup

dir: usb
\tpath /mnt/usb/pve
\tcontent backup
\tis_mountpoint /mnt/usb
\tcontent-dirs backup=/old/dumps,iso=iso
\tmaxfiles 2

pbs: pbs1
\tdatastore main
\tserver 192.0.2.2
\tcontent backup

dir: off
\tpath /mnt/off
\tcontent backup
\tdisable

cifs: elsewhere
\tserver 192.0.2.3
\tshare x
\tcontent backup
\tnodes pve2,pve3
";

    #[test]
    fn storages_are_those_that_take_backups_from_this_node() {
        let folder = |root: &str, dump: &str, mount: Option<&str>| {
            Some(Folder { root: root.into(), dump: dump.into(), mount: mount.map(PathBuf::from) })
        };
        let storage = |id: &str, kind: &str, is_shared, folder, prune: Option<&str>| Storage {
            id: id.to_owned(),
            kind: kind.to_owned(),
            is_shared,
            folder,
            prune: prune.map(str::to_owned),
        };
        let local = folder("/var/lib/vz", "/var/lib/vz/dump", None);
        let nas = folder("/mnt/pve/nas", "/mnt/pve/nas/dump", Some("/mnt/pve/nas"));
        let usb = folder("/mnt/usb/pve", "/mnt/usb/pve/old/dumps", Some("/mnt/usb"));
        let expected = [
            storage("local", "dir", false, local, Some("keep-last=3")),
            storage("nas", "nfs", true, nas, None),
            storage("usb", "dir", false, usb, Some("keep-last=2")),
            storage("pbs1", "pbs", true, None, None),
        ];
        assert_eq!(storages(TEXT, "pve1"), expected);
        let cifs = storages(TEXT, "pve2").pop().unwrap();
        assert_eq!(cifs.folder.unwrap().mount, Some("/mnt/pve/elsewhere".into()));
    }

    #[test]
    fn a_storage_that_must_be_a_mount_point_says_so_in_three_ways() {
        let mount = |value: &str| {
            let text =
                format!("dir: local\n\tpath /mnt/a\n\tcontent backup\n\tis_mountpoint {value}\n");
            storages(&text, "pve1").remove(0).folder.unwrap().mount
        };
        assert_eq!(mount("1"), Some("/mnt/a".into()));
        assert_eq!(mount("yes"), Some("/mnt/a".into()));
        assert_eq!(mount("0"), None);
        assert_eq!(mount("/mnt"), Some("/mnt".into()));
    }

    #[test]
    fn proxmox_has_a_local_storage_without_being_told() {
        let storages = storages("", "pve1");
        assert_eq!(storages.len(), 1);
        assert_eq!((&*storages[0].id, storages[0].is_shared), ("local", false));
        assert_eq!(self::storages("dir: local\n\tpath /x\n\tcontent iso\n", "pve1"), []);
    }

    #[test]
    fn what_the_node_keeps() {
        let of = |text: &str| node_prune(text);
        assert_eq!(
            of("# prune-backups: keep-last=1\nprune-backups: keep-daily=7\n").unwrap(),
            "keep-daily=7"
        );
        assert_eq!(of("maxfiles: 4").unwrap(), "keep-last=4");
        assert_eq!((of(""), of("prune-backups: nonsense\n")), (None, None));
    }
}
