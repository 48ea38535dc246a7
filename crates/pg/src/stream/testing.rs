//! Certificates for tests: an authority, what it signs, and the files they are named by.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};

/// A folder that goes with the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("canter-pg-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An authority whose certificate is `ca.crt` in a folder of its own.
pub(crate) struct Authority {
    pub(crate) folder: Folder,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let folder = Folder::new();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "authority");
        folder.write("ca.crt", params.self_signed(&key).unwrap().pem());
        Self {
            folder,
            issuer: Issuer::new(params, key),
        }
    }

    /// `NAME.crt` and `NAME.key`, for a common name and alternative names.
    pub(crate) fn sign(&self, name: &str, common: &str, names: &[&str]) -> (PathBuf, PathBuf) {
        self.sign_until(name, common, names, 2100)
    }

    pub(crate) fn sign_until(
        &self,
        name: &str,
        common: &str,
        names: &[&str],
        year: i32,
    ) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        params.subject_alt_names = names
            .iter()
            .map(|name| match name.parse::<IpAddr>() {
                Ok(ip) => SanType::IpAddress(ip),
                Err(_) => SanType::DnsName((*name).try_into().unwrap()),
            })
            .collect();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        self.save(name, &certificate.pem(), &key)
    }

    /// One that signed itself, as `openssl req -x509` makes them.
    pub(crate) fn self_signed(&self, name: &str, common: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, common);
        let certificate = params.self_signed(&key).unwrap();
        self.save(name, &certificate.pem(), &key)
    }

    fn save(&self, name: &str, pem: &str, key: &KeyPair) -> (PathBuf, PathBuf) {
        (
            self.folder.write(&format!("{name}.crt"), pem),
            self.folder
                .write(&format!("{name}.key"), key.serialize_pem()),
        )
    }

    /// The authority's own certificate.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }
}
