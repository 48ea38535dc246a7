//! Owns certificates read from files, and which of them serves a name (RFC 6125, section 6.4).
//! Leaves when to read them again to `tls`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;

use super::{KeyPair, TlsError};

/// All certificates, by the names they are for.
#[derive(Debug)]
pub(super) struct Certificates {
    /// For clients that name no host, or one that no certificate is for.
    first: Arc<CertifiedKey>,
    /// Lower case, `*.example.org` as it is written in the certificate.
    names: HashMap<String, Arc<CertifiedKey>>,
}

impl Certificates {
    pub fn load(pairs: &[KeyPair]) -> Result<Self, TlsError> {
        let mut names = HashMap::new();
        let mut first = None;
        for pair in pairs {
            let (certified, for_names) = load_pair(pair)?;
            let certified = Arc::new(certified);
            for name in for_names {
                // Where two are for one name the earlier one is meant.
                names.entry(name).or_insert_with(|| Arc::clone(&certified));
            }
            first.get_or_insert(certified);
        }
        let first = first.ok_or_else(|| TlsError("TLS needs a certificate".to_owned()))?;
        Ok(Self { first, names })
    }

    /// The certificate for the host a client asked for.
    pub fn for_name(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let found = name.and_then(|name| {
            let name = name.trim_end_matches('.').to_ascii_lowercase();
            self.names.get(&name).or_else(|| {
                // A wildcard stands for exactly one label.
                let (_, parent) = name.split_once('.')?;
                self.names.get(&format!("*.{parent}"))
            })
        });
        Arc::clone(found.unwrap_or(&self.first))
    }
}

fn load_pair(pair: &KeyPair) -> Result<(CertifiedKey, Vec<String>), TlsError> {
    let chain = read_chain(&pair.certificate)?;
    let key = read_key(&pair.key)?;
    let shown = pair.certificate.display();
    let provider = ring::default_provider();
    let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => TlsError(format!(
            "the key in `{}` does not belong to the certificate in `{shown}`",
            pair.key.display()
        )),
        other => TlsError(format!("`{shown}` cannot be used: {other}")),
    })?;
    let names = certified
        .end_entity_cert()
        .ok()
        .and_then(|end| EndEntityCert::try_from(end).ok().map(|end| names_of(&end)))
        .ok_or_else(|| TlsError(format!("`{shown}` holds no certificate that can be read")))?;
    Ok((certified, names))
}

fn names_of(certificate: &EndEntityCert<'_>) -> Vec<String> {
    let names = certificate.valid_dns_names();
    names.map(str::to_ascii_lowercase).collect()
}

fn read_chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, pem::Error> =
        CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    match chain {
        Ok(chain) if chain.is_empty() => Err(TlsError(format!(
            "`{}` holds no certificate: a PEM file has `-----BEGIN CERTIFICATE-----` in it",
            file.display()
        ))),
        Ok(chain) => Ok(chain),
        Err(error) => Err(unreadable(file, &error)),
    }
}

fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    match PrivateKeyDer::from_pem_file(file) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => Err(TlsError(
            if std::fs::read(file).is_ok_and(|text| is_encrypted(&text)) {
                format!(
                    "the key in `{}` is protected by a passphrase: write it without one \
                     (`openssl pkey -in KEY -out NEW`) and keep the file readable by this user only",
                    file.display()
                )
            } else {
                format!(
                    "`{}` holds no private key: a PEM file has `-----BEGIN PRIVATE KEY-----` in it",
                    file.display()
                )
            },
        )),
        Err(error) => Err(unreadable(file, &error)),
    }
}

fn is_encrypted(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED")
}

fn unreadable(file: &Path, error: &pem::Error) -> TlsError {
    let why = match error {
        pem::Error::Io(error) => error.to_string(),
        other => format!("it is not well-formed PEM ({other})"),
    };
    TlsError(format!("cannot read `{}`: {why}", file.display()))
}
