//! A certificate authority of a test, and what it signs: servers, clients by common name, and
//! certificates that have expired. All keys are made anew and live in the test's directory.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// A certificate and its key, as PEM files.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Whether a certificate is valid now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// From 2020 to 2100.
    Valid,
    /// Ended in 2021.
    Expired,
}

/// A certificate authority.
#[derive(Debug)]
pub struct Authority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    certificate: PathBuf,
}

impl Authority {
    /// Makes a new authority whose files lie in `directory`.
    ///
    /// # Panics
    /// When the directory cannot be written.
    pub fn new(directory: &Path, name: &str) -> Self {
        let mut params = params(name, Validity::Valid);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("ring makes keys");
        let signed = params.self_signed(&key).expect("the parameters are complete");
        fs::create_dir_all(directory).expect("the test's directory can be written");
        let certificate = directory.join(format!("{name}.pem"));
        fs::write(&certificate, signed.pem()).expect("the test's directory can be written");
        Self { directory: directory.to_owned(), issuer: Issuer::new(params, key), certificate }
    }

    /// The authority's own certificate: what its clients and servers trust.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// A certificate for a server on the loopback: `localhost`, `127.0.0.1` and `::1`.
    pub fn server(&self, validity: Validity) -> Identity {
        self.server_at(&["localhost", "127.0.0.1", "::1"], validity)
    }

    /// A certificate for a server at these names and addresses, of which there is at least one.
    pub fn server_at(&self, names: &[&str], validity: Validity) -> Identity {
        let mut params = params(names.first().copied().unwrap_or_default(), validity);
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        params.subject_alt_names = CertificateParams::new(names)
            .expect("the names are host names and addresses")
            .subject_alt_names;
        self.sign(params, "server", ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate for a client; brokers take the common name as its user name.
    pub fn client(&self, common_name: &str, validity: Validity) -> Identity {
        self.sign(params(common_name, validity), common_name, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        file: &str,
        purpose: ExtendedKeyUsagePurpose,
    ) -> Identity {
        params.extended_key_usages = vec![purpose];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("ring makes keys");
        let signed = params.signed_by(&key, &self.issuer).expect("the parameters are complete");
        let identity = Identity {
            certificate: self.directory.join(format!("{file}.pem")),
            key: self.directory.join(format!("{file}.key")),
        };
        fs::write(&identity.certificate, signed.pem()).expect("the directory can be written");
        fs::write(&identity.key, key.serialize_pem()).expect("the directory can be written");
        identity
    }
}

fn params(common_name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = match validity {
        Validity::Valid => date_time_ymd(2100, 1, 1),
        Validity::Expired => date_time_ymd(2021, 1, 1),
    };
    params
}
