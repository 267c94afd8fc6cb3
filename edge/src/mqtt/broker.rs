//! A broker, prepared from its settings: every file read and checked before the first attempt.
//!
//! What can be wrong with certificates, keys and passwords is said here, naming the file. A
//! change to a file counts at the next [`Broker::prepare`]. Absent: the network.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::secret::Secret;
use super::settings::BrokerSettings;
use super::url::BrokerUrl;

/// The environment variable that holds the password where no file is wanted.
pub const PASSWORD_VARIABLE: &str = "PVEWATCH_MQTT_PASSWORD";

/// Where brokers are and how to be let in.
#[derive(Debug, Clone)]
pub struct Broker {
    urls: Vec<BrokerUrl>,
    keep_alive: Duration,
    pub(super) login: Option<Login>,
    pub(super) tls: Option<Tls>,
}

/// User and password.
#[derive(Debug, Clone)]
pub(super) struct Login {
    pub(super) username: String,
    pub(super) password: Option<Secret>,
}

/// What a TLS connection needs.
#[derive(Debug, Clone)]
pub(super) struct Tls {
    pub(super) config: Arc<ClientConfig>,
    /// The CA certificates that are trusted, in words.
    pub(super) trust: String,
    /// Whether this client has a certificate to show.
    pub(super) has_certificate: bool,
}

/// Why a broker's settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// No URL is set.
    #[error("no broker is set: set [broker] url, such as \"mqtt://broker.example.org\"")]
    NoUrl,
    /// A file is not there or not readable.
    #[error("[broker] {key}: {path} cannot be read: {source}")]
    Read {
        /// The key in the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file holds no certificate.
    #[error("[broker] {key}: {path} holds no certificate: it must be in PEM form")]
    NoCertificate {
        /// The key in the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A file holds no private key.
    #[error("[broker] key: {path} holds no private key: it must be in PEM form, without password")]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A certificate or key is there but damaged, or of a kind that is not supported.
    #[error("[broker] {key}: {path} is not valid: {cause}")]
    Invalid {
        /// The key in the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        cause: String,
    },
    /// One of certificate and key is set without the other.
    #[error("[broker] {set} is set without {missing}: set both")]
    HalfPair {
        /// What is set.
        set: &'static str,
        /// What is not.
        missing: &'static str,
    },
    /// The key is another certificate's.
    #[error("[broker] key: {key} does not belong to the certificate in {cert}")]
    KeyMismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        cert: PathBuf,
    },
    /// Files for TLS are set, and no URL uses them.
    #[error("[broker] {key} is set, but {url} is not encrypted: write mqtts:// for TLS")]
    Unencrypted {
        /// The key in the configuration.
        key: &'static str,
        /// The first URL.
        url: BrokerUrl,
    },
    /// The system has no CA certificates.
    #[error(
        "no CA certificates are installed on this system: set [broker] ca, or install \
         ca-certificates"
    )]
    NoSystemCa,
    /// The password's file is empty or not text.
    #[error("[broker] password_file: {path} {cause}: write the password into it as one line")]
    Password {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: &'static str,
    },
    /// A password is set and no user.
    #[error("{PASSWORD_VARIABLE} is set without a user: set [broker] username")]
    PasswordWithoutUser,
}

impl Broker {
    /// Reads and checks everything that `settings` name. The password comes from
    /// `password_file`, or else from the environment variable [`PASSWORD_VARIABLE`].
    ///
    /// # Errors
    /// When a file cannot be used, a certificate and its key do not fit, or no URL is set.
    pub fn prepare(settings: &BrokerSettings) -> Result<Self, BrokerError> {
        let password = std::env::var(PASSWORD_VARIABLE).ok().filter(|text| !text.is_empty());
        Self::prepare_with(settings, password.map(Secret::new))
    }

    /// As [`Broker::prepare`], with `password` in place of the environment's.
    ///
    /// # Errors
    /// As [`Broker::prepare`].
    pub fn prepare_with(
        settings: &BrokerSettings,
        password: Option<Secret>,
    ) -> Result<Self, BrokerError> {
        let Some(first) = settings.urls.first() else { return Err(BrokerError::NoUrl) };
        let password = match &settings.password_file {
            Some(path) => Some(read_password(path)?),
            None => password,
        };
        let login = match (&settings.username, password) {
            (Some(username), password) => Some(Login { username: username.clone(), password }),
            (None, Some(_)) => return Err(BrokerError::PasswordWithoutUser),
            (None, None) => None,
        };
        let tls = if settings.urls.iter().any(BrokerUrl::tls) {
            Some(prepare_tls(settings)?)
        } else {
            let unused = [("ca", &settings.ca), ("cert", &settings.cert), ("key", &settings.key)];
            if let Some((key, _)) = unused.into_iter().find(|(_, path)| path.is_some()) {
                return Err(BrokerError::Unencrypted { key, url: first.clone() });
            }
            None
        };
        let keep_alive = Duration::from_secs(u64::from(settings.keep_alive_seconds));
        Ok(Self { urls: settings.urls.clone(), keep_alive, login, tls })
    }

