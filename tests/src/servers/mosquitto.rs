//! Mosquitto as an external broker.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::{Signal, geteuid};
use tempfile::TempDir;

use super::{free_port, listens, system_program, wait_until_up};
use crate::certificates::{Authority, Identity};
use crate::process::Service;
use crate::subscriber::{Access, Tls};

/// Lines of an ACL file: everybody may say everything, and nobody hears it.
pub const MUTE: &str = "topic write #\n";

/// Who may connect.
#[derive(Debug, Clone)]
pub enum Security {
    /// Anybody.
    Open,
    /// Anybody, and nobody hears of it: what is published is acknowledged and passed on to no one.
    Mute,
    /// Anybody, within these lines of an ACL file, which [`Mosquitto::allow`] can replace.
    Rules(String),
    /// Who knows the password.
    Password {
        /// The one user.
        user: String,
        /// Its password.
        password: String,
    },
    /// Who shows a certificate of the authority; its common name is the user name, and the ACL
    /// lets a node publish only below its own `node/{node}/`.
    MutualTls {
        /// The authority's certificate.
        authority: std::path::PathBuf,
        /// The server's own certificate.
        identity: Identity,
    },
}

impl Security {
    /// Mutual TLS with a server certificate of that authority.
    pub fn mutual_tls(authority: &Authority, identity: Identity) -> Self {
        Self::MutualTls { authority: authority.certificate().to_owned(), identity }
    }
}

/// A running Mosquitto; it can be restarted on the same port.
#[derive(Debug)]
pub struct Mosquitto {
    service: Service,
    port: u16,
    security: Security,
    directory: TempDir,
}

impl Mosquitto {
    /// Starts it and waits until it listens.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    #[track_caller]
    pub fn start(security: Security) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let configuration = directory.path().join("mosquitto.conf");
        let mut command = Command::new(system_program("mosquitto").expect("mosquitto"));
        command.arg("-c").arg(configuration);
        let service = Service::new("mosquitto", &directory.path().join("mosquitto.log"), command);
        let mut this = Self { service, port: free_port(), security, directory };
        this.write_configuration();
        this.start_again();
        this
    }

    /// The port it listens on, also while it is stopped.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How to reach it; with mutual TLS, as the owner of `identity`.
    pub fn access(&self, identity: Option<Identity>) -> Access {
        let mut access = Access::plain(self.port);
        match &self.security {
            Security::Open | Security::Mute | Security::Rules(_) => {}
            Security::Password { user, password } => {
                access.user = Some((user.clone(), password.clone()));
            }
            Security::MutualTls { authority, .. } => {
                access.tls = Some(Tls { authority: authority.clone(), identity });
            }
        }
        access
    }

    /// Ends it as the service manager would (SIGTERM), or as an out-of-memory kill (SIGKILL).
    ///
    /// # Panics
    /// When it does not exit.
    #[track_caller]
    pub fn stop(&mut self, signal: Signal) {
        self.service.stop(signal);
    }

    /// Starts it again on the same port.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn start_again(&mut self) {
        let port = self.port;
        wait_until_up(self.service.start(), || listens(port));
    }

    /// Replaces its ACL file while it runs.
    ///
    /// # Panics
    /// When it was not started with one.
    #[track_caller]
    pub fn allow(&mut self, rules: &str) {
        assert!(matches!(self.security, Security::Rules(_)), "it has no ACL file to replace");
        fs::write(self.file("acl"), rules).expect("the directory can be written");
        self.service.signal(Signal::HUP);
    }

    fn file(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    fn write_configuration(&self) {
        let mut text = format!(
            "listener {} 127.0.0.1\nallow_anonymous {}\npersistence false\nlog_dest stderr\n\
             max_queued_messages 100000\nmax_inflight_messages 200\nset_tcp_nodelay true\n",
            self.port,
            matches!(self.security, Security::Open | Security::Mute | Security::Rules(_)),
        );
        if geteuid().is_root() {
            // Otherwise it becomes the user `mosquitto`, who cannot read this directory.
            text += "user root\n";
        }
        match &self.security {
            Security::Open => {}
            Security::Mute | Security::Rules(_) => {
                let rules = match &self.security {
                    Security::Rules(rules) => rules,
                    _ => MUTE,
                };
                fs::write(self.file("acl"), rules).expect("the directory can be written");
                text += &format!("acl_file {}\n", self.file("acl"));
            }
            Security::Password { user, password } => {
                hash_password(Path::new(&self.file("passwords")), user, password);
                text += &format!("password_file {}\n", self.file("passwords"));
            }
            Security::MutualTls { authority, identity } => {
                let acl = "user observer\ntopic readwrite #\nuser collector\ntopic readwrite #\n\
                           pattern write pvewatch/v1/+/node/%u/#\npattern read #\n";
                fs::write(self.file("acl"), acl).expect("the directory can be written");
                text += &format!(
                    "cafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n\
                     use_identity_as_username true\nacl_file {}\n",
                    authority.display(),
                    identity.certificate.display(),
                    identity.key.display(),
                    self.file("acl"),
                );
            }
        }
        fs::write(self.file("mosquitto.conf"), text).expect("the directory can be written");
    }
}

fn hash_password(file: &Path, user: &str, password: &str) {
    let done = Command::new("mosquitto_passwd")
        .args(["-c", "-b"])
        .arg(file)
        .args([user, password])
        .status()
        .expect("mosquitto_passwd is installed with mosquitto");
    assert!(done.success(), "mosquitto_passwd: {done}");
}
