//! TLS configurations from the files people name: of connections to servers (libpq's ssl*
//! keywords) and of our doors. Files are read again when they changed. Leaves the wire protocol's
//! own request for TLS to `login` and `access`.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use canter_base::warn;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::Stream;
use super::verify::{Chain, Verifier};
use crate::target::{Addr, Host, Roots, Tls, TlsMode};

/// What PostgreSQL 17 and later call their protocol (ALPN).
const ALPN: &[u8] = b"postgresql";

/// A file as it was when it was read.
type Stamp = Option<(i64, i64, u64)>;

struct Known {
    tls: Tls,
    stamps: Vec<Stamp>,
    config: Arc<ClientConfig>,
}

thread_local! {
    static KNOWN: RefCell<Vec<Known>> = const { RefCell::new(Vec::new()) };
}

/// More targets than this with TLS of their own are read again at each login.
const MOST_KNOWN: usize = 16;

/// The configuration for connections to a server. Bundles of authorities are large: they are read
/// once, and again when a file has changed.
pub fn client_config(tls: &Tls) -> Result<Arc<ClientConfig>, String> {
    let stamps: Vec<Stamp> = files(tls).iter().map(|file| stamp(file)).collect();
    let known = KNOWN.with_borrow(|known| {
        let found = known
            .iter()
            .find(|known| known.tls == *tls && known.stamps == stamps);
        found.map(|known| Arc::clone(&known.config))
    });
    if let Some(config) = known {
        return Ok(config);
    }
    let config = Arc::new(build_client(tls)?);
    KNOWN.with_borrow_mut(|known| {
        known.retain(|known| known.tls != *tls);
        known.truncate(MOST_KNOWN - 1);
        known.insert(
            0,
            Known {
                tls: tls.clone(),
                stamps,
                config: Arc::clone(&config),
            },
        );
    });
    Ok(config)
}

fn files(tls: &Tls) -> Vec<PathBuf> {
    let roots = match &tls.roots {
        Roots::Unset => None,
        Roots::System => bundle().ok(),
        Roots::File(file) => Some(file.clone()),
    };
    [roots, tls.crl.clone(), tls.cert.clone(), tls.key.clone()]
        .into_iter()
        .flatten()
        .collect()
}

fn stamp(file: &Path) -> Stamp {
    let metadata = fs::metadata(file).ok()?;
    Some((metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
}

/// The system's authorities, for `sslrootcert=system`.
fn bundle() -> Result<PathBuf, String> {
    canter_trust::bundle().map_err(|why| format!("sslrootcert=system: {why}"))
}

fn build_client(tls: &Tls) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let versions: &[&rustls::SupportedProtocolVersion] = match (tls.only_tls12, tls.only_tls13) {
        (true, _) => &[&TLS12],
        (false, true) => &[&TLS13],
        (false, false) => &[&TLS13, &TLS12],
    };
    let verifier = Verifier {
        algorithms: provider.signature_verification_algorithms,
        chain: chain(tls, &provider)?,
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match (&tls.cert, &tls.key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(file)) => {
            let (chain, key) = (certificates(cert, "sslcert")?, key(file, "sslkey")?);
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| format!("sslcert and sslkey cannot be used together: {error}"))?
        }
        (Some(_), None) => {
            return Err("sslcert is given without sslkey: name the file of its key".to_owned());
        }
        (None, Some(_)) => {
            return Err(
                "sslkey is given without sslcert: name the file of its certificate".to_owned(),
            );
        }
    };
    config.enable_sni = !tls.no_sni;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Servers issue no tickets, and a resumed session shows no certificate to bind SCRAM to.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Who is believed. As libpq: a root file that is there is used whatever the mode, one that is
/// missing matters to `verify-ca` and `verify-full` only.
fn chain(tls: &Tls, provider: &Arc<CryptoProvider>) -> Result<Option<Chain>, String> {
    let must = tls.mode >= TlsMode::VerifyCa;
    let file = match &tls.roots {
        Roots::System => bundle()?,
        Roots::File(file) if must || file.exists() => file.clone(),
        Roots::Unset if must => {
            return Err(format!(
                "sslmode={} needs to know whom to believe: name a file in sslrootcert, or the \
                 system's authorities by sslrootcert=system",
                if tls.mode == TlsMode::VerifyFull {
                    "verify-full"
                } else {
                    "verify-ca"
                }
            ));
        }
        Roots::File(_) | Roots::Unset => return Ok(None),
    };
    let roots = certificates(&file, "sslrootcert")?;
    let mut store = RootCertStore::empty();
    let (_, ignored) = store.add_parsable_certificates(roots.iter().cloned());
    if store.is_empty() && ignored > 0 {
        return Err(format!("no certificate in {} can be used", file.display()));
    }
    let mut builder = WebPkiServerVerifier::builder_with_provider(store.into(), provider.clone());
    if let Some(crl) = &tls.crl {
        // OpenSSL asks for the list of each authority in the chain that has one.
        builder = builder
            .with_crls(lists(crl)?)
            .allow_unknown_revocation_status();
    }
    let webpki = builder
        .build()
        .map_err(|error| format!("{} cannot be used: {error}", file.display()))?;
    Ok(Some(Chain {
        webpki,
        roots,
        checks_name: tls.mode == TlsMode::VerifyFull,
    }))
}

fn read(file: &Path, keyword: &str) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| format!("{keyword} {} cannot be read: {error}", file.display()))
}

