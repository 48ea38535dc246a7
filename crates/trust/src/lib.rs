//! Owns whose certificates are believed where Canter is the client of a TLS connection.
//! Leaves what libpq adds to that to `pg`, and the connections to their owners.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// Where Linux distributions keep the authorities they trust.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Whose certificates are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust<'a> {
    /// Anybody's: for a server on this machine, and on request.
    Anybody,
    /// Those that authorities of the system have signed.
    System,
    /// Those that an authority in a file of PEM has signed.
    File(&'a Path),
}

/// The file with the authorities of the system: the one `SSL_CERT_FILE` names, as with OpenSSL,
/// else the distribution's.
pub fn bundle() -> Result<PathBuf, String> {
    let named = std::env::var_os("SSL_CERT_FILE").filter(|name| !name.is_empty());
    let known = || {
        BUNDLES
            .iter()
            .map(PathBuf::from)
            .find(|file| file.is_file())
    };
    named.map(PathBuf::from).or_else(known).ok_or_else(|| {
        "no bundle of authorities is installed (package ca-certificates), and SSL_CERT_FILE names none"
            .to_owned()
    })
}

/// The rules for connections as a client, without a protocol to ask for and without a certificate
/// of its own. The error says what is wrong with the file, or that there is none.
pub fn config(trust: &Trust<'_>) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?;
    let builder = match trust {
        Trust::Anybody => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(algorithms))),
        Trust::System => builder.with_root_certificates(roots(&bundle()?)?),
        Trust::File(path) => builder.with_root_certificates(roots(path)?),
    };
    Ok(builder.with_no_client_auth())
}

fn roots(path: &Path) -> Result<RootCertStore, String> {
    let fault = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", path.display());
    let mut roots = RootCertStore::empty();
    let found = CertificateDer::pem_file_iter(path).map_err(|error| fault(&error))?;
    for certificate in found {
        // One that rustls cannot use does not spoil the others.
        let _ = roots.add(certificate.map_err(|error| fault(&error))?);
    }
    if roots.is_empty() {
        return Err(fault(&"no certificate in PEM that can be used"));
    }
    Ok(roots)
}

/// Believes any certificate; signatures are still checked, so that the server has its key.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::{Trust, config};
    use std::path::Path;

    #[test]
    fn a_file_that_is_no_bundle_is_named_in_the_error() {
        let missing = config(&Trust::File(Path::new("/nowhere/ca.pem"))).unwrap_err();
        assert!(
            missing.starts_with("cannot read /nowhere/ca.pem: "),
            "{missing}"
        );
        let empty = config(&Trust::File(Path::new("/dev/null"))).unwrap_err();
        assert_eq!(
            empty,
            "cannot read /dev/null: no certificate in PEM that can be used"
        );
    }

    #[test]
    fn anybody_needs_no_file() {
        assert!(config(&Trust::Anybody).is_ok());
    }
}
