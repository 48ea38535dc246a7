//! Owns saying, once, that a proxy speaks for its clients and is not heard: Django then takes each request
//! for plain HTTP, and `SECURE_SSL_REDIRECT` sends the client round in a circle.
//! Leaves who is heard to `forwarded`.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use canter_base::warn;

static SAID: AtomicBool = AtomicBool::new(false);

/// A field of that name was left out, for nobody trusts the peer. Cold: no client has reason to send one.
#[cold]
pub(crate) fn note(name: &[u8], peer: &str) {
    if SAID.load(Ordering::Relaxed) || !is_proxy(name, peer) {
        return;
    }
    if !SAID.swap(true, Ordering::Relaxed) {
        let (peer, to_trust) = match peer {
            "" => ("a unix socket", "*"),
            address => (address, address),
        };
        warn!(
            "a peer of the own network says who its clients are, and is not trusted: the app sees neither their addresses nor their https",
            peer = peer,
            hint = format!("if that is your proxy: --forwarded-allow-ips '{to_trust}'").as_str()
        );
    }
}

/// Anybody may send these fields from elsewhere.
fn is_proxy(name: &[u8], peer: &str) -> bool {
    let speaks = [&b"x-forwarded-proto"[..], b"x-forwarded-for"]
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
    fn only_a_peer_of_the_own_network_may_be_the_proxy() {
        let rows = [
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
        for (name, peer, expected) in rows {
            assert_eq!(is_proxy(name.as_bytes(), peer), expected, "{name} {peer}");
        }
    }
}