fn certificates(file: &Path, keyword: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(file, keyword)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(format!(
            "{keyword} {} holds no certificate in PEM",
            file.display()
        )),
        Err(error) => Err(format!("{keyword} {} is no PEM: {error}", file.display())),
    }
}

fn lists(file: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let pem = read(file, "sslcrl")?;
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(format!("sslcrl {} holds no list in PEM", file.display())),
        Err(error) => Err(format!("sslcrl {} is no PEM: {error}", file.display())),
    }
}

/// A private key that only its owner can read (or root's group), as libpq wants it.
fn key(file: &Path, keyword: &str) -> Result<PrivateKeyDer<'static>, String> {
    let metadata = fs::metadata(file)
        .map_err(|error| format!("{keyword} {} cannot be read: {error}", file.display()))?;
    let forbidden = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    if metadata.mode() & forbidden != 0 {
        return Err(format!(
            "{keyword} {} can be read by others: chmod 600 it",
            file.display()
        ));
    }
    let mut pem = read(file, keyword)?;
    let is_encrypted = [&b"ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"]
        .iter()
        .any(|mark| memchr::memmem::find(&pem, mark).is_some());
    let found = PrivateKeyDer::from_pem_slice(&pem);
    pem.fill(0);
    if is_encrypted {
        return Err(format!(
            "{keyword} {} is encrypted, which is not supported: decrypt it into a file that only \
             you can read (openssl pkey -in {} -out plain.key)",
            file.display(),
            file.display()
        ));
    }
    found.map_err(|error| format!("{keyword} {} holds no key in PEM: {error}", file.display()))
}

/// TLS towards a server.
pub async fn connect(stream: Stream, config: Arc<ClientConfig>, host: &Host) -> io::Result<Stream> {
    let name = server_name(host)?;
    let Stream::Plain(socket) = stream else {
        return Err(io::Error::other("it is encrypted already"));
    };
    let tls = TlsConnector::from(config)
        .connect(name, socket)
        .await
        .map_err(in_words)?;
    Ok(Stream::TlsClient(Box::new(tls)))
}

fn server_name(host: &Host) -> io::Result<ServerName<'static>> {
    match (&host.addr, host.name()) {
        (_, Some(name)) => ServerName::try_from(name.trim_end_matches('.').to_owned())
            .map_err(|_| io::Error::other("the name of the host cannot be in a certificate")),
        (Addr::Ip(ip, None), None) => Ok(ServerName::from(*ip)),
        _ => Err(io::Error::other(
            "a unix socket has no name to be in a certificate",
        )),
    }
}

/// rustls' errors for those who read a log.
fn in_words(error: io::Error) -> io::Error {
    use rustls::CertificateError as Bad;
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let sentence = match inner {
        Some(rustls::Error::InvalidCertificate(bad)) => match bad {
            Bad::UnknownIssuer => {
                "the server's certificate is not signed by an authority of sslrootcert"
            }
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                "the server's certificate is for another name than that of the host \
                 (sslmode=verify-full)"
            }
            Bad::Expired | Bad::ExpiredContext { .. } => "the server's certificate has expired",
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                "the server's certificate is not valid yet: is the clock right?"
            }
            Bad::Revoked => "the server's certificate was revoked (sslcrl)",
            Bad::Other(_) => {
                "the server's certificate is of a kind that is not supported (it must be X.509 \
                 version 3)"
            }
            _ => return error,
        },
        _ => return error,
    };
    io::Error::other(sentence)
}

