//! Which storages a node has, by `storage.cfg`, what they are for, and which backups they keep.
//!
//! Only those that are on, and are not kept to other nodes. Proxmox has a storage `local` even if
//! no file names it.

use std::path::{Path, PathBuf};

use super::retention::Retention;
use crate::backups::plan::sections::{Section, is_true, items, sections};

/// The storage that is on every node, whatever the file says, and where it is.
const LOCAL: &str = "local";
const LOCAL_PATH: &str = "/var/lib/vz";

/// A storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// Its name.
    pub id: String,
    /// Its type, such as `dir` or `nfs`.
    pub kind: String,
    /// What it may hold, such as `images` or `backup`; `none` if nothing, and never empty.
    pub content: Vec<String>,
    /// Whether other nodes see the same.
    pub is_shared: bool,
    /// Where its files lie, if it holds files.
    pub folder: Option<Folder>,
    /// The thin pool of LVM that it is.
    pub thin_pool: Option<ThinPool>,
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
    /// The folder of each kind of content that it may hold.
    pub contents: Vec<(String, PathBuf)>,
    /// What must be mounted.
    pub mount: Option<PathBuf>,
}

/// A thin pool of LVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThinPool {
    /// Its volume group.
    pub group: String,
    /// Its own name there.
    pub volume: String,
}

impl Storage {
    /// Whether backups go there.
    pub fn takes_backups(&self) -> bool {
        pvewatch_protocol::takes_backups(&self.content)
    }
}

/// The storages of a node, in the order of the file.
pub fn storages(text: &str, node: &str) -> Vec<Storage> {
    let mut sections = sections(text);
    if !sections.iter().any(|section| section.id == LOCAL) {
        let all = "images,rootdir,vztmpl,iso,snippets,backup";
        sections.extend(self::sections(&format!("dir: {LOCAL}\n\tcontent {all}\n")));
    }
    let is_used = |section: &&Section| {
        let nodes = section.list("nodes");
        !section.is_on("disable").unwrap_or(false)
            && (nodes.is_empty() || nodes.contains(&node) || section.id == LOCAL)
    };
    sections.iter().filter(is_used).map(storage).collect()
}

