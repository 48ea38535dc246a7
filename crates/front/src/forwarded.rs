//! Owns who the client is when a trusted proxy speaks for it (`X-Forwarded-*`).
//! Leaves which peers are trusted to the options.

use std::net::IpAddr;

use canter_base::options::Network;
use canter_http::{Head, KnownName};

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    /// As text; empty on a unix socket.
    pub address: String,
    /// 0 when it is not known.
    pub port: u16,
    /// Whether the client's own connection is encrypted.
    pub https: bool,
}

/// Whether the peer's word about the client is taken. A unix socket has no address: only `*`
/// trusts it.
pub(crate) fn is_trusted(trusted: &[Network], peer: Option<IpAddr>) -> bool {
    trusted.iter().any(|network| match (network, peer) {
        (Network::Any, _) => true,
        (network, Some(peer)) => network.contains(peer),
        (Network::Ip { .. }, None) => false,
    })
}

/// The client as a trusted peer describes it, else the peer itself.
///
/// Each proxy appends the address it was reached from, so with `hops` proxies of ours the client
/// is the entry `hops` from the right; what stands further left anybody may have written.
pub(crate) fn client(head: &Head, buf: &[u8], peer: &Client, hops: usize) -> Client {
    let mut client = peer.clone();
    if let Some(address) = hop(head, buf, hops) {
        client.address = address.to_string();
        client.port = 0;
    }
    if let Some(scheme) = last_value(head, buf, KnownName::XForwardedProto) {
        client.https = scheme.eq_ignore_ascii_case(b"https");
    }
    client
}

fn hop(head: &Head, buf: &[u8], hops: usize) -> Option<IpAddr> {
    let entries = head
        .fields
        .iter()
        .filter(|field| field.known == KnownName::XForwardedFor)
        .flat_map(|field| field.value.of(buf).split(|&byte| byte == b','));
    let entries: Vec<&[u8]> = entries.collect();
    let at = entries.len().checked_sub(hops.max(1))?;
    parse_address(entries.get(at)?)
}

/// An address, with or without a port or brackets.
fn parse_address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text)
        .ok()?
        .trim_matches([' ', '\t', '"']);
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address);
    }
    if let Ok(address) = text.parse::<std::net::SocketAddr>() {
        return Some(address.ip());
    }
    text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// The right-most entry of a field, which the nearest proxy wrote.
fn last_value<'a>(head: &Head, buf: &'a [u8], name: KnownName) -> Option<&'a [u8]> {
    let value = head
        .fields
        .iter()
        .rev()
        .find(|field| field.known == name)?
        .value
        .of(buf);
    let last = value.rsplit(|&byte| byte == b',').next()?;
    Some(last.trim_ascii())
}

#[cfg(test)]
mod tests {
    use canter_http::{HeadDecoder, Limits, Progress};

    use super::*;

    fn seen(fields: &str, hops: usize) -> (String, bool) {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let (mut decoder, mut head) = (HeadDecoder::new(), Head::new());
        let progress = decoder.decode(&Limits::default(), text.as_bytes(), &mut head);
        assert_eq!(progress, Ok(Progress::Complete));
        let peer = Client {
            address: "10.0.0.1".to_owned(),
            port: 9,
            https: false,
        };
        let client = client(&head, text.as_bytes(), &peer, hops);
        (client.address, client.https)
    }

    #[test]
    fn the_entry_our_proxies_wrote_is_the_client() {
        let rows = [
            ("", 1, "10.0.0.1", false),
            (
                "X-Forwarded-For: 6.6.6.6, 192.0.2.7\r\n",
                1,
                "192.0.2.7",
                false,
            ),
            (
                "X-Forwarded-For: 6.6.6.6, 192.0.2.7, 10.9.9.9\r\n",
                2,
                "192.0.2.7",
                false,
            ),
            (
                "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.7\r\n",
                1,
                "192.0.2.7",
                false,
            ),
            ("X-Forwarded-For: 192.0.2.7:4711\r\n", 1, "192.0.2.7", false),
            (
                "X-Forwarded-For: [2001:db8::7]:4711\r\n",
                1,
                "2001:db8::7",
                false,
            ),
            ("X-Forwarded-For: unknown\r\n", 1, "10.0.0.1", false),
            ("X-Forwarded-For: 192.0.2.7\r\n", 2, "10.0.0.1", false),
            ("X-Forwarded-Proto: https\r\n", 1, "10.0.0.1", true),
            ("X-Forwarded-Proto: https, http\r\n", 1, "10.0.0.1", false),
        ];
        for (fields, hops, address, https) in rows {
            assert_eq!(seen(fields, hops), (address.to_owned(), https), "{fields}");
        }
    }

    #[test]
    fn a_unix_peer_is_trusted_only_by_the_star() {
        let local = Network::Ip {
            ip: IpAddr::from([127, 0, 0, 1]),
            prefix: 8,
        };
        assert!(!is_trusted(&[local], None) && is_trusted(&[Network::Any], None));
        assert!(is_trusted(&[local], Some(IpAddr::from([127, 9, 9, 9]))));
        assert!(!is_trusted(&[], Some(IpAddr::from([127, 0, 0, 1]))));
    }
}