/// Whether both sides agreed by ALPN that this is PostgreSQL.
pub fn speaks_postgresql(stream: &Stream) -> bool {
    let agreed = match stream {
        Stream::Plain(_) => None,
        Stream::TlsClient(tls) => tls.get_ref().1.alpn_protocol(),
        Stream::TlsServer(tls) => tls.get_ref().1.alpn_protocol(),
    };
    agreed == Some(ALPN)
}

/// TLS of a door.
#[derive(Clone)]
pub struct DoorTls {
    config: Arc<ServerConfig>,
    /// `tls-server-end-point` of the certificate.
    pub end_point: Option<Vec<u8>>,
    files: Rc<DoorFiles>,
    stamps: [Stamp; 3],
}

/// What the configuration of a door is made from.
struct DoorFiles {
    cert: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
    must_show: bool,
}

impl DoorTls {
    /// Reads certificate chain and key; with `client_ca`, certificates of clients are checked, and
    /// with `must_show` a client without one is refused.
    pub fn new(
        cert: &Path,
        key: &Path,
        client_ca: Option<&Path>,
        must_show: bool,
    ) -> Result<Self, String> {
        let files = DoorFiles {
            cert: cert.to_owned(),
            key: key.to_owned(),
            client_ca: client_ca.map(Path::to_owned),
            must_show,
        };
        let stamps = files.stamps();
        let (config, end_point) = files.read()?;
        Ok(Self {
            config,
            end_point,
            files: Rc::new(files),
            stamps,
        })
    }

    /// Reads the files again when they changed: certificates are renewed every few weeks. Those
    /// that do not fit together (yet) change nothing.
    pub fn refresh(&mut self) {
        let stamps = self.files.stamps();
        if stamps == self.stamps {
            return;
        }
        self.stamps = stamps;
        match self.files.read() {
            Ok((config, end_point)) => (self.config, self.end_point) = (config, end_point),
            Err(error) => warn!(
                "the door's certificate stays as it was",
                error = error.as_str()
            ),
        }
    }

    /// TLS from a client; nothing of what it sends may have been read.
    pub async fn accept(&self, stream: Stream) -> io::Result<Stream> {
        let Stream::Plain(socket) = stream else {
            return Err(io::Error::other("it is encrypted already"));
        };
        let tls = TlsAcceptor::from(Arc::clone(&self.config))
            .accept(socket)
            .await?;
        Ok(Stream::TlsServer(Box::new(tls)))
    }
}

impl DoorFiles {
    fn stamps(&self) -> [Stamp; 3] {
        let client_ca = self.client_ca.as_deref().and_then(stamp);
        [stamp(&self.cert), stamp(&self.key), client_ca]
    }

    fn read(&self) -> Result<(Arc<ServerConfig>, Option<Vec<u8>>), String> {
        let provider = Arc::new(ring::default_provider());
        let chain = certificates(&self.cert, "the door's certificate")?;
        let end_point = chain.first().and_then(|own| super::x509::end_point(own));
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| format!("TLS cannot be set up: {error}"))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let mut store = RootCertStore::empty();
                store.add_parsable_certificates(certificates(file, "the clients' authorities")?);
                let verifier = WebPkiClientVerifier::builder_with_provider(store.into(), provider);
                let verifier = if self.must_show {
                    verifier
                } else {
                    verifier.allow_unauthenticated()
                };
                let verifier = verifier
                    .build()
                    .map_err(|error| format!("{} cannot be used: {error}", file.display()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder
            .with_single_cert(chain, key(&self.key, "the door's key")?)
            .map_err(|error| format!("the door's certificate and key do not fit: {error}"))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A few thousand short-lived clients: nothing is kept of those that left.
        config.send_tls13_tickets = 0;
        Ok((Arc::new(config), end_point))
    }
}
