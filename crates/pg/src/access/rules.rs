//! What is asked at a door: options and the default target, settled once at the start. A door
//! that would let strangers in is refused here. Leaves the asking to `Access::admit`.

use std::cell::RefCell;

use super::users::Users;
use super::{Access, AccessOptions, Auth, Reach, Rule};
use crate::stream::tls::DoorTls;
use crate::target::Target;

pub(super) fn settle(
    reach: Reach,
    options: &AccessOptions,
    target: Option<&Target>,
) -> Result<Access, String> {
    let mut users = match &options.users {
        Some(file) => Users::read(file)?,
        None => Users::default(),
    };
    if let Some(target) = target {
        users.set_own(target);
    }
    let rule = match options.auth {
        Some(auth) => asked(auth, reach, options)?,
        None if reach == Reach::Unix && options.users.is_none() => Rule::Ask(Auth::Peer),
        None => by_password(reach, &users, target)?,
    };
    if let Rule::Ask(auth) = rule {
        users.fit(auth)?;
    }
    let must_show = rule == Rule::Ask(Auth::Cert);
    let tls = match &options.tls {
        Some((cert, key)) if reach != Reach::Unix => {
            let client_ca = options.client_ca.as_deref();
            Some(RefCell::new(DoorTls::new(cert, key, client_ca, must_show)?))
        }
        _ => None,
    };
    if options.require_tls && tls.is_none() && reach != Reach::Unix {
        return Err(
            "this door must require TLS, but has no certificate: name one and its key".to_owned(),
        );
    }
    // A password in clear, or a certificate, needs a channel that nobody reads.
    let needs_tls = matches!(rule, Rule::Ask(Auth::Plain | Auth::Cert));
    let require_tls = options.require_tls || needs_tls;
    Ok(Access {
        rule,
        users: RefCell::new(users),
        tls,
        require_tls,
    })
}

/// A method that was named, if it makes sense at this door.
fn asked(auth: Auth, reach: Reach, options: &AccessOptions) -> Result<Rule, String> {
    let refused = match (auth, reach) {
        (Auth::Peer, Reach::Loopback | Reach::Network) => {
            "peer authentication works at unix sockets only: use scram-sha-256 for TCP"
        }
        (Auth::Trust, Reach::Network) => {
            "trust would let everybody in who reaches this address: use scram-sha-256, or bind to \
             127.0.0.1 or a unix socket"
        }
        (Auth::Plain, Reach::Loopback | Reach::Network) if options.tls.is_none() => {
            "passwords in clear need TLS: name a certificate and a key, or use scram-sha-256"
        }
        (Auth::Cert, Reach::Unix) => {
            "client certificates need TLS, which unix sockets do not have: use peer authentication"
        }
        (Auth::Cert, _) if options.tls.is_none() || options.client_ca.is_none() => {
            "client certificates need TLS: name a certificate, its key, and the authorities that \
             sign those of clients"
        }
        _ => return Ok(Rule::Ask(auth)),
    };
    Err(refused.to_owned())
}

/// Nothing was said: SCRAM with what is known, or what the database itself asks for.
fn by_password(reach: Reach, users: &Users, target: Option<&Target>) -> Result<Rule, String> {
    if users.has_any() {
        return Ok(Rule::Ask(Auth::Scram));
    }
    let advice = "name a file of users, or bind to a unix socket";
    let Some(target) = target else {
        return Err(format!(
            "nobody could log in at this door: there is no DATABASE_URL whose password they could \
             prove; {advice}"
        ));
    };
    // A password kept elsewhere, or a certificate, would be lent to whoever comes.
    let proves_otherwise =
        target.passfile.is_some() || target.tls.cert.is_some() || target.scram_keys.is_some();
    if proves_otherwise {
        return Err(format!(
            "DATABASE_URL logs in without a password in it, so clients have none to prove: {advice}"
        ));
    }
    if reach == Reach::Network {
        return Err(format!(
            "DATABASE_URL has no password, so everybody who reaches this address would be let in: \
             {advice}, or bind to 127.0.0.1"
        ));
    }
    Ok(Rule::Ours(target.user.clone()))
}
