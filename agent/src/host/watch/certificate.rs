//! Looks at the certificate of the node's web interface, in `/etc/pve`, whose file system can hang.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pvewatch_protocol::sample::Certificate;

use crate::host::certificate::ends_at;
use crate::patience::SeldomLook;

/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// From one look to the next: a certificate that was renewed is seen as soon as this.
const LOOK_EVERY: Duration = Duration::from_secs(600);

/// The certificate that the web interface shows: the first of these that is there.
const FILES: [&str; 2] = ["pveproxy-ssl.pem", "pve-ssl.pem"];

/// Whoever looks.
#[derive(Debug)]
pub struct NodeCertificate {
    folder: PathBuf,
    eye: SeldomLook<Option<Certificate>>,
    known: Option<Certificate>,
}

impl NodeCertificate {
    /// Has not looked yet. `folder` is the node's own in `/etc/pve`.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, eye: SeldomLook::new(LOOK_EVERY), known: None }
    }

    /// The certificate as it was at the last look that was answered; none without one.
    pub async fn read(&mut self) -> Option<Certificate> {
        let folder = self.folder.clone();
        let looked = self.eye.look_if_due(PATIENCE, move || find(&folder)).await;
        if let Some(Some(found)) = looked {
            self.known = found;
        }
        self.known.clone()
    }
}

fn find(folder: &Path) -> Option<Certificate> {
    let (file, pem) =
        FILES.into_iter().find_map(|file| Some((file, fs::read(folder.join(file)).ok()?)))?;
    Some(Certificate { file: file.to_owned(), ends_at: ends_at(&pem)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem() -> String {
        let made = rcgen::generate_simple_self_signed(vec!["pve1".to_owned()]).unwrap();
        made.cert.pem()
    }

    #[tokio::test(start_paused = true)]
    async fn the_certificate_that_was_given_to_a_node_comes_before_proxmox_own() {
        let folder = tempfile::tempdir().unwrap();
        let mut certificate = NodeCertificate::new(folder.path().to_owned());
        assert_eq!(certificate.read().await, None);
        for file in ["pve-ssl.pem", "pveproxy-ssl.pem"] {
            fs::write(folder.path().join(file), pem()).unwrap();
            let before = certificate.read().await;
            assert!(before.is_none_or(|it| it.file != file), "ten minutes are not over");
            tokio::time::advance(LOOK_EVERY).await;
            assert_eq!(certificate.read().await.unwrap().file, file);
        }
    }
}
