//! Owns who may see what lies below `/-/canter`, who may change something there, and whose answers tell
//! where their time went.
//! Leaves what the others are told to `admin`, and whose a connection is to `owner`.
//!
//! On a public address the page does not exist for anybody without the token. Being on this machine
//! is enough without one, but a proxy on this machine must not lend that to its clients: a request
//! counts as local only when nothing in it speaks of a proxy and it asks for a name of this machine,
//! as long as no proxy was ever seen to speak from here, and only from a socket of the user that runs
//! this server. Proxies need not say what they are: by default nginx and `HAProxy` add no field.

use canter_http::{Head, KnownName, Version};

use crate::app::App;
use crate::conn::Conn;
use crate::guard::cookie;
use crate::insight::Insight;
use crate::owner;

/// What a browser keeps that has shown the token.
pub(super) const COOKIE: &str = "canter_admin";

/// Who asks, as far as the connection and the request's head tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Somebody beyond this machine, or not certainly nobody.
    Away,
    /// Somebody on this machine, a proxy perhaps.
    Stranger,
    /// The user that runs the server, or who reaches an address that is for the dashboard.
    Own,
}

impl<A: App> Conn<A> {
    /// Whose request it is. The dashboard's own addresses are nobody's by accident; at the site's, the
    /// system is asked whose the connection is.
    pub(super) fn standing(&self, insight: &Insight) -> Standing {
        let buf = self.buffer.filled();
        let host = self.head.value(buf, KnownName::Host).unwrap_or_default();
        let arrival = &self.arrival;
        let is_here = match arrival.peer_ip {
            Some(ip) => {
                ip.is_loopback()
                    && (arrival.admin || !insight.is_proxied())
                    && self.head.version != Version::Http10
                    && !is_proxied(&self.head)
                    && !names_a_proxy(&self.head, buf)
                    && is_local_name(host)
            }
            // A unix socket of the site is a proxy's; one for the dashboard may be.
            None => arrival.commands || arrival.admin && !is_proxied(&self.head),
        };
        match is_here {
            true if arrival.admin || self.is_own() => Standing::Own,
            true => Standing::Stranger,
            false => Standing::Away,
        }
    }

    /// Whether this server's user has made the connection, which stays as it is.
    fn is_own(&self) -> bool {
        let arrival = &self.arrival;
        let ask = || arrival.ends.map_or(Some(false), owner::is_own);
        let own = arrival.own.get().or_else(ask);
        arrival.own.set(own);
        own == Some(true)
    }

    /// Whether the client may see what is here.
    pub(super) fn may_look(&self, insight: &Insight) -> bool {
        self.shows_key(insight) || self.standing(insight) == Standing::Own
    }

    /// Whether the client has proved that it may see what is here.
    pub(in crate::conn) fn shows_key(&self, insight: &Insight) -> bool {
        let buf = self.buffer.filled();
        let bearer = self.head.value(buf, KnownName::Authorization);
        let bearer = bearer.and_then(|value| value.strip_prefix(b"Bearer "));
        bearer.is_some_and(|token| insight.is_token(token))
            || cookie(&self.head, buf, COOKIE.as_bytes()).is_some_and(|key| insight.is_key(key))
    }

    /// Whether to tell the client where the time went: one on this machine, or one that has shown the token.
    pub(in crate::conn) fn is_timed(&self) -> bool {
        let Some(insight) = &self.shared.settings.insight else {
            return false;
        };
        let is_here = self.arrival.peer_ip.is_some_and(|ip| ip.is_loopback());
        if is_here && is_proxied(&self.head) {
            insight.note_proxy();
        }
        if insight.has_token() && self.shows_key(insight) {
            return true;
        }
        // Browsers say how they ask. Other programs that name themselves are told once on a connection: enough
        // for `curl -i`, and nothing that a load generator would pay for with each request.
        let has_asked = self.arrival.has_asked.replace(true);
        let is_browser = self.head.has(KnownName::SecFetchMode);
        if !is_browser {
            let is_asked = is_here && !has_asked && self.head.has(KnownName::UserAgent);
            return is_asked
                && !insight.serves_strangers()
                && (self.arrival.own.get().is_some() || owner::may_look_up())
                && self.standing(insight) == Standing::Own;
        }
        // Once somebody else was seen to ask from here, as a proxy does for each of its clients, the
        // system is not asked for each of them.
        let standing = || self.standing(insight);
        let is_own = !insight.serves_strangers() && standing() == Standing::Own;
        if !is_own && self.arrival.own.get() == Some(false) {
            insight.note_stranger();
        }
        is_own
    }

