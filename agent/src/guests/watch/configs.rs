//! Looks at guests' configurations below `/etc/pve`, which can hang.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pvewatch_protocol::Vmid;
use pvewatch_protocol::event::GuestKind;

use crate::guests::cause::Config;
use crate::patience::PatientLook;
use crate::proxmox::config_folder;

/// How long a look may take. A guest that has stopped is not told later for it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Most of a guest's configuration that is looked at, in bytes: its lock is before the snapshots.
const CONFIG_BYTES_MAX: u64 = 64 * 1024;

/// Whoever looks.
#[derive(Debug)]
pub struct Configs {
    pve: PathBuf,
    eye: PatientLook<Vec<Config>>,
}

impl Configs {
    /// Has looked at nothing yet.
    pub fn new(pve: PathBuf) -> Self {
        Self { pve, eye: PatientLook::default() }
    }

    /// The configurations of guests; all unknown if that takes too long.
    pub async fn look(&mut self, guests: Vec<(Vmid, GuestKind)>) -> Vec<Config> {
        let unknown = vec![Config::Unknown; guests.len()];
        let pve = self.pve.clone();
        let look =
            move || guests.into_iter().map(|(vmid, kind)| config(&pve, vmid, kind)).collect();
        self.eye.look(PATIENCE, look).await.unwrap_or(unknown)
    }
}

/// A guest's configuration on this node. While `/etc/pve` is not mounted nothing is known of it.
fn config(pve: &Path, vmid: Vmid, kind: GuestKind) -> Config {
    let folder = pve.join("local").join(config_folder(kind));
    let file = match File::open(folder.join(format!("{vmid}.conf"))) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound && folder.is_dir() => {
            return Config::Absent;
        }
        Err(_) => return Config::Unknown,
    };
    let mut text = Vec::new();
    if file.take(CONFIG_BYTES_MAX).read_to_end(&mut text).is_err() {
        return Config::Unknown;
    }
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().take_while(|line| !line.starts_with('['));
    Config::Here(lines.find_map(|line| line.strip_prefix("lock:")).map(|it| it.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn a_guest_is_absent_only_if_the_node_can_say_so() {
        let pve = tempfile::tempdir().unwrap();
        let mut configs = Configs::new(pve.path().to_owned());
        let guests: Vec<_> =
            [100, 101, 102].map(|vmid| (Vmid::try_from(vmid).unwrap(), GuestKind::Qemu)).to_vec();
        let unmounted = configs.look(guests.clone()).await;
        assert_eq!(unmounted, [Config::Unknown, Config::Unknown, Config::Unknown]);
        let folder = pve.path().join("local/qemu-server");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("100.conf"), "name: web\nlock: backup\n").unwrap();
        fs::write(folder.join("101.conf"), "name: db\n\n[snap]\nlock: snapshot\n").unwrap();
        let lock = Some("backup".to_owned());
        let expected = [Config::Here(lock), Config::Here(None), Config::Absent];
        assert_eq!(configs.look(guests).await, expected);
    }
}
