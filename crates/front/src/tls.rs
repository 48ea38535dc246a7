//! Owns TLS for clients: certificates from files, which of them a client gets, taking new ones when
//! the files change, and the settings of the protocol.
//! Leaves a connection's bytes to `stream`, and where certificates come from to the options.
//!
//! TLS 1.2 and 1.3 with the suites of rustls, which are those of Mozilla's intermediate profile; no
//! renegotiation, no compression, no session ids. Tickets are sealed with keys that rustls changes
//! every six hours; they live as long as this process, so they outlast a change of certificates.

mod certificates;
mod stream;

use std::cell::RefCell;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use certificates::Certificates;
pub(crate) use stream::TlsStream;

/// A certificate with its chain, and its key, as files in PEM form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// The certificate, then those that lead to a known authority.
    pub certificate: PathBuf,
    /// The key; the same file when both are in one.
    pub key: PathBuf,
}

/// Why TLS cannot be offered: a sentence that names the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsError(String);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

/// TLS as it is offered to clients.
pub struct Tls {
    config: Arc<ServerConfig>,
    current: Arc<Current>,
    pairs: Vec<KeyPair>,
    /// When the files were changed last, as far as was seen.
    changed: RefCell<Vec<Option<SystemTime>>>,
}

impl Tls {
    /// Reads the files; `http2` says whether that is offered. The first pair serves clients that name no host, or one that is in none.
    ///
    /// # Errors
    /// A sentence that names the file, what is wrong and what would be right.
    pub fn load(pairs: Vec<KeyPair>, http2: bool) -> Result<Self, TlsError> {
        let changed = RefCell::new(times(&pairs));
        let current = Arc::new(Current(RwLock::new(Arc::new(Certificates::load(&pairs)?))));
        let provider = Arc::new(ring::default_provider());
        let broken = |error: rustls::Error| TlsError(format!("TLS cannot be set up: {error}"));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(broken)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        let protocols: &[&[u8]] = if http2 {
            &[b"h2", b"http/1.1"]
        } else {
            &[b"http/1.1"]
        };
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        // Resumption by tickets only: no memory for each client.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = ring::Ticketer::new().map_err(broken)?;
        // Requests that could be replayed are never taken before the handshake is complete.
        config.max_early_data_size = 0;
        Ok(Self {
            config: Arc::new(config),
            current,
            pairs,
            changed,
        })
    }

    /// Takes new certificates when the files have changed; true when there were new ones. Those in
    /// use stay until all of the new ones are well.
    ///
    /// # Errors
    /// As [`Tls::load`], once for each change.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let now = times(&self.pairs);
        if *self.changed.borrow() == now {
            return Ok(false);
        }
        *self.changed.borrow_mut() = now;
        let certificates = Arc::new(Certificates::load(&self.pairs)?);
        self.current.replace(certificates);
        Ok(true)
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

fn times(pairs: &[KeyPair]) -> Vec<Option<SystemTime>> {
    let files = pairs.iter().flat_map(|pair| [&pair.certificate, &pair.key]);
    files
        .map(|file| {
            std::fs::metadata(file)
                .and_then(|meta| meta.modified())
                .ok()
        })
        .collect()
}

/// The certificates in use. rustls wants to share them between threads; here is only one.
struct Current(RwLock<Arc<Certificates>>);

impl Current {
    fn get(&self) -> Arc<Certificates> {
        let certificates = self.0.read();
        Arc::clone(&certificates.unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn replace(&self, new: Arc<Certificates>) {
        let mut certificates = self
            .0
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *certificates = new;
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.get().for_name(hello.server_name()))
    }
}
