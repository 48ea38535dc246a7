//! Owns warning, once, of request fields that the app does not get. A proxy that nobody trusts speaks for
//! its clients: Django then takes each request for plain HTTP, and `SECURE_SSL_REDIRECT` sends the client
//! round in a circle; or nobody is logged in whom the proxy has let in. Or a name could pass for another.
//! Leaves who is trusted to `forwarded`, and which names are dropped to `canter-http`.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use canter_base::warn;

/// What an untrusted field tells of. Each is warned of once: an app may want one of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Untrusted {
    /// How its clients reached the proxy, in words that Canter reads.
    Forwarding,
    /// Who a client is, or what it asked for, in words that apps read.
    Identity,
}

static WARNED_OF_FORWARDING: AtomicBool = AtomicBool::new(false);
static WARNED_OF_IDENTITY: AtomicBool = AtomicBool::new(false);

/// A field of that name was left out, for nobody trusts the peer. Cold: no client has reason to send one.
#[cold]
pub(crate) fn warn_untrusted(kind: Untrusted, name: &[u8], peer: &str) {
    let (warned, message) = match kind {
        Untrusted::Forwarding => (
            &WARNED_OF_FORWARDING,
            "a peer of the own network says who its clients are, and is not trusted: the app sees neither their addresses nor their https",
        ),
        Untrusted::Identity => (
            &WARNED_OF_IDENTITY,
            "a peer of the own network says in a field who its client is or what was asked for, and is not trusted: the app does not see that field",
        ),
    };
    if warned.load(Ordering::Relaxed) || !is_proxy(kind, name, peer) {
        return;
    }
    if !warned.swap(true, Ordering::Relaxed) {
        let (peer, to_trust) = match peer {
            "" => ("a unix socket", "*"),
            address => (address, address),
        };
        warn!(
            message,
            field = String::from_utf8_lossy(name).as_ref(),
            peer = peer,
            hint = format!("if that is your proxy: --forwarded-allow-ips '{to_trust}'").as_str()
        );
    }
}

/// Names that are told of; more are those of somebody who makes them up.
const MOST_NAMES: usize = 8;

/// Longer ones nobody's program sends.
const LONGEST_NAME: usize = 64;

thread_local! {
    static DROPPED: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A field was left out whose name could pass for another one in an environ (P14). Said once for each
/// name, and of a few names. Cold, as above.
#[cold]
pub(crate) fn warn_dropped(name: &[u8], peer: &str) {
    if is_news(name) {
        let hint = if name.contains(&b'_') {
            "write its name with - in place of _"
        } else {
            "in the environ it would be HTTP_PROXY, a setting of many programs (CVE-2016-5385)"
        };
        warn!(
            "a field whose name could pass for another one in the environ is not given to the app",
            field = String::from_utf8_lossy(name).as_ref(),
            peer = if peer.is_empty() {
                "a unix socket"
            } else {
                peer
            },
            hint = hint
        );
    }
}

fn is_news(name: &[u8]) -> bool {
    DROPPED.with_borrow_mut(|names| {
        let is_new = name.len() <= LONGEST_NAME
            && names.len() < MOST_NAMES
            && !names.iter().any(|known| known.eq_ignore_ascii_case(name));
        if is_new {
            names.push(name.into());
        }
        is_new
    })
}

/// Anybody may send these fields from elsewhere.
fn is_proxy(kind: Untrusted, name: &[u8], peer: &str) -> bool {
    let speaks = kind == Untrusted::Identity
        || [&b"x-forwarded-proto"[..], b"x-forwarded-for"]
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known));
    speaks
        && match peer.parse::<IpAddr>().map(|address| address.to_canonical()) {
            Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_private(),
            Ok(IpAddr::V6(address)) => address.is_loopback() || address.is_unique_local(),
            Err(_) => peer.is_empty(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_name_is_told_once_and_only_of_a_few() {
        assert!(is_news(b"X_Api_Key"));
        assert!(!is_news(b"x_api_key"));
        assert!(!is_news(&[b'_'; LONGEST_NAME + 1]));
        let more = (0..100).filter(|number| is_news(format!("a_{number}").as_bytes()));
        assert_eq!(more.count(), MOST_NAMES - 1);
    }

    #[test]
    fn only_a_peer_of_the_own_network_may_be_the_proxy() {
        let forwarding = [
            ("X-Forwarded-Proto", "127.0.0.1", true),
            ("x-forwarded-for", "10.2.3.4", true),
            ("x-forwarded-for", "::ffff:192.168.0.1", true),
            ("x-forwarded-for", "fd00::1", true),
            ("x-forwarded-for", "", true),
            ("x-forwarded-for", "192.0.2.7", false),
            ("x-forwarded-for", "2001:db8::7", false),
            ("x-forwarded-host", "127.0.0.1", false),
            ("script-name", "127.0.0.1", false),
        ];
        let identity = [
            ("Remote-User", "127.0.0.1", true),
            ("cf-connecting-ip", "10.2.3.4", true),
            ("X-Original-URL", "", true),
            ("remote-user", "192.0.2.7", false),
        ];
        let forwarding = forwarding.map(|row| (Untrusted::Forwarding, row));
        let identity = identity.map(|row| (Untrusted::Identity, row));
        for (kind, (name, peer, expected)) in forwarding.into_iter().chain(identity) {
            let found = is_proxy(kind, name.as_bytes(), peer);
            assert_eq!(found, expected, "{name} {peer}");
        }
    }
}
