//! Owns what the options mean for TLS: certificates, where plain HTTP leads to HTTPS, and keeping
//! both up to date.
//! Leaves TLS itself to `canter-front`, certificates from an authority to `acme`, and opening sockets to `command::sockets`.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use canter_base::options::{Config, Http2};
use canter_base::{Exit, Fault, info, warn};
use canter_front::{Challenges, KeyPair, Listener, Tls};

use crate::acme;
use crate::command::sockets;

/// How often the files are looked at for a change.
const LOOK: Duration = Duration::from_secs(1);

/// TLS as the options want it.
pub struct Plan {
    pairs: Vec<KeyPair>,
    acme: Option<acme::Plan>,
    redirects: RefCell<Vec<(OwnedFd, String)>>,
    http2: bool,
}

impl Plan {
    /// Reads the certificates, to hear now what is wrong with them, and opens the sockets for plain
    /// HTTP; None where no certificate is given.
    ///
    /// # Errors
    /// A file that cannot be read or used, an address that is taken, an option without the one it
    /// needs.
    pub fn new(config: &Config) -> Result<Option<Self>, Fault> {
        if !config.tls_acme.is_empty() && config.http_bind.is_empty() {
            return Err(Fault::usage("`--tls-acme` needs `--http-bind`")
                .hint("the authority asks at port 80 of the name: `--http-bind :80`"));
        }
        let acme = acme::Plan::new(config)?;
        let pairs = match &acme {
            Some(acme) => acme.pairs(),
            None if config.certfile.is_empty() => return alone(config).map(|()| None),
            None => pairs_of(config),
        };
        let http2 = config.http2 != Http2::Off;
        Tls::load(pairs.clone(), http2).map_err(|error| {
            let fault = Fault::new(Exit::File, error.to_string());
            if acme.is_some() {
                return fault
                    .from("`--tls-acme-dir`")
                    .hint("remove the file: there will be a new one");
            }
            fault
                .from("`--certfile` and `--keyfile`")
                .hint("both are files in PEM form; the certificate's holds its whole chain")
        })?;
        let (redirects, _) = sockets::bind_redirects(config)?.into_parts();
        Ok(Some(Self {
            pairs,
            acme,
            redirects: RefCell::new(redirects),
            http2,
        }))
    }

    /// Where plain HTTP leads to HTTPS.
    pub fn redirects(&self) -> Vec<String> {
        let redirects = self.redirects.borrow();
        redirects
            .iter()
            .map(|(_, address)| address.clone())
            .collect()
    }

    /// Closes this process's copies of the sockets.
    pub fn close(&self) {
        self.redirects.take();
    }

    /// Turns the site's listeners into TLS ones and adds those that redirect, of which this process keeps
    /// no other copy; call inside a local runtime. From then on new certificates are taken when the files change.
    ///
    /// # Errors
    /// Certificates that were well at the start and are not now; sockets that cannot be used.
    pub fn open(
        &self,
        listeners: Vec<Listener>,
        challenges: &Challenges,
    ) -> io::Result<Vec<Listener>> {
        let tls = Rc::new(Tls::load(self.pairs.clone(), self.http2).map_err(io::Error::other)?);
        let mut open: Vec<Listener> = listeners
            .into_iter()
            .map(|listener| listener.with_tls(Some(Rc::clone(&tls))))
            .collect();
        for (socket, _) in self.redirects.take() {
            open.push(Listener::new(socket)?.redirecting());
        }
        tokio::task::spawn_local(follow(tls));
        if let Some(acme) = &self.acme {
            tokio::task::spawn_local(acme.clone().run(challenges.clone()));
        }
        Ok(open)
    }
}

fn pairs_of(config: &Config) -> Vec<KeyPair> {
    let mut keys = config.keyfile.iter();
    let pair = |certificate: &PathBuf| KeyPair {
        certificate: certificate.clone(),
        key: keys.next().unwrap_or(certificate).clone(),
    };
    config.certfile.iter().map(pair).collect()
}

fn alone(config: &Config) -> Result<(), Fault> {
    for (option, given) in [
        ("--keyfile", !config.keyfile.is_empty()),
        ("--http-bind", !config.http_bind.is_empty()),
    ] {
        if given {
            return Err(
                Fault::usage(format!("`{option}` needs a certificate")).hint(
                    "name it, too: `--certfile fullchain.pem --keyfile privkey.pem`, or let an \
                       authority give one: `--tls-acme example.org`",
                ),
            );
        }
    }
    Ok(())
}

/// Takes new certificates when the files change. Broken ones are reported once and the old ones
/// stay in use.
async fn follow(tls: Rc<Tls>) {
    loop {
        tokio::time::sleep(LOOK).await;
        match tls.reload() {
            Ok(false) => {}
            Ok(true) => info!("new certificates are in use"),
            Err(error) => warn!(
                "new certificates cannot be used: the old ones stay",
                reason = error.to_string().as_str()
            ),
        }
    }
}