    /// Being on this machine is not enough, for other users are: the private socket is the user's own.
    pub(in crate::conn) fn may_change(&self, insight: &Insight) -> bool {
        self.arrival.commands || self.shows_key(insight)
    }

    /// Whether no page of another site has asked: a browser says whose page sends a POST (WHATWG Fetch,
    /// section 3.2), a program says nothing.
    pub(super) fn is_own_page(&self) -> bool {
        let buf = self.buffer.filled();
        let host = self.head.value(buf, KnownName::Host).unwrap_or_default();
        let origin = self.head.value(buf, KnownName::Origin);
        origin.is_none_or(|origin| {
            let at = origin.windows(3).position(|three| three == b"://");
            at.and_then(|at| origin.get(at + 3..)) == Some(host)
        })
    }
}

/// Fields that only a proxy writes.
const OF_PROXIES: [KnownName; 16] = [
    KnownName::CdnLoop,
    KnownName::Forwarded,
    KnownName::MaxForwards,
    KnownName::ProxyConnection,
    KnownName::Via,
    KnownName::XForwardedClientCert,
    KnownName::XForwardedFor,
    KnownName::XForwardedHost,
    KnownName::XForwardedPort,
    KnownName::XForwardedPrefix,
    KnownName::XForwardedProto,
    KnownName::XForwardedProtocol,
    KnownName::XForwardedServer,
    KnownName::XRealIp,
    KnownName::XRequestStart,
    KnownName::XScheme,
];

/// How such fields begin that are not known by name.
const BEGINNINGS: [&[u8]; 10] = [
    b"x-forwarded",
    b"x-original",
    b"x-client",
    b"x-cluster",
    b"x-envoy",
    b"x-amzn",
    b"cf-",
    b"fly-",
    b"fastly-",
    b"true-client",
];

/// Whether somebody speaks for another.
fn is_proxied(head: &Head) -> bool {
    OF_PROXIES.iter().any(|name| head.has(*name))
}

fn names_a_proxy(head: &Head, buf: &[u8]) -> bool {
    head.fields.iter().any(|field| {
        let name = field.name.of(buf);
        BEGINNINGS.iter().any(|beginning| {
            let start = name.get(..beginning.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(beginning))
        })
    })
}

/// Whether the host asked for is a name of this machine: another name that leads here is somebody's
/// trick to read with a browser what is here (DNS rebinding).
fn is_local_name(host: &[u8]) -> bool {
    let name = match host.iter().position(|byte| *byte == b']') {
        Some(end) => host.get(..=end).unwrap_or_default(),
        None => host.split(|byte| *byte == b':').next().unwrap_or_default(),
    };
    let is_v4 = std::str::from_utf8(name)
        .ok()
        .and_then(|name| name.parse::<std::net::Ipv4Addr>().ok());
    name.eq_ignore_ascii_case(b"localhost")
        || name.to_ascii_lowercase().ends_with(b".localhost")
        || name == b"[::1]"
        || is_v4.is_some_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine_are_known_and_others_not() {
        let rows: [(&[u8], bool); 10] = [
            (b"localhost", true),
            (b"LOCALHOST:8000", true),
            (b"shop.localhost:80", true),
            (b"127.0.0.1:8000", true),
            (b"127.9.9.9", true),
            (b"[::1]:8000", true),
            (b"127.0.0.1.evil.example", false),
            (b"evil.example", false),
            (b"192.0.2.1:8000", false),
            (b"", false),
        ];
        for (host, local) in rows {
            assert_eq!(is_local_name(host), local, "{}", host.escape_ascii());
        }
    }
}