    /// A broker without TLS, for one that runs in the same process.
    pub fn plain(url: BrokerUrl, login: Option<(String, Secret)>) -> Self {
        let login = login.map(|(username, password)| Login { username, password: Some(password) });
        let seconds = u64::from(BrokerSettings::default().keep_alive_seconds);
        Self { urls: vec![url], keep_alive: Duration::from_secs(seconds), login, tls: None }
    }

    /// The URLs, in the order in which they are tried; at least one.
    pub fn urls(&self) -> &[BrokerUrl] {
        &self.urls
    }

    /// The user name, if one is set.
    pub fn username(&self) -> Option<&str> {
        self.login.as_ref().map(|login| login.username.as_str())
    }

    /// How often a silent connection is probed.
    pub fn keep_alive(&self) -> Duration {
        self.keep_alive
    }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, BrokerError> {
    std::fs::read(path).map_err(|source| BrokerError::Read { key, path: path.to_owned(), source })
}

fn read_password(path: &Path) -> Result<Secret, BrokerError> {
    let wrong = |cause| BrokerError::Password { path: path.to_owned(), cause };
    let text =
        String::from_utf8(read("password_file", path)?).map_err(|_| wrong("is not UTF-8 text"))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    match line {
        "" => Err(wrong("is empty")),
        line if line.contains('\n') => Err(wrong("has more than one line")),
        line => Ok(Secret::new(line)),
    }
}

fn prepare_tls(settings: &BrokerSettings) -> Result<Tls, BrokerError> {
    let (roots, trust) = match &settings.ca {
        Some(path) => (read_roots(path)?, path.display().to_string()),
        None => (system_roots()?, "the system's certificate store".to_owned()),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| BrokerError::Invalid {
            key: "ca",
            path: settings.ca.clone().unwrap_or_default(),
            cause: error.to_string(),
        })?
        .with_root_certificates(roots);
    let (config, has_certificate) = match (&settings.cert, &settings.key) {
        (None, None) => (builder.with_no_client_auth(), false),
        (Some(_), None) => return Err(BrokerError::HalfPair { set: "cert", missing: "key" }),
        (None, Some(_)) => return Err(BrokerError::HalfPair { set: "key", missing: "cert" }),
        (Some(cert), Some(key)) => {
            let chain = read_certificates("cert", cert)?;
            let config =
                builder.with_client_auth_cert(chain, read_key(key)?).map_err(
                    |error| match error {
                        rustls::Error::InconsistentKeys(_) => {
                            BrokerError::KeyMismatch { key: key.clone(), cert: cert.clone() }
                        }
                        error => BrokerError::Invalid {
                            key: "cert",
                            path: cert.clone(),
                            cause: error.to_string(),
                        },
                    },
                )?;
            (config, true)
        }
    };
    Ok(Tls { config: Arc::new(config), trust, has_certificate })
}

fn read_roots(path: &Path) -> Result<RootCertStore, BrokerError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates("ca", path)? {
        roots.add(certificate).map_err(|error| BrokerError::Invalid {
            key: "ca",
            path: path.to_owned(),
            cause: error.to_string(),
        })?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, BrokerError> {
    let mut roots = RootCertStore::empty();
    let (added, _) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 { Err(BrokerError::NoSystemCa) } else { Ok(roots) }
}

fn read_certificates(
    key: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, BrokerError> {
    let text = read(key, path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match certificates {
        Ok(list) if list.is_empty() => {
            Err(BrokerError::NoCertificate { key, path: path.to_owned() })
        }
        Ok(list) => Ok(list),
        Err(error) => {
            Err(BrokerError::Invalid { key, path: path.to_owned(), cause: error.to_string() })
        }
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, BrokerError> {
    PrivateKeyDer::from_pem_slice(&read("key", path)?).map_err(|error| match error {
        pem::Error::NoItemsFound => BrokerError::NoKey { path: path.to_owned() },
        error => {
            BrokerError::Invalid { key: "key", path: path.to_owned(), cause: error.to_string() }
        }
    })
}
