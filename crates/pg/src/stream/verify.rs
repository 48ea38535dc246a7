//! Whether a server's certificate is believed: rustls checks chain and name; this adds what libpq
//! does and the web does not (no check under `require`, common names, self-signed certificates
//! that are their own root). Leaves files to `tls`.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};

use super::x509;

/// What libpq calls `sslmode`, once TLS is there.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) algorithms: WebPkiSupportedAlgorithms,
    /// `None`: any certificate will do (`require` without a root file).
    pub(super) chain: Option<Chain>,
}

/// Who signs, and whether the name counts.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) webpki: Arc<WebPkiServerVerifier>,
    pub(super) roots: Vec<CertificateDer<'static>>,
    /// `verify-full`
    pub(super) checks_name: bool,
}

impl Chain {
    fn verify(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let found = self
            .webpki
            .verify_server_cert(certificate, intermediates, name, &[], now);
        let name_is_wrong = match found {
            Ok(_) => return Ok(()),
            // rustls looks at the name last: the chain is good.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => true,
            // Made with `openssl req -x509` and given to both sides: no authority signed it, and
            // none needs to when it is itself in the file.
            Err(Error::InvalidCertificate(_)) if self.roots.contains(certificate) => {
                in_time(certificate, now)?;
                // Not checked above, since the chain comes first.
                true
            }
            Err(error) => return Err(error),
        };
        if name_is_wrong && self.checks_name && !is_named(certificate, name) {
            return Err(CertificateError::NotValidForName.into());
        }
        Ok(())
    }
}

fn in_time(certificate: &[u8], now: UnixTime) -> Result<(), Error> {
    match x509::validity(certificate) {
        None => Err(CertificateError::BadEncoding.into()),
        Some((_, until)) if until < now.as_secs() => Err(CertificateError::Expired.into()),
        Some((from, _)) if now.as_secs() < from => Err(CertificateError::NotValidYet.into()),
        Some(_) => Ok(()),
    }
}

/// The name by alternative names or, where there are none, by the common name, as libpq does
/// (PostgreSQL documentation, "Client Verification of Server Certificates").
fn is_named(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    if x509::has_alternative_names(certificate) {
        return rustls::server::ParsedCertificate::try_from(certificate)
            .is_ok_and(|parsed| rustls::client::verify_server_name(&parsed, name).is_ok());
    }
    let wanted = match name {
        ServerName::DnsName(name) => name.as_ref().to_owned(),
        ServerName::IpAddress(ip) => std::net::IpAddr::from(*ip).to_string(),
        _ => return false,
    };
    x509::common_name(certificate).is_some_and(|common| name_fits(&common, &wanted))
}

/// A pattern may begin with `*.`, which stands for one label.
fn name_fits(pattern: &str, name: &str) -> bool {
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    match pattern.strip_prefix("*.") {
        Some(rest) if !is_address && rest.contains('.') => name
            .split_once('.')
            .is_some_and(|(label, parent)| !label.is_empty() && parent.eq_ignore_ascii_case(rest)),
        _ => pattern.eq_ignore_ascii_case(name),
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(chain) = &self.chain {
            chain.verify(certificate, intermediates, name, now)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.algorithms,
        ))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.algorithms,
        ))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl Verifier {
    /// A certificate that cannot even be read is no better than none, but under `require` nobody
    /// is to be proven: version 1 certificates of old OpenSSL pass there, as with libpq.
    fn signature(
        &self,
        found: Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        match found {
            Err(Error::InvalidCertificate(
                CertificateError::Other(OtherError(_)) | CertificateError::BadEncoding,
            )) if self.chain.is_none() => Ok(HandshakeSignatureValid::assertion()),
            found => found,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::name_fits;

    #[test]
    fn a9_a_common_name_fits_as_with_libpq() {
        let rows = [
            ("db.example.com", "DB.example.com", true),
            ("*.example.com", "db.example.com", true),
            ("*.example.com", "a.db.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.com", "example.com", false),
            ("*", "db", false),
            ("d*.example.com", "db.example.com", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("*.0.0.1", "10.0.0.1", false),
        ];
        for (pattern, name, fits) in rows {
            assert_eq!(name_fits(pattern, name), fits, "{pattern} {name}");
        }
    }
}