fn storage(section: &Section) -> Storage {
    let is_remote = matches!(&*section.kind, "nfs" | "cifs" | "cephfs" | "glusterfs");
    let is_local = matches!(&*section.kind, "dir" | "btrfs");
    let root = section.get("path").map(PathBuf::from);
    let root = root.or_else(|| is_remote.then(|| ["/mnt/pve", &section.id].iter().collect()));
    let root = root.or_else(|| (section.id == LOCAL).then(|| LOCAL_PATH.into()));
    let root = root.filter(|_| is_remote || is_local);
    let content = content(section);
    let folder = root.map(|root| Folder {
        dump: root.join(folder_of(section, "backup", "dump")),
        contents: folders(section, &content, &root),
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
        is_shared: section.is_on("shared").unwrap_or(is_remote || is_served(&section.kind)),
        folder,
        thin_pool: thin_pool(section),
        content,
        prune: prune(|key| section.get(key)),
    }
}

/// Types that are no folders and are the same seen from everywhere.
fn is_served(kind: &str) -> bool {
    matches!(kind, "pbs" | "rbd" | "iscsi" | "iscsidirect" | "zfs" | "esxi")
}

/// What a storage may hold; Proxmox' defaults where it does not say.
fn content(section: &Section) -> Vec<String> {
    let default = match &*section.kind {
        // A backup server is there for nothing else.
        "pbs" => "backup",
        "esxi" => "import",
        "lvmthin" | "zfspool" => "images,rootdir",
        _ => "images",
    };
    let told = section
        .get("content")
        .map_or_else(|| items(default).collect(), |_| section.list("content"));
    match told.as_slice() {
        [] => vec!["none".to_owned()],
        told => told.iter().map(|content| (*content).to_owned()).collect(),
    }
}

/// The folder of each kind of content that lies in one.
fn folders(section: &Section, content: &[String], root: &Path) -> Vec<(String, PathBuf)> {
    const FOLDERS: [(&str, &str); 6] = [
        ("images", "images"),
        ("vztmpl", "template/cache"),
        ("iso", "template/iso"),
        ("snippets", "snippets"),
        ("import", "import"),
        ("backup", "dump"),
    ];
    let holds = |kind: &str| content.iter().any(|content| content == kind);
    // A container's disks lie where a virtual machine's do.
    let is_used = |kind: &str| holds(kind) || (kind == "images" && holds("rootdir"));
    let used = FOLDERS.into_iter().filter(|(kind, _)| is_used(kind));
    used.map(|(kind, usual)| (kind.to_owned(), root.join(folder_of(section, kind, usual))))
        .collect()
}

/// `content-dirs backup=some/where` moves a folder.
fn folder_of<'a>(section: &'a Section, kind: &str, usual: &'a str) -> &'a str {
    let dirs = section.list("content-dirs");
    let moved = dirs.iter().find_map(|dir| dir.strip_prefix(kind)?.strip_prefix('='));
    moved.map_or(usual, |dir| dir.trim_start_matches('/'))
}

fn thin_pool(section: &Section) -> Option<ThinPool> {
    let is_one = section.kind == "lvmthin";
    let key = |name| section.get(name).filter(|_| is_one).map(str::to_owned);
    Some(ThinPool { group: key("vgname")?, volume: key("thinpool")? })
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
    fn storages_are_those_that_are_on_for_this_node() {
        let told: Vec<_> = storages(TEXT, "pve1")
            .into_iter()
            .map(|it| (it.id, it.kind, it.content.join(","), it.is_shared, it.prune))
            .collect();
        let storage = |id: &str, kind: &str, content: &str, is_shared, prune: Option<&str>| {
            let prune = prune.map(str::to_owned);
            (id.to_owned(), kind.to_owned(), content.to_owned(), is_shared, prune)
        };
        let expected = [
            storage("local", "dir", "iso,vztmpl,backup", false, Some("keep-last=3")),
            storage("local-lvm", "lvmthin", "rootdir,images", false, None),
            storage("nas", "nfs", "backup", true, None),
            storage("usb", "dir", "backup", false, Some("keep-last=2")),
            storage("pbs1", "pbs", "backup", true, None),
        ];
        assert_eq!(told, expected);
        let takes_backups = |it: &Storage| it.takes_backups();
        assert_eq!(storages(TEXT, "pve1").iter().filter(|it| takes_backups(it)).count(), 4);
        let thin = storages(TEXT, "pve1").remove(1).thin_pool;
        assert_eq!(thin, Some(ThinPool { group: "pve".to_owned(), volume: "data".to_owned() }));
    }

    #[test]
    fn files_lie_in_folders_by_what_they_are() {
        let folder = |id: &str| {
            let found = storages(TEXT, "pve1").into_iter().find(|it| it.id == id).unwrap();
            let folder = found.folder?;
            let text = |path: &Path| path.display().to_string();
            let contents: Vec<_> =
                folder.contents.iter().map(|(kind, path)| (kind.clone(), text(path))).collect();
            Some((text(&folder.root), contents, folder.mount.as_deref().map(text)))
        };
        let at = |root: &str, contents: &[(&str, &str)], mount: Option<&str>| {
            let contents =
                contents.iter().map(|(kind, path)| ((*kind).to_owned(), format!("{root}/{path}")));
            Some((root.to_owned(), contents.collect::<Vec<_>>(), mount.map(str::to_owned)))
        };
        let local = [("vztmpl", "template/cache"), ("iso", "template/iso"), ("backup", "dump")];
        assert_eq!(folder("local"), at("/var/lib/vz", &local, None));
        let nas = at("/mnt/pve/nas", &[("backup", "dump")], Some("/mnt/pve/nas"));
        assert_eq!(folder("nas"), nas);
        let usb = at("/mnt/usb/pve", &[("backup", "old/dumps")], Some("/mnt/usb"));
        assert_eq!(folder("usb"), usb);
        assert_eq!((folder("local-lvm"), folder("pbs1")), (None, None));
    }

    #[test]
    fn what_a_storage_holds_has_defaults() {
        let content = |text: &str| storages(text, "pve1").remove(0).content.join(",");
        assert_eq!(content("zfspool: tank\n\tpool tank/vm\n"), "images,rootdir");
        assert_eq!(content("rbd: ceph\n\tpool vm\n"), "images");
        for nothing in ["none", ""] {
            let text = format!("dir: empty\n\tpath /x\n\tcontent {nothing}\n");
            assert_eq!(content(&text), "none");
            assert!(!storages(&text, "pve1")[0].takes_backups());
        }
        let rootdir = storages("dir: ct\n\tpath /x\n\tcontent rootdir\n", "pve1").remove(0);
        assert_eq!(rootdir.folder.unwrap().contents, [("images".to_owned(), "/x/images".into())]);
    }

    #[test]
    fn a_storage_is_kept_to_the_nodes_that_it_names() {
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
        let folder = storages[0].folder.clone().unwrap();
        assert_eq!((folder.dump, folder.mount), ("/var/lib/vz/dump".into(), None));
        let elsewhere = "dir: local\n\tcontent backup\n\tnodes pve2\n";
        assert_eq!(self::storages(elsewhere, "pve1").len(), 1);
        assert!(storages[0].takes_backups());
        assert_eq!(self::storages("dir: local\n\tpath /x\n\tdisable\n", "pve1"), []);
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
